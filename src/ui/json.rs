//! One JSON object a line, for programs. The format has a number, which the first line says.
//!
//! Every object has `event` and `at`, in seconds since the beginning. Numbers of steps are those of [`super::plain`].
//!
//! | `event` | Further fields |
//! |---|---|
//! | `hello` | `format` (1), `version` of kiln |
//! | `plan` | `needed`: number of steps |
//! | `task-began`, `task-moved`, `task-done` | `task`; `done`, `total`: bytes; `took`, `detail` |
//! | `task-output` | `task`, `line` |
//! | `step-cached`, `step-started` | `step`, `name` |
//! | `step-missed` | `step`, `name`, `reason`, `explanation`: why it runs, as a value and in words |
//! | `step-output` | `step`, `line` without its end; bytes that are not UTF-8 are U+FFFD |
//! | `step-done`, `step-failed` | `step`, `name`, `took` |
//! | `step-repeated` | `step`, `name`, `took`, `verdict`: `same`, `differs` or `failed`; `files`, `count`; `message`, `log` |
//! | `transfer` | `what`, `blob`, `done`, `total`: bytes |
//! | `image-moves` | `reference`, `direction`: `pull` or `push` |
//! | `layer` | `blob`, `stage`, `from`: the repository a layer was mounted from |
//! | `warning` | `message`; for one about the Dockerfile also what each of `places` has |
//! | `named` | `reference`, `digest` |
//! | `failed` | `kind`, `exit_code`, `message`, `causes`, `hints`, `places` |
//! | `end` | |
//!
//! Each of `places` has `code`, `message`, `file`, `line`, `column`, `span`, `help` and `fix`: see docs/progress-json.md.
//! A new field is no new format.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use kiln_builder::explain::Reason;
use kiln_builder::lower::notice;
use kiln_builder::plan::StepId;
use kiln_builder::progress::{Direction, LayerStage, Notice, NoticeEdit, NoticePlace, ProgressEvent};
use serde::Serialize;

