//! JSON as far as a Dockerfile has it: lists of strings, and a document with one member of interest. What is valid JSON is
//! decided as Go's `encoding/json` decides it; what is not valid is no JSON at all, never an error.

use std::ops::Range;

/// What a text is as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// A list of strings: their values, and where they stand with their quotes.
    Strings(Vec<(String, Range<usize>)>),
    /// A list with something else in it, which stands there.
    NotStrings(Range<usize>),
    /// No JSON list: the text is in shell form.
    Other,
}

/// Reads a JSON list as Go's `encoding/json` does: what it refuses (a trailing comma, single quotes, a raw control
/// character) is no list.
pub(crate) fn list_of_strings(text: &str) -> Json {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Json::Other;
    }
    JsonReader { text, at: start }.list().unwrap_or(Json::Other)
}

/// Returns the value of a member of a JSON object, if that is a string; of several of one name, the last counts.
pub(crate) fn string_member(text: &str, name: &str) -> Option<String> {
    let mut reader = JsonReader { text, at: 0 };
    reader.skip_blanks();
    reader.eat(b'{').then_some(())?;
    let mut found = None;
    if !reader.eat_behind_blanks(b'}') {
        loop {
            reader.skip_blanks();
            let is_wanted = reader.quoted()? == name;
            reader.eat_behind_blanks(b':').then_some(())?;
            let value = reader.string_or_other()?;
            if is_wanted {
                found = value;
            }
            if reader.eat_behind_blanks(b'}') {
                break;
            }
            reader.eat_behind_blanks(b',').then_some(())?;
        }
    }
    reader.skip_blanks();
    found.filter(|_| reader.at == text.len())
}

/// Go refuses deeper nesting.
const JSON_DEPTH_MAX: usize = 10_000;

struct JsonReader<'a> {
    text: &'a str,
    at: usize,
}

