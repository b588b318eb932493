//! `kiln copy`: the new name with its digest on standard output, all else on standard error.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_builder::progress::Progress;
use kiln_builder::remote::{CopiedImage, CopyImage, Fate, ImageFilesPlace, ImagePlace, copy, names};
use kiln_oci::Descriptor;
use kiln_registry::Client;

use super::all_tags::{Outcome, told};
use super::{
    Context, client_config_telling, interrupt, platform, print, reference, transfer_display,
    with_display_abandoning,
};
use crate::cli::CopyArgs;
use crate::failure::{Failure, Kind};
use crate::settings::Settings;
use crate::ui::{heading, show_text, stderr_style, visible};

/// Longest text of somebody's in an error, in characters.
const TEXT_LENGTH_MAX: usize = 200;
/// Where archives are unpacked, unless TMPDIR says otherwise: `/tmp` is often memory.
const SCRATCH: &str = "/var/tmp";
/// Places that skopeo has besides. They would be read as names of images.
const OTHER_PLACES: [&str; 7] =
    ["dir", "docker-daemon", "containers-storage", "ostree", "sif", "tarball", "atomic"];

/// Copies an image.
pub(super) async fn run(args: CopyArgs, context: Context) -> Result<(), Failure> {
    let (from, to) = (place(&args.source)?, place(&args.destination)?);
    check_new(&to)?;
    let platform = platform(args.platform.as_ref())?;
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let client = Client::new(client_config_telling(&context.settings, &progress));
    let interrupt = interrupt()?;
    let request = CopyImage { from, to, platform, scratch: scratch(&context.settings) };
    if args.all_tags {
        check_all(&request)?;
        let work = all(&client, &request, &progress);
        let outcome = with_display_abandoning(&display, &interrupt, work).await?;
        display.finish(None);
        return told(&outcome, "copied", stderr_style(&context.settings), line);
    }
    let work =
        async { copy(&client, &request, &progress).await.map_err(|error| Failure::of(Kind::Failed, &error)) };
    let copied = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    if args.quiet {
        return print(&format!("{}\n", copied.image.digest));
    }
    show_text(&summary(&copied));
    print(&(line(&copied.place, &copied.image) + "\n"))
}

fn line(place: &ImagePlace, image: &Descriptor) -> String {
    format!("{}: digest: {} size: {}", visible(&place.to_string()), image.digest, image.size)
}

/// Reads a place, in the words of skopeo's users.
fn place(text: &str) -> Result<ImagePlace, Failure> {
    if let Some(name) = text.strip_prefix("docker://") {
        return reference(name).map(ImagePlace::Registry);
    }
    let Some((kind, rest)) = text.split_once(':') else {
        return reference(text).map(ImagePlace::Registry);
    };
    let files = match kind {
        "oci" | "oci-archive" | "docker-archive" => files(kind, rest)?,
        _ if OTHER_PLACES.contains(&kind) => {
            let message = format!("`{kind}:` is no place that images are copied from or to");
            return Err(Failure::usage(message).with_hint(
                "there are `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE` and names; `docker://` before one says \
                 that it is a name",
            ));
        }
        _ => return reference(text).map(ImagePlace::Registry),
    };
    Ok(ImagePlace::Files(files))
}

fn files(kind: &str, rest: &str) -> Result<ImageFilesPlace, Failure> {
    // As with skopeo, the path ends at the first colon.
    let (path, name) = match rest.split_once("@sha256:") {
        Some((path, hex)) => (path, Some(format!("sha256:{hex}"))),
        None => match rest.split_once(':') {
            Some((path, name)) => (path, Some(name.to_owned())),
            None => (rest, None),
        },
    };
    if path.is_empty() || name.as_ref().is_some_and(String::is_empty) {
        let message = format!("`{}` names nothing", heading(&format!("{kind}:{rest}"), TEXT_LENGTH_MAX));
        return Err(Failure::usage(message).with_hint("write `oci:DIR`, or `oci:DIR:TAG`"));
    }
    let path = PathBuf::from(path);
    Ok(match kind {
        "oci" => ImageFilesPlace::Layout { path, name },
        "oci-archive" => ImageFilesPlace::OciArchive { path, name },
        _ => ImageFilesPlace::DockerArchive { path, name },
    })
}

/// Refuses names that nothing new can have.
fn check_new(place: &ImagePlace) -> Result<(), Failure> {
    let ImagePlace::Files(files) = place else { return Ok(()) };
    let Some(name) = files.name() else { return Ok(()) };
    let shown = heading(name, TEXT_LENGTH_MAX);
    if name.starts_with("sha256:") {
        return Err(Failure::usage(format!("`{shown}` cannot be a new name: it is a digest")));
    }
    match files {
        ImageFilesPlace::DockerArchive { .. } => match reference(name)?.digest() {
            Some(_) => Err(Failure::usage(format!("`{shown}` cannot be a new name: it names a digest"))),
            None => Ok(()),
        },
        _ if is_tag_of_layout(name) => Ok(()),
        _ => Err(Failure::usage(format!("`{shown}` is no tag of an OCI layout"))
            .with_hint("a tag has letters and digits, and `-`, `.`, `_`, `:`, `@`, `+` or `/` between them")),
    }
}

