//! The functions that Docker adds to Go's.

use kiln_template::{Body, FunctionError, Functions, Value};

/// Their names, how many arguments they take, and what they do.
const ADDED: [(&str, usize, Body); 8] = [
    ("json", 1, |arguments, _| json(&arguments[0])),
    ("split", 2, split),
    ("join", 2, join),
    ("title", 1, |arguments, _| Ok(title(text(arguments, 0)?).into())),
    ("lower", 1, |arguments, _| Ok(text(arguments, 0)?.to_lowercase().into())),
    ("upper", 1, |arguments, _| Ok(text(arguments, 0)?.to_uppercase().into())),
    ("pad", 3, pad),
    ("truncate", 2, truncate),
];

const TOO_LONG: &str = "the text is too long";

/// Bytes that a part of a text takes besides its text, about.
const PART_COST: usize = 64;

/// Those that leave a heading as it is.
const NOT_FOR_HEADINGS: [&str; 7] = ["json", "split", "join", "title", "lower", "upper", "truncate"];

/// Returns Go's functions and Docker's.
pub(super) fn functions() -> Functions {
    let mut functions = Functions::default();
    for (name, arguments, body) in ADDED {
        functions.add(name, arguments..=arguments, body);
    }
    functions
}

/// Returns the functions of the same names for a line of headings.
pub(super) fn for_headings() -> Functions {
    let mut functions = functions();
    for name in NOT_FOR_HEADINGS {
        functions.add(name, 1..=usize::MAX, |arguments, _| Ok(text(arguments, 0)?.into()));
    }
    functions
}

fn text(arguments: &[Value], argument: usize) -> Result<&str, FunctionError> {
    match &arguments[argument] {
        Value::Text(text) => Ok(text),
        _ => Err(FunctionError::Type { argument, expected: "string" }),
    }
}

fn whole(arguments: &[Value], argument: usize) -> Result<i64, FunctionError> {
    match &arguments[argument] {
        Value::Int(number) => Ok(*number),
        _ => Err(FunctionError::Type { argument, expected: "int" }),
    }
}

/// Writes JSON as Go does: U+2028 and U+2029 are escaped, because JavaScript once took them for line ends.
fn json(value: &Value) -> Result<Value, FunctionError> {
    let text = serde_json::to_string(value).map_err(|error| FunctionError::said(error.to_string()))?;
    Ok(text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").into())
}

fn split(arguments: &[Value], bytes_max: usize) -> Result<Value, FunctionError> {
    let (text, separator) = (text(arguments, 0)?, text(arguments, 1)?);
    // A part takes more memory than its text.
    if text.matches(separator).count() >= bytes_max / PART_COST {
        return Err(FunctionError::said(TOO_LONG));
    }
    Ok(match separator {
        "" => text.chars().map(|character| Value::from(character.to_string())).collect(),
        separator => text.split(separator).map(Value::from).collect(),
    })
}

fn join(arguments: &[Value], bytes_max: usize) -> Result<Value, FunctionError> {
    const WRONG: FunctionError = FunctionError::Type { argument: 0, expected: "[]string" };
    let separator = text(arguments, 1)?;
    let mut joined = String::new();
    for (index, item) in arguments[0].items().ok_or(WRONG)?.iter().enumerate() {
        let Value::Text(item) = item else { return Err(WRONG) };
        joined.push_str(if index > 0 { separator } else { "" });
        joined.push_str(item);
        if joined.len() > bytes_max {
            return Err(FunctionError::said(TOO_LONG));
        }
    }
    Ok(joined.into())
}

/// Returns a text whose words begin with capitals. What parts words is as in Go's `strings.Title`.
fn title(text: &str) -> String {
    let mut is_inside = false;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match is_inside {
            true => out.push(character),
            false => out.extend(character.to_uppercase()),
        }
        is_inside = match character.is_ascii() {
            true => character.is_ascii_alphanumeric() || character == '_',
            false => !character.is_whitespace(),
        };
    }
    out
}

fn pad(arguments: &[Value], bytes_max: usize) -> Result<Value, FunctionError> {
    let text = text(arguments, 0)?;
    if text.is_empty() {
        return Ok("".into());
    }
    let spaces = |argument| match usize::try_from(whole(arguments, argument)?) {
        Ok(count) if count <= bytes_max => Ok(" ".repeat(count)),
        Ok(_) => Err(FunctionError::said(TOO_LONG)),
        Err(_) => Err(FunctionError::said("negative count")),
    };
    Ok(format!("{}{text}{}", spaces(1)?, spaces(2)?).into())
}

/// Returns the first bytes of a text; half a character is left away.
fn truncate(arguments: &[Value], _: usize) -> Result<Value, FunctionError> {
    let text = text(arguments, 0)?;
    let length = usize::try_from(whole(arguments, 1)?).map_err(|_| FunctionError::said("negative length"))?;
    let end = text.char_indices().map(|(begin, character)| begin + character.len_utf8());
    Ok(text[..end.take_while(|end| *end <= length).last().unwrap_or(0)].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(name: &str, arguments: &[Value]) -> Result<String, String> {
        let functions = functions();
        let function = functions.get(name).unwrap();
        let result = (function.body)(arguments, 1000).map_err(|error| error.to_string())?;
        Ok(serde_json::to_string(&result).unwrap())
    }

    #[test]
    fn functions_do_what_they_do_in_docker() {
        let text = |text: &str| Value::from(text);
        for (name, arguments, expected) in [
            ("title", &[text("a-b c_d é'f")][..], Ok("\"A-B C_d É'F\"")),
            ("split", &[text("abé"), text("")], Ok("[\"a\",\"b\",\"é\"]")),
            ("split", &[text(""), text("x")], Ok("[\"\"]")),
            ("split", &[text(&"x".repeat(100)), text("x")], Err("the text is too long")),
            ("join", &[Value::NoList, text(",")], Ok("\"\"")),
            ("join", &[text("a"), text(",")], Err("expected []string")),
            ("pad", &[text(""), Value::Int(3), Value::Int(3)], Ok("\"\"")),
            ("pad", &[text("a"), Value::Int(1_000_000), Value::Int(3)], Err("the text is too long")),
            ("pad", &[text("a"), Value::Int(-1), Value::Int(3)], Err("negative count")),
            ("truncate", &[text("éa"), Value::Int(1)], Ok("\"\"")),
            ("truncate", &[text("éa"), Value::Int(2)], Ok("\"é\"")),
            ("truncate", &[text("a"), Value::Int(5)], Ok("\"a\"")),
            ("json", &[Value::NoMap], Ok("\"null\"")),
            ("json", &[text("<\u{2028}")], Ok("\"\\\"<\\\\u2028\\\"\"")),
            ("upper", &[Value::Int(1)], Err("expected string")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(called(name, arguments), expected, "{name} {arguments:?}");
        }
    }
}
