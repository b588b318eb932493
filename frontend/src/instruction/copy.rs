//! COPY and ADD.

use std::collections::{BTreeMap, BTreeSet};

use super::Operands;
use crate::ast::{AddInstruction, CopyInstruction, InlineFile, Transfer};
use crate::diagnostic::Diagnostic;
use crate::flags::{Checked, FlagKind};
use crate::heredoc::{self, Heredoc, without_tabs};
use crate::source::Word;

const COPY_FLAGS: [(&str, FlagKind); 6] = [
    ("chown", FlagKind::Text),
    ("from", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Switch),
    ("exclude", FlagKind::List),
    ("parents", FlagKind::Switch),
];

const ADD_FLAGS: [(&str, FlagKind); 7] = [
    ("chown", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Switch),
    ("keep-git-dir", FlagKind::Switch),
    ("checksum", FlagKind::Text),
    ("unpack", FlagKind::Switch),
    ("exclude", FlagKind::List),
];

pub(super) fn read_copy(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<CopyInstruction> {
    let flags = operands.check_flags(&COPY_FLAGS, found);
    let paths = Paths::read(operands, found);
    let flags = flags?;
    Some(CopyInstruction {
        transfer: paths?.transfer(&flags),
        from: flags.filled("from"),
        keeps_parents: flags.switch("parents").unwrap_or(false),
    })
}

pub(super) fn read_add(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<AddInstruction> {
    let flags = operands.check_flags(&ADD_FLAGS, found);
    let paths = Paths::read(operands, found);
    let flags = flags?;
    Some(AddInstruction {
        transfer: paths?.transfer(&flags),
        keep_git_directory: flags.switch("keep-git-dir"),
        checksum: flags.filled("checksum"),
        unpack: flags.switch("unpack"),
    })
}

/// The most bytes that the heredocs of one instruction may hold, counted once a use: one body can be used many times.
const INLINE_BYTES_MAX: usize = 64 << 20;

struct Paths {
    sources: Vec<Word>,
    files: Vec<InlineFile>,
    destination: Word,
}

impl Paths {
    fn read(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Self> {
        let mut words = operands.json(0, found)?.unwrap_or_else(|| operands.words());
        let destination = words.pop();
        let Some(destination) = destination.filter(|_| !words.is_empty()) else {
            let message = format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                operands.name
            );
            return operands.error("missing-argument", message, found);
        };
        let errors = found.len();
        if announcement(&destination).is_some() {
            let message = format!("{} cannot accept a heredoc as a destination", operands.name);
            found.push(Diagnostic::error("heredoc-destination", destination.span, message));
        }
        let mut paths = Self { sources: Vec::new(), files: Vec::new(), destination };
        // Of several heredocs of one name the last one counts for all, as in BuildKit.
        let bodies: BTreeMap<&str, &Heredoc> =
            operands.heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
        let mut bytes = 0;
        for word in words {
            let Some(announced) = announcement(&word) else {
                paths.sources.push(word);
                continue;
            };
            let body = bodies.get(announced.name.as_str());
            bytes += body.map_or(0, |body| body.content.len());
            if bytes > INLINE_BYTES_MAX {
                let message =
                    format!("the files written here are larger than {INLINE_BYTES_MAX} bytes together");
                return operands.error("heredoc-size", message, found);
            }
            paths.files.extend(inline_file(&word, &announced, body.copied(), found));
        }
        if found.len() == errors {
            paths.check_all_used(operands, found);
        }
        (found.len() == errors).then_some(paths)
    }

    /// A body that was read and that no source names would be lost.
    fn check_all_used(&self, operands: &Operands<'_>, found: &mut Vec<Diagnostic>) {
        let used: BTreeSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        for heredoc in operands.heredocs {
            if !used.contains(heredoc.name.as_str()) {
                let message = format!("the heredoc `{}` is not used as a source", heredoc.name);
                let error = Diagnostic::error("heredoc-unused", operands.span(), message);
                found.push(error.with_help("write `<<WORD` as a word of its own, without blanks in WORD"));
            }
        }
    }

    fn transfer(self, flags: &Checked<'_>) -> Transfer {
        Transfer {
            sources: self.sources,
            files: self.files,
            destination: self.destination,
            chown: flags.filled("chown"),
            chmod: flags.filled("chmod"),
            is_link: flags.switch("link").unwrap_or(false),
            excludes: flags.list("exclude"),
        }
    }
}

/// A word with quotes that do not match is a path, not a heredoc.
fn announcement(word: &Word) -> Option<Heredoc> {
    heredoc::announcement(&word.text).unwrap_or(None)
}

fn inline_file(
    word: &Word,
    announced: &Heredoc,
    body: Option<&Heredoc>,
    found: &mut Vec<Diagnostic>,
) -> Option<InlineFile> {
    let Some(heredoc) = body else {
        let message = format!("the heredoc `{}` has no body", announced.name);
        found.push(Diagnostic::error("heredoc-without-body", word.span, message));
        return None;
    };
    let content =
        if announced.strips_tabs { without_tabs(&heredoc.content) } else { heredoc.content.clone() };
    Some(InlineFile {
        name: announced.name.clone(),
        content,
        is_expanded: announced.is_expanded,
        span: word.span,
    })
}
