//! `kiln commit`.

use kiln_builder::containers::{CommitRequest, ContainerUse, commit as commit_container};

use super::with_container;
use crate::cli::CommitArgs;
use crate::commands::{Context, name, print, transfer_display};
use crate::failure::Failure;

/// Makes an image of a container.
pub(crate) async fn commit(args: &CommitArgs, context: Context) -> Result<(), Failure> {
    let request = CommitRequest {
        name: args.name.as_deref().map(name).transpose()?,
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
        epoch: context.settings.source_date_epoch()?,
    };
    let display = transfer_display(args.quiet, &context.settings)?;
    let container = (args.container.as_str(), ContainerUse::Reading);
    let id = with_container(context, &display, container, async |open| commit_container(open, request).await)
        .await?;
    print(&format!("{id}\n"))
}
