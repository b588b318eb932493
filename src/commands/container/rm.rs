//! `kiln rm`.

use kiln_builder::containers::remove;

use super::failed;
use crate::cli::RmArgs;
use crate::commands::{Context, print};
use crate::failure::Failure;
use crate::ui::{show_failure, stderr_style};

/// Removes containers; goes on where one cannot be removed.
pub(crate) fn rm(args: &RmArgs, context: Context) -> Result<(), Failure> {
    let (workshop, settings) = context.open(1)?;
    let style = stderr_style(&settings);
    let mut last = None;
    for container in &args.containers {
        match remove(&workshop, container) {
            // What was given is said, as Docker says it.
            Ok(_) => print(&format!("{container}\n"))?,
            Err(error) if args.force && error.is_not_found() => {}
            Err(error) => {
                if let Some(before) = last.replace(failed(error)) {
                    show_failure(&before, style);
                }
            }
        }
    }
    last.map_or(Ok(()), Err)
}
