//! `kiln build`.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::build::{BuildError, BuildResult, build, outlook};
use kiln_builder::journal::{Ended, Header, Journal};
use kiln_builder::progress::Progress;
use kiln_builder::request::{BuildRequest, ContextPlace, DockerfilePlace};
use kiln_builder::source::spool::{Spooled, spool};
use kiln_oci::Reference;
use serde_json::{Value, json};

use super::{
    Context, attended, call, enter, interrupt, look_after, plan, print, refuse_terminal, with_display,
};
use crate::cli::{BuildArgs, OnErrorWord};
use crate::failure::{Failure, Kind};
use crate::request::{self, FromStdin, stdin};
use crate::ui::{Display, Explains, Mode, diagnostic, repeated, show_text, stderr_style};

/// What to do where a step with cache mounts differs.
const CACHES_HINT: &str = "the second time a cache mount is as the first time left it: what is in it must not decide what the step makes";
/// What to do where a step that reaches the network differs.
const NETWORK_HINT: &str = "what a step fetches may be another tomorrow: name it by digest or version, or use `ADD --checksum`; \
    `--network=none` shows whether that is why";

/// Builds images.
pub(super) async fn run(args: BuildArgs, context: Context) -> Result<(), Failure> {
    if let Some(call) = request::call::call(&args)? {
        return call::run(call, &args, context).await;
    }
    let (mut request, from_stdin) = request::build(&args, &context.settings)?;
    let is_stdout_taken = request::writes_to_stdout(&request);
    if is_stdout_taken {
        refuse_terminal("name a file with `dest=FILE`, or send it on: `kiln build … | …`")?;
    }
    let mode = Mode::choose(args.progress, args.quiet, &context.settings)?;
    if args.on_error == Some(OnErrorWord::Shell) {
        if mode == Mode::Json || from_stdin != FromStdin::Nothing {
            return Err(Failure::usage("`--on-error=shell` is for somebody at a terminal"));
        }
        request.on_error = Some(attended::terminal(&context.settings, "`--on-error=shell`")?);
    }
    let explains = if args.explain { Explains::Yes } else { Explains::No };
    let display = Display::explaining(mode, explains, &context.settings);
    let journal = Journal::before(display.clone());
    let progress: Arc<dyn Progress> = journal.clone();
    let (workshop, settings) = context.open_telling(request.jobs, &progress)?;
    // The archive lies in the store's scratch as long as this value lives.
    let _spooled = read_stdin(&workshop, &mut request, from_stdin, io::stdin())?;
    let interrupt = interrupt()?;
    if let Some(format) = args.plan {
        let work = async { Ok(outlook(&workshop, &request, &progress, &interrupt).await?) };
        let outlook = with_display(&display, &interrupt, work).await?;
        display.finish(None);
        return plan::show(outlook, format, request.fail_on_miss);
    }
    let directory = &settings.working_directory;
    let header = Header::new(&request, &settings.command_line, directory, env!("CARGO_PKG_VERSION"));
    journal.begin(&workshop.store, workshop.started_ns, header);
    let work = async {
        let outcome = build(&workshop, &request, &progress, &interrupt).await;
        let not_the_same = outcome.as_ref().ok().and_then(not_the_same);
        journal.end(&workshop.store, ended(&outcome, not_the_same.as_ref()));
        enter::remember(&workshop, &settings, &outcome);
        let result = outcome?;
        record(&args, &result, &settings.working_directory)?;
        Ok((not_the_same, result))
    };
    let (not_the_same, result) = with_display(&display, &interrupt, work).await?;
    display.finish(not_the_same.as_ref());
    look_after(&workshop, &settings);
    let style = stderr_style(&settings);
    if mode != Mode::Json && mode != Mode::Quiet {
        show_text(&diagnostic::render_all(&result.source, &result.warnings, style));
    }
    if !is_stdout_taken {
        print(&format!("{}\n", result.descriptor.digest))?;
    }
    let is_shown = display.shows_failures();
    not_the_same.map_or(Ok(()), |failure| Err(Failure { is_shown, ..failure }))
}

/// Says which steps did not make the same when they were done a second time, if any did not. The image is there all the same.
fn not_the_same(result: &BuildResult) -> Option<Failure> {
    let file = result.source.name();
    let found = result.repeated.iter().filter_map(|one| Some((one, repeated::finding(one, file)?)));
    let (steps, findings): (Vec<_>, Vec<_>) = found.unzip();
    if findings.is_empty() {
        return None;
    }
    let of = format!("{} of {} steps", findings.len(), result.repeated.len());
    let message = format!("{of} did not make the same when they were done a second time");
    let mut failure = Failure { causes: findings, ..Failure::new(Kind::Failed, message) };
    if steps.iter().any(|step| step.has_caches) {
        failure = failure.with_hint(CACHES_HINT);
    }
    if steps.iter().any(|step| step.has_network) {
        failure = failure.with_hint(NETWORK_HINT);
    }
    Some(failure)
}

