//! Where something stands, as documents say it.

use std::ops::RangeInclusive;

use kiln_frontend::source::{Source, Span};

/// A place: lines and columns from one, columns in characters; offsets in bytes of UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The line of the first character.
    pub(super) line: usize,
    /// Its column.
    pub(super) column: usize,
    /// The line of the end.
    pub(super) end_line: usize,
    /// The column behind the last character.
    pub(super) end_column: usize,
    /// The offset of the first byte.
    pub(super) start: usize,
    /// The offset behind the last byte.
    pub(super) end: usize,
}

/// Returns the place of a span.
pub(super) fn place(source: &Source, span: Span) -> Place {
    let (start, end) = (source.position(span.start), source.position(span.end));
    Place {
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
        start: span.start,
        end: span.end,
    }
}

/// Returns the lines of a span. One that ends behind a line's end does not reach into the next.
pub(super) fn lines(source: &Source, span: Span) -> RangeInclusive<usize> {
    let last = if span.is_empty() { span.start } else { span.end - 1 };
    source.position(span.start).line..=source.position(last).line
}
