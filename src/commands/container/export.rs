//! `kiln export`.

use kiln_builder::containers::{Purpose, export as export_container};
use kiln_builder::request::Destination;

use super::with_container;
use crate::cli::ExportArgs;
use crate::commands::{Context, refuse_terminal, transfer_display};
use crate::failure::Failure;

/// Writes the files of a container as an archive.
pub(crate) async fn export(args: &ExportArgs, context: Context) -> Result<(), Failure> {
    let destination = match &args.output {
        Some(path) => Destination::Path(context.settings.working_directory.join(path)),
        None => {
            refuse_terminal("name a file with `-o FILE`, or send it on: `kiln export … | …`")?;
            Destination::Stdout
        }
    };
    let display = transfer_display(false, &context.settings)?;
    let container = (args.container.as_str(), Purpose::Read);
    with_container(context, &display, container, async |open| export_container(&open, &destination).await)
        .await
}