/// The grammar of `org.opencontainers.image.ref.name` (annotations.md of the OCI image specification).
fn is_tag_of_layout(text: &str) -> bool {
    let is_word = |word: &str| {
        let ends = [word.chars().next(), word.chars().next_back()];
        let has_sound_ends = ends.iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()));
        has_sound_ends && word.chars().all(|char| char.is_ascii_alphanumeric() || "-._:@+".contains(char))
    };
    text.split('/').all(is_word)
}

fn check_all(request: &CopyImage) -> Result<(), Failure> {
    for place in [&request.from, &request.to] {
        match place {
            ImagePlace::Registry(name) => super::all_tags::refuse_tag(name)?,
            ImagePlace::Files(files) if files.name().is_some() => {
                return Err(Failure::usage("tag can't be used with --all-tags/-a"));
            }
            ImagePlace::Files(_) => {}
        }
    }
    match &request.to {
        ImagePlace::Registry(_) | ImagePlace::Files(ImageFilesPlace::Layout { .. }) => Ok(()),
        ImagePlace::Files(_) => {
            let failure = Failure::usage("an archive takes one image, and -a copies several");
            Err(failure.with_hint("an OCI layout takes them: `kiln copy -a SOURCE oci:DIR`"))
        }
    }
}

/// Returns where an archive is unpacked.
fn scratch(settings: &Settings) -> PathBuf {
    let named = settings.environment.get("TMPDIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    settings.working_directory.join(named.unwrap_or_else(|| PathBuf::from(SCRATCH)))
}

async fn all(
    client: &Client,
    request: &CopyImage,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Outcome<ImagePlace>>, Failure> {
    let failed = |error| Failure::of(Kind::Failed, &error);
    let mut outcomes = Vec::new();
    for from in names(client, &request.from, &request.scratch).await.map_err(failed)? {
        let one = CopyImage { from, ..request.clone() };
        match copy(client, &one, progress).await {
            Ok(copied) => outcomes.push(Outcome { name: copied.place, result: Ok(copied.image) }),
            Err(error) => outcomes.push(Outcome { name: one.from, result: Err(failed(error)) }),
        }
    }
    Ok(outcomes)
}

fn summary(copied: &CopiedImage) -> String {
    let count = |wanted: Fate| copied.blobs.values().filter(|fate| **fate == wanted).count();
    let parts = [
        (Fate::Sent, "copied"),
        (Fate::Mounted, "mounted"),
        (Fate::There, "already there"),
        (Fate::LeftOut, "left out, since they may not be distributed"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .map(|(fate, word)| (count(fate), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if said.is_empty() {
        "Blobs: all already there\n".to_owned()
    } else {
        format!("Blobs: {}\n", said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_skopeo_reads_them() {
        let digest = kiln_oci::Digest::of(b"m").to_string();
        let of_digest = format!("oci:d@{digest}");
        for (text, expected) in [
            ("a.example/x:1", "a.example/x:1"),
            ("docker://a.example/x:1", "a.example/x:1"),
            ("docker://oci:1", "oci:1"),
            ("app", "app"),
            ("app:1", "app:1"),
            ("oci:d", "oci:d"),
            ("oci:/d/e:1.0", "oci:/d/e:1.0"),
            ("oci:d:localhost:5000/app:1", "oci:d:localhost:5000/app:1"),
            ("oci-archive:a b.tar", "oci-archive:a b.tar"),
            ("docker-archive:a.tar:app:1", "docker-archive:a.tar:app:1"),
            ("oci:line\nbreak", "oci:line\nbreak"),
            (&of_digest, &format!("oci:d@{digest}")),
        ] {
            assert_eq!(place(text).unwrap().to_string(), expected);
        }
        for text in ["oci:", "oci::1", "oci:d:", "dir:d", "docker-daemon:app:1", "UPPER", "docker://"] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn new_names_are_those_that_others_read() {
        let check = |text: &str| check_new(&place(text).unwrap()).is_ok();
        for text in ["oci:d", "oci:d:1", "oci:d:v1.2-rc_3", "oci:d:a/b:1", "docker-archive:a.tar:team/app:1"]
        {
            assert!(check(text), "{text}");
        }
        let digest = kiln_oci::Digest::of(b"m").to_string();
        let digests = [format!("oci:d@{digest}"), format!("docker-archive:a.tar:app@{digest}")];
        let digests = digests.iter().map(String::as_str);
        for text in ["oci:d:a b", "oci:d:-a", "oci:d:a\nb", "oci:d:a//b", "docker-archive:a.tar:APP"]
            .into_iter()
            .chain(digests)
        {
            assert!(!check(text), "{text}");
        }
    }
}
