//! `kiln build --call` and `--check`: a build that is asked about and not run.

use std::io;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::build::BuildError;
use kiln_builder::check::{CheckOptions, Checked, ImageSources, check, dockerfile_of};
use kiln_builder::lower::{Extent, PlanOptions, outline, parse};
use kiln_builder::progress::Progress;
use kiln_builder::request::BuildRequest;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::outline::targets;
use kiln_frontend::source::Source;

use super::lint::stdout_style;
use super::{Context, build, interrupt, print, with_display};
use crate::cli::BuildArgs;
use crate::failure::{Failure, Kind};
use crate::findings::{Tally, json, outline as document, text};
use crate::request::call::{Call, CallFormat, Method};
use crate::request::{self, FromStdin};
use crate::ui::{Display, Mode};

/// Asks about a build.
pub(super) async fn run(call: Call, args: &BuildArgs, context: Context) -> Result<(), Failure> {
    let (mut request, from_stdin) = request::build(args, &context.settings)?;
    let style = stdout_style(&context.settings);
    let display = Display::new(Mode::Quiet, &context.settings);
    let progress: Arc<dyn Progress> = display.clone();
    let workshop = match context.open_telling(request.jobs, &progress) {
        Ok((workshop, _)) => Some(workshop),
        // Only what comes on standard input, from the web or from git needs a place to lie; without a store, images are unknown.
        Err(failure) if from_stdin == FromStdin::Context || request.needs_store() => return Err(failure),
        Err(_) => None,
    };
    let _spooled = match (&workshop, from_stdin) {
        (None, FromStdin::Nothing) => None,
        (Some(workshop), _) => build::read_stdin(workshop, &mut request, from_stdin, io::stdin())?,
        (None, _) => {
            build::read_dockerfile(&mut request, io::stdin())?;
            None
        }
    };
    let interrupt = interrupt()?;
    let work = answer(call, workshop.as_ref(), &request, &progress);
    match with_display(&display, &interrupt, work).await? {
        Answer::Text(text) => print(&text),
        Answer::Checked(checked) => {
            let files = [*checked];
            print(&match call.format {
                CallFormat::Text => text::render(&files, style),
                CallFormat::Json => json::render(&files),
            })?;
            let outcome = Tally::of(&files).outcome();
            // Errors are no status: there is nothing that could be built.
            outcome.or_else(|failure| match failure.kind {
                Kind::Findings if call.ignores_status => Ok(()),
                _ => Err(failure),
            })
        }
    }
}

enum Answer {
    Text(String),
    Checked(Box<Checked>),
}

async fn answer(
    call: Call,
    workshop: Option<&Arc<Workshop>>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Answer, Failure> {
    if call.method == Method::Check {
        let options = CheckOptions { sources: ImageSources::Registries, ..CheckOptions::default() };
        let checked = check(workshop, request, &options, progress).await?;
        return Ok(Answer::Checked(Box::new(checked)));
    }
    let source = dockerfile_of(workshop, request, progress).await?;
    let parsed = parse(&source, &request.build_args);
    if parsed.has_errors() {
        return Err(wrong(source, parsed.diagnostics));
    }
    let text = match (call.method, call.format) {
        (Method::Targets, CallFormat::Text) => document::targets_text(&targets(&parsed.file)),
        (Method::Targets, CallFormat::Json) => document::targets_json(&source, &targets(&parsed.file)),
        (_, format) => {
            let options = PlanOptions::of(request, request.timestamp, Extent::Needed);
            match (outline(&parsed.file, &options), format) {
                (Ok(outline), CallFormat::Text) => document::text(&outline),
                (Ok(outline), CallFormat::Json) => document::json(&source, &outline),
                (Err(errors), _) => return Err(wrong(source, errors)),
            }
        }
    };
    Ok(Answer::Text(text))
}

fn wrong(source: Source, diagnostics: Vec<Diagnostic>) -> Failure {
    BuildError::Dockerfile { source_text: Box::new(source), diagnostics }.into()
}
