//! `eq` and its relatives: only values of one kind can be compared.

use std::cmp::Ordering;

use super::FunctionError;
use crate::Value;

const OF_TWO_KINDS: &str = "incompatible types for comparison";
const OF_NO_ORDER: &str = "invalid type for comparison";

/// Whether the first argument equals one of the others.
pub(super) fn equal(arguments: &[Value]) -> Result<bool, FunctionError> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err(FunctionError::said("missing argument for comparison"));
    };
    for other in others {
        if is_equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[expect(clippy::float_cmp, reason = "Go compares so")]
fn is_equal(a: &Value, b: &Value) -> Result<bool, FunctionError> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        _ if a.is_nil() || b.is_nil() => Ok(a.is_nil() == b.is_nil()),
        (a, b) if !is_basic(a) && !is_basic(b) => {
            Err(FunctionError::said(format!("non-comparable type {}", a.type_name())))
        }
        _ => Err(FunctionError::said(OF_TWO_KINDS)),
    }
}

/// Whether the first of two arguments is less than the second.
pub(super) fn less(arguments: &[Value]) -> Result<bool, FunctionError> {
    order(arguments).map(|order| order == Some(Ordering::Less))
}

/// Whether the first of two arguments is not more than the second.
pub(super) fn less_or_equal(arguments: &[Value]) -> Result<bool, FunctionError> {
    order(arguments).map(|order| matches!(order, Some(Ordering::Less | Ordering::Equal)))
}

fn order(arguments: &[Value]) -> Result<Option<Ordering>, FunctionError> {
    match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(_), Value::Bool(_)) => Err(FunctionError::said(OF_NO_ORDER)),
        (a, b) if is_basic(a) && is_basic(b) => Err(FunctionError::said(OF_TWO_KINDS)),
        _ => Err(FunctionError::said(OF_NO_ORDER)),
    }
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
}
