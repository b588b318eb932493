//! `kiln cat`.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use kiln_builder::catalog::{self, ContentError};
use kiln_builder::lanes::blocking;
use kiln_builder::progress::Progress;

use super::ls::not_here;
use super::{Context, interrupt, platform, transfer_display, with_display_abandoning};
use crate::cli::CatArgs;
use crate::failure::{Failure, Kind, is_broken_pipe};
use crate::ui::{Display, Mode};

/// Prints files of an image, one after the other; nothing of any where one of them is not there.
pub(super) async fn run(args: &CatArgs, context: Context) -> Result<(), Failure> {
    let platform = platform(args.platform.as_ref())?;
    let paths: Vec<Vec<u8>> = args.paths.iter().map(|path| path.as_bytes().to_owned()).collect();
    let display = transfer_display(false, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, settings) = context.open_telling(1, &progress)?;
    let interrupt = interrupt()?;
    let finding = async {
        catalog::find_files(&workshop, &args.image, &paths, platform.as_ref(), &progress)
            .await
            .map_err(not_here)
    };
    let files = with_display_abandoning(&display, &interrupt, finding).await?;
    display.finish(None);
    // Whoever reads may take long; Ctrl-C ends the wait.
    let printing = async {
        let mut out = io::stdout();
        Ok(blocking(move || files.iter().try_for_each(|file| file.write_to(&workshop, &mut out))).await)
    };
    let silent = Display::new(Mode::Quiet, &settings);
    let printed = with_display_abandoning(&silent, &interrupt, printing).await?;
    match printed {
        Err(ContentError::Output { source, .. }) if is_broken_pipe(&source) => Ok(()),
        Err(error) => Err(Failure::of(Kind::Failed, &error)),
        Ok(()) => Ok(()),
    }
}
