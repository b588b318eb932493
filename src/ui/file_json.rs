//! A name at which two file systems differ, as JSON.

use kiln_builder::difference::{FileChange, FileDifference};
use serde::Serialize;

/// A name at which two file systems differ, as documents have it.
#[derive(Serialize)]
pub(crate) struct JsonFile<'a> {
    path: &'a str,
    kind: &'a str,
    change: &'static str,
    reasons: Vec<JsonReason<'a>>,
}

#[derive(Serialize)]
struct JsonReason<'a> {
    aspect: &'a str,
    before: &'a str,
    after: &'a str,
}

impl<'a> JsonFile<'a> {
    /// Returns what documents say of it.
    pub(crate) fn of(file: &'a FileDifference) -> Self {
        let (change, reasons) = match &file.change {
            FileChange::Added => ("added", &[][..]),
            FileChange::Deleted => ("deleted", &[][..]),
            FileChange::Changed(reasons) => ("changed", reasons.as_slice()),
        };
        let reasons = reasons.iter().map(|reason| JsonReason {
            aspect: &reason.aspect,
            before: &reason.before,
            after: &reason.after,
        });
        JsonFile { path: &file.path, kind: file.noun, change, reasons: reasons.collect() }
    }
}
