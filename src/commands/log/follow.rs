//! What a build does, while it does it.

use std::collections::BTreeSet;
use std::time::Duration;

use kiln_builder::Workshop;
use kiln_builder::journal::{self, BuildStory, State, StepStory};

use super::output::Printer;
use super::{failed, show};
use crate::commands::print_bytes;
use crate::failure::Failure;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints a line for each step that ends, until the build does.
pub(super) async fn build(workshop: &Workshop, story: &BuildStory) -> Result<(), Failure> {
    if !print_bytes(show::head(story).as_bytes())? {
        return Ok(());
    }
    let (mut story, mut told) = (story.clone(), BTreeSet::new());
    loop {
        let is_over = |step: &&StepStory| matches!(step.state, State::Cached | State::Ran | State::Failed);
        let news: Vec<&StepStory> =
            story.transforms().filter(is_over).filter(|step| told.insert(step.planned.step)).collect();
        let lines: String = news.into_iter().map(show::step_line).collect();
        if !print_bytes(lines.as_bytes())? {
            return Ok(());
        }
        if !story.is_living {
            return print_bytes(show::end(&story).as_bytes()).map(drop);
        }
        tokio::time::sleep(PAUSE).await;
        match journal::read(&workshop.store, &story.id).map_err(failed)? {
            Some(now) => story = now,
            // It was removed, which happens to no build that lives.
            None => return Ok(()),
        }
    }
}

/// Prints what a step prints, until it ends.
pub(super) async fn step(workshop: &Workshop, story: &BuildStory, step: &StepStory) -> Result<(), Failure> {
    let (number, name) = (step.planned.step as usize, step.log_name());
    let (mut printer, mut file) = (Printer::default(), None);
    loop {
        // Asked before the log is read: what was printed before the end is read after it.
        let now = journal::read(&workshop.store, &story.id).map_err(failed)?;
        let goes_on = now.is_some_and(|now| {
            let state = now.steps.get(number).map(|step| step.state);
            now.is_living && matches!(state, Some(State::Running | State::Waiting))
        });
        if file.is_none() {
            file = workshop.store.logs().open(&story.id, &name).map_err(failed)?;
        }
        if let Some(file) = &mut file {
            printer.copy(file)?;
        }
        if !goes_on || printer.is_closed() {
            return printer.finish();
        }
        tokio::time::sleep(PAUSE).await;
    }
}
