//! `index`, `slice`, `len`: pieces of values. Texts are bytes here, as in Go; half a character becomes U+FFFD.

use super::FunctionError;
use crate::Value;

/// Goes into a value by indices and keys.
pub(super) fn index(arguments: &[Value]) -> Result<Value, FunctionError> {
    let (first, keys) = arguments.split_first().expect("the table says that there is one");
    let mut value = first.clone();
    if value.is_nil() {
        return Err(FunctionError::said("index of untyped nil"));
    }
    for key in keys {
        value = match &value {
            Value::List(items) => items[position(key, items.len(), false)?].clone(),
            Value::NoList => return Err(FunctionError::said("index out of range")),
            Value::NoMap => Value::from(""),
            Value::Text(text) => Value::Int(i64::from(text.as_bytes()[position(key, text.len(), false)?])),
            Value::Map(map) => match key {
                Value::Text(name) => map.entries.get(name).unwrap_or(&map.zero).clone(),
                other => {
                    let text = format!("value has type {}; should be string", other.type_name());
                    return Err(FunctionError::said(text));
                }
            },
            Value::Missing | Value::Nil => return Err(FunctionError::said("index of nil pointer")),
            other => {
                return Err(FunctionError::said(format!("can't index item of type {}", other.type_name())));
            }
        };
    }
    Ok(value)
}

/// Reads an index below `length`, or up to it.
fn position(key: &Value, length: usize, is_end: bool) -> Result<usize, FunctionError> {
    let number = match key {
        Value::Int(number) => *number,
        Value::Missing | Value::Nil => return Err(FunctionError::said("cannot index slice/array with nil")),
        other => {
            let text = format!("cannot index slice/array with type {}", other.type_name());
            return Err(FunctionError::said(text));
        }
    };
    let position = usize::try_from(number).ok();
    position
        .filter(|position| *position < length || is_end && *position == length)
        .ok_or_else(|| FunctionError::said(format!("index out of range: {number}")))
}

/// Returns a part of a text or list: from the first index to before the second.
pub(super) fn slice(arguments: &[Value]) -> Result<Value, FunctionError> {
    let (value, keys) = arguments.split_first().expect("the table says that there is one");
    if value.is_nil() {
        return Err(FunctionError::said("slice of untyped nil"));
    }
    if keys.len() > 3 {
        return Err(FunctionError::said(format!("too many slice indexes: {}", keys.len())));
    }
    let length = match value {
        Value::Text(_) if keys.len() == 3 => {
            return Err(FunctionError::said("cannot 3-index slice a string"));
        }
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::NoList => 0,
        other => return Err(FunctionError::said(format!("can't slice item of type {}", other.type_name()))),
    };
    let mut bounds = [0, length, length];
    for (bound, key) in bounds.iter_mut().zip(keys) {
        *bound = position(key, length, true)?;
    }
    let [begin, end, capacity] = bounds;
    for (low, high) in [(begin, end), (end, capacity)] {
        if low > high {
            return Err(FunctionError::said(format!("invalid slice index: {low} > {high}")));
        }
    }
    Ok(match value {
        Value::Text(text) => Value::from(String::from_utf8_lossy(&text.as_bytes()[begin..end]).into_owned()),
        Value::List(items) => items[begin..end].iter().cloned().collect(),
        other => other.clone(),
    })
}

/// Returns how long a value is.
pub(super) fn length(value: &Value) -> Result<Value, FunctionError> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::NoList | Value::NoMap => 0,
        Value::Missing | Value::Nil => return Err(FunctionError::said("len of nil pointer")),
        other => return Err(FunctionError::said(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}
