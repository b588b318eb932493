//! What follows the keyword of each instruction: its flags and operands as typed nodes, by family. Errors are collected:
//! an instruction with an error gives no node, and the next one is read all the same.

mod copy;

mod from;

mod healthcheck;

mod meta;

mod run;

pub mod mount;

use std::borrow::Cow;
use std::ops::Range;

use crate::ast::{Command, FromInstruction, Operation};
use crate::diagnostic::Diagnostic;
use crate::flags::{self, Checked, Flag, FlagKind};
use crate::heredoc::Heredoc;
use crate::json::{self, Json};
use crate::lines::{self, LogicalLine};
use crate::source::{Span, Word};
use crate::words;

/// The names of all instructions.
pub const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Codes of errors that are reported for an ONBUILD trigger where it is stored; all others wait until it is executed.
pub(crate) const ERRORS_IN_STORED_TRIGGERS: [&str; 2] = ["json-element", "key-value"];

/// An instruction cut into keyword, flags and the rest.
pub(crate) struct Operands<'a> {
    pub(crate) line: &'a LogicalLine<'a>,
    /// The rest, without blanks around it.
    pub(crate) range: Range<usize>,
    /// The name of the instruction in upper case; empty where there is none of this name.
    pub(crate) name: &'static str,
    pub(crate) keyword: Word,
    pub(crate) flags: Vec<Flag>,
    pub(crate) heredocs: &'a [Heredoc],
    pub(crate) escape: char,
}

/// What an instruction turned out to be.
pub(crate) enum Read {
    From(FromInstruction),
    Operation(Operation),
}

/// Cuts an instruction.
pub(crate) fn cut<'a>(line: &'a LogicalLine<'_>, range: Range<usize>, escape: char) -> Operands<'a> {
    let range = lines::trim(&line.text, range);
    let text = &line.text[range.clone()];
    let keyword_end = range.start + text.find(words::is_blank).unwrap_or(text.len());
    let (flags, rest) = flags::split(line, keyword_end..range.end, escape);
    Operands {
        line,
        range: lines::trim(&line.text, rest..range.end),
        name: known_name(&line.text[range.start..keyword_end]),
        keyword: line.word(range.start..keyword_end),
        flags,
        heredocs: &[],
        escape,
    }
}

fn known_name(keyword: &str) -> &'static str {
    let folded = if keyword.is_ascii() { Cow::Borrowed(keyword) } else { Cow::Owned(words::lower(keyword)) };
    NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(&folded)).unwrap_or("")
}

/// Reads an instruction whose name is known; nothing where it has an error.
pub(crate) fn read(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<Read> {
    let operation = match operands.name {
        "FROM" => return from::read(operands, found).map(Read::From),
        "RUN" => Operation::Run(run::read(operands, found)?),
        "COPY" => Operation::Copy(copy::read_copy(operands, found)?),
        "ADD" => Operation::Add(copy::read_add(operands, found)?),
        "ENV" => Operation::Env(meta::pairs(operands, found)?),
        "LABEL" => Operation::Label(meta::pairs(operands, found)?),
        "ARG" => Operation::Arg(meta::arg(operands, found)?),
        "EXPOSE" => Operation::Expose(meta::expose(operands, found)?),
        "VOLUME" => Operation::Volume(meta::volume(operands, found)?),
        "USER" => Operation::User(meta::single(operands, found)?),
        "WORKDIR" => Operation::Workdir(meta::single(operands, found)?),
        "STOPSIGNAL" => Operation::StopSignal(meta::single(operands, found)?),
        "MAINTAINER" => Operation::Maintainer(meta::single(operands, found)?),
        "CMD" => Operation::Cmd(meta::command(operands, found)?),
        "ENTRYPOINT" => Operation::Entrypoint(meta::command(operands, found)?),
        "SHELL" => Operation::Shell(meta::shell(operands, found)?),
        "HEALTHCHECK" => Operation::Healthcheck(healthcheck::read(operands, found)?),
        "ONBUILD" => Operation::Onbuild(meta::onbuild(operands, found)?),
        _ => return None,
    };
    Some(Read::Operation(operation))
}

impl<'a> Operands<'a> {
    pub(crate) fn text(&self) -> &'a str {
        &self.line.text[self.range.clone()]
    }

    /// Returns where the operands stand, or the keyword where there are none.
    pub(crate) fn span(&self) -> Span {
        if self.range.is_empty() { self.keyword.span } else { self.line.span(self.range.clone()) }
    }

    /// Returns all operands as one word.
    pub(crate) fn whole(&self) -> Word {
        self.line.word(self.range.clone())
    }

    /// Returns a part, counted from the start of the operands.
    pub(crate) fn part(&self, range: Range<usize>) -> Word {
        self.line.word(self.range.start + range.start..self.range.start + range.end)
    }

    /// Returns the operands cut at blanks.
    pub(crate) fn words(&self) -> Vec<Word> {
        words::split_blanks(self.text()).into_iter().map(|range| self.part(range)).collect()
    }

    /// Returns the operands cut at blanks outside quotes, as ranges counted from their start.
    pub(crate) fn quoted_ranges(&self) -> Vec<Range<usize>> {
        words::split_quoted(self.text(), self.escape)
    }

    pub(crate) fn check_flags(
        &self,
        known: &[(&str, FlagKind)],
        found: &mut Vec<Diagnostic>,
    ) -> Option<Checked<'_>> {
        let errors = found.len();
        let checked = flags::check(&self.flags, known, found);
        (found.len() == errors).then_some(checked)
    }

    /// Reports an error that concerns all operands.
    pub(crate) fn error<T>(
        &self,
        code: &'static str,
        message: impl Into<String>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        found.push(Diagnostic::error(code, self.span(), message));
        None
    }

    pub(crate) fn needs_an_argument<T>(&self, found: &mut Vec<Diagnostic>) -> Option<T> {
        self.error("missing-argument", format!("{} requires at least one argument", self.name), found)
    }

    /// Reads the operands from an offset on as a JSON list. Inside: `None` where it is in shell form.
    pub(crate) fn json(&self, from: usize, found: &mut Vec<Diagnostic>) -> Option<Option<Vec<Word>>> {
        match json::list_of_strings(&self.text()[from..]) {
            Json::Other => Some(None),
            Json::Strings(list) => {
                let word = |(text, range): (String, Range<usize>)| Word {
                    text,
                    span: self.part(from + range.start..from + range.end).span,
                };
                Some(Some(list.into_iter().map(word).collect()))
            }
            Json::NotStrings(range) => {
                let span = self.part(from + range.start..from + range.end).span;
                let message = "when using JSON array syntax, arrays must be comprised of strings only";
                found.push(Diagnostic::error("json-element", span, message).with_label("not a string"));
                None
            }
        }
    }

    /// Tells whether heredocs may stand here: not in the JSON form.
    pub(crate) fn takes_heredocs(&self) -> bool {
        match self.name {
            "RUN" | "COPY" | "ADD" => json::list_of_strings(self.text()) == Json::Other,
            "ONBUILD" if !self.range.is_empty() => {
                let inner = cut(self.line, self.range.clone(), self.escape);
                inner.name != "ONBUILD" && inner.takes_heredocs()
            }
            _ => false,
        }
    }

    /// Reads the operands from an offset on as a command in either form.
    pub(crate) fn command(&self, from: usize, found: &mut Vec<Diagnostic>) -> Option<Command> {
        let shell = || Command::Shell(self.part(from..self.range.len()));
        Some(self.json(from, found)?.map_or_else(shell, Command::Exec))
    }
}
