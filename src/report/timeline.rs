//! What ran when, side by side: one bar a step, and one for other work that took its time.

use kiln_builder::journal::{BuildStory, State};

use super::html::Html;
use super::words::{Look, duration, look};
use crate::ui::heading;

/// Work that is no step and took less, in milliseconds, has no bar.
const TASK_MILLISECONDS_MIN: u64 = 10;
/// Longest name beside a bar, in characters.
const NAME_LENGTH_MAX: usize = 200;

struct Bar {
    name: String,
    step: Option<u32>,
    look: Look,
    start: u64,
    took: u64,
}

/// Adds the timeline.
pub(super) fn add(html: &mut Html, story: &BuildStory) {
    html.raw("<section id=\"timeline\" aria-labelledby=\"timeline-title\"><h2 id=\"timeline-title\">Timeline</h2>\n");
    let bars = bars(story);
    if bars.is_empty() {
        html.raw("<p class=\"note\">Nothing took time: every step was in the cache.</p></section>\n");
        return;
    }
    let whole = bars.iter().map(|bar| bar.start + bar.took).max().unwrap_or(0).max(story.last_at).max(1);
    html.raw("<div class=\"axis\" aria-hidden=\"true\"><span></span><span class=\"ticks\">");
    for quarter in 0..=4_u64 {
        html.raw("<span>").text(&duration(whole * quarter / 4)).raw("</span>");
    }
    html.raw("</span><span></span></div>\n<ol class=\"bars\">\n");
    for bar in &bars {
        draw(html, bar, whole);
    }
    html.raw("</ol>\n");
    let cached = story.transforms().filter(|step| step.state == State::Cached).count();
    if cached > 0 {
        html.raw("<p class=\"note\"><span class=\"cached\"><span class=\"mark\" aria-hidden=\"true\">✓</span></span> ");
        html.number(cached as u64).raw(if cached == 1 { " step" } else { " steps" });
        html.raw(" came from the cache and took no time.</p>\n");
    }
    html.raw("</section>\n");
}

fn bars(story: &BuildStory) -> Vec<Bar> {
    let steps = story.steps.iter().filter_map(|step| {
        let start = step.started?;
        let took = step.took.unwrap_or_else(|| story.last_at.saturating_sub(start));
        let name = heading(&step.planned.text, NAME_LENGTH_MAX);
        Some(Bar { name, step: Some(step.planned.step), look: look(step), start, took })
    });
    let tasks = story.tasks.iter().filter(|task| task.took >= TASK_MILLISECONDS_MIN).map(|task| Bar {
        name: heading(&task.name, NAME_LENGTH_MAX),
        step: None,
        look: Look::Source,
        start: task.ended.saturating_sub(task.took),
        took: task.took,
    });
    let mut bars: Vec<Bar> = steps.chain(tasks).collect();
    bars.sort_by_key(|bar| (bar.start, bar.step));
    bars
}

fn draw(html: &mut Html, bar: &Bar, whole: u64) {
    html.raw("<li class=\"").raw(bar.look.class()).raw("\"><span class=\"name\">");
    match bar.step {
        Some(step) => {
            html.raw("<span class=\"mark\" aria-hidden=\"true\">").raw(bar.look.mark());
            html.raw("</span> <a class=\"code\" href=\"#step-")
                .number(step)
                .raw("\">")
                .text(&bar.name)
                .raw("</a>")
        }
        None => html.raw("<span class=\"task\">").text(&bar.name).raw("</span>"),
    };
    html.raw("</span><span class=\"track\"><span class=\"bar\" style=\"left:")
        .decimal(percent(bar.start, whole));
    html.raw("%;width:").decimal(percent(bar.took, whole)).raw("%\"></span></span><span class=\"took\">");
    html.text(&duration(bar.took)).raw("<span class=\"away\"> from ").text(&duration(bar.start));
    html.raw(match bar.step {
        Some(_) => " on, ",
        None => " on",
    });
    if bar.step.is_some() {
        html.raw(bar.look.word());
    }
    html.raw("</span></span></li>\n");
}

/// Returns a part in percent.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let percent = part.min(whole) as f64 * 100.0 / whole.max(1) as f64;
    percent
}
