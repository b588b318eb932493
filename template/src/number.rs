//! Constants, as in Go: decimal, hexadecimal, octal and binary integers with `_` between digits, floats, characters.

use crate::Value;

/// Returns the value of a number, or `None` where the text is none or is too large.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.as_bytes().first()?.is_ascii_digit() && !digits.starts_with('.') {
        return None;
    }
    integer(digits, is_negative).map(Value::Int).or_else(|| {
        let float = float(digits).filter(|float| float.is_finite())?;
        Some(Value::Float(if is_negative { -float } else { float }))
    })
}

fn integer(digits: &str, is_negative: bool) -> Option<i64> {
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let is_prefixed = rest.len() < lower.len();
    let rest = underscores_removed(rest, is_prefixed)?;
    let sign = if is_negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{rest}"), radix).ok()
}

/// Underscores may stand between digits, and between a prefix and the first digit.
fn underscores_removed(digits: &str, is_prefixed: bool) -> Option<String> {
    let starts_badly = digits.starts_with('_') && !is_prefixed;
    let is_bad = starts_badly || digits.ends_with('_') || digits.contains("__");
    (!is_bad && !digits.is_empty() && !digits.contains(['+', '-'])).then(|| digits.replace('_', ""))
}

fn float(digits: &str) -> Option<f64> {
    let is_decimal =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    // What has neither is a whole number that is too large.
    let is_float = digits.contains(['.', 'e', 'E']);
    if is_decimal && is_float { digits.parse().ok() } else { None }
}

/// Returns the value of a character constant, quotes and all.
pub(crate) fn character(text: &str) -> Option<Value> {
    let inside = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let unquoted = crate::quote::unescaped(inside, '\'')?;
    let mut characters = unquoted.chars();
    let character = characters.next()?;
    characters.next().is_none().then_some(Value::Int(i64::from(u32::from(character))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_as_in_go() {
        for (text, value) in [
            ("0", Some(Value::Int(0))),
            ("-12", Some(Value::Int(-12))),
            ("0x1F", Some(Value::Int(31))),
            ("0b101", Some(Value::Int(5))),
            ("0o17", Some(Value::Int(15))),
            ("017", Some(Value::Int(15))),
            ("1_000", Some(Value::Int(1000))),
            ("0x_f", Some(Value::Int(15))),
            ("1.5", Some(Value::Float(1.5))),
            (".5", Some(Value::Float(0.5))),
            ("1e-2", Some(Value::Float(0.01))),
            ("1__0", None),
            ("1_", None),
            ("1a", None),
            ("0x", None),
            ("089", None),
            ("-9223372036854775808", Some(Value::Int(i64::MIN))),
            ("9223372036854775808", None),
            ("", None),
            ("1e999", None),
            ("+-1", None),
        ] {
            assert_eq!(parse(text), value, "{text}");
        }
        for (text, value) in
            [("'a'", Some(97)), ("'\\n'", Some(10)), ("'ab'", None), ("''", None), ("'\\''", Some(39))]
        {
            assert_eq!(character(text), value.map(Value::Int), "{text}");
        }
    }
}
