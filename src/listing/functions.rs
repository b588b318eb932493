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

fn split(arguments: &[Value], _: usize) -> Result<Value, FunctionError> {
    let (text, separator) = (text(arguments, 0)?, text(arguments, 1)?);
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
            return Err(FunctionError::said("the text is too long"));
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
        Ok(_) => Err(FunctionError::said("the text is too long")),
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
