//! What is wrong with a template, in Go's words: who knows Docker has met them, and can search for them.

use std::fmt;

/// A template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The template's name.
    pub name: String,
    /// The line of the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "template: {}:{}: {}", self.name, self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

/// A template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteError {
    /// The name of the source.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The byte of the line, from 0, as Go counts.
    pub column: usize,
    /// The template that was filled in: the source's own, or one that it defines.
    pub executing: String,
    /// The piece of it.
    pub at: String,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A record has no such field.
    NoField {
        /// The field.
        field: String,
        /// The record's type.
        type_name: &'static str,
        /// The fields that it has.
        known: Vec<&'static str>,
    },
    /// A map has no such key, and [`crate::MissingKey::IsError`] was asked for.
    NoKey {
        /// The key.
        key: String,
    },
    /// It would take too long or become too large.
    TooMuch,
    /// Anything else, in words.
    Said(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoField { field, type_name, .. } => {
                write!(formatter, "can't evaluate field {field} in type {type_name}")
            }
            Self::NoKey { key } => {
                write!(formatter, "map has no entry for key {}", crate::quote::quoted(key))
            }
            Self::TooMuch => formatter.write_str("this takes too long or makes too much text"),
            Self::Said(text) => formatter.write_str(text),
        }
    }
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, column, executing, at, reason } = self;
        let executing = crate::quote::quoted(executing);
        write!(formatter, "template: {name}:{line}:{column}: executing {executing} at <{at}>: {reason}")
    }
}

impl std::error::Error for ExecuteError {}