impl JsonReader<'_> {
    /// Reads the outermost list; `None` where the text is not valid.
    fn list(&mut self) -> Option<Json> {
        self.at += 1;
        let mut strings = Vec::new();
        let mut other = None;
        if !self.eat_behind_blanks(b']') {
            loop {
                self.skip_blanks();
                let start = self.at;
                match self.string_or_other()? {
                    Some(value) => strings.push((value, start..self.at)),
                    None => drop(other.get_or_insert(start..self.at)),
                }
                if self.eat_behind_blanks(b']') {
                    break;
                }
                self.eat_behind_blanks(b',').then_some(())?;
            }
        }
        self.skip_blanks();
        if self.at != self.text.len() {
            return None;
        }
        Some(other.map_or(Json::Strings(strings), Json::NotStrings))
    }

    /// Reads a string, or skips any other value.
    fn string_or_other(&mut self) -> Option<Option<String>> {
        self.skip_blanks();
        match self.peek()? {
            b'"' => self.string().map(Some),
            _ => self.value().map(|()| None),
        }
    }

    fn quoted(&mut self) -> Option<String> {
        if self.peek()? == b'"' { self.string() } else { None }
    }

    /// Skips any value. Nesting is kept in a list of closing brackets, not on the stack.
    fn value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.skip_blanks();
            let is_open = match self.peek()? {
                b'[' => self.open(&mut open, b']')?,
                b'{' => self.open(&mut open, b'}')?,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if is_open {
                self.key(&open)?;
                continue;
            }
            if !self.close(&mut open)? {
                return Some(());
            }
            self.key(&open)?;
        }
    }

    /// Opens a list or object and tells whether something stands in it.
    fn open(&mut self, open: &mut Vec<u8>, closing: u8) -> Option<bool> {
        self.at += 1;
        if self.eat_behind_blanks(closing) {
            return Some(false);
        }
        open.push(closing);
        (open.len() < JSON_DEPTH_MAX).then_some(true)
    }

    /// After a value: closes what ends here and tells whether a comma calls for another value.
    fn close(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        while let Some(closing) = open.last().copied() {
            if self.eat_behind_blanks(b',') {
                return Some(true);
            }
            self.eat_behind_blanks(closing).then_some(())?;
            open.pop();
        }
        Some(false)
    }

    /// Reads `"name":` where the value stands in an object.
    fn key(&mut self, open: &[u8]) -> Option<()> {
        if open.last() != Some(&b'}') {
            return Some(());
        }
        self.skip_blanks();
        self.quoted()?;
        self.eat_behind_blanks(b':').then_some(())
    }

    fn scalar(&mut self) -> Option<()> {
        for word in ["true", "false", "null"] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Some(());
            }
        }
        if self.peek()? == b'"' { self.string().map(drop) } else { self.number() }
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        // Go refuses numbers that do not fit.
        self.text[start..self.at].parse::<f64>().ok().filter(|number| number.is_finite()).map(drop)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        let mut value = String::new();
        self.at += 1;
        loop {
            let character = self.text[self.at..].chars().next()?;
            self.at += character.len_utf8();
            match character {
                '"' => return Some(value),
                '\\' => value.push(self.escaped()?),
                control if control < ' ' => return None,
                plain => value.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let escape = self.peek()?;
        self.at += 1;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return None,
        })
    }

    /// Behind `\u`: four digits, or two pairs of four that together are one character. A lone half is U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        let behind = self.at;
        if first < 0xdc00 && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        self.at = behind;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn eat_behind_blanks(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        self.eat(byte)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_json_only_where_go_says_so() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("[]", Some(&[])),
            (" [ \"a\" , \"b\" ] ", Some(&["a", "b"])),
            (r#"["\"\\\/\b\f\n\r\t\u00e9"]"#, Some(&["\"\\/\x08\x0c\n\r\té"])),
            (
                r#"["\ud83d\ude00", "\ud83d", "\udc00x", "\ud83d\u0041"]"#,
                Some(&["😀", "\u{fffd}", "\u{fffd}x", "\u{fffd}A"]),
            ),
            ("['a']", None),
            (r#"["a",]"#, None),
            (r#"["a" "b"]"#, None),
            ("[\"a\tb\"]", None),
            (r#"["\x"]"#, None),
            (r#"["a"] b"#, None),
            (r#"["a""#, None),
            (r#"["a"#, None),
            ("[", None),
            ("[1e999]", None),
            ("[01]", None),
            ("[tru]", None),
            ("[{\"a\":}]", None),
            ("[{1:2}]", None),
            ("echo [\"a\"]", None),
        ];
        for (text, expected) in cases {
            let expected = match expected {
                Some(values) => values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>(),
                None => {
                    assert_eq!(list_of_strings(text), Json::Other, "{text}");
                    continue;
                }
            };
            let Json::Strings(found) = list_of_strings(text) else { panic!("{text} is a list") };
            assert_eq!(found.into_iter().map(|(value, _)| value).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn a_member_of_an_object_is_found_where_all_of_it_is_json() {
        let cases: &[(&str, Option<&str>)] = &[
            (r#"{"syntax": "a/b"}"#, Some("a/b")),
            ("\n { \"x\": [1, {\"syntax\": \"no\"}], \"syntax\" : \"a\" }\n", Some("a")),
            (r#"{"syntax": "a", "syntax": "b"}"#, Some("b")),
            (r#"{"syntax": "a", "syntax": 1}"#, None),
            (r#"{"syntax": 1}"#, None),
            (r#"{"Syntax": "a"}"#, None),
            (r#"{"syntax": "a",}"#, None),
            (r#"{"syntax": "a"} x"#, None),
            (r#"{"syntax" "a"}"#, None),
            (r#"{syntax: "a"}"#, None),
            (r#"{"syntax": "a""#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(string_member(text, "syntax").as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn an_element_that_is_no_string_is_pointed_at() {
        let elements = [
            "1",
            "-0.5e+3",
            "true",
            "null",
            "[\"c\"]",
            "{}",
            "{\"a\": [1, {\"b\": null}], \"c\": \"d\"}",
            "[]",
        ];
        for element in elements {
            let text = format!("[\"a\", {element} , \"b\"]");
            assert_eq!(list_of_strings(&text), Json::NotStrings(6..6 + element.len()), "{text}");
        }
        let deep = format!("[{}", "[".repeat(100_000));
        assert_eq!(list_of_strings(&deep), Json::Other);
    }
}
