//! `kiln diff CONTAINER`; of two images it is [`crate::commands::diff`]'s.

use std::sync::Arc;

use kiln_builder::containers::{ContainerChange, changes};
use kiln_builder::progress::Progress;
use serde_json::json;

use super::failed;
use crate::cli::{DiffArgs, Format};
use crate::commands::{Context, diff as images, interrupt, print, transfer_display, with_display_abandoning};
use crate::failure::{Failure, Kind};

/// Shows what was changed in a container; returns the exit code.
pub(crate) async fn diff(args: &DiffArgs, context: Context) -> Result<u8, Failure> {
    if args.after.is_some() {
        return images::run(args, context).await;
    }
    let display = transfer_display(false, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let interrupt = interrupt()?;
    let work = async { changes(&workshop, &args.before, &progress).await.map_err(failed) };
    let changes = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    let letter = |change: ContainerChange| match change {
        ContainerChange::Added => "A",
        ContainerChange::Changed => "C",
        ContainerChange::Deleted => "D",
    };
    match args.format {
        Some(Format::Json) => {
            let changes = changes.iter().map(|(path, change)| {
                let path = format!("/{}", String::from_utf8_lossy(path.as_bytes()));
                json!({ "change": letter(*change), "path": path })
            });
            print(&format!("{:#}\n", json!({ "format": 1, "changes": changes.collect::<Vec<_>>() })))?;
        }
        Some(Format::Table) | None => {
            let lines = changes
                .iter()
                .map(|(path, change)| format!("{} /{}\n", letter(*change), shown(path.as_bytes())));
            print(&lines.collect::<String>())?;
        }
    }
    // As of two images: not that of a failure.
    Ok(if args.exit_code && !changes.is_empty() { Kind::Findings.exit_code() } else { 0 })
}

/// Returns a path that stays on its line.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    match text.contains(|c: char| c.is_control()) {
        true => text.escape_debug().to_string(),
        false => text.into_owned(),
    }
}
