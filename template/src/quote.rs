//! Go's quoted strings: written as by `strconv.Quote`, read as by `strconv.Unquote`.

/// Returns the text in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    quoted_with(text, '"', false)
}

/// Returns a text in quotes. With `is_ascii` everything else is escaped.
pub(crate) fn quoted_with(text: &str, quote: char, is_ascii: bool) -> String {
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if character == quote => out.extend(['\\', character]),
            _ if is_printable(character) && (character.is_ascii() || !is_ascii) => out.push(character),
            _ => out.push_str(&escaped(u32::from(character))),
        }
    }
    out.push(quote);
    out
}

fn escaped(code: u32) -> String {
    match code {
        0..0x20 | 0x7f => format!("\\x{code:02x}"),
        0x80..0x1_0000 => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

/// Whether a character is shown as it is. Go has tables of all letters, marks, numbers and symbols; what is escaped here are controls,
/// separators but the space, and characters that have no look.
pub(crate) fn is_printable(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}'
    );
    !character.is_control() && !is_invisible && (character == ' ' || !character.is_whitespace())
}

/// Returns the content of a quoted or raw string, or `None` where an escape is none.
pub(crate) fn unquoted(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    unescaped(text.strip_prefix('"')?.strip_suffix('"')?, '"')
}

/// Replaces the escapes of a text between quotes.
pub(crate) fn unescaped(text: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first == '\\' {
            rest = escape(rest, quote, &mut bytes)?;
        } else if first == quote {
            return None;
        } else {
            bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    // `\xff` makes single bytes, which no text here can hold.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Adds what an escape stands for, and returns what follows it.
fn escape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let number = |from: usize, digits: usize, radix| {
        let text = rest.get(from..from + digits)?;
        let is_plain = !text.starts_with('+');
        u32::from_str_radix(text, radix).ok().filter(|_| is_plain)
    };
    let single = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        'x' => {
            bytes.push(u8::try_from(number(1, 2, 16)?).ok()?);
            return Some(&rest[3..]);
        }
        '0'..='7' => {
            bytes.push(u8::try_from(number(0, 3, 8)?).ok()?);
            return Some(&rest[3..]);
        }
        'u' | 'U' => {
            let digits = if kind == 'u' { 4 } else { 8 };
            let character = char::from_u32(number(1, digits, 16)?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(&rest[1 + digits..]);
        }
        _ if kind == quote => u8::try_from(quote).ok()?,
        _ => return None,
    };
    bytes.push(single);
    Some(&rest[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_read_again() {
        for (text, expected) in [
            ("a", r#""a""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\u{1}\u{7f}", r#""\n\t\x01\x7f""#),
            ("é\u{2028}", r#""é\u2028""#),
        ] {
            assert_eq!(quoted(text), expected);
            assert_eq!(unquoted(expected).as_deref(), Some(text));
        }
        assert_eq!(quoted_with("é", '"', true), r#""\u00e9""#);
    }

    #[test]
    fn only_escapes_of_go_are_read() {
        for (text, expected) in [
            (r#""\x41\101\u00e9\U0001F600""#, Some("AAé😀")),
            ("`a\\n`", Some("a\\n")),
            (r#""\z""#, None),
            (r#""\'""#, None),
            (r#""\x4""#, None),
            (r#""\ud800""#, None),
            (r#""\é""#, None),
        ] {
            assert_eq!(unquoted(text).as_deref(), expected, "{text}");
        }
    }
}
