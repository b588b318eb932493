//! From text to tokens, cut as in Go (`text/template/parse/lex.go`). Trim markers and comments are gone; spaces inside actions
//! are tokens, because `.A .B` is two operands and `.A.B` is one.

use std::borrow::Cow;
use std::fmt;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is wrong; the token's text says it, and nothing follows.
    Error,
    End,
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    /// Any other printable character, such as a comma.
    Character,
    Dot,
    Field,
    Variable,
    Identifier,
    Bool,
    Number,
    CharacterConstant,
    Quoted,
    RawQuoted,
    Keyword,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: Cow<'a, str>,
    /// The byte of the template at which it begins.
    pub(crate) position: usize,
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub(crate) fn is_keyword(&self, word: &str) -> bool {
        self.kind == Kind::Keyword && self.text == word
    }
}

/// As errors name it.
impl fmt::Display for Token<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::End => formatter.write_str("EOF"),
            Kind::Error => formatter.write_str(&self.text),
            Kind::Keyword | Kind::Dot => write!(formatter, "<{}>", self.text),
            _ => match self.text.char_indices().nth(SHOWN_MAX) {
                Some((end, _)) => write!(formatter, "{}...", crate::quote::quoted(&self.text[..end])),
                None => formatter.write_str(&crate::quote::quoted(&self.text)),
            },
        }
    }
}

/// Characters of a token that an error shows.
const SHOWN_MAX: usize = 10;

const KEYWORDS: [&str; 11] =
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template. The last token is an error or the end.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer =
        Lexer { source, position: 0, start: 0, start_line: 1, line: 1, open: 0, tokens: Vec::new() };
    let last = match lexer.text() {
        Ok(()) => (Kind::End, Cow::Borrowed("")),
        Err(reason) => (Kind::Error, Cow::Owned(reason)),
    };
    let (start, line) = (lexer.start, lexer.line);
    lexer.tokens.push(Token { kind: last.0, text: last.1, position: start, line });
    lexer.tokens
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    start: usize,
    start_line: usize,
    line: usize,
    /// How many parentheses are open.
    open: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.advance(character.len_utf8());
        Some(character)
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.rest()[..bytes];
        self.line += passed.matches('\n').count();
        self.position += bytes;
    }

    fn emit(&mut self, kind: Kind) {
        let text = Cow::Borrowed(&self.source[self.start..self.position]);
        self.tokens.push(Token { kind, text, position: self.start, line: self.start_line });
        self.ignore();
    }

    fn ignore(&mut self) {
        (self.start, self.start_line) = (self.position, self.line);
    }

    /// Outside of actions.
    fn text(&mut self) -> Result<(), String> {
        loop {
            let Some(length) = self.rest().find("{{") else {
                self.advance(self.rest().len());
                if self.start < self.position {
                    self.emit(Kind::Text);
                }
                return Ok(());
            };
            let after = &self.rest()[length + 2..];
            let is_trimmed = has_left_marker(after);
            let kept = match is_trimmed {
                true => self.rest()[..length].trim_end_matches(SPACES).len(),
                false => length,
            };
            self.advance(kept);
            if kept > 0 {
                self.emit(Kind::Text);
            }
            self.advance(length - kept);
            self.ignore();
            let marker = if is_trimmed { 2 } else { 0 };
            if after[marker..].starts_with("/*") {
                self.comment(2 + marker)?;
                continue;
            }
            self.advance(2);
            self.emit(Kind::LeftDelimiter);
            self.advance(marker);
            self.ignore();
            self.open = 0;
            self.action()?;
        }
    }

    fn comment(&mut self, before: usize) -> Result<(), String> {
        self.advance(before);
        let Some(length) = self.rest().find("*/") else { return Err("unclosed comment".to_owned()) };
        self.advance(length + 2);
        match right_delimiter(self.rest()) {
            Some(is_trimmed) => self.pass_right_delimiter(is_trimmed),
            None => return Err("comment ends before closing delimiter".to_owned()),
        }
        self.ignore();
        Ok(())
    }

    fn pass_right_delimiter(&mut self, is_trimmed: bool) {
        self.advance(if is_trimmed { 4 } else { 2 });
        self.trim(is_trimmed);
    }

    fn trim(&mut self, is_trimmed: bool) {
        if is_trimmed {
            let trimmed = self.rest().trim_start_matches(SPACES).len();
            self.advance(self.rest().len() - trimmed);
        }
    }

    /// Inside of an action, until its end.
    fn action(&mut self) -> Result<(), String> {
        loop {
            if let Some(is_trimmed) = right_delimiter(self.rest()) {
                if self.open > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.advance(if is_trimmed { 2 } else { 0 });
                self.ignore();
                self.advance(2);
                self.emit(Kind::RightDelimiter);
                self.trim(is_trimmed);
                self.ignore();
                return Ok(());
            }
            self.inside()?;
        }
    }

    /// One token inside of an action.
    fn inside(&mut self) -> Result<(), String> {
        let Some(first) = self.next() else { return Err("unclosed action".to_owned()) };
        match first {
            ' ' | '\t' | '\r' | '\n' => {
                while right_delimiter(self.rest()).is_none()
                    && self.peek().is_some_and(|c| SPACES.contains(&c))
                {
                    self.next();
                }
                self.emit(Kind::Space);
            }
            '=' => self.emit(Kind::Assign),
            ':' if self.next() == Some('=') => self.emit(Kind::Declare),
            ':' => return Err("expected :=".to_owned()),
            '|' => self.emit(Kind::Pipe),
            '"' => return self.quoted('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => return self.quoted('\'', Kind::CharacterConstant, "unterminated character constant"),
            '`' => return self.raw(),
            '$' => return self.field(Kind::Variable),
            '.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => return self.field(Kind::Field),
            '.' | '+' | '-' | '0'..='9' => return self.number(first),
            '(' => {
                self.open += 1;
                self.emit(Kind::LeftParenthesis);
            }
            ')' => {
                self.open = self.open.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParenthesis);
            }
            _ if is_alphanumeric(first) => return self.word(),
            '!'..='~' => self.emit(Kind::Character),
            _ => return Err(format!("unrecognized character in action: {}", code_point(first))),
        }
        Ok(())
    }

    fn quoted(&mut self, end: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') if self.peek().is_some_and(|next| next != '\n') => {
                    self.next();
                }
                Some('\n' | '\\') | None => return Err(unterminated.to_owned()),
                Some(character) if character == end => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), String> {
        let Some(length) = self.rest().find('`') else {
            return Err("unterminated raw quoted string".to_owned());
        };
        self.advance(length + 1);
        self.emit(Kind::RawQuoted);
        Ok(())
    }

    /// A field or variable, whose first character has been passed.
    fn field(&mut self, kind: Kind) -> Result<(), String> {
        let begin = self.position;
        self.alphanumerics();
        self.terminated()?;
        match (kind, begin == self.position) {
            (Kind::Field, true) => self.emit(Kind::Dot),
            _ => self.emit(kind),
        }
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        self.alphanumerics();
        self.terminated()?;
        let word = &self.source[self.start..self.position];
        self.emit(match word {
            "true" | "false" => Kind::Bool,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        });
        Ok(())
    }

    fn alphanumerics(&mut self) {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
    }

    fn terminated(&self) -> Result<(), String> {
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | '(' | ')') => Ok(()),
            Some(_) if self.rest().starts_with("}}") => Ok(()),
            Some(character) => Err(format!("bad character {}", code_point(character))),
        }
    }

    /// What looks like a number; whether it is one is seen where its value is read.
    fn number(&mut self, first: char) -> Result<(), String> {
        let mut before = first;
        while let Some(next) = self.peek() {
            let is_exponent = matches!(before, 'e' | 'E' | 'p' | 'P') && matches!(next, '+' | '-');
            if !is_alphanumeric(next) && next != '.' && !is_exponent {
                break;
            }
            self.next();
            before = next;
        }
        let text = &self.source[self.start..self.position];
        if matches!(self.peek(), Some('+' | '-')) || crate::number::parse(text).is_none() {
            return Err(format!("bad number syntax: {}", crate::quote::quoted(text)));
        }
        self.emit(Kind::Number);
        Ok(())
    }
}

