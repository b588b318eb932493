//! `kiln save`.

use std::sync::Arc;

use kiln_builder::progress::Progress;
use kiln_builder::request::Destination;

use super::{Context, interrupt, platform, refuse_terminal, transfer_display, with_display_abandoning};
use crate::cli::{ArchiveWord, SaveArgs};
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::{self, ArchiveKind, Selection};

/// Writes images into an archive.
pub(super) async fn run(args: &SaveArgs, context: Context) -> Result<(), Failure> {
    let destination = match &args.output {
        Some(path) => Destination::Path(context.settings.working_directory.join(path)),
        None => {
            refuse_terminal("name a file with `-o FILE`, or send it on: `kiln save … | …`")?;
            Destination::Stdout
        }
    };
    let kind = match args.format {
        ArchiveWord::Docker => ArchiveKind::Docker,
        ArchiveWord::Oci => ArchiveKind::Oci,
    };
    let platform = platform(args.platform.as_ref())?;
    let selection = Selection { images: &args.images, platform: platform.as_ref() };
    let (workshop, settings) = context.open(1)?;
    let display = transfer_display(false, &settings)?;
    let interrupt = interrupt()?;
    let progress: Arc<dyn Progress> = display.clone();
    let work = async {
        let saved = catalog::save(&workshop, selection, kind, &destination, &progress).await;
        saved.map_err(|error| Failure::of(Kind::Failed, &error))
    };
    with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    Ok(())
}
