//! Builds as JSON: one object a line. The format is number 1; a new field is no new format. Times are in milliseconds.

use kiln_builder::explain::Reason;
use kiln_builder::journal::{BuildStory, Ended, State, StepStory};
use serde::Serialize;

use crate::report::words::{look, outcome};
use crate::ui::human;

#[derive(Serialize)]
struct Summary<'a> {
    format: u32,
    id: String,
    logs: &'a str,
    began: String,
    took: u64,
    outcome: &'static str,
    message: Option<&'a str>,
    digest: Option<&'a str>,
    names: &'a [String],
    not_the_same: &'a [String],
    command: &'a [String],
    directory: &'a str,
    context: &'a str,
    dockerfile: &'a str,
    target: Option<&'a str>,
    platforms: &'a [String],
    version: &'a str,
    steps_total: usize,
    steps_cached: usize,
    fetched_bytes: u64,
    pushed_bytes: u64,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    warnings: &'a [String],
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    step: u32,
    state: &'static str,
    stage: &'a str,
    line: u32,
    text: &'a str,
    parent: Option<u32>,
    reads: &'a [u32],
    started: Option<u64>,
    took: Option<u64>,
    layer_bytes: Option<u64>,
    reason: Option<&'a Reason>,
}

/// Returns a build in one line, without its steps.
pub(super) fn summary(story: &BuildStory) -> String {
    line(&summary_of(story))
}

/// Returns a build in one line, with its steps and sources.
pub(super) fn build(story: &BuildStory) -> String {
    let steps = story.steps.iter().filter(|step| step.state != State::Unneeded).map(step).collect();
    line(&Whole { summary: summary_of(story), warnings: &story.warnings, steps })
}

fn line(value: &impl Serialize) -> String {
    format!("{}\n", serde_json::to_string(value).expect("these types always serialize"))
}

fn summary_of(story: &BuildStory) -> Summary<'_> {
    let header = &story.header;
    let (message, digest, names, not_the_same): (_, _, &[String], &[String]) = match &story.ended {
        Some(Ended::Done { digest, names, not_the_same }) => {
            (None, Some(digest.as_str()), names, not_the_same)
        }
        Some(Ended::Failed { message }) => (Some(message.as_str()), None, &[], &[]),
        Some(Ended::Interrupted) | None => (None, None, &[], &[]),
    };
    let moved = |is_pushed: bool| -> u64 {
        story.moved.iter().filter(|moved| moved.is_pushed() == is_pushed).map(|moved| moved.bytes).sum()
    };
    Summary {
        format: 1,
        id: story.name(),
        logs: &story.id,
        began: human::rfc3339(super::show::began(story)),
        took: story.took(),
        outcome: outcome(story),
        message,
        digest,
        names,
        not_the_same,
        command: &header.words,
        directory: &header.directory,
        context: &header.context,
        dockerfile: &header.dockerfile,
        target: header.target.as_deref(),
        platforms: &header.platforms,
        version: &header.version,
        steps_total: story.transforms().count(),
        steps_cached: story.transforms().filter(|step| step.state == State::Cached).count(),
        fetched_bytes: moved(false) + story.tasks.iter().map(|task| task.bytes).sum::<u64>(),
        pushed_bytes: moved(true),
    }
}

fn step(step: &StepStory) -> Step<'_> {
    let planned = &step.planned;
    Step {
        step: planned.step,
        state: look(step).word(),
        stage: &planned.stage,
        line: planned.line,
        text: &planned.text,
        parent: planned.parent,
        reads: &planned.reads,
        started: step.started,
        took: step.took,
        layer_bytes: step.layer_bytes,
        reason: step.reason.as_ref(),
    }
}
