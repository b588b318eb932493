//! One JSON object a line, for programs. The format has a number, which the first line says.
//!
//! Every object has `event` and `at`, in seconds since the beginning. Numbers of steps are those of [`super::plain`].
//!
//! | `event` | Further fields |
//! |---|---|
//! | `hello` | `format` (1), `version` of kiln |
//! | `plan` | `needed`: number of steps |
//! | `task-began`, `task-done` | `task`; `took`, `detail` |
//! | `step-cached`, `step-started` | `step`, `name` |
//! | `step-output` | `step`, `line` without its end; bytes that are not UTF-8 are U+FFFD |
//! | `step-done`, `step-failed` | `step`, `name`, `took` |
//! | `transfer` | `what`, `blob`, `done`, `total`: bytes |
//! | `warning` | `message` |
//! | `named` | `reference`, `digest` |
//! | `failed` | `kind`, `exit_code`, `message`, `causes`, `hints`, `places` |
//! | `end` | |
//!
//! A new field is no new format.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use kiln_builder::plan::StepId;
use kiln_builder::progress::ProgressEvent;
use kiln_frontend::diagnostic::Diagnostic;
use serde::Serialize;

use super::label::Labels;
use super::lines::Lines;
use crate::failure::Failure;

/// Number of the format.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    at: f64,
    #[serde(flatten)]
    event: Event<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Hello { format: u32, version: &'static str },
    Plan { needed: usize },
    TaskBegan { task: &'a str },
    TaskDone { task: &'a str, took: f64, detail: &'a str },
    StepCached { step: u32, name: &'a str },
    StepStarted { step: u32, name: &'a str },
    StepOutput { step: u32, line: &'a str },
    StepDone { step: u32, name: &'a str, took: f64 },
    StepFailed { step: u32, name: &'a str, took: f64 },
    Transfer { what: &'a str, blob: String, done: u64, total: u64 },
    Warning { message: &'a str },
    Named { reference: String, digest: String },
    Failed(Box<Failed<'a>>),
    End,
}

#[derive(Serialize)]
struct Failed<'a> {
    kind: &'static str,
    exit_code: u8,
    message: &'a str,
    causes: &'a [String],
    hints: &'a [String],
    places: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    code: &'a str,
    message: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    help: Option<&'a str>,
}

/// Writes events as JSON objects.
#[derive(Debug)]
pub(crate) struct Json<W> {
    out: W,
    labels: Labels,
    running: BTreeMap<StepId, Lines>,
}

impl<W: Write> Json<W> {
    /// Returns a display that writes to `out`, and says hello.
    pub(crate) fn new(out: W) -> Self {
        let mut json = Self { out, labels: Labels::default(), running: BTreeMap::new() };
        write(
            &mut json.out,
            Duration::ZERO,
            Event::Hello { format: FORMAT, version: env!("CARGO_PKG_VERSION") },
        );
        json
    }

    /// Writes an event that happened `at` after the beginning.
    pub(crate) fn on(&mut self, event: &ProgressEvent<'_>, at: Duration) {
        let line = match event {
            ProgressEvent::Began { task } => Event::TaskBegan { task },
            ProgressEvent::Finished { task, took, detail } => {
                Event::TaskDone { task, took: seconds(*took), detail }
            }
            ProgressEvent::Planned { plan, needed } => {
                self.labels.plan(plan);
                Event::Plan { needed: needed.iter().filter(|is_needed| **is_needed).count() }
            }
            ProgressEvent::StepOutput { step, bytes } => return self.output(*step, bytes, at),
            ProgressEvent::StepCached { step }
            | ProgressEvent::StepStarted { step }
            | ProgressEvent::StepDone { step, .. }
            | ProgressEvent::StepFailed { step, .. } => return self.step(event, *step, at),
            ProgressEvent::Transfer { what, blob, done, total } => {
                Event::Transfer { what, blob: blob.to_string(), done: *done, total: *total }
            }
            ProgressEvent::Warning { message } => Event::Warning { message },
            ProgressEvent::Named { reference, digest } => {
                Event::Named { reference: reference.to_string(), digest: digest.to_string() }
            }
        };
        write(&mut self.out, at, line);
    }

    /// Writes how it ended.
    pub(crate) fn finish(&mut self, failure: Option<&Failure>, at: Duration) {
        let event = match failure {
            None => Event::End,
            Some(failure) => Event::Failed(Box::new(Failed {
                kind: failure.kind.word(),
                exit_code: failure.exit_code(),
                message: &failure.message,
                causes: &failure.causes,
                hints: &failure.hints,
                places: places(failure),
            })),
        };
        write(&mut self.out, at, event);
    }

    fn step(&mut self, event: &ProgressEvent<'_>, step: StepId, at: Duration) {
        let number = self.labels.step_number(step);
        if let Some(mut lines) = self.running.remove(&step) {
            lines.finish(|line| write_output(&mut self.out, at, number, line));
        }
        let name = self.labels.step(step);
        let line = match event {
            ProgressEvent::StepCached { .. } => Event::StepCached { step: number, name },
            ProgressEvent::StepDone { took, .. } => {
                Event::StepDone { step: number, name, took: seconds(*took) }
            }
            ProgressEvent::StepFailed { took, .. } => {
                Event::StepFailed { step: number, name, took: seconds(*took) }
            }
            _ => Event::StepStarted { step: number, name },
        };
        write(&mut self.out, at, line);
    }

    fn output(&mut self, step: StepId, bytes: &[u8], at: Duration) {
        let number = self.labels.step_number(step);
        let out = &mut self.out;
        self.running.entry(step).or_default().push(bytes, |line| write_output(out, at, number, line));
    }
}

fn places<'a>(failure: &'a Failure) -> Vec<Place<'a>> {
    let Some(report) = &failure.report else { return Vec::new() };
    let place = |diagnostic: &'a Diagnostic| {
        let Diagnostic { code, message, help, .. } = diagnostic;
        let position = diagnostic.primary().map(|span| report.source.position(span.start));
        let (line, column) = position.map_or((0, 0), |position| (position.line, position.column));
        Place { code, message, file: report.source.name(), line, column, help: help.as_deref() }
    };
    report.diagnostics.iter().map(place).collect()
}

/// Returns a duration in seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn write_output(out: &mut impl Write, at: Duration, step: u32, line: &[u8]) {
    write(out, at, Event::StepOutput { step, line: &String::from_utf8_lossy(line) });
}

fn write(out: &mut impl Write, at: Duration, event: Event<'_>) {
    let at = seconds(at);
    let mut text = serde_json::to_vec(&Line { at, event }).expect("these types always serialize");
    text.push(b'\n');
    // Nowhere is left to say that standard error is gone, and the build does not depend on it.
    out.write_all(&text).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::super::label::tests::plan;
    use super::*;

    #[test]
    fn events_are_objects_of_the_documented_form() {
        let plan = plan();
        let step = plan.steps().map(|(id, _)| id).nth(1).unwrap();
        let took = Duration::from_millis(250);
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        for event in [
            ProgressEvent::Planned { plan: &plan, needed: &[true; 3] },
            ProgressEvent::StepStarted { step },
            ProgressEvent::StepOutput { step, bytes: b"a\"b\xff\nend" },
            ProgressEvent::StepDone { step, took },
        ] {
            json.on(&event, Duration::from_millis(500));
        }
        let failure = Failure::usage("no").with_hint("yes");
        json.finish(Some(&failure), Duration::from_secs(1));
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            r#"{{"at":0.0,"event":"hello","format":1,"version":"{version}"}}
{{"at":0.5,"event":"plan","needed":3}}
{{"at":0.5,"event":"step-started","step":1,"name":"[build 1/2] RUN make"}}
{{"at":0.5,"event":"step-output","step":1,"line":"a\"b{}"}}
{{"at":0.5,"event":"step-output","step":1,"line":"end"}}
{{"at":0.5,"event":"step-done","step":1,"name":"[build 1/2] RUN make","took":0.25}}
{{"at":1.0,"event":"failed","kind":"usage","exit_code":2,"message":"no","causes":[],"hints":["yes"],"places":[]}}
"#,
            '\u{fffd}'
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
