//! `kiln save`.

use kiln_builder::request::Destination;

use super::{Context, refuse_terminal};
use crate::api_stub::catalog::{self, ArchiveKind};
use crate::cli::{ArchiveWord, SaveArgs};
use crate::failure::{Failure, Kind};

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
    let (workshop, _) = context.open(1)?;
    let saved = catalog::save(&workshop, &args.images, kind, &destination).await;
    saved.map_err(|error| Failure::of(Kind::Failed, &error))
}
