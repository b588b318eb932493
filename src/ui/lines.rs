//! Bytes that a step prints → lines that are safe to show.
//!
//! | Bytes | Shown as |
//! |---|---|
//! | `\n`, `\r\n` | end of a line |
//! | `\r` alone | what stood before it on the line was overwritten, as on a terminal |
//! | colour (`ESC [ … m`) | kept where colour is wanted, else nothing; never lasts beyond its line |
//! | other escape sequences | nothing |
//! | other control characters | `^A`; those above 127, and marks that turn the direction of text, as `\u{…}` |
//! | bytes that are not UTF-8 | U+FFFD |

use std::iter::Peekable;
use std::str::Chars;

/// Longest line that is kept whole, in bytes; a longer one is cut in pieces.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// Takes bytes, and hands out each line that is whole now, without its end.
    pub(crate) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.hold(piece, &mut take);
            if self.held.last() == Some(&b'\n') {
                self.held.pop();
                take(&self.held);
                self.held.clear();
            }
        }
    }

    fn hold(&mut self, piece: &[u8], take: &mut impl FnMut(&[u8])) {
        for part in piece.chunks(LINE_BYTES_MAX) {
            if self.held.len() + part.len() > LINE_BYTES_MAX && part != b"\n" {
                match self.held.iter().rposition(|byte| *byte == b'\r') {
                    Some(at) => drop(self.held.drain(..=at)),
                    None if !self.held.is_empty() => self.cut(take),
                    None => {}
                }
            }
            self.held.extend_from_slice(part);
        }
    }

    /// Hands out what is held, up to the last whole character.
    fn cut(&mut self, take: &mut impl FnMut(&[u8])) {
        let whole = match std::str::from_utf8(&self.held) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.held.len(),
        };
        take(&self.held[..whole]);
        self.held.drain(..whole);
    }

    /// Hands out the last line, if it has no end.
    pub(crate) fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            take(&self.held);
            self.held.clear();
        }
    }

    /// Returns the line that has no end yet.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.held
    }
}

/// Returns the text of a line without anything that could act on a terminal.
pub(crate) fn clean(line: &[u8], is_colour_kept: bool) -> String {
    let text = String::from_utf8_lossy(line);
    // Nearly all lines are of this kind, and there can be gigabytes of them.
    if line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return text.into_owned();
    }
    let text = text.strip_suffix('\r').unwrap_or(&text);
    let last = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
    let mut clean = String::with_capacity(last.len());
    let mut chars = last.chars().peekable();
    let mut is_coloured = false;
    while let Some(char) = chars.next() {
        match char {
            '\x1b' => {
                if let Some(colour) = escape(&mut chars).filter(|_| is_colour_kept) {
                    clean.push_str(&format!("\x1b[{colour}m"));
                    is_coloured = true;
                }
            }
            '\t' => clean.push('\t'),
            '\0'..='\x1f' => clean.extend(['^', char::from(char as u8 + b'@')]),
            '\x7f' => clean.push_str("^?"),
            char if is_hidden(char) => clean.extend(char.escape_unicode()),
            char => clean.push(char),
        }
    }
    if is_coloured {
        clean.push_str("\x1b[0m");
    }
    clean
}

/// Returns a text of one line with every character as it is, or as an escape where it could act on a terminal.
pub(crate) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for char in text.chars() {
        match is_hidden(char) {
            true => visible.extend(char.escape_unicode()),
            false => visible.push(char),
        }
    }
    visible
}

