//! All tags of a repository, one after the other: `kiln pull -a`, `kiln push -a`, `kiln copy -a`. What is the matter with one is
//! told, and the others go on.

use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::catalog;
use kiln_builder::export::Pushed;
use kiln_builder::progress::Progress;
use kiln_builder::remote::{TagList, TagOrder};
use kiln_oci::{Descriptor, Platform, Reference};

use super::push::outcome;
use super::{Context, interrupt, platform, print, reference, transfer_display, with_display_abandoning};
use crate::cli::{PullArgs, PushArgs};
use crate::failure::{Failure, Kind};
use crate::ui::style::Style;
use crate::ui::{show_failure, show_text, stderr_style};

/// What became of one tag.
pub(super) struct Outcome<N = Reference, T = Descriptor> {
    /// The tag.
    pub(super) name: N,
    /// What it stands for.
    pub(super) result: Result<T, Failure>,
}

/// Fetches all tags of a repository.
pub(super) async fn pull(args: PullArgs, context: Context) -> Result<(), Failure> {
    let repository = reference(&args.name)?;
    refuse_tag(&repository)?;
    let platform = platform(args.platform.as_ref())?;
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, settings) = context.open_telling(1, &progress)?;
    let work = pull_all(&workshop, &repository, platform.as_ref(), &progress);
    let outcomes = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    told(&outcomes, "pulled", stderr_style(&settings), |name, _| name.to_string())
}

async fn pull_all(
    workshop: &Arc<Workshop>,
    repository: &Reference,
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Outcome>, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Kind::Failed, error);
    let list =
        TagList::fetch(&workshop.registry, repository, TagOrder::Name).await.map_err(|e| failed(&e))?;
    let mut outcomes = Vec::new();
    for tag in &list.tags {
        let name = repository.with_tag(tag).expect("the client lists nothing but tags");
        let pulled = catalog::pull(workshop, &name, platform, progress).await;
        let named = pulled.and_then(|_| catalog::descriptor(workshop, &name));
        outcomes.push(Outcome { name, result: named.map_err(|error| failed(&error)) });
    }
    Ok(outcomes)
}

/// Sends all tags of a repository that the store has.
pub(super) async fn push(args: PushArgs, context: Context) -> Result<(), Failure> {
    let repository = reference(&args.name)?;
    refuse_tag(&repository)?;
    let platform = platform(args.platform.as_ref())?;
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, settings) = context.open_telling(1, &progress)?;
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Kind::Failed, error);
    let names = catalog::tags_of(&workshop, &repository).map_err(|error| failed(&error))?;
    if names.is_empty() {
        let message = format!("no image of this store is called `{}`", repository.familiar_name());
        return Err(Failure::new(Kind::Failed, message));
    }
    if !args.quiet {
        show_text(&format!(
            "The push refers to repository [{}/{}]\n",
            repository.registry(),
            repository.repository()
        ));
    }
    let work = async {
        let mut outcomes = Vec::new();
        for name in names {
            let pushed = catalog::push(&workshop, &name, platform.as_ref(), &progress).await;
            outcomes.push(Outcome { name, result: pushed.map_err(|error| failed(&error)) });
        }
        Ok(outcomes)
    };
    let outcomes = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    let line = |name: &Reference, pushed: &Pushed| match args.quiet {
        true => name.to_string(),
        false => outcome(name, pushed),
    };
    told(&outcomes, "pushed", stderr_style(&settings), line)
}

/// Refuses a tag, in Docker's words.
pub(super) fn refuse_tag(name: &Reference) -> Result<(), Failure> {
    match name.tag().is_some() || name.digest().is_some() {
        true => Err(Failure::usage("tag can't be used with --all-tags/-a")),
        false => Ok(()),
    }
}

/// Prints a line for each tag that went well, and tells of the others; how many these are is the failure.
pub(super) fn told<N, T>(
    outcomes: &[Outcome<N, T>],
    verb: &str,
    style: Style,
    line: impl Fn(&N, &T) -> String,
) -> Result<(), Failure> {
    let mut text = String::new();
    let mut failures = 0;
    for Outcome { name, result } in outcomes {
        match result {
            Ok(outcome) => text.extend([&line(name, outcome), "\n"]),
            Err(failure) => {
                failures += 1;
                show_failure(failure, style);
            }
        }
    }
    print(&text)?;
    match failures {
        0 => Ok(()),
        failures => {
            let message = format!("{failures} of {} tags could not be {verb}", outcomes.len());
            Err(Failure::new(Kind::Failed, message))
        }
    }
}
