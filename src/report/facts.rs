//! The head of the page: what was built, how it ended, and the figures.

use kiln_builder::journal::{BuildStory, Ended, State};

use super::html::Html;
use super::words::{command, duration, outcome};
use crate::ui::human;

/// Warnings that are shown.
const WARNINGS_MAX: usize = 100;

/// Returns the title of the page.
pub(super) fn title(story: &BuildStory) -> String {
    format!("{} {}: {}", what(story), outcome(story), story.name())
}

/// Returns what was built: a name, or the context.
fn what(story: &BuildStory) -> String {
    match &story.ended {
        Some(Ended::Done { names, .. }) if !names.is_empty() => names.join(", "),
        _ => "Build".to_owned(),
    }
}

/// Adds the head.
pub(super) fn add(html: &mut Html, story: &BuildStory) {
    html.raw("<header>\n<p class=\"brand\">kiln build report</p>\n<h1>").text(&what(story));
    html.raw(" <span class=\"outcome ")
        .raw(outcome(story))
        .raw("\">")
        .raw(outcome(story))
        .raw("</span></h1>\n");
    html.raw("<p class=\"command\"><code>").text(&command(story)).raw("</code></p>\n");
    let wrong: &[String] = match &story.ended {
        Some(Ended::Failed { message }) => std::slice::from_ref(message),
        Some(Ended::Done { not_the_same, .. }) => not_the_same,
        Some(Ended::Interrupted) | None => &[],
    };
    for message in wrong {
        html.raw("<pre class=\"error\" role=\"note\" aria-label=\"Error\">").lines(message).raw("</pre>\n");
    }
    if let Some(step) = story.steps.iter().find(|step| step.state == State::Failed) {
        html.raw("<p class=\"error-step\">in step <a class=\"code\" href=\"#step-").number(step.planned.step);
        html.raw("\">").text(&step.planned.text).raw("</a></p>\n");
    }
    figures(html, story);
    facts(html, story);
    warnings(html, story);
    html.raw("<nav aria-label=\"Parts of this page\"><a href=\"#graph\">Graph</a> <a href=\"#timeline\">Timeline</a> <a href=\"#steps\">Steps</a></nav>\n</header>\n");
}

fn figures(html: &mut Html, story: &BuildStory) {
    let count = |state| story.transforms().filter(|step| step.state == state).count() as u64;
    let ran = || story.transforms().filter(|step| step.state == State::Ran);
    let new: u64 = ran().filter_map(|step| step.layer_bytes).sum();
    let (pushed, fetched): (Vec<_>, Vec<_>) = story.moved.iter().partition(|moved| moved.is_pushed());
    let pushed: u64 = pushed.iter().map(|moved| moved.bytes).sum();
    let fetched = fetched.iter().map(|moved| moved.bytes).sum::<u64>()
        + story.tasks.iter().map(|task| task.bytes).sum::<u64>();
    html.raw("<dl class=\"figures\">\n");
    let mut figure = |name: &'static str, text: &str| {
        html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(text).raw("</dd></div>\n");
    };
    figure("took", &duration(story.took()));
    figure("from the cache", &format!("{} of {}", count(State::Cached), story.transforms().count()));
    figure("ran", &count(State::Ran).to_string());
    if count(State::Failed) > 0 {
        figure("failed", &count(State::Failed).to_string());
    }
    figure("new layers", &human::size(new));
    figure("fetched", &human::size(fetched));
    if pushed > 0 {
        figure("pushed", &human::size(pushed));
    }
    html.raw("</dl>\n");
}

fn facts(html: &mut Html, story: &BuildStory) {
    let header = &story.header;
    html.raw("<dl class=\"facts\">\n");
    let mut fact = |name: &'static str, text: &str| {
        if !text.is_empty() {
            html.raw("<div><dt>").raw(name).raw("</dt><dd>").text(text).raw("</dd></div>\n");
        }
    };
    let seconds = i64::try_from(header.began / 1000).unwrap_or(i64::MAX);
    fact("began", &human::rfc3339(seconds).replace('T', " ").replace('Z', " UTC"));
    fact("in", &header.directory);
    fact("context", &header.context);
    fact("Dockerfile", &header.dockerfile);
    fact("target", header.target.as_deref().unwrap_or_default());
    fact("platforms", &header.platforms.join(", "));
    if let Some(Ended::Done { digest, .. }) = &story.ended {
        fact("digest", digest);
    }
    html.raw("</dl>\n");
}

fn warnings(html: &mut Html, story: &BuildStory) {
    let count = story.warnings.len();
    if count == 0 {
        return;
    }
    html.raw("<details class=\"warnings\"><summary>").number(count as u64);
    html.raw(if count == 1 { " warning" } else { " warnings" }).raw("</summary><ul>\n");
    for warning in story.warnings.iter().take(WARNINGS_MAX) {
        html.raw("<li>").text(warning).raw("</li>\n");
    }
    if count > WARNINGS_MAX {
        html.raw("<li>and ").number((count - WARNINGS_MAX) as u64).raw(" more</li>\n");
    }
    html.raw("</ul></details>\n");
}