fn has_left_marker(after: &str) -> bool {
    let mut characters = after.chars();
    characters.next() == Some('-') && characters.next().is_some_and(|next| SPACES.contains(&next))
}

/// Whether an action ends here, and whether what follows is trimmed.
fn right_delimiter(rest: &str) -> Option<bool> {
    if rest.starts_with("}}") {
        return Some(false);
    }
    let rest = rest.strip_prefix(SPACES)?;
    rest.starts_with("-}}").then_some(true)
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Returns a character as Go's `%#U` shows it.
fn code_point(character: char) -> String {
    match character.is_control() {
        true => format!("U+{:04X}", u32::from(character)),
        false => format!("U+{:04X} '{character}'", u32::from(character)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let token = |token: &Token<'_>| format!("{:?}:{}", token.kind, token.text);
        tokens(source).iter().map(token).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn templates_are_cut_into_tokens() {
        for (source, expected) in [
            ("a", "Text:a End:"),
            ("a {{- .B.C -}} d", "Text:a LeftDelimiter:{{ Field:.B Field:.C RightDelimiter:}} Text:d End:"),
            ("a{{/* b */}}c", "Text:a Text:c End:"),
            ("{{$x:=-1}}", "LeftDelimiter:{{ Variable:$x Declare::= Number:-1 RightDelimiter:}} End:"),
            ("{{. 1 -}} ", "LeftDelimiter:{{ Dot:. Space:  Number:1 RightDelimiter:}} End:"),
            ("{{x", "LeftDelimiter:{{ Identifier:x Error:unclosed action"),
            ("{{(}}", "LeftDelimiter:{{ LeftParenthesis:( Error:unclosed left paren"),
            ("{{)}}", "LeftDelimiter:{{ Error:unexpected right paren"),
            ("{{1a}}", "LeftDelimiter:{{ Error:bad number syntax: \"1a\""),
            ("{{a#}}", "LeftDelimiter:{{ Error:bad character U+0023 '#'"),
            ("{{/* a", "Error:unclosed comment"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }
}
