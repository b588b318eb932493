//! `kiln load`.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::{Context, interrupt, platform, print, transfer_display, with_display_abandoning};
use crate::cli::LoadArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::{self, ArchiveSource, Loaded};
use kiln_builder::progress::Progress;

/// Reads images from an archive.
pub(super) async fn run(args: &LoadArgs, context: Context) -> Result<(), Failure> {
    let path = args.input.as_ref().map(|path| context.settings.working_directory.join(path));
    let source = match &path {
        Some(path) => ArchiveSource::File(path),
        None if io::stdin().is_terminal() => {
            return Err(Failure::usage("an archive is not read from a terminal")
                .with_hint("name it: `kiln load -i FILE`"));
        }
        None => ArchiveSource::Stdin,
    };
    let platform = platform(args.platform.as_ref())?;
    let (workshop, settings) = context.open(1)?;
    // Elsewhere than on a terminal, Docker shows no progress of a load.
    let is_unasked = !io::stderr().is_terminal() && settings.environment.get("BUILDKIT_PROGRESS").is_none();
    let display = transfer_display(args.quiet || is_unasked, &settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let interrupt = interrupt()?;
    let work = async {
        let loaded = catalog::load(&workshop, source, platform.as_ref(), &progress).await;
        loaded.map_err(|error| Failure::of(Kind::Failed, &error))
    };
    let loaded = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    print(&render(&loaded))
}

fn render(loaded: &[Loaded]) -> String {
    let line = |loaded: &Loaded| match loaded {
        Loaded::Name(name) => format!("Loaded image: {}\n", name.familiar()),
        Loaded::Id(id) => format!("Loaded image ID: {id}\n"),
    };
    loaded.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn what_was_loaded_is_said_as_docker_says_it() {
        let id = Digest::of(b"config");
        let loaded = [Loaded::Name("app:1".parse().unwrap()), Loaded::Id(id)];
        assert_eq!(render(&loaded), format!("Loaded image: app:1\nLoaded image ID: {id}\n"));
    }
}
