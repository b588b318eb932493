//! `kiln enter`.

use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::build::{BuildError, BuildResult, Entry, enter, text_digest};
use kiln_builder::last_build::{FailedStep, LastBuild};
use kiln_builder::plan::Origin;
use kiln_builder::progress::Progress;
use kiln_builder::request::{BuildRequest, NoCache};
use kiln_builder::transform::Command;
use kiln_frontend::source::Source;

use super::place::StepPlace;
use super::{Context, attended, interrupt, with_display};
use crate::cli::{self, BuildArgs, EnterArgs, Parsed};
use crate::failure::{Failure, Kind};
use crate::request::{self, FromStdin};
use crate::settings::Settings;
use crate::ui::{Display, Mode};

/// Runs a shell or a command in a step of the last build; returns its exit code.
pub(super) async fn run(args: EnterArgs, context: Context) -> Result<u8, Failure> {
    let attendant = match args.command.is_empty() {
        true => attended::terminal(&context.settings, "a shell")?,
        false => attended::streams(&context.settings)?,
    };
    let own = context.settings.clone();
    let display = Display::new(Mode::Quiet, &own);
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let failed = |error| Failure::of(Kind::Failed, &error);
    let last = LastBuild::of(&workshop.store).map_err(failed)?.ok_or_else(|| {
        Failure::new(Kind::Failed, "this store knows of no last build").with_hint("`kiln build` makes one")
    })?;
    let request = request_of(&last, &args, &own)?;
    let (stage, line) = place(args.step.as_deref(), last.failed.as_ref())?;
    let command = match args.command.is_empty() {
        true => Command::Shell,
        false => Command::Words(args.command),
    };
    let entry = Entry { stage, line, dockerfile: Some(last.dockerfile()), command, attendant };
    let interrupt = interrupt()?;
    let work = async { Ok(enter(&workshop, &request, &entry, &progress, &interrupt).await?) };
    let status = with_display(&display, &interrupt, work).await?;
    Ok(u8::try_from(status.shell_code()).unwrap_or(u8::MAX))
}

/// Returns the request of a build that was, as far as what it read is still there.
fn request_of(last: &LastBuild, args: &EnterArgs, own: &Settings) -> Result<BuildRequest, Failure> {
    let settings = Settings { working_directory: last.directory(), ..own.clone() };
    let unreadable =
        || Failure::new(Kind::Failed, "the last build cannot be read again").with_hint("build again");
    let Parsed::Command(parsed) = cli::parse(last.words().iter().cloned())? else { return Err(unreadable()) };
    let cli::Command::Build(build) = parsed.command else { return Err(unreadable()) };
    let mut build = build.into_inner();
    // What is not there any more is missed only by a step that requires it.
    build.secret.retain(|line| request::secrets(std::slice::from_ref(line), &settings).is_ok());
    build.ssh.retain(|line| request::agents(std::slice::from_ref(line), &settings).is_ok());
    let BuildArgs { output, tag, push, load, pull, .. } = &mut build;
    output.clear();
    tag.clear();
    (*push, *load, *pull) = (false, false, false);
    let (mut request, from_stdin) = request::build(&build, &settings)?;
    let gone = match from_stdin {
        FromStdin::Nothing => None,
        FromStdin::Context => Some("context"),
        FromStdin::Dockerfile => Some("Dockerfile"),
    };
    if let Some(gone) = gone {
        return Err(Failure::new(
            Kind::Failed,
            format!("the {gone} of the last build came on standard input, and is gone"),
        )
        .with_hint("build from a directory, or with `--on-error=shell`"));
    }
    request.no_cache = NoCache::Nothing;
    request.secrets.extend(request::secrets(&args.secret, own)?);
    request.agents.extend(request::agents(&args.ssh, own)?);
    Ok(request)
}

/// Returns the stage and line that are meant by `STAGE[:LINE]`, `:LINE`, or nothing.
fn place(text: Option<&str>, failed: Option<&FailedStep>) -> Result<(Option<String>, Option<u32>), Failure> {
    let of_failed = |failed: &FailedStep| {
        let stage = (!failed.stage.is_empty()).then(|| failed.stage.clone());
        (stage, Some(failed.line))
    };
    let Some(text) = text else { return Ok(failed.map_or((None, None), of_failed)) };
    let StepPlace { stage, line } = StepPlace::parse(text)?;
    let is_its = |failed: &&FailedStep| failed.stage == stage || failed.stage_name == stage.to_lowercase();
    match (line, failed.filter(is_its)) {
        (None, Some(failed)) => Ok(of_failed(failed)),
        _ => Ok(((!stage.is_empty()).then_some(stage), line)),
    }
}

/// Remembers what a build was, for entering its steps. That it is not remembered is no failure of the build.
pub(super) fn remember(workshop: &Workshop, settings: &Settings, outcome: &Result<BuildResult, BuildError>) {
    let (source, failed): (&Source, _) = match outcome {
        Ok(result) => (&result.source, None),
        Err(BuildError::Step { source_text, origin, .. }) => {
            (source_text, (origin.line > 0).then(|| failed_step(origin)))
        }
        Err(_) => return,
    };
    let directory = settings.working_directory.clone();
    let build = LastBuild::new(&settings.command_line, directory, text_digest(source), failed);
    build.keep(&workshop.store).ok();
}

fn failed_step(origin: &Origin) -> FailedStep {
    let Origin { stage, stage_name, line, .. } = origin.clone();
    FailedStep { stage, stage_name, line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_by_stage_and_line_and_is_the_failed_one_otherwise() {
        let failed =
            FailedStep { stage: "linux/arm64 build".to_owned(), stage_name: "build".to_owned(), line: 9 };
        let its = Ok((Some("linux/arm64 build"), Some(9)));
        for (text, failed, expected) in [
            (None, None, Ok((None, None))),
            (None, Some(&failed), its),
            (Some("Build"), Some(&failed), its),
            (Some("build"), None, Ok((Some("build"), None))),
            (Some("other"), Some(&failed), Ok((Some("other"), None))),
            (Some("build:3"), Some(&failed), Ok((Some("build"), Some(3)))),
            (Some(":3"), None, Ok((None, Some(3)))),
            (Some("build:x"), None, Err("`x` is no line of a Dockerfile")),
            (Some("build:0"), None, Err("`0` is no line of a Dockerfile")),
        ] {
            let expected = expected
                .map(|(stage, line): (Option<&str>, _)| (stage.map(str::to_owned), line))
                .map_err(str::to_owned);
            assert_eq!(place(text, failed).map_err(|failure| failure.message), expected, "{text:?}");
        }
    }
}
