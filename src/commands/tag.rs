//! `kiln tag`: says nothing, as Docker.

use super::{Context, name};
use crate::cli::TagArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog;

/// Gives an image another name.
pub(super) fn run(args: &TagArgs, context: Context) -> Result<(), Failure> {
    let name = name(&args.name)?;
    if name.digest().is_some() {
        return Err(Failure::usage(format!("`{}` is no new name: it has a digest", args.name)));
    }
    let (workshop, _) = context.open(1)?;
    catalog::tag(&workshop, &args.image, &name).map_err(|error| Failure::of(Kind::Failed, &error))
}
