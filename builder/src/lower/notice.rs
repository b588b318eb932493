//! A diagnostic in plain values, for whoever shows progress and knows nothing of the language.

use kiln_frontend::diagnostic::{Diagnostic, Edit};
use kiln_frontend::source::{Source, Span};

use crate::progress::{Notice, NoticeEdit, NoticePlace};

/// Returns what is said, with its place in lines and columns.
pub fn notice(source: &Source, diagnostic: &Diagnostic) -> Notice {
    let edit =
        |edit: &Edit| NoticeEdit { place: place(source, edit.span), replacement: edit.replacement.clone() };
    Notice {
        code: diagnostic.code,
        message: diagnostic.message.clone(),
        file: source.name().to_owned(),
        place: diagnostic.primary().map(|span| place(source, span)),
        help: diagnostic.help.clone(),
        fix: diagnostic.fix.iter().map(edit).collect(),
    }
}

/// Returns the place of a span.
pub fn place(source: &Source, span: Span) -> NoticePlace {
    let (start, end) = (source.position(span.start), source.position(span.end));
    NoticePlace {
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
        start: span.start,
        end: span.end,
    }
}