/// Whether a character controls a terminal or turns the direction of text.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes an escape sequence whose first character is gone; returns the numbers of a colour.
fn escape(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    match chars.peek()? {
        '[' => {
            chars.next();
            let mut numbers = String::new();
            for char in chars.by_ref() {
                match char {
                    '\x40'..='\x7e' => {
                        let is_colour =
                            char == 'm' && numbers.chars().all(|c| c.is_ascii_digit() || ";:".contains(c));
                        return is_colour.then_some(numbers);
                    }
                    char => numbers.push(char),
                }
            }
        }
        ']' | 'P' | '^' | '_' | 'X' => {
            while let Some(char) = chars.next() {
                if char == '\x07' || (char == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        '(' | ')' | '*' | '+' | '#' | '%' => {
            chars.next();
            chars.next();
        }
        _ => {
            chars.next();
        }
    }
    None
}

/// Returns a text of several lines as a terminal gets it: with its colours, and nothing else that could act on one.
pub(crate) fn for_terminal(text: &str) -> String {
    let line = |line: &str| match line.strip_suffix('\n') {
        Some(line) => clean(line.as_bytes(), true) + "\n",
        None => clean(line.as_bytes(), true),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Returns a text of one line for a heading: white space is one blank, controls are shown, and it has an end.
pub(crate) fn heading(text: &str, length_max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let clean = clean(words.join(" ").as_bytes(), false);
    match clean.char_indices().nth(length_max) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}

/// Returns a text of several lines, each safe to show, the later ones indented.
pub(crate) fn block(text: &str) -> String {
    text.lines().map(|line| clean(line.as_bytes(), false)).collect::<Vec<_>>().join("\n  ")
}

/// What became of a step that is ended and done anew, in another way.
pub(super) const PUT_OFF: &str = "PUT OFF";

/// Says that a step waits until a process has done the same.
pub(crate) fn waits(pid: Option<u32>) -> String {
    match pid {
        Some(pid) if pid == std::process::id() => "waits for the same step of this build".to_owned(),
        Some(pid) => format!("waits for another kiln (pid {pid}) that builds the same step"),
        None => "waits for another kiln that builds the same step".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| out.push(clean(line, false)));
        }
        lines.finish(|line| out.push(clean(line, false)));
        out
    }

    #[test]
    fn lines_are_whole_however_the_bytes_arrive() {
        for (chunks, expected) in [
            (&[&b"a\nb"[..], b"c\n"][..], vec!["a", "bc"]),
            (&[b"a\r\nb\r", b"\n"], vec!["a", "b"]),
            (&[b"10%\r20%\r", b"30%\ndone"], vec!["30%", "done"]),
            (&[b"\xc3", b"\xa4\n"], vec!["ä"]),
            (&[b"\n\n"], vec!["", ""]),
            (&[b""], vec![]),
        ] {
            assert_eq!(split(chunks), expected);
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_nothing_is_lost() {
        let long = "ä".repeat(LINE_BYTES_MAX);
        let pieces = split(&[b"x", long.as_bytes(), b"\nend"]);
        assert_eq!(pieces[..pieces.len() - 1].concat(), format!("x{long}"));
        assert!(pieces.iter().all(|piece| piece.len() <= LINE_BYTES_MAX));
    }

    #[test]
    fn a_bar_that_is_redrawn_for_ever_takes_constant_memory() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&b"50%\r".repeat(1000), |line| panic!("no line has an end: {line:?}"));
        }
        assert!(lines.partial().len() <= 2 * LINE_BYTES_MAX);
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        for (bytes, plain, coloured) in [
            (&b"\x1b[31mred\x1b[0m"[..], "red", "\x1b[31mred\x1b[0m\x1b[0m"),
            (b"\x1b[2J\x1b[1;1Hx", "x", "x"),
            (b"\x1b]0;title\x07x\x1b]8;;u\x1b\\y", "xy", "xy"),
            (b"\x1b(Bx\x1bcy", "xy", "xy"),
            (b"\x1b[31", "", ""),
            (b"a\x08\x00\x7f", "a^H^@^?", "a^H^@^?"),
            (b"a\tb", "a\tb", "a\tb"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
            ("\u{9b}2J\u{202e}x".as_bytes(), "\\u{9b}2J\\u{202e}x", "\\u{9b}2J\\u{202e}x"),
        ] {
            assert_eq!((clean(bytes, false).as_str(), clean(bytes, true).as_str()), (plain, coloured));
        }
    }

    #[test]
    fn headings_have_one_line_and_an_end() {
        assert_eq!(heading("RUN a &&\\\n\t b\x1b[2J", 80), "RUN a &&\\ b");
        assert_eq!(heading("abcdef", 3), "abc…");
    }

    #[test]
    fn what_is_visible_has_every_character_and_none_acts() {
        assert_eq!(visible("ä a\r\n\x1b[2J\u{9b}\u{202e}"), "ä a\\u{d}\\u{a}\\u{1b}[2J\\u{9b}\\u{202e}");
    }
}
