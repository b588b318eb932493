//! `kiln explain`: why steps of the last build ran, as its journal says.

use kiln_builder::explain::Reason;
use kiln_builder::journal::{self, BuildStory, State, StepStory};
use serde::Serialize;

use super::place::StepPlace;
use super::{Context, print};
use crate::cli::{ExplainArgs, ExplainFormat};
use crate::failure::{Failure, Kind};
use crate::report::words::{command, duration};
use crate::suggest::nearest;
use crate::ui::heading;

/// Longest text of a step, in characters.
const TEXT_LENGTH_MAX: usize = 200;
/// Stages and lines that an error names.
const NAMED_MAX: usize = 20;

/// Says why steps of the last build ran.
pub(super) fn run(args: &ExplainArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let story = journal::last_planned(&workshop.store).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let story = story.ok_or_else(|| {
        Failure::new(Kind::Failed, "this store knows of no last build").with_hint("`kiln build` makes one")
    })?;
    let place = args.step.as_deref().map(StepPlace::parse).transpose()?;
    let steps = match &place {
        Some(place) => meant(&story, place)?,
        None => story.transforms().collect(),
    };
    print(&match (args.format, &place) {
        (ExplainFormat::Json, _) => json(&story, &ran(&steps)),
        (ExplainFormat::Text, Some(_)) => steps_text(&story, &steps),
        (ExplainFormat::Text, None) => text(&story, &steps),
    })
}

/// Returns the steps that are meant; never none.
fn meant<'a>(story: &'a BuildStory, place: &StepPlace) -> Result<Vec<&'a StepStory>, Failure> {
    let of_stage: Vec<&StepStory> =
        story.transforms().filter(|step| place.is_stage_of(&step.planned)).collect();
    let found: Vec<&StepStory> = of_stage.iter().copied().filter(|step| place.is_of(&step.planned)).collect();
    match (found.is_empty(), place.line) {
        (false, _) => Ok(found),
        (true, Some(line)) if !of_stage.is_empty() => Err(no_line(story, place, line, &of_stage)),
        (true, _) => Err(no_stage(story, place)),
    }
}

fn no_stage(story: &BuildStory, place: &StepPlace) -> Failure {
    let mut stages: Vec<&str> = story.transforms().map(|step| step.planned.stage.as_str()).collect();
    stages.dedup();
    stages.sort_unstable();
    stages.dedup();
    let asked = heading(&place.stage, TEXT_LENGTH_MAX);
    let failure = Failure::new(Kind::Failed, format!("the last build has no step in stage `{asked}`"));
    let of_names = || {
        let names =
            stages.iter().take(NAMED_MAX).map(|stage| format!("`{}`", heading(stage, TEXT_LENGTH_MAX)));
        names.collect::<Vec<_>>().join(", ")
    };
    let hint = match stages.as_slice() {
        [] => "it has no step at all".to_owned(),
        [""] => "its only stage has no name: write `:LINE`".to_owned(),
        _ => match nearest(&place.stage, &stages) {
            Some(near) => format!("did you mean `{}`?", heading(near, TEXT_LENGTH_MAX)),
            None => format!("it has steps in {}", of_names()),
        },
    };
    failure.with_hint(format!("{hint} {}", was(story)))
}

fn no_line(story: &BuildStory, place: &StepPlace, line: u32, of_stage: &[&StepStory]) -> Failure {
    let mut lines: Vec<u32> =
        of_stage.iter().map(|step| step.planned.line).filter(|line| *line > 0).collect();
    lines.sort_unstable();
    lines.dedup();
    let of_stage = match place.stage.as_str() {
        "" => String::new(),
        stage => format!(" of stage `{}`", heading(stage, TEXT_LENGTH_MAX)),
    };
    let message = format!("no step{of_stage} of the last build begins in line {line}");
    let named: Vec<String> = lines.iter().take(NAMED_MAX).map(u32::to_string).collect();
    let more = if lines.len() > NAMED_MAX { " and others" } else { "" };
    Failure::new(Kind::Failed, message).with_hint(format!(
        "steps begin in lines {}{more} {}",
        named.join(", "),
        was(story)
    ))
}

