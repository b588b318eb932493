//! `html`, `js`, `urlquery`: text for other languages.

use crate::quote::is_printable;
use crate::{Value, print};

/// Returns the text of arguments.
pub(super) fn text(arguments: &[Value], bytes_max: usize) -> String {
    match arguments {
        [Value::Missing | Value::Nil] => "<no value>".to_owned(),
        _ => print::sprint(arguments, bytes_max),
    }
}

/// Escapes what HTML reads as its own.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(character),
        }
    }
    out
}

/// Escapes what cannot stand in a string of JavaScript, or in HTML around it.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '\'' | '"' => out.extend(['\\', character]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ if is_printable(character) => out.push(character),
            _ => out.push_str(&format!("\\u{:04X}", u32::from(character))),
        }
    }
    out
}

/// Escapes what cannot stand in the query of an address.
pub(super) fn url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
