//! From physical lines to logical ones: continuations joined, comments and directives taken out. Knows nothing of
//! instructions; the parser asks for raw lines where a heredoc stands.

use std::borrow::Cow;
use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::directive::{Directive, DirectiveReader, Head};
use crate::source::{Source, Span, Word};

/// A comment line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The text behind `#`, without blanks around it. With blanks before it a comment keeps its `#`: it describes nothing
    /// and configures nothing, as in BuildKit.
    pub text: String,
    /// From `#` to the end of the line.
    pub span: Span,
}

/// An instruction's text as one line, and where each byte of it comes from. Most are a single physical line, which costs
/// no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogicalLine<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Comment lines above since the last instruction.
    pub(crate) comments: Vec<Comment>,
    /// Blank lines inside the continuation, with their line endings.
    pub(crate) blanks: Vec<Span>,
    /// The physical line that was read last, without its line ending.
    pub(crate) last: Span,
    /// Where the first physical line starts in the source.
    start: usize,
    /// Those that continue it.
    pieces: Vec<Piece>,
}

/// From this offset of the logical line on, text comes from that offset of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    logical: usize,
    source: usize,
}

impl<'a> LogicalLine<'a> {
    /// Returns where a part of the line stands; the end is behind its last byte, not at the next piece.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.source_offset(range.start);
        if range.is_empty() {
            // An empty part stands behind what precedes it, on the same physical line.
            let behind = if range.start == 0 { start } else { self.source_offset(range.start - 1) + 1 };
            return Span::new(behind, behind);
        }
        Span::new(start, self.source_offset(range.end - 1) + 1)
    }

    /// Returns a part of the line as a word.
    pub(crate) fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.text[range.clone()].to_owned(), span: self.span(range) }
    }

    /// Returns the span of the whole line, without blanks around it.
    pub(crate) fn trimmed(&self) -> Range<usize> {
        trim(&self.text, 0..self.text.len())
    }

    fn source_offset(&self, offset: usize) -> usize {
        let behind = self.pieces.partition_point(|piece| piece.logical <= offset);
        match behind.checked_sub(1) {
            Some(at) => self.pieces[at].source + (offset - self.pieces[at].logical),
            None => self.start + offset,
        }
    }

    fn push(&mut self, text: &str, source: usize) {
        self.pieces.push(Piece { logical: self.text.len(), source });
        self.text.to_mut().push_str(text);
    }
}

/// Takes blanks off both ends of a range.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = &text[range.clone()];
    let start = range.start + (inner.len() - inner.trim_start().len());
    let end = start + inner.trim().len();
    start..end
}

/// Reads the lines of a source.
pub(crate) struct Lines<'a> {
    text: &'a str,
    at: usize,
    reader: DirectiveReader,
    /// The escape character as far as it is known.
    pub(crate) escape: char,
    /// The directives found.
    pub(crate) directives: Vec<Directive>,
    /// All comment lines found, directives among them.
    pub(crate) comments: Vec<Comment>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        let text = source.text();
        Self {
            text,
            at: if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 },
            reader: DirectiveReader::default(),
            escape: '\\',
            directives: Vec::new(),
            comments: Vec::new(),
        }
    }

    /// Lets `# syntax=` say what it wants.
    pub(crate) fn ignore_syntax(&mut self) {
        self.reader.ignores_syntax = true;
    }

    /// Returns where the next line starts.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Returns the next physical line with its line ending.
    pub(crate) fn next_raw(&mut self) -> Option<Range<usize>> {
        if self.at >= self.text.len() {
            return None;
        }
        let start = self.at;
        self.at = self.text[start..].find('\n').map_or(self.text.len(), |end| start + end + 1);
        Some(start..self.at)
    }

    /// Returns the next logical line that is not blank.
    pub(crate) fn next_logical(&mut self, found: &mut Vec<Diagnostic>) -> Option<LogicalLine<'a>> {
        let mut comments = Vec::new();
        loop {
            let raw = self.next_raw()?;
            let content = trim_start(self.text, trim_newline(self.text, raw.clone()));
            let text = &self.text[content.clone()];
            let is_indented = content.start > raw.start;
            let head = self.reader.read(text, content.start, is_indented, found);
            if text.starts_with('#') {
                let comment = self.comment(content, is_indented);
                self.take(head, comment, &mut comments);
                continue;
            }
            let (text, continues) = strip_continuation(text, self.escape);
            if text.is_empty() && !continues {
                continue;
            }
            let mut line = LogicalLine {
                text: Cow::Borrowed(text),
                comments,
                blanks: Vec::new(),
                last: Span::new(content.start, content.end),
                start: content.start,
                pieces: Vec::new(),
            };
            if continues {
                self.join(&mut line);
            }
            return Some(line);
        }
    }

    /// Puts a comment line where it belongs.
    fn take(&mut self, head: Head, comment: Comment, comments: &mut Vec<Comment>) {
        match head {
            Head::Nothing | Head::Directive(_) => {}
            Head::Both(_) | Head::Other if comment.text.is_empty() => comments.clear(),
            Head::Both(_) | Head::Other => comments.push(comment),
        }
        if let Head::Directive(directive) | Head::Both(directive) = head {
            if directive.name == "escape" && directive.value.text == "`" {
                self.escape = '`';
            }
            self.directives.push(directive);
        }
    }

    /// Adds the lines of a continuation.
    fn join(&mut self, line: &mut LogicalLine<'_>) {
        while let Some(raw) = self.next_raw() {
            let content = trim_newline(self.text, raw.clone());
            let text = &self.text[content.clone()];
            line.last = Span::new(content.start, content.end);
            if text.trim_start().starts_with('#') {
                let comment = trim_start(self.text, content.clone());
                let is_indented = comment.start > content.start;
                self.comment(comment, is_indented);
                continue;
            }
            if text.trim_start().is_empty() {
                line.blanks.push(Span::new(raw.start, raw.end));
                continue;
            }
            let (text, continues) = strip_continuation(text, self.escape);
            line.push(text, content.start);
            if !continues {
                return;
            }
        }
    }

    fn comment(&mut self, content: Range<usize>, is_indented: bool) -> Comment {
        let text = &self.text[content.clone()];
        let text = if is_indented { text } else { text.strip_prefix('#').unwrap_or(text) };
        let comment = Comment { text: text.trim().to_owned(), span: Span::new(content.start, content.end) };
        self.comments.push(comment.clone());
        comment
    }
}