/// Says which build is meant.
fn was(story: &BuildStory) -> String {
    let (command, directory) = (command(story), story.header.directory.as_str());
    let (command, directory) = (heading(&command, TEXT_LENGTH_MAX), heading(directory, TEXT_LENGTH_MAX));
    format!("(build {}: `{command}` in `{directory}`)", story.name())
}

/// Returns the steps that ran, or begin to.
fn ran<'a>(steps: &[&'a StepStory]) -> Vec<&'a StepStory> {
    steps.iter().copied().filter(|step| step.reason.is_some()).collect()
}

fn text(story: &BuildStory, steps: &[&StepStory]) -> String {
    let ran = ran(steps);
    if !ran.is_empty() {
        return steps_text(story, &ran);
    }
    let what = heading(dockerfile(story), TEXT_LENGTH_MAX);
    match steps.iter().all(|step| step.state == State::Cached) {
        true => format!("every step of `{what}` was in the cache\n"),
        false => format!("no step of `{what}` has run\n"),
    }
}

fn steps_text(story: &BuildStory, steps: &[&StepStory]) -> String {
    let step = |step: &&StepStory| {
        let planned = &step.planned;
        let took = step.took.filter(|_| step.reason.is_some());
        let took = took.map(|took| format!(" ({})", duration(took))).unwrap_or_default();
        let (place, text) =
            (heading(&planned.place(), TEXT_LENGTH_MAX), heading(&planned.text, TEXT_LENGTH_MAX));
        let why = match explanation(story, step) {
            Some(explanation) => explanation,
            None if step.state == State::Waiting => "its turn did not come".to_owned(),
            None => "it was in the cache".to_owned(),
        };
        format!("{place} {text}{took}\n  {}\n", heading(&why, usize::MAX))
    };
    steps.iter().map(step).collect()
}

/// Says why a step ran, if it did, down to where it began.
fn explanation(story: &BuildStory, step: &StepStory) -> Option<String> {
    let reason = step.reason.as_ref()?;
    let root = match reason {
        Reason::InputRebuilt { step } => story.steps.iter().find(|other| other.planned.place() == *step),
        _ => None,
    };
    Some(match root.and_then(|root| root.reason.as_ref()) {
        Some(root) => format!("{reason}: {root}"),
        None => reason.to_string(),
    })
}

fn dockerfile(story: &BuildStory) -> &str {
    match story.header.dockerfile.as_str() {
        "" => "Dockerfile",
        name => name,
    }
}

/// What ran, as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    /// Its id, as `kiln log` has it.
    build: String,
    dockerfile: &'a str,
    /// How many steps the build has.
    steps: usize,
    ran: Vec<StepJson<'a>>,
}

#[derive(Serialize)]
struct StepJson<'a> {
    stage: &'a str,
    line: u32,
    text: &'a str,
    reason: &'a Reason,
    explanation: String,
    /// In seconds.
    took: Option<f64>,
}

fn json(story: &BuildStory, ran: &[&StepStory]) -> String {
    let ran = ran.iter().filter_map(|step| {
        Some(StepJson {
            stage: &step.planned.stage,
            line: step.planned.line,
            text: &step.planned.text,
            reason: step.reason.as_ref()?,
            explanation: explanation(story, step)?,
            took: step.took.map(|took| std::time::Duration::from_millis(took).as_secs_f64()),
        })
    });
    let (build, dockerfile) = (story.name(), dockerfile(story));
    let json = Json { format: 1, build, dockerfile, steps: story.transforms().count(), ran: ran.collect() };
    format!("{}\n", serde_json::to_string(&json).expect("these types always serialize"))
}

