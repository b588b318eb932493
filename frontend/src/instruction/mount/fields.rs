//! The fields of a mount: one line of CSV, with the place of each.

use std::ops::Range;

use super::{MountError, MountProblem};
use crate::expand::Misread;

/// A field of a mount and where it stands in the mount's text.
pub(super) struct Field {
    /// Without quotes.
    pub(super) text: String,
    /// All of it, without quotes around it.
    range: Range<usize>,
}

impl Field {
    pub(super) fn cut(&self) -> (&str, Option<&str>) {
        self.text.split_once('=').map_or((&self.text, None), |(key, value)| (key, Some(value)))
    }

    pub(super) fn key_range(&self) -> Range<usize> {
        self.part(0..self.cut().0.len())
    }

    pub(super) fn value_range(&self) -> Range<usize> {
        let (key, value) = self.cut();
        self.part(value.map_or(0, |_| key.len() + 1)..self.text.len())
    }

    /// A field with doubled quotes in it is shorter than what is written, and its parts cannot be told.
    fn part(&self, range: Range<usize>) -> Range<usize> {
        match self.range.len() == self.text.len() {
            true => self.range.start + range.start..self.range.start + range.end,
            false => self.range.clone(),
        }
    }

    pub(super) fn problem(&self, error: MountError) -> MountProblem {
        let range = match &error {
            MountError::Kind { .. } | MountError::Sharing { .. } | MountError::Value { .. } => {
                self.value_range()
            }
            MountError::Key { .. } | MountError::KeyOfOtherKind { .. } => self.key_range(),
            _ => self.range.clone(),
        };
        MountProblem { error, range }
    }

    pub(super) fn misread(&self, misread: Misread) -> MountProblem {
        let value = self.text.len() - self.cut().1.map_or(0, str::len);
        let range = self.part(value + misread.range.start..value + misread.range.end);
        MountProblem { error: MountError::Expand(misread.error), range }
    }
}

/// Cuts one line of CSV: commas, quotes around a field, `""` for a quote inside.
pub(super) fn fields(text: &str) -> Result<Vec<Field>, MountProblem> {
    let problem = |range: Range<usize>, what| MountProblem { error: MountError::Csv(what), range };
    if text.is_empty() {
        return Err(problem(0..0, "there is nothing"));
    }
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let Some((field, length)) = quoted_field(quoted) else {
                return Err(problem(at..text.len(), "a quote without its partner"));
            };
            fields.push(Field { text: field, range: at + 1..at + 1 + length });
            at + length + 2
        } else {
            let end = rest.find(',').map_or(text.len(), |comma| at + comma);
            if text[at..end].contains('"') {
                return Err(problem(at..end, "a quote inside a field that is not quoted"));
            }
            fields.push(Field { text: text[at..end].to_owned(), range: at..end });
            end
        };
        match text[end..].chars().next() {
            None => return Ok(fields),
            Some(',') => at = end + 1,
            Some(_) => return Err(problem(end..text.len(), "text behind a quoted field")),
        }
    }
}

/// Reads up to the closing quote; returns the field and the length of what is written inside of the quotes.
fn quoted_field(text: &str) -> Option<(String, usize)> {
    let mut field = String::new();
    let mut at = 0;
    loop {
        let quote = at + text[at..].find('"')?;
        field.push_str(&text[at..quote]);
        if !text[quote + 1..].starts_with('"') {
            return Some((field, quote));
        }
        field.push('"');
        at = quote + 2;
    }
}
