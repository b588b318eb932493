//! The steps by stage: what became of each, why, its size, and what it printed.

use kiln_builder::journal::{BuildStory, State, StepStory};

use super::Logs;
use super::html::Html;
use super::timeline::percent;
use super::words::{duration, layer_words, look};
use crate::ui::human;

/// Adds the steps.
pub(super) fn add(html: &mut Html, story: &BuildStory, logs: &Logs) {
    html.raw("<section id=\"steps\" aria-labelledby=\"steps-title\"><h2 id=\"steps-title\">Steps</h2>\n");
    let largest = story.transforms().filter_map(|step| step.layer_bytes).max().unwrap_or(0);
    let sources: Vec<&StepStory> = story.steps.iter().filter(|step| step.state == State::Source).collect();
    if !sources.is_empty() {
        html.raw("<h3>Sources</h3>\n<ul class=\"sources\">\n");
        for step in sources {
            html.raw("<li id=\"step-").number(step.planned.step).raw(
                "\"><span class=\"source\"><span class=\"mark\" aria-hidden=\"true\">◆</span></span> <code>",
            );
            html.text(&step.planned.text).raw("</code>").with(|html| line(html, step)).raw("</li>\n");
        }
        html.raw("</ul>\n");
    }
    for stage in stages(story) {
        html.raw("<h3>Stage <span class=\"code\">").text(stage).raw("</span></h3>\n");
        for step in story.transforms().filter(|step| step.planned.stage == stage) {
            add_step(html, step, story, logs, largest);
        }
    }
    html.raw("</section>\n");
}

/// Returns the stages, in the order of their first steps.
fn stages(story: &BuildStory) -> Vec<&str> {
    let mut stages: Vec<&str> = Vec::new();
    for step in story.transforms() {
        if !stages.contains(&step.planned.stage.as_str()) {
            stages.push(&step.planned.stage);
        }
    }
    stages
}

fn add_step(html: &mut Html, step: &StepStory, story: &BuildStory, logs: &Logs, largest: u64) {
    let look = look(step);
    html.raw("<details class=\"step ").raw(look.class()).raw("\" id=\"step-").number(step.planned.step);
    html.raw(if step.state == State::Failed { "\" open>" } else { "\">" });
    html.raw("<summary><span class=\"state\"><span class=\"mark\" aria-hidden=\"true\">").raw(look.mark());
    html.raw("</span> ").raw(look.word()).raw("</span><span class=\"what\"><code>");
    html.text(&step.planned.text).raw("</code>");
    if let Some(reason) = &step.reason {
        html.raw("<span class=\"why\">because: ").text(&reason.to_string()).raw("</span>");
    }
    html.raw("</span><span class=\"took\">").with(|html| {
        if let Some(took) = step.took {
            html.text(&duration(took));
        }
    });
    html.raw("</span><span class=\"size\">")
        .with(|html| size(html, step, largest))
        .raw("</span></summary>\n");
    html.raw("<div class=\"body\"><p class=\"note\">Step ").number(step.planned.step);
    html.with(|html| line(html, step));
    let reads = step.planned.reads.iter().filter_map(|read| story.steps.get(*read as usize));
    for (index, read) in reads.enumerate() {
        html.raw(if index == 0 { "; reads " } else { ", " });
        html.raw("<a href=\"#step-")
            .number(read.planned.step)
            .raw("\">")
            .text(&read.planned.text)
            .raw("</a>");
    }
    html.raw("</p>\n<pre class=\"instruction\">").lines(&step.planned.text).raw("</pre>\n");
    log(html, step, logs);
    html.raw("</div></details>\n");
}

fn line(html: &mut Html, step: &StepStory) {
    if step.planned.line > 0 {
        html.raw("<span class=\"line\">, line ").number(step.planned.line).raw(" of the Dockerfile</span>");
    }
}

fn size(html: &mut Html, step: &StepStory, largest: u64) {
    let Some(bytes) = step.layer_bytes else { return };
    html.raw("<span class=\"meter\" aria-hidden=\"true\"><span style=\"width:");
    html.decimal(percent(bytes, largest)).raw("%\"></span></span>").text(&layer_words(bytes));
}

fn log(html: &mut Html, step: &StepStory, logs: &Logs) {
    match logs.get(&step.planned.step) {
        Some(tail) if !tail.bytes.is_empty() => {
            if tail.omitted > 0 {
                html.raw("<p class=\"note\">The first ").text(&human::size(tail.omitted));
                html.raw(" of the output are left out; <code>kiln log</code> prints all of it.</p>\n");
            }
            html.raw("<pre class=\"log\" role=\"region\" tabindex=\"0\" aria-label=\"Output of the step\">");
            html.log(&tail.bytes).raw("</pre>\n");
        }
        _ if step.state == State::Cached => {
            html.raw("<p class=\"note\">Taken from the cache, so it printed nothing in this build.</p>\n");
        }
        _ if step.started.is_some() => {
            html.raw("<p class=\"note\">It printed nothing.</p>\n");
        }
        _ => {}
    }
}