#[cfg(test)]
mod tests {
    use kiln_builder::explain::Change;
    use kiln_builder::journal::{Header, PlannedStep, StepKind};

    use super::*;

    fn step(line: u32, text: &str, state: State, reason: Option<Reason>) -> StepStory {
        let planned = PlannedStep {
            step: line,
            kind: StepKind::Run,
            stage: "stage-1".to_owned(),
            stage_name: String::new(),
            position: line,
            count: 9,
            line,
            text: text.to_owned(),
            parent: Some(0),
            reads: Vec::new(),
            is_needed: true,
        };
        StepStory { planned, state, started: None, took: Some(1500), reason, layer_bytes: None }
    }

    fn story(steps: Vec<StepStory>) -> BuildStory {
        let words = ["kiln", "build", "."].map(str::to_owned).to_vec();
        BuildStory {
            id: "0".to_owned(),
            is_living: false,
            header: Header { words, directory: "/a\nb".to_owned(), ..Header::default() },
            steps,
            tasks: Vec::new(),
            moved: Vec::new(),
            warnings: Vec::new(),
            ended: None,
            last_at: 0,
        }
    }

    fn sample() -> BuildStory {
        let change = Change {
            what: "a.c content".to_owned(),
            before: Some("1f…".to_owned()),
            after: Some("9c…".to_owned()),
        };
        let follows = Reason::InputRebuilt { step: "stage-1:3".to_owned() };
        story(vec![
            step(2, "RUN true", State::Cached, None),
            step(3, "COPY . .", State::Ran, Some(Reason::Changed { changes: vec![change] })),
            step(4, "RUN make", State::Failed, Some(follows)),
            step(6, "RUN x\ny", State::Waiting, None),
        ])
    }

    fn said(story: &BuildStory, place: &str) -> Result<String, String> {
        let steps = meant(story, &StepPlace::parse(place).unwrap());
        let steps = steps.map_err(|failure| format!("{}; {}", failure.message, failure.hints.join("; ")))?;
        Ok(steps_text(story, &steps))
    }

    #[test]
    fn a_step_whose_input_was_made_anew_is_explained_down_to_the_leaf() {
        let story = sample();
        let expected = "stage-1:3 COPY . . (1.5s)\n  a.c content 1f…→9c…\nstage-1:4 RUN make (1.5s)\n  \
            stage-1:3 was built again and came out with other bytes: a.c content 1f…→9c…\n";
        let all: Vec<&StepStory> = story.transforms().collect();
        assert_eq!(text(&story, &all), expected);
        let json: serde_json::Value = serde_json::from_str(&super::json(&story, &ran(&all))).unwrap();
        assert_eq!((&json["steps"], &json["ran"][1]["took"]), (&4.into(), &1.5.into()));
        assert_eq!(json["ran"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_somebody_asks_for_is_answered_or_told_what_there_is() {
        let story = sample();
        let of = format!("(build {}: `kiln build .` in `/a b`)", story.name());
        for (place, expected) in [
            ("1:2", Ok("stage-1:2 RUN true\n  it was in the cache\n".to_owned())),
            (":6", Ok("stage-1:6 RUN x y\n  its turn did not come\n".to_owned())),
            (
                ":5",
                Err(format!(
                    "no step of the last build begins in line 5; steps begin in lines 2, 3, 4, 6 {of}"
                )),
            ),
            (
                "stage-2",
                Err(format!("the last build has no step in stage `stage-2`; did you mean `stage-1`? {of}")),
            ),
            (
                "a\nb:3",
                Err(format!("the last build has no step in stage `a b`; it has steps in `stage-1` {of}")),
            ),
        ] {
            assert_eq!(said(&story, place), expected, "{place:?}");
        }
        let idle = super::tests::story(vec![step(2, "RUN true", State::Cached, None)]);
        let all: Vec<&StepStory> = idle.transforms().collect();
        assert_eq!(text(&idle, &all), "every step of `Dockerfile` was in the cache\n");
    }
}