use super::label::Labels;
use super::lines::Lines;
use super::repeated_json::{RepeatedText, repeated};
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
    TaskOutput { task: &'a str, line: &'a str },
    TaskMoved { task: &'a str, done: u64, total: Option<u64> },
    TaskDone { task: &'a str, took: f64, detail: &'a str },
    StepCached { step: u32, name: &'a str },
    StepStarted { step: u32, name: &'a str },
    StepWaits { step: u32, name: &'a str, pid: Option<u32> },
    StepMissed { step: u32, name: &'a str, reason: &'a Reason, explanation: String },
    StepOutput { step: u32, line: &'a str },
    StepDone { step: u32, name: &'a str, took: f64 },
    StepFailed { step: u32, name: &'a str, took: f64 },
    StepPutOff { step: u32, name: &'a str, took: f64 },
    StepRepeated(Box<RepeatedText<'a>>),
    Transfer { what: &'a str, blob: String, done: u64, total: u64 },
    ImageMoves { reference: String, direction: &'static str },
    Layer { blob: String, stage: &'static str, from: Option<&'a str> },
    Warning(Box<Said<'a>>),
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
    places: Vec<Place>,
}

/// A warning: about the Dockerfile, or about nothing in it.
#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Anywhere { message: &'a str },
    Here(Place),
}

#[derive(Serialize)]
struct Place {
    code: &'static str,
    message: String,
    file: String,
    line: usize,
    column: usize,
    span: Option<SpanText>,
    help: Option<String>,
    fix: Vec<EditText>,
}

#[derive(Serialize)]
struct SpanText {
    start: usize,
    end: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Serialize)]
struct EditText {
    line: usize,
    column: usize,
    span: SpanText,
    replacement: String,
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
            // The terminal is lent, and this form has none.
            ProgressEvent::ShellOpened { .. } | ProgressEvent::ShellClosed => return,
            ProgressEvent::StepMade { .. } => return,
            ProgressEvent::Began { task } => Event::TaskBegan { task },
            ProgressEvent::TaskOutput { task, line } => Event::TaskOutput { task, line },
            ProgressEvent::Moved { task, done, total } => {
                Event::TaskMoved { task, done: *done, total: *total }
            }
            ProgressEvent::Finished { task, took, detail } => {
                Event::TaskDone { task, took: seconds(*took), detail }
            }
            ProgressEvent::Planned { plan, needed } => {
                self.labels.plan(plan);
                Event::Plan { needed: needed.iter().filter(|is_needed| **is_needed).count() }
            }
            ProgressEvent::StepMissed { step, reason } => {
                let (step, number) = (*step, self.labels.step_number(*step));
                let (name, explanation) = (self.labels.step(step), reason.to_string());
                Event::StepMissed { step: number, name, reason, explanation }
            }
            ProgressEvent::StepOutput { step, bytes } => return self.output(*step, bytes, at),
            ProgressEvent::StepCached { step }
            | ProgressEvent::StepStarted { step }
            | ProgressEvent::StepWaits { step, .. }
            | ProgressEvent::StepDone { step, .. }
            | ProgressEvent::StepPutOff { step, .. }
            | ProgressEvent::StepFailed { step, .. } => return self.step(event, *step, at),
            ProgressEvent::StepRepeated { step, verdict, took } => {
                let number = self.labels.step_number(*step);
                Event::StepRepeated(Box::new(repeated(number, self.labels.step(*step), verdict, *took)))
            }
            ProgressEvent::Transfer { what, blob, done, total } => {
                Event::Transfer { what, blob: blob.to_string(), done: *done, total: *total }
            }
            ProgressEvent::ImageMoves { reference, direction } => {
                Event::ImageMoves { reference: reference.to_string(), direction: direction_word(*direction) }
            }
            ProgressEvent::Layer { blob, stage } => {
                let (stage, from) = stage_word(*stage);
                Event::Layer { blob: blob.to_string(), stage, from }
            }
            ProgressEvent::Warning { message } => Event::Warning(Box::new(Said::Anywhere { message })),
            ProgressEvent::Noticed { findings, others } => {
                for notice in others.iter().chain(*findings) {
                    let said = Said::Here(place(notice.clone()));
                    write(&mut self.out, at, Event::Warning(Box::new(said)));
                }
                return;
            }
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
            ProgressEvent::StepPutOff { took, .. } => {
                Event::StepPutOff { step: number, name, took: seconds(*took) }
            }
            ProgressEvent::StepWaits { pid, .. } => Event::StepWaits { step: number, name, pid: *pid },
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

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Pull => "pull",
        Direction::Push => "push",
    }
}

fn stage_word(stage: LayerStage<'_>) -> (&'static str, Option<&str>) {
    let word = match stage {
        LayerStage::Pulling => "pulling",
        LayerStage::Downloaded => "downloaded",
        LayerStage::Pulled => "pulled",
        LayerStage::Exists => "exists",
        LayerStage::Pushing => "pushing",
        LayerStage::Pushed => "pushed",
        LayerStage::ExistsThere => "exists-there",
        LayerStage::Mounted { from } => return ("mounted", Some(from)),
    };
    (word, None)
}

fn places(failure: &Failure) -> Vec<Place> {
    let Some(report) = &failure.report else { return Vec::new() };
    report.diagnostics.iter().map(|diagnostic| place(notice(&report.source, diagnostic))).collect()
}

fn place(notice: Notice) -> Place {
    let Notice { code, message, file, place, help, fix } = notice;
    let (line, column) = place.map_or((0, 0), |place| (place.line, place.column));
    let edit = |edit: NoticeEdit| {
        let NoticePlace { line, column, .. } = edit.place;
        EditText { line, column, span: span(edit.place), replacement: edit.replacement }
    };
    let fix = fix.into_iter().map(edit).collect();
    Place { code, message, file, line, column, span: place.map(span), help, fix }
}

fn span(place: NoticePlace) -> SpanText {
    let NoticePlace { end_line, end_column, start, end, .. } = place;
    SpanText { start, end, end_line, end_column }
}

/// Returns a duration in seconds, to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
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
    fn warnings_and_errors_of_the_dockerfile_have_places_and_fixes() {
        let source = kiln_frontend::source::Source::new("Dockerfile", "FROM ä AS X\nBAD\n");
        let at = |start, end| kiln_frontend::source::Span::new(start, end);
        let edit = kiln_frontend::diagnostic::Edit { span: at(11, 12), replacement: "x".to_owned() };
        let warning =
            kiln_frontend::diagnostic::Diagnostic::warning("Casing", at(11, 12), "w").with_fix(edit);
        let (findings, mut out) = ([notice(&source, &warning)], Vec::new());
        let mut json = Json::new(&mut out);
        json.on(&ProgressEvent::Noticed { findings: &findings, others: &[] }, Duration::ZERO);
        json.on(&ProgressEvent::Warning { message: "slow" }, Duration::ZERO);
        let mut error = kiln_frontend::diagnostic::Diagnostic::error("mount", at(0, 0), "e").with_help("h");
        error.labels.clear();
        let report = Some(Box::new(crate::failure::Report { source, diagnostics: vec![error] }));
        json.finish(Some(&Failure { report, ..Failure::usage("no") }), Duration::ZERO);
        let text = String::from_utf8(out).unwrap();
        let expected = [
            r#"{"at":0.0,"event":"warning","code":"Casing","message":"w","file":"Dockerfile","line":1,"column":11,"span":{"start":11,"end":12,"end_line":1,"end_column":12},"help":null,"fix":[{"line":1,"column":11,"span":{"start":11,"end":12,"end_line":1,"end_column":12},"replacement":"x"}]}"#,
            r#"{"at":0.0,"event":"warning","message":"slow"}"#,
            r#"{"at":0.0,"event":"failed","kind":"usage","exit_code":2,"message":"no","causes":[],"hints":[],"places":[{"code":"mount","message":"e","file":"Dockerfile","line":0,"column":0,"span":null,"help":"h","fix":[]}]}"#,
        ];
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), expected);
    }

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
            ProgressEvent::StepWaits { step, pid: None },
            ProgressEvent::StepOutput { step, bytes: b"a\"b\xff\nend" },
            ProgressEvent::StepDone { step, took },
            ProgressEvent::StepPutOff { step, took },
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
{{"at":0.5,"event":"step-waits","step":1,"name":"[build 1/2] RUN make","pid":null}}
{{"at":0.5,"event":"step-output","step":1,"line":"a\"b{}"}}
{{"at":0.5,"event":"step-output","step":1,"line":"end"}}
{{"at":0.5,"event":"step-done","step":1,"name":"[build 1/2] RUN make","took":0.25}}
{{"at":0.5,"event":"step-put-off","step":1,"name":"[build 1/2] RUN make","took":0.25}}
{{"at":1.0,"event":"failed","kind":"usage","exit_code":2,"message":"no","causes":[],"hints":["yes"],"places":[]}}
"#,
            '\u{fffd}'
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
