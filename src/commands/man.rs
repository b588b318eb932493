//! `kiln man`: the manual's pages, from the command line's own definition.

use super::Context;
use crate::cli::{ManArgs, help};
use crate::failure::{Failure, Kind};

/// Writes one page a command.
pub(super) fn run(args: &ManArgs, context: &Context) -> Result<(), Failure> {
    let directory = context.settings.working_directory.join(&args.directory);
    let written = fs_err::create_dir_all(&directory)
        .and_then(|()| clap_mangen::generate_to(help::definition(), &directory));
    written.map_err(|error| {
        Failure::new(Kind::Failed, format!("cannot write the manual into `{}`: {error}", directory.display()))
    })
}
