//! `kiln completions`: what a shell needs to complete command lines, from their own definition.

use super::print_bytes;
use crate::cli::{CompletionsArgs, help};
use crate::failure::Failure;

/// Prints the completions for a shell.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::definition(), "kiln", &mut script);
    print_bytes(&script).map(drop)
}
