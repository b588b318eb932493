//! The text of a Dockerfile and places in it. Knows lines and columns, and nothing of the language.

use std::ops::Range;

/// The text of one Dockerfile (or of one ONBUILD trigger) under the name that messages give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    replaced: Vec<usize>,
}

impl Source {
    /// Makes a source of text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { name: name.into(), text, line_starts, replaced: Vec::new() }
    }

    /// Makes a source of bytes. Bytes that are not UTF-8 become U+FFFD and their places are remembered:
    /// the parser reports those that lie inside an instruction. Spans count in the text after replacement.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        let mut replaced = Vec::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                replaced.push(text.len());
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Self { replaced, ..Self::new(name, text) }
    }

    /// Returns the name by which messages call this text, such as `Dockerfile`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the offsets at which bytes that are not UTF-8 were replaced.
    pub fn replaced(&self) -> &[usize] {
        &self.replaced
    }

    /// Returns the text of a span; empty where the span does not lie in this text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or("")
    }

    /// Returns the line and column of a byte offset. Offsets behind the end count as the end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        Position { line, column: before.chars().count() + 1 }
    }

    /// Returns the number of lines. A text that ends with a newline has an empty last line, which counts.
    pub fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    /// Returns a line (counted from 1) without its line ending, or `None` where there is no such line.
    pub fn line(&self, line: usize) -> Option<&str> {
        let start = *self.line_starts.get(line.checked_sub(1)?)?;
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }
}

/// A line and a column, both counted from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A range of byte offsets into a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Span {
    /// Makes a span; an end before the start becomes an empty span at the start.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Returns the span as a range.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Tells whether the span holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Tells whether an offset lies inside.
    pub fn contains(self, offset: usize) -> bool {
        self.range().contains(&offset)
    }

    /// Returns the smallest span that covers both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A piece of text as written and where it stands. Where continuations or quotes of flags were taken away the text is
/// shorter than the span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// The text, unexpanded.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Word {
    /// Returns where a part of the text stands; the whole span where something was taken away, so that parts cannot be told.
    pub fn part(&self, range: Range<usize>) -> Span {
        let is_as_written = self.span.end - self.span.start == self.text.len();
        if !is_as_written || range.start > range.end || range.end > self.text.len() {
            return self.span;
        }
        Span::new(self.span.start + range.start, self.span.start + range.end)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("Dockerfile", "ab\nçd\n");
        let cases = [(0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (7, 3, 1), (99, 3, 1)];
        for (offset, line, column) in cases {
            assert_eq!(source.position(offset), Position { line, column }, "offset {offset}");
        }
        assert_eq!(source.line(2), Some("çd"));
        assert_eq!(source.line(3), Some(""));
        assert_eq!(source.line(4), None);
        assert_eq!(source.line(0), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_remembered() {
        let source = Source::from_bytes("Dockerfile", b"a\xffb");
        assert_eq!(source.text(), "a\u{fffd}b");
        assert_eq!(source.replaced(), [1]);
    }
}