fn trim_newline(text: &str, range: Range<usize>) -> Range<usize> {
    range.start..range.start + text[range].trim_end_matches(['\r', '\n']).len()
}

fn trim_start(text: &str, range: Range<usize>) -> Range<usize> {
    range.end - text[range.clone()].trim_start().len()..range.end
}

/// Takes off an escape character at the end of a line (blanks may follow it), and tells whether there was one. An escape
/// character before it makes it an ordinary character; BuildKit looks back no further than that, so `\\\` is none.
pub(crate) fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(text: &str) -> Vec<String> {
        let source = Source::new("Dockerfile", text);
        let mut lines = Lines::new(&source);
        let mut found = Vec::new();
        std::iter::from_fn(|| lines.next_logical(&mut found)).map(|line| line.text.into_owned()).collect()
    }

    #[test]
    fn physical_lines_join_as_the_escape_character_says() {
        let cases: &[(&str, &[&str])] = &[
            ("A b\nC d", &["A b", "C d"]),
            ("  A b  \r\n\r\nC", &["A b  ", "C"]),
            ("A \\\n  b", &["A   b"]),
            ("A \\ \t \n  b", &["A   b"]),
            ("A \\\\\nb", &["A \\\\", "b"]),
            ("A \\\\\\\nb", &["A \\\\\\", "b"]),
            ("A \\\n# comment \\\n  # another\nb", &["A b"]),
            ("A \\\n\n\nb", &["A b"]),
            ("\\\nA b", &["A b"]),
            ("A \\", &["A "]),
            ("\\\n", &[""]),
            ("# escape=`\nA `\n b\\\nC", &["A  b\\", "C"]),
            ("\u{feff}A", &["A"]),
            ("\u{feff}# escape=`\nA `\nb", &["A b"]),
            ("A # b\n#c", &["A # b"]),
            ("", &[]),
            ("\n \n\t\n", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(logical(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn parts_of_a_joined_line_know_where_they_stand() {
        let source = Source::new("Dockerfile", "  RUN a \\\n# x\n  b c\n");
        let mut lines = Lines::new(&source);
        let line = lines.next_logical(&mut Vec::new()).unwrap();
        assert_eq!(line.text, "RUN a   b c");
        for word in ["RUN", "a", "b", "c", "a   b"] {
            let at = line.text.find(word).unwrap();
            let text = source.slice(line.span(at..at + word.len()));
            assert!(
                text.starts_with(&word[..1]) && text.ends_with(&word[word.len() - 1..]),
                "{word}: {text}"
            );
        }
    }

    #[test]
    fn comments_above_belong_to_the_instruction_below_them() {
        let source = Source::new("Dockerfile", "# escape=`\n# one\n#\n## two\n\n  # three\nA\n# four\nB\n");
        let mut lines = Lines::new(&source);
        let mut found = Vec::new();
        let read = std::iter::from_fn(|| lines.next_logical(&mut found));
        let comments: Vec<Vec<String>> =
            read.map(|line| line.comments.into_iter().map(|comment| comment.text).collect()).collect();
        assert_eq!(comments, [vec!["# two", "# three"], vec!["four"]]);
        assert_eq!(lines.comments.len(), 6);
    }
}
