//! `kiln commit`.

use std::sync::Arc;

use kiln_builder::containers::{CommitRequest, Purpose, commit as commit_container};

use kiln_builder::progress::{Progress, ProgressEvent};

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
        must_hold_still: args.pause == Some(true),
    };
    let display = transfer_display(args.quiet, &context.settings)?;
    let container = (args.container.as_str(), Purpose::Read);
    let warns = args.pause.is_none() && !args.no_pause;
    let progress = Arc::clone(&display);
    let id = with_container(context, &display, container, async |open| {
        if warns && open.is_running() {
            let message = format!("container `{}` is running, and kiln cannot pause it: its files are those of different moments", open.record().name);
            progress.on(&ProgressEvent::Warning { message: &message });
        }
        commit_container(open, request).await
    })
    .await?;
    print(&format!("{id}\n"))
}
