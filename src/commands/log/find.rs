//! Which build and which step somebody means.

use kiln_builder::journal::{BuildStory, Ended, StepStory};

use crate::commands::place::StepPlace;
use crate::failure::{Failure, Kind};
use crate::suggest::nearest;
use crate::ui::heading;

/// Steps that an error names.
const NAMED_MAX: usize = 8;
/// Longest text of a step in an error, in characters.
const TEXT_LENGTH_MAX: usize = 60;

/// Returns the build that is meant, of all that there are, newest first.
pub(super) fn build<'a>(stories: &'a [BuildStory], wanted: &str) -> Result<&'a BuildStory, Failure> {
    let Some(newest) = stories.first() else {
        return Err(Failure::new(Kind::Failed, "this store knows of no build")
            .with_hint("`kiln build` makes one; builds of earlier versions are not known"));
    };
    if wanted == "last" {
        return Ok(newest);
    }
    if let Some(back) = wanted.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok()) {
        let found = back.checked_sub(1).and_then(|at| stories.get(at));
        return found.ok_or_else(|| unknown(stories, wanted));
    }
    let digits = wanted.to_ascii_lowercase();
    let is_id =
        |story: &&BuildStory| !digits.is_empty() && (story.name().starts_with(&digits) || story.id == wanted);
    let found: Vec<&BuildStory> = stories.iter().filter(is_id).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => stories.iter().find(|story| gave(story, wanted)).ok_or_else(|| unknown(stories, wanted)),
        several => {
            let names: Vec<String> = several.iter().map(|story| format!("`{}`", story.name())).collect();
            Err(Failure::usage(format!("`{wanted}` is the beginning of {} builds", several.len()))
                .with_hint(format!("write more of it: {}", names.join(", "))))
        }
    }
}

/// Whether a build gave an image this name.
fn gave(story: &BuildStory, wanted: &str) -> bool {
    let Some(Ended::Done { names, .. }) = &story.ended else { return false };
    names.iter().any(|name| name == wanted || name.strip_suffix(":latest") == Some(wanted))
}

fn unknown(stories: &[BuildStory], wanted: &str) -> Failure {
    let names: Vec<String> = stories.iter().map(BuildStory::name).collect();
    let candidates: Vec<&str> = names.iter().map(String::as_str).chain(["last"]).collect();
    let failure =
        Failure::new(Kind::Failed, format!("no build `{}` is known", heading(wanted, TEXT_LENGTH_MAX)));
    match nearest(wanted, &candidates) {
        Some(near) => failure.with_hint(format!("did you mean `{near}`? `kiln log` lists all")),
        None => failure.with_hint("`kiln log` lists those that are"),
    }
}

/// Returns the step that is meant.
pub(super) fn step<'a>(story: &'a BuildStory, wanted: &str) -> Result<&'a StepStory, Failure> {
    if let Ok(number) = wanted.parse::<u32>() {
        let found = story.transforms().find(|step| step.planned.step == number);
        return found.ok_or_else(|| no_step(story, wanted));
    }
    let of_place = place(story, wanted);
    let found = if of_place.is_empty() { containing(story, wanted) } else { of_place };
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err(no_step(story, wanted)),
        several => {
            let message = format!("`{}` is in {} steps", heading(wanted, TEXT_LENGTH_MAX), several.len());
            Err(Failure::usage(message).with_hint(format!("give one by its number: {}", named(several))))
        }
    }
}

/// Returns the steps at `STAGE:LINE` or `:LINE`.
fn place<'a>(story: &'a BuildStory, wanted: &str) -> Vec<&'a StepStory> {
    // Else it is a part of an instruction.
    let Some(place) = StepPlace::parse(wanted).ok().filter(|place| place.line.is_some()) else {
        return Vec::new();
    };
    story.transforms().filter(|step| place.is_of(&step.planned)).collect()
}

fn containing<'a>(story: &'a BuildStory, wanted: &str) -> Vec<&'a StepStory> {
    let wanted = wanted.to_lowercase();
    let all = || story.transforms();
    let exact: Vec<&StepStory> = all().filter(|step| step.planned.text.to_lowercase() == wanted).collect();
    match exact.is_empty() && !wanted.is_empty() {
        true => all().filter(|step| step.planned.text.to_lowercase().contains(&wanted)).collect(),
        false => exact,
    }
}

fn no_step(story: &BuildStory, wanted: &str) -> Failure {
    let message = format!("build `{}` has no step `{}`", story.name(), heading(wanted, TEXT_LENGTH_MAX));
    let steps: Vec<&StepStory> = story.transforms().collect();
    let failure = Failure::new(Kind::Failed, message);
    match steps.is_empty() {
        true => failure.with_hint("it ended before its plan was known"),
        false => failure.with_hint(format!("it has {}", named(&steps))),
    }
}

fn named(steps: &[&StepStory]) -> String {
    let name = |step: &&StepStory| {
        format!("{} ({})", step.planned.step, heading(&step.planned.text, TEXT_LENGTH_MAX))
    };
    let mut names: Vec<String> = steps.iter().take(NAMED_MAX).map(name).collect();
    if steps.len() > NAMED_MAX {
        names.push(format!("and {} more", steps.len() - NAMED_MAX));
    }
    names.join(", ")
}
