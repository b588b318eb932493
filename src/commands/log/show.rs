//! Builds and their steps for people. Pure.

use kiln_builder::journal::{BuildStory, Ended, State, StepStory};

use crate::report::words::{command, duration, layer_words, look, outcome};
use crate::ui::{heading, human, table};

/// Longest text of an instruction, in characters.
const TEXT_LENGTH_MAX: usize = 80;
/// Longest name of what was built, in characters.
const WHAT_LENGTH_MAX: usize = 60;
/// Columns before a reason: it stands below its instruction's number.
const INDENT: &str = "       ";

/// Returns a line for each build.
pub(super) fn list(stories: &[BuildStory], now: i64) -> String {
    let cells = |story: &BuildStory| {
        vec![
            story.name(),
            human::ago(began(story), now),
            took(story),
            outcome(story).to_owned(),
            hits(story),
            heading(&what(story), WHAT_LENGTH_MAX),
        ]
    };
    let header = ["BUILD", "BEGAN", "TOOK", "OUTCOME", "CACHED", "WHAT"];
    table::render(&header, &stories.iter().map(cells).collect::<Vec<_>>())
}

/// Whether a build ended, and not well.
pub(super) fn is_bad(story: &BuildStory) -> bool {
    !story.is_living && !story.ended.as_ref().is_some_and(Ended::is_good)
}

/// Returns all about a build.
pub(super) fn build(story: &BuildStory) -> String {
    let mut text = head(story);
    for step in story.transforms() {
        text.push_str(&step_line(step));
    }
    text + &end(story)
}

/// Returns how a build was called.
pub(super) fn head(story: &BuildStory) -> String {
    let mut text = format!("build {}: {}\n", story.name(), heading(&command(story), usize::MAX));
    text.push_str(&format!(
        "began {} in {}\n",
        human::rfc3339(began(story)),
        heading(&story.header.directory, usize::MAX)
    ));
    text
}

/// Returns what became of a step: a line, and one for the reason why it ran.
pub(super) fn step_line(step: &StepStory) -> String {
    let planned = &step.planned;
    let place = match (planned.stage.as_str(), planned.line) {
        (stage, 0) => stage.to_owned(),
        (stage, line) => format!("{stage}:{line}"),
    };
    let took = step.took.map(duration).unwrap_or_default();
    let layer = step.layer_bytes.map(layer_words).unwrap_or_default();
    let text = heading(&planned.text, TEXT_LENGTH_MAX);
    let (word, place) = (look(step).word(), heading(&place, 20));
    let mut line = format!("{:>4}  {word:<11}  {took:>7}  {layer:>8}  {place:<12}  {text}\n", planned.step);
    if let Some(reason) = &step.reason {
        line.push_str(&format!("{INDENT}because: {}\n", heading(&reason.to_string(), usize::MAX)));
    }
    line
}

/// Returns how a build ended.
pub(super) fn end(story: &BuildStory) -> String {
    let mut text = String::new();
    for warning in &story.warnings {
        text.push_str(&format!("warning: {}\n", heading(warning, usize::MAX)));
    }
    for moved in &story.moved {
        let word = if moved.is_pushed() { "" } else { "fetched " };
        text.push_str(&format!("{word}{}: {}\n", heading(&moved.what, usize::MAX), human::size(moved.bytes)));
    }
    let words = format!("{} after {}, {} steps cached", outcome(story), took(story), hits(story));
    match &story.ended {
        Some(Ended::Done { digest, names, not_the_same }) => {
            let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(" ")) };
            text.push_str(&heading(&format!("{words}: {digest}{names}"), usize::MAX));
            for finding in not_the_same {
                text.push_str(&format!("\nnot the same: {}", heading(finding, usize::MAX)));
            }
        }
        Some(Ended::Failed { message }) => {
            text.push_str(&heading(&format!("{words}: {message}"), usize::MAX))
        }
        Some(Ended::Interrupted) | None => text.push_str(&words),
    }
    text.push('\n');
    if let Some(step) = story.steps.iter().find(|step| step.state == State::Failed) {
        text.push_str(&format!("its output: `kiln log {} {}`\n", story.name(), step.planned.step));
    }
    text
}

/// Returns when a build began, in seconds since 1970.
pub(super) fn began(story: &BuildStory) -> i64 {
    i64::try_from(story.header.began / 1000).unwrap_or(i64::MAX)
}

fn took(story: &BuildStory) -> String {
    duration(story.took())
}

/// Returns how many steps were cached, of how many.
fn hits(story: &BuildStory) -> String {
    let cached = story.transforms().filter(|step| step.state == State::Cached).count();
    format!("{cached}/{}", story.transforms().count())
}

/// Returns what a build made, or was to make.
fn what(story: &BuildStory) -> String {
    let header = &story.header;
    let made = match &story.ended {
        Some(Ended::Done { names, .. }) if !names.is_empty() => names.join(" "),
        _ => header.context.clone(),
    };
    match &header.target {
        Some(target) => format!("{made} (target {target})"),
        None => made,
    }
}