/// Returns how a build ended, for its journal.
fn ended(outcome: &Result<BuildResult, BuildError>, not_the_same: Option<&Failure>) -> Ended {
    match outcome {
        Ok(result) => {
            let names = result.names.iter().map(Reference::familiar).collect();
            let findings = not_the_same.map(|failure| failure.causes.as_slice()).unwrap_or_default();
            Ended::done(&result.descriptor.digest, names, findings)
        }
        Err(BuildError::Interrupted) => Ended::Interrupted,
        Err(error) => Ended::failed(error),
    }
}

/// Puts into the request what comes on standard input. An archive lies in the store's scratch as long as what is returned.
pub(super) fn read_stdin(
    workshop: &Arc<Workshop>,
    request: &mut BuildRequest,
    from_stdin: FromStdin,
    input: impl Read,
) -> Result<Option<Spooled>, Failure> {
    let failed = |error: stdin::InputError| Failure::of(Kind::Failed, &error);
    match from_stdin {
        FromStdin::Nothing => Ok(None),
        FromStdin::Dockerfile => read_dockerfile(request, input).map(|()| None),
        FromStdin::Context => match stdin::look(input).map_err(failed)? {
            stdin::Input::Archive(reader) => {
                let spooled = spool(workshop, reader).map_err(|error| Failure::of(Kind::Failed, &error))?;
                request.context = ContextPlace::Archive(spooled.path.clone());
                Ok(Some(spooled))
            }
            stdin::Input::Dockerfile(_) if request.dockerfile != DockerfilePlace::Default => {
                Err(Failure::usage("two Dockerfiles are given: by `-f`, and on standard input")
                    .with_hint("give a directory or an archive as CONTEXT"))
            }
            stdin::Input::Dockerfile(text) => {
                request.dockerfile = DockerfilePlace::Text(text);
                Ok(None)
            }
        },
    }
}

/// Puts into the request the Dockerfile that comes on standard input.
pub(super) fn read_dockerfile(request: &mut BuildRequest, input: impl Read) -> Result<(), Failure> {
    let text = stdin::dockerfile(input).map_err(|error| Failure::of(Kind::Failed, &error))?;
    request.dockerfile = DockerfilePlace::Text(text);
    Ok(())
}

/// Writes `--iidfile` and `--metadata-file`.
fn record(args: &BuildArgs, result: &BuildResult, base: &Path) -> Result<(), Failure> {
    if let Some(path) = &args.iidfile {
        write(&base.join(path), result.descriptor.digest.to_string().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&metadata(result)).expect("a JSON value always serializes");
        write(&base.join(path), format!("{text}\n").as_bytes())?;
    }
    Ok(())
}

/// Returns what is known about a result, under buildx's keys.
fn metadata(result: &BuildResult) -> Value {
    let mut value = json!({
        "containerimage.descriptor": result.descriptor,
        "containerimage.digest": result.descriptor.digest,
    });
    if let [image] = result.images.as_slice() {
        value["containerimage.config.digest"] = json!(image.config);
    }
    if !result.names.is_empty() {
        let names: Vec<String> = result.names.iter().map(ToString::to_string).collect();
        value["image.name"] = json!(names.join(","));
    }
    value
}

/// Writes a file whole: readers see the old one or the new one. What is no plain file is written in place.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::of(Kind::Failed, &error);
    if fs_err::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs_err::write(path, bytes).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut options = tempfile::Builder::new();
    options.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let place = |error: io::Error| {
        failed(io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display())))
    };
    let mut file = options.tempfile_in(folder).map_err(place)?;
    io::Write::write_all(&mut file, bytes).map_err(place)?;
    file.persist(path).map_err(|error| place(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_frontend::source::Source;
    use kiln_oci::{Descriptor, Digest, MediaType, Platform};

    use super::*;
    use kiln_builder::build::BuiltImage;

    #[test]
    fn metadata_has_the_keys_of_buildx() {
        let image = |text: &[u8]| BuiltImage {
            platform: Platform::host(),
            manifest: Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(text), 1),
            config: Digest::of(b"config"),
        };
        let media_type = MediaType::OCI_MANIFEST;
        let mut result = BuildResult {
            images: vec![image(b"m")],
            descriptor: Descriptor::new(media_type, Digest::of(b"m"), 3),
            names: vec!["a:1".parse().unwrap(), "b:2".parse().unwrap()],
            source: Source::new("Dockerfile", ""),
            warnings: Vec::new(),
            repeated: Vec::new(),
        };
        let (manifest, config) = (Digest::of(b"m"), Digest::of(b"config"));
        let descriptor = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": 3,
        });
        let expected = json!({
            "containerimage.config.digest": config,
            "containerimage.descriptor": descriptor,
            "containerimage.digest": manifest,
            "image.name": "docker.io/library/a:1,docker.io/library/b:2",
        });
        assert_eq!(metadata(&result), expected);
        result.images.push(image(b"n"));
        result.names.clear();
        let expected = json!({ "containerimage.descriptor": descriptor, "containerimage.digest": manifest });
        assert_eq!(metadata(&result), expected);
    }

    #[test]
    fn files_are_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = write(&folder.path().join("no/id"), b"").expect_err("there is no folder");
        assert!(missing.message.contains("no/id"), "{}", missing.message);
    }
}
