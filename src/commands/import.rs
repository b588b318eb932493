//! `kiln import`.

use std::io::{self, IsTerminal};
use std::path::Path;

use super::{Context, name, platform, print};
use crate::cli::ImportArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::{self, ArchiveSource, ImportRequest};

/// Makes an image of one layer from an archive.
pub(super) async fn run(args: &ImportArgs, context: Context) -> Result<(), Failure> {
    let text = args.file.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(Failure::usage("archives from the web are not built yet")
            .with_hint("hand the archive over: `curl -fL URL | kiln import - NAME`"));
    }
    let path = context.settings.working_directory.join(&args.file);
    let source = match args.file == Path::new("-") {
        true if io::stdin().is_terminal() => {
            return Err(Failure::usage("an archive is not read from a terminal"));
        }
        true => ArchiveSource::Stdin,
        false => ArchiveSource::File(&path),
    };
    let request = ImportRequest {
        source,
        name: args.name.as_deref().map(name).transpose()?,
        changes: args.change.clone(),
        message: args.message.clone(),
        platform: platform(args.platform.as_ref())?,
        epoch: context.settings.source_date_epoch()?,
    };
    let (workshop, _) = context.open(1)?;
    let imported = catalog::import(&workshop, request).await;
    let id = imported.map_err(|error| Failure::of(Kind::Failed, &error))?;
    print(&format!("{id}\n"))
}
