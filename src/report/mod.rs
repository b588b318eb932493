//! The report of a build: one page of HTML that needs nothing but itself.
//!
//! Pure: a build's story and what its steps printed go in, text comes out. There is no script in it and nothing is loaded, which
//! the page's own policy demands of the browser too. What comes from the build is escaped by [`html`], and nowhere else.

mod facts;
mod graph;
mod steps;
mod timeline;

mod html;
mod layout;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kiln_builder::journal::BuildStory;

use html::Html;

const STYLE: &str = include_str!("style.css");
/// What a step printed last is shown, in bytes.
pub(crate) const LOG_BYTES_MAX: u64 = 64 * 1024;
/// What all steps printed takes at most, in bytes, as long as each has [`LOG_BYTES_MIN`].
const LOGS_BYTES_MAX: u64 = 4 << 20;
/// What of a step's output is shown however many there are, in bytes.
const LOG_BYTES_MIN: u64 = 2048;

/// What steps printed, by their numbers.
pub(crate) type Logs = BTreeMap<u32, LogTail>;

/// The end of what a step printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogTail {
    /// Raw bytes.
    pub(crate) bytes: Vec<u8>,
    /// Bytes before them.
    pub(crate) omitted: u64,
}

/// Returns how much of each log is shown where there are so many.
pub(crate) fn log_bytes_max(logs: usize) -> u64 {
    (LOGS_BYTES_MAX / u64::try_from(logs.max(1)).unwrap_or(u64::MAX)).clamp(LOG_BYTES_MIN, LOG_BYTES_MAX)
}

/// Returns the page.
pub(crate) fn page(story: &BuildStory, logs: &Logs) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html.text(&facts::title(story)).raw("</title>\n<style>\n").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    facts::add(&mut html, story);
    html.raw("<main>\n");
    graph::add(&mut html, story);
    timeline::add(&mut html, story);
    steps::add(&mut html, story, logs);
    html.raw("</main>\n<footer>Build ")
        .text(&story.name())
        .raw(", written by kiln ")
        .text(&story.header.version);
    html.raw("</footer>\n</body>\n</html>\n");
    html.finish()
}
