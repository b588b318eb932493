//! The tree of a template, and how errors show a piece of it.

use std::fmt::{self, Display, Formatter};

use crate::Value;
use crate::quote::quoted;

/// What makes text, or does something with what is below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { position: usize, name: String, pipeline: Option<Pipeline> },
    Break,
    Continue,
}

/// `if`, `with` or `range`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// Commands, each of which is the last argument of the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pipeline {
    pub(crate) position: usize,
    /// Variables that take the value.
    pub(crate) variables: Vec<String>,
    /// Whether the variables were there before.
    pub(crate) is_assignment: bool,
    pub(crate) commands: Vec<Command>,
}

/// An operand, perhaps with arguments.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Command {
    pub(crate) position: usize,
    pub(crate) operands: Vec<Operand>,
}

/// A term and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operand {
    pub(crate) position: usize,
    pub(crate) term: Term,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    Dot,
    Nil,
    /// A constant, and the text it was written as.
    Constant(Value, String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`, without the fields and with its dollar.
    Variable(String, Vec<String>),
    Function(String),
    Parenthesised(Box<Pipeline>),
    /// Fields of something else: `(…).A.B`.
    Chain(Box<Operand>, Vec<String>),
}

impl Display for Pipeline {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.is_assignment { "=" } else { ":=" };
            write!(formatter, "{} {sign} ", self.variables.join(", "))?;
        }
        separated(formatter, &self.commands, " | ")
    }
}

impl Display for Command {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        separated(formatter, &self.operands, " ")
    }
}

fn separated<T: Display>(formatter: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(index, item)| {
        formatter.write_str(if index == 0 { "" } else { separator })?;
        item.fmt(formatter)
    })
}

impl Display for Operand {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let fields = |formatter: &mut Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(formatter, ".{name}"))
        };
        match &self.term {
            Term::Dot => formatter.write_str("."),
            Term::Nil => formatter.write_str("nil"),
            Term::Constant(_, text) | Term::Function(text) => formatter.write_str(text),
            Term::Field(names) => fields(formatter, names),
            Term::Variable(variable, names) => {
                formatter.write_str(variable)?;
                fields(formatter, names)
            }
            Term::Parenthesised(pipeline) => write!(formatter, "({pipeline})"),
            Term::Chain(operand, names) => {
                operand.fmt(formatter)?;
                fields(formatter, names)
            }
        }
    }
}

/// An `end` or `else`, which closes a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    End,
    Else,
}

impl Display for Closing {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        })
    }
}

/// As `template "name" pipeline` is shown.
pub(crate) fn shown_template(name: &str, pipeline: Option<&Pipeline>) -> String {
    let pipeline = pipeline.map_or_else(String::new, |pipeline| format!(" {pipeline}"));
    format!("{{{{template {}{pipeline}}}}}", quoted(name))
}
