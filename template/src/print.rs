//! Values as text, as Go's `fmt.Print` has them.

use crate::Value;

/// Returns the text of a value at the end of an action, of which `bytes_max` and a little more are made.
pub(crate) fn display(value: &Value, bytes_max: usize) -> String {
    if value.is_nil() {
        return "<no value>".to_owned();
    }
    let mut out = String::new();
    write(value, Style::Plain, bytes_max, &mut out);
    out
}

/// How composite values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `%v`
    Plain,
    /// `%+v`: with the names of fields.
    Named,
    /// `%#v`: as in Go's source.
    Source,
}

/// Adds a value. Nothing more is added once there are `bytes_max`.
pub(crate) fn write(value: &Value, style: Style, bytes_max: usize, out: &mut String) {
    let is_source = style == Style::Source;
    match value {
        Value::Missing | Value::Nil => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&shortest(*number)),
        Value::Text(text) if is_source => out.push_str(&crate::quote::quoted(text)),
        Value::Text(text) => out.push_str(text),
        Value::NoList => out.push_str(if is_source { "[]string(nil)" } else { "[]" }),
        Value::NoMap => out.push_str(if is_source { "map[string]string(nil)" } else { "map[]" }),
        Value::List(items) => {
            let [begin, separator, end] = if is_source { ["{", ", ", "}"] } else { ["[", " ", "]"] };
            out.push_str(if is_source { value.type_name() } else { "" });
            enclosed(items.iter(), [begin, separator, end], bytes_max, out, |item, out| {
                write(item, style, bytes_max, out);
            });
        }
        Value::Map(map) => {
            out.push_str(if is_source { value.type_name() } else { "map" });
            let marks = if is_source { ["{", ", ", "}"] } else { ["[", " ", "]"] };
            enclosed(map.entries.iter(), marks, bytes_max, out, |(name, value), out| {
                out.push_str(&if is_source { crate::quote::quoted(name) } else { (**name).to_owned() });
                out.push(':');
                write(value, style, bytes_max, out);
            });
        }
        Value::Struct(record) => {
            out.push_str(if is_source { record.type_name } else { "" });
            let separator = if is_source { ", " } else { " " };
            enclosed(record.fields(), ["{", separator, "}"], bytes_max, out, |(name, value), out| {
                if style != Style::Plain {
                    out.push_str(name);
                    out.push(':');
                }
                write(value, style, bytes_max, out);
            });
        }
    }
}

fn enclosed<T>(
    items: impl Iterator<Item = T>,
    [begin, separator, end]: [&str; 3],
    bytes_max: usize,
    out: &mut String,
    mut item: impl FnMut(T, &mut String),
) {
    out.push_str(begin);
    for (index, value) in items.enumerate() {
        if out.len() > bytes_max {
            return;
        }
        out.push_str(if index == 0 { "" } else { separator });
        item(value, out);
    }
    out.push_str(end);
}

/// Returns arguments as `fmt.Sprint` joins them: a space between two of which neither is a text.
pub(crate) fn sprint(arguments: &[Value], bytes_max: usize) -> String {
    let mut out = String::new();
    for (index, value) in arguments.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !is_text(value) && !is_text(&arguments[index - 1]) {
            out.push(' ');
        }
        write(value, Style::Plain, bytes_max, &mut out);
    }
    out
}

/// Returns arguments as `fmt.Sprintln` joins them.
pub(crate) fn sprintln(arguments: &[Value], bytes_max: usize) -> String {
    let mut out = String::new();
    for (index, value) in arguments.iter().enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        write(value, Style::Plain, bytes_max, &mut out);
    }
    out.push('\n');
    out
}

/// Exponents from which on a number is written with one, as in Go's `strconv` for the shortest `g`.
const EXPONENT_MIN: i32 = 6;

/// Returns the shortest digits that give the number again, with an exponent where it is below -4 or at least [`EXPONENT_MIN`].
pub(crate) fn shortest(number: f64) -> String {
    if !number.is_finite() {
        return not_finite(number);
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    match (-4..EXPONENT_MIN).contains(&exponent) {
        true => number.to_string(),
        false => format!("{digits}{}", exponent_text(exponent)),
    }
}

/// Returns an exponent with its sign and at least two digits.
pub(crate) fn exponent_text(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.unsigned_abs())
}

/// Returns what is shown for infinity and for what is no number.
pub(crate) fn not_finite(number: f64) -> String {
    let text = match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "+Inf",
        (false, false) => "-Inf",
    };
    text.to_owned()
}
