//! `kiln log`.

mod find;
mod follow;
mod json;
mod output;
mod show;

use std::path::Path;

use kiln_builder::Workshop;
use kiln_builder::journal::{self, BuildStory, State};

use super::build::write;
use super::{Context, failed, print, print_bytes};
use crate::cli::LogArgs;
use crate::failure::Failure;
use crate::report;
use crate::settings::{Settings, now_seconds};

/// Shows what builds did.
pub(super) async fn run(args: LogArgs, context: Context) -> Result<(), Failure> {
    let (workshop, settings) = context.open(1)?;
    let wants_one = args.build.is_some() || args.follow || args.html.is_some();
    let mut stories = journal::stories(&workshop.store).map_err(failed)?;
    if !wants_one {
        if args.failed {
            stories.retain(show::is_bad);
        }
        return print(&listed(&stories, &args));
    }
    let story = find::build(&stories, args.build.as_deref().unwrap_or("last"))?;
    if let Some(wanted) = &args.step {
        let step = find::step(story, wanted)?;
        if args.follow {
            return follow::step(&workshop, story, step).await;
        }
        return output::print_step(&workshop, &stories, story, step);
    }
    if let Some(path) = &args.html {
        return write_page(&workshop, &settings, story, path);
    }
    if args.follow {
        return follow::build(&workshop, story).await;
    }
    let mut story = story.clone();
    if args.failed {
        let is_bad = |state| matches!(state, State::Failed | State::Running);
        story.steps.retain(|step| is_bad(step.state));
    }
    match args.is_json() {
        true => print(&json::build(&story)),
        false => print(&show::build(&story)),
    }
}

fn listed(stories: &[BuildStory], args: &LogArgs) -> String {
    if args.quiet {
        return stories.iter().map(|story| format!("{}\n", story.name())).collect();
    }
    match args.is_json() {
        true => stories.iter().map(json::summary).collect(),
        false => show::list(stories, now_seconds()),
    }
}

fn write_page(
    workshop: &Workshop,
    settings: &Settings,
    story: &BuildStory,
    path: &Path,
) -> Result<(), Failure> {
    let page = report::page(story, &output::tails(workshop, story)?);
    match path == Path::new("-") {
        true => print_bytes(page.as_bytes()).map(drop),
        false => write(&settings.working_directory.join(path), page.as_bytes()),
    }
}
