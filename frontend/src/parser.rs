//! Logical lines to instructions to stages. Never fails: what cannot be read is reported and left out, and reading goes on
//! with the next instruction.

use crate::ast::{Dockerfile, FromInstruction, Gap, Instruction, Operation, Stage};
use crate::diagnostic::Diagnostic;
use crate::directive;
use crate::heredoc::{self, Heredoc};
use crate::instruction::{self, NAMES, Operands, Read};
use crate::lines::{Lines, LogicalLine};
use crate::pragma;
use crate::source::{Source, Span};
use crate::suggest;

/// A tree and what is to be said of it. With an error among the diagnostics the tree is incomplete and must not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The tree.
    pub file: Dockerfile,
    /// Errors and warnings in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether an error cost a FROM: then it is not certain which instruction belongs to which stage.
    pub has_lost_stage: bool,
}

impl Parsed {
    /// Tells whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses a Dockerfile.
pub fn parse(source: &Source) -> Parsed {
    let mut parser = Parser::new(source);
    match directive::foreign_file(source.text()) {
        Some(foreign) => parser.found.push(foreign),
        None => parser.file(),
    }
    parser.finish()
}

/// Parses a Dockerfile whose `# syntax=` is overridden from outside (by the build argument `BUILDKIT_SYNTAX`) and means
/// nothing; the other value is checked by [`directive::check_syntax`].
pub fn parse_overridden(source: &Source) -> Parsed {
    let mut parser = Parser::new(source);
    parser.lines.ignore_syntax();
    parser.file();
    parser.finish()
}

/// Parses an ONBUILD trigger as it is stored in an image: one instruction, with heredoc bodies below it. Spans count in
/// the trigger's own text.
///
/// # Errors
/// For everything that is wrong with it.
pub fn parse_onbuild(source: &Source) -> Result<Instruction, Vec<Diagnostic>> {
    let mut parser = Parser::new(source);
    let mut read = Vec::new();
    let mut count = 0;
    while let Some(line) = parser.lines.next_logical(&mut parser.found) {
        count += 1;
        read.extend(parser.instruction(line));
    }
    let whole = Span::new(0, source.text().len());
    if count != 1 {
        let message = "onbuild trigger should be a single expression";
        parser.found.push(Diagnostic::error("onbuild-trigger", whole, message));
    }
    parser.report_replaced(&read.iter().map(|read| read.span).collect::<Vec<_>>());
    parser.found.retain(Diagnostic::is_error);
    match read.pop().map(split) {
        Some(Placed::Operation(instruction)) if parser.found.is_empty() => Ok(instruction),
        Some(Placed::From(from)) => {
            let message = "FROM isn't allowed as an ONBUILD trigger";
            parser.found.push(Diagnostic::error("onbuild-trigger", from.keyword.span, message));
            Err(parser.found)
        }
        _ => Err(parser.found),
    }
}

/// The most errors that are told.
const ERRORS_MAX: usize = 1000;

/// The most findings that one instruction may have.
const ERRORS_OF_ONE_MAX: usize = 100;

enum Placed {
    From(Instruction<FromInstruction>),
    Operation(Instruction),
}

fn split(read: Instruction<Read>) -> Placed {
    let Instruction { span, keyword, text, comments, flags, heredocs, operation } = read;
    match operation {
        Read::From(operation) => {
            Placed::From(Instruction { span, keyword, text, comments, flags, heredocs, operation })
        }
        Read::Operation(operation) => {
            Placed::Operation(Instruction { span, keyword, text, comments, flags, heredocs, operation })
        }
    }
}

struct Parser<'a> {
    source: &'a Source,
    lines: Lines<'a>,
    found: Vec<Diagnostic>,
    global_arguments: Vec<Instruction<crate::ast::ArgInstruction>>,
    stages: Vec<Stage>,
    gaps: Vec<Gap>,
    /// Where instructions stand, also those with errors.
    spans: Vec<Span>,
    /// A FROM was there, though it may have had an error.
    has_from: bool,
    /// A FROM was there and is not in the tree.
    has_lost_stage: bool,
    reported_no_stage: bool,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            lines: Lines::new(source),
            found: Vec::new(),
            global_arguments: Vec::new(),
            stages: Vec::new(),
            gaps: Vec::new(),
            spans: Vec::new(),
            has_from: false,
            has_lost_stage: false,
            reported_no_stage: false,
        }
    }

    fn file(&mut self) {
        let mut counted = 0;
        let mut errors = 0;
        while let Some(line) = self.lines.next_logical(&mut self.found) {
            let place = line.span(line.trimmed());
            if errors > ERRORS_MAX {
                let message = format!("more than {ERRORS_MAX} errors: the rest of the file is not read");
                self.found.push(Diagnostic::error("too-many-errors", place, message));
                return;
            }
            if let Some(read) = self.instruction(line) {
                self.place(read);
            }
            self.found.truncate(counted + ERRORS_OF_ONE_MAX);
            errors += self.found[counted..].iter().filter(|found| found.is_error()).count();
            counted = self.found.len();
        }
    }

    /// Reads one instruction with its heredocs.
    fn instruction(&mut self, line: LogicalLine<'a>) -> Option<Instruction<Read>> {
        if !line.blanks.is_empty() {
            self.gaps.push(Gap { blanks: line.blanks.clone(), last: line.last });
        }
        let mut operands = instruction::cut(&line, 0..line.text.len(), self.lines.escape);
        let mut span = line.span(line.trimmed());
        let heredocs = self.heredocs(&operands, &mut span);
        self.spans.push(span);
        let heredocs = heredocs?;
        operands.heredocs = &heredocs;
        if operands.name.is_empty() {
            self.unknown(&operands);
            return None;
        }
        let operation = instruction::read(&operands, &mut self.found);
        self.has_from |= operands.name == "FROM";
        self.has_lost_stage |= operands.name == "FROM" && operation.is_none();
        let Operands { keyword, flags, .. } = operands;
        let text = line.text.trim().to_owned();
        Some(Instruction {
            span,
            keyword,
            text,
            comments: line.comments,
            flags,
            heredocs,
            operation: operation?,
        })
    }

    /// Reads the bodies of the heredocs that a line announces; `span` grows to their end.
    fn heredocs(&mut self, operands: &Operands<'_>, span: &mut Span) -> Option<Vec<Heredoc>> {
        if !operands.line.text.contains("<<") || !operands.takes_heredocs() {
            return Some(Vec::new());
        }
        let mut heredocs = match heredoc::announced(&operands.line.text) {
            Ok(heredocs) => heredocs,
            Err(error) => {
                self.found.push(Diagnostic::error("heredoc", *span, error.to_string()));
                return None;
            }
        };
        for heredoc in &mut heredocs {
            let is_terminated = heredoc::read_body(heredoc, &mut self.lines, self.source.text());
            let end = self.lines.offset();
            span.end = self.source.text()[..end].trim_end_matches(['\r', '\n']).len().max(span.end);
            if !is_terminated {
                let message = format!("unterminated heredoc: no line is `{}`", heredoc.name);
                let announced = operands.line.span(operands.line.trimmed());
                // Whatever stood behind it was taken for its body.
                self.has_lost_stage = true;
                self.found.push(Diagnostic::error("heredoc-unterminated", announced, message));
                return None;
            }
        }
        Some(heredocs)
    }

    fn unknown(&mut self, operands: &Operands<'_>) {
        let keyword = &operands.keyword;
        let (message, span) = if keyword.text.is_empty() {
            ("a line continuation without an instruction".to_owned(), operands.line.span(0..0))
        } else {
            (format!("unknown instruction: {}", keyword.text), keyword.span)
        };
        let near = suggest::nearest_in_case(&keyword.text, NAMES);
        // What follows a mistyped FROM has a stage, only not in this tree.
        let is_from = near.as_deref().is_some_and(|near| near.eq_ignore_ascii_case("FROM"));
        self.has_from |= is_from;
        self.has_lost_stage |= is_from;
        self.found.push(Diagnostic::error("unknown-instruction", span, message).with_suggestion(near));
    }

    /// Puts an instruction where it belongs.
    fn place(&mut self, read: Instruction<Read>) {
        match split(read) {
            Placed::From(from) => self.stages.push(Stage { from, instructions: Vec::new() }),
            Placed::Operation(instruction) => match (self.stages.last_mut(), self.has_from) {
                (Some(stage), _) => stage.instructions.push(instruction),
                (None, false) => self.before_stages(instruction),
                (None, true) => {}
            },
        }
    }

    fn before_stages(&mut self, instruction: Instruction) {
        if let Operation::Arg(arg) = instruction.operation.clone() {
            self.global_arguments.push(instruction.map(|_| arg));
            return;
        }
        if std::mem::replace(&mut self.reported_no_stage, true) {
            return;
        }
        let name = &instruction.keyword.text;
        let message = format!("no build stage in current context: `{name}` stands before the first FROM");
        self.found.push(
            Diagnostic::error("no-stage", instruction.keyword.span, message)
                .with_help("only ARG may stand before the first FROM"),
        );
    }

    fn finish(mut self) -> Parsed {
        self.report_empty();
        let spans = std::mem::take(&mut self.spans);
        self.report_replaced(&spans);
        let file = Dockerfile {
            directives: self.lines.directives,
            escape: self.lines.escape,
            global_arguments: self.global_arguments,
            stages: self.stages,
            comments: self.lines.comments,
            gaps: self.gaps,
        };
        self.found.extend(pragma::check(&file, self.source));
        self.found.sort_by_key(Diagnostic::primary);
        Parsed { file, diagnostics: self.found, has_lost_stage: self.has_lost_stage }
    }

    fn report_empty(&mut self) {
        if !self.stages.is_empty() || self.found.iter().any(Diagnostic::is_error) {
            return;
        }
        let (code, message) = if self.source.text().is_empty() {
            ("empty-file", "the Dockerfile cannot be empty")
        } else if self.spans.is_empty() {
            ("no-instructions", "file with no instructions")
        } else {
            ("no-stages", "dockerfile contains no stages to build")
        };
        let end = self.source.text().trim_end().len();
        self.found.push(
            Diagnostic::error(code, Span::new(end, end), message).with_help("a Dockerfile needs a FROM"),
        );
    }

    /// Bytes that are not UTF-8 may stand in comments only.
    fn report_replaced(&mut self, spans: &[Span]) {
        let width = char::REPLACEMENT_CHARACTER.len_utf8();
        let wrong = spans.iter().filter_map(|span| {
            let first = self.source.replaced().partition_point(|at| *at < span.start);
            self.source.replaced().get(first).copied().filter(|at| span.contains(*at))
        });
        let errors = wrong.map(|at| {
            Diagnostic::error(
                "not-utf8",
                Span::new(at, at + width),
                "the instruction holds a byte that is not UTF-8",
            )
        });
        let errors: Vec<Diagnostic> = errors.take(ERRORS_MAX).collect();
        self.found.extend(errors);
    }
}

#[cfg(test)]
mod tests;
