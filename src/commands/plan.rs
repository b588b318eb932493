//! `kiln build --plan`: what a build would do.

use kiln_builder::build::{BuildError, Outlook};
use kiln_builder::explain::{Reason, place};
use kiln_builder::solve::{Ahead, Fate, Fetch};
use serde::Serialize;

use super::print;
use crate::cli::ExplainFormat;
use crate::failure::Failure;
use crate::ui::{heading, human};

/// Longest text of a step, in characters.
const TEXT_LENGTH_MAX: usize = 200;

/// Prints what would be done; a failure if that is anything and nothing is wanted.
pub(super) fn show(outlook: Outlook, format: ExplainFormat, fails_on_miss: bool) -> Result<(), Failure> {
    print(&match format {
        ExplainFormat::Text => text(&outlook),
        ExplainFormat::Json => json(&outlook),
    })?;
    match fails_on_miss && !outlook.forecast.steps.is_empty() {
        true => Err(BuildError::WouldRun { outlook: Box::new(outlook) }.into()),
        false => Ok(()),
    }
}

fn text(outlook: &Outlook) -> String {
    let mut text: String = outlook.forecast.steps.iter().map(|ahead| step_text(outlook, ahead)).collect();
    if text.is_empty() {
        text.push_str("every step is in the cache\n");
    }
    for Fetch { of, what, bytes } in &outlook.forecast.fetches {
        let bytes = bytes.map(|bytes| format!(" {}", human::size(bytes))).unwrap_or_default();
        text.push_str(&format!(
            "fetches {} {}{bytes}\n",
            heading(of, TEXT_LENGTH_MAX),
            heading(what, TEXT_LENGTH_MAX)
        ));
    }
    text
}

fn step_text(outlook: &Outlook, ahead: &Ahead) -> String {
    let origin = &outlook.plan.step(ahead.step).origin;
    let fate = match ahead.fate {
        Fate::Must => "runs",
        Fate::May => "may run",
    };
    let took = ahead.took.map(|took| format!(" ({} last time)", human::duration(took))).unwrap_or_default();
    let unless = match ahead.fate {
        Fate::Must => "",
        Fate::May => "; it does not if what it needs comes out as before",
    };
    let (place, text) = (heading(&place(origin), TEXT_LENGTH_MAX), heading(&origin.text, TEXT_LENGTH_MAX));
    let reason = match &ahead.reason {
        Reason::InputRebuilt { step } => format!("{step} is made again"),
        reason => reason.to_string(),
    };
    format!("{fate} {place} {text}{took}\n  {}{unless}\n", heading(&reason, usize::MAX))
}

/// The plan as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    steps: Vec<StepJson<'a>>,
    fetches: Vec<FetchJson<'a>>,
}

#[derive(Serialize)]
struct StepJson<'a> {
    /// `must` or `may`.
    runs: &'static str,
    stage: &'a str,
    line: u32,
    text: &'a str,
    reason: &'a Reason,
    explanation: String,
    /// In seconds.
    took_last: Option<f64>,
}

#[derive(Serialize)]
struct FetchJson<'a> {
    of: &'a str,
    what: &'a str,
    bytes: Option<u64>,
}

fn json(outlook: &Outlook) -> String {
    let step = |ahead: &Ahead| {
        let (origin, runs) = (&outlook.plan.step(ahead.step).origin, ahead.fate);
        let runs = if runs == Fate::Must { "must" } else { "may" };
        (origin, runs)
    };
    let steps = outlook.forecast.steps.iter().map(|ahead| {
        let (origin, runs) = step(ahead);
        StepJson {
            runs,
            stage: &origin.stage,
            line: origin.line,
            text: &origin.text,
            reason: &ahead.reason,
            explanation: ahead.reason.to_string(),
            took_last: ahead.took.map(|took| took.as_secs_f64()),
        }
    });
    let fetch = |fetch: &'_ Fetch| (fetch.of.clone(), fetch.what.clone(), fetch.bytes);
    let fetched: Vec<_> = outlook.forecast.fetches.iter().map(fetch).collect();
    let fetches = fetched.iter().map(|(of, what, bytes)| FetchJson { of, what, bytes: *bytes }).collect();
    let json = Json { format: 1, steps: steps.collect(), fetches };
    format!("{}\n", serde_json::to_string(&json).expect("these types always serialize"))
}
