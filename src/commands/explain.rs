//! `kiln explain`.

use kiln_builder::explain::{Reason, Told, ToldBuild};
use serde::Serialize;

use super::{Context, print};
use crate::cli::{ExplainArgs, ExplainFormat};
use crate::failure::{Failure, Kind};
use crate::ui::{heading, human};

/// Longest text of a step, in characters.
const TEXT_LENGTH_MAX: usize = 200;

/// Says why steps of the last build ran.
pub(super) fn run(args: &ExplainArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let last = ToldBuild::of(&workshop.store).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let last = last.ok_or_else(|| {
        Failure::new(Kind::Failed, "this store knows of no last build").with_hint("`kiln build` makes one")
    })?;
    let wanted = args.step.as_deref().map(place).transpose()?;
    let is_meant = |told: &&Told| wanted.as_ref().is_none_or(|place| place.is_of(told));
    let ran: Vec<&Told> = last.ran.iter().filter(is_meant).collect();
    print(&match args.format {
        ExplainFormat::Text => text(&last, &ran, args.step.as_deref()),
        ExplainFormat::Json => json(&last, &ran),
    })
}

/// What `STAGE[:LINE]` means.
struct Place {
    stage: String,
    line: Option<u32>,
}

fn place(text: &str) -> Result<Place, Failure> {
    let Some((stage, line)) = text.rsplit_once(':') else {
        return Ok(Place { stage: text.to_owned(), line: None });
    };
    let number = line.parse().ok().filter(|line| *line > 0);
    let number = number.ok_or_else(|| {
        Failure::usage(format!("`{line}` is no line of a Dockerfile"))
            .with_hint("write STAGE:LINE, such as `build:12`, or `:12`")
    })?;
    Ok(Place { stage: stage.to_owned(), line: Some(number) })
}

impl Place {
    fn is_of(&self, told: &Told) -> bool {
        // Several platforms stand before the stage, and one without a name is `stage-N`.
        let shown = told.stage.split(' ').next_back().unwrap_or_default();
        let is_stage = self.stage.is_empty()
            || [told.stage.as_str(), shown].contains(&self.stage.as_str())
            || told.stage_name == self.stage.to_lowercase()
            || shown.strip_prefix("stage-") == Some(&self.stage);
        is_stage && self.line.is_none_or(|line| line == told.line)
    }
}

fn text(last: &ToldBuild, ran: &[&Told], asked: Option<&str>) -> String {
    if ran.is_empty() {
        return match (asked, last.ran.is_empty()) {
            (Some(asked), false) => {
                format!(
                    "no step at `{}` ran: it was in the cache, or is none\n",
                    heading(asked, TEXT_LENGTH_MAX)
                )
            }
            _ => format!("every step of `{}` was in the cache\n", heading(&last.dockerfile, TEXT_LENGTH_MAX)),
        };
    }
    ran.iter().map(|told| step(last, told)).collect()
}

fn step(last: &ToldBuild, told: &Told) -> String {
    let took = told.took().map(|took| format!(" ({})", human::duration(took))).unwrap_or_default();
    let (place, text) = (heading(&place_of(told), TEXT_LENGTH_MAX), heading(&told.text, TEXT_LENGTH_MAX));
    format!("{place} {text}{took}\n  {}\n", heading(&explanation(last, told), usize::MAX))
}

/// Says why a step ran, down to where it began.
fn explanation(last: &ToldBuild, told: &Told) -> String {
    let root = match &told.reason {
        Reason::InputRebuilt { step } => last.ran.iter().find(|other| place_of(other) == *step),
        _ => None,
    };
    match root {
        Some(root) => format!("{}: {}", told.reason, root.reason),
        None => told.reason.to_string(),
    }
}

fn place_of(told: &Told) -> String {
    match told.line {
        0 => told.text.clone(),
        line => format!("{}:{line}", told.stage),
    }
}

/// What ran, as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
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

fn json(last: &ToldBuild, ran: &[&Told]) -> String {
    let step = |told: &&'_ Told| explanation(last, told);
    let explanations: Vec<String> = ran.iter().map(step).collect();
    let ran = ran.iter().zip(explanations).map(|(told, explanation)| StepJson {
        stage: &told.stage,
        line: told.line,
        text: &told.text,
        reason: &told.reason,
        explanation,
        took: told.took().map(|took| took.as_secs_f64()),
    });
    let json = Json { format: 1, dockerfile: &last.dockerfile, steps: last.steps, ran: ran.collect() };
    format!("{}\n", serde_json::to_string(&json).expect("these types always serialize"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_builder::explain::Change;

    #[test]
    fn a_step_whose_input_was_made_anew_is_explained_down_to_the_leaf() {
        let told = |line: u32, text: &str, reason: Reason| Told {
            stage: "stage-1".to_owned(),
            stage_name: String::new(),
            line,
            text: text.to_owned(),
            reason,
            took: Some(1500),
        };
        let change = Change {
            what: "a.c content".to_owned(),
            before: Some("1f…".to_owned()),
            after: Some("9c…".to_owned()),
        };
        let changed = told(3, "COPY . .", Reason::Changed { changes: vec![change] });
        let follows = told(4, "RUN make", Reason::InputRebuilt { step: "stage-1:3".to_owned() });
        let last = ToldBuild::new("Dockerfile".to_owned(), 3, vec![changed, follows]);
        let all: Vec<&Told> = last.ran.iter().collect();
        let expected = "stage-1:3 COPY . . (1.5s)\n  a.c content 1f…→9c…\nstage-1:4 RUN make (1.5s)\n  \
            stage-1:3 was built again and came out with other bytes: a.c content 1f…→9c…\n";
        assert_eq!(text(&last, &all, None), expected);
        for (words, count) in [("1", 2), ("stage-1:4", 1), (":3", 1), ("2", 0)] {
            let Ok(place) = place(words) else { panic!("{words}") };
            assert_eq!(all.iter().filter(|told| place.is_of(told)).count(), count, "{words}");
        }
    }
}
