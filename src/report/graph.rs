//! The graph of the steps, as an SVG picture whose steps are links.

use kiln_builder::journal::{BuildStory, StepStory};
use unicode_width::UnicodeWidthChar;

use super::html::Html;
use super::layout::{Edge, Layout, NODE_HEIGHT, NODE_WIDTH, Node, layout};
use super::words::{Look, look, outcome_words};
use crate::ui::heading;

/// Columns of an instruction that fit into a step.
const COLUMNS_MAX: usize = 24;
/// How round corners are.
const RADIUS: u32 = 6;

/// Adds the graph.
pub(super) fn add(html: &mut Html, story: &BuildStory) {
    let layout = layout(story);
    html.raw("<section id=\"graph\" aria-labelledby=\"graph-title\"><h2 id=\"graph-title\">Graph</h2>\n");
    html.raw("<p class=\"note\">Each stage is a column, and a step stands below what it needs. A step leads to its details.</p>\n");
    legend(html);
    html.raw("<div class=\"scroll\" role=\"region\" aria-label=\"Graph of the steps\" tabindex=\"0\">\n");
    html.raw("<svg width=\"").number(layout.width).raw("\" height=\"").number(layout.height);
    html.raw("\" viewBox=\"0 0 ").number(layout.width).raw(" ").number(layout.height);
    html.raw("\" role=\"group\" aria-label=\"Steps and what they need\">\n");
    html.raw("<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0.5 8 4 0 7.5z\"/></marker></defs>\n");
    draw(html, story, &layout);
    html.raw("</svg>\n</div></section>\n");
}

fn legend(html: &mut Html) {
    html.raw("<ul class=\"legend\">");
    for look in Look::ALL {
        html.raw("<li class=\"").raw(look.class()).raw("\"><span class=\"mark\" aria-hidden=\"true\">");
        html.raw(look.mark()).raw("</span> ").raw(look.meaning()).raw("</li>");
    }
    html.raw("<li><svg class=\"key\" width=\"34\" height=\"10\" aria-hidden=\"true\"><path class=\"edge\" d=\"M0 5H32\"/></svg> goes on from</li>");
    html.raw("<li><svg class=\"key\" width=\"34\" height=\"10\" aria-hidden=\"true\"><path class=\"edge read\" d=\"M0 5H32\"/></svg> copies or mounts from</li></ul>\n");
}

fn draw(html: &mut Html, story: &BuildStory, layout: &Layout) {
    for lane in &layout.lanes {
        let name = if lane.stage.is_empty() { "images" } else { lane.stage.as_str() };
        html.raw("<text class=\"lane\" x=\"").number(lane.x).raw("\" y=\"20\">");
        html.text(&fitting(name, COLUMNS_MAX)).raw("</text>\n");
    }
    for edge in &layout.edges {
        html.raw(if edge.is_read { "<path class=\"edge read\"" } else { "<path class=\"edge\"" });
        html.raw(" marker-end=\"url(#arrow)\" d=\"").with(|html| path(html, edge)).raw("\"/>\n");
    }
    for node in &layout.nodes {
        draw_node(html, &story.steps[node.step as usize], *node);
    }
}

fn draw_node(html: &mut Html, step: &StepStory, node: Node) {
    let look = look(step);
    let words = outcome_words(step);
    html.raw("<a href=\"#step-").number(node.step).raw("\" class=\"node ").raw(look.class());
    html.raw("\" data-step=\"").number(node.step).raw("\" transform=\"translate(").number(node.x);
    html.raw(" ").number(node.y).raw(")\"><title>").text(&step.planned.text).raw(": ").text(&words);
    html.raw("</title><rect width=\"").number(NODE_WIDTH).raw("\" height=\"").number(NODE_HEIGHT);
    html.raw("\" rx=\"6\"/><text class=\"mark\" x=\"16\" y=\"27\">").raw(look.mark());
    html.raw("</text><text class=\"code\" x=\"31\" y=\"18\">");
    html.text(&fitting(&step.planned.text, COLUMNS_MAX)).raw("</text><text class=\"say\" x=\"31\" y=\"35\">");
    html.text(&fitting(&words, COLUMNS_MAX + 4)).raw("</text></a>\n");
}

/// Adds a way with round corners.
fn path(html: &mut Html, edge: &Edge) {
    let points = &edge.points;
    html.raw("M").number(points[0].0).raw(" ").number(points[0].1);
    for corner in points.windows(3) {
        let [before, at, behind] = corner else { continue };
        let (start, end) = (towards(*at, *before), towards(*at, *behind));
        html.raw("L").number(start.0).raw(" ").number(start.1);
        html.raw("Q").number(at.0).raw(" ").number(at.1).raw(" ").number(end.0).raw(" ").number(end.1);
    }
    if let Some((x, y)) = points.last() {
        html.raw("L").number(*x).raw(" ").number(*y);
    }
}

/// Returns the point on the way from `at` to `other` where the corner begins.
fn towards(at: (u32, u32), other: (u32, u32)) -> (u32, u32) {
    let step = |from: u32, to: u32| match from.cmp(&to) {
        std::cmp::Ordering::Less => from + RADIUS.min((to - from) / 2),
        std::cmp::Ordering::Equal => from,
        std::cmp::Ordering::Greater => from - RADIUS.min((from - to) / 2),
    };
    (step(at.0, other.0), step(at.1, other.1))
}

/// Returns a text of one line that takes at most so many columns.
fn fitting(text: &str, columns_max: usize) -> String {
    let text = heading(text, usize::MAX);
    let mut columns = 0;
    for (at, char) in text.char_indices() {
        columns += char.width().unwrap_or(0);
        if columns > columns_max {
            return format!("{}…", cut(&text[..at], columns_max - 1));
        }
    }
    text
}

/// Returns the beginning of a text that takes at most so many columns.
fn cut(text: &str, columns_max: usize) -> &str {
    let mut columns = 0;
    for (at, char) in text.char_indices() {
        columns += char.width().unwrap_or(0);
        if columns > columns_max {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_where_the_box_ends() {
        for (text, expected) in [
            ("RUN x", "RUN x"),
            ("abcdefgh", "abcde…"),
            ("abcdef", "abcdef"),
            ("漢字漢字", "漢字…"),
            ("a\nb", "a b"),
        ] {
            assert_eq!(fitting(text, 6), expected);
        }
    }
}
