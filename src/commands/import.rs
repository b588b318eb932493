//! `kiln import`.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use kiln_builder::catalog::{self, ArchiveSource, ImportRequest};
use kiln_builder::progress::Progress;
use kiln_registry::WebUrl;

use super::{Context, interrupt, name, platform, print, transfer_display, with_display_abandoning};
use crate::cli::ImportArgs;
use crate::failure::{Failure, Kind};

/// Makes an image of one layer from an archive: of a file, of the web, or on standard input.
pub(super) async fn run(args: &ImportArgs, context: Context) -> Result<(), Failure> {
    let url = url(&args.file.to_string_lossy())?;
    let is_stdin = args.file == Path::new("-");
    if is_stdin && io::stdin().is_terminal() {
        return Err(Failure::usage("an archive is not read from a terminal")
            .with_hint("name it: `kiln import FILE`, or hand it over: `… | kiln import -`"));
    }
    let path = context.settings.working_directory.join(&args.file);
    let request = ImportRequest {
        source: if is_stdin { ArchiveSource::Stdin } else { ArchiveSource::File(&path) },
        name: args.name.as_deref().map(name).transpose()?,
        changes: args.change.clone(),
        message: args.message.clone(),
        platform: platform(args.platform.as_ref())?,
        epoch: context.settings.source_date_epoch()?,
    };
    let display = transfer_display(false, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let failed = |error| Failure::of(Kind::Failed, &error);
    let interrupt = interrupt()?;
    let work = async {
        let Some(url) = url else { return catalog::import(&workshop, request).await.map_err(failed) };
        let download = catalog::download(&workshop, &url, &progress).await.map_err(failed)?;
        // As Docker says it.
        let message = request.message.or_else(|| Some(format!("Imported from {url}")));
        let request = ImportRequest { source: ArchiveSource::Web(&download), message, ..request };
        catalog::import(&workshop, request).await.map_err(failed)
    };
    let id = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    print(&format!("{id}\n"))
}

/// Returns the address, where it is one.
fn url(text: &str) -> Result<Option<WebUrl>, Failure> {
    let is_web = text.starts_with("http://") || text.starts_with("https://");
    let url = is_web.then(|| WebUrl::from_str(text)).transpose();
    url.map_err(|error| Failure::of(Kind::Usage, &error))
}
