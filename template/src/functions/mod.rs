//! The functions that every template has, and the table to which programs add theirs.

mod compare;

mod parts;

mod escape;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::{Value, print, printf};

/// What a function does with its arguments. The number is how many bytes of text it may make; whoever cannot know beforehand
/// may make more, which ends the template.
pub type Body = fn(&[Value], usize) -> Result<Value, FunctionError>;

/// Why a function has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionError {
    /// An argument is of another type.
    Type {
        /// Which one, from 0.
        argument: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// Anything else, in words.
    Said(String),
}

impl fmt::Display for FunctionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { expected, .. } => write!(formatter, "expected {expected}"),
            Self::Said(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for FunctionError {}

impl FunctionError {
    /// Returns an error in words.
    pub fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into())
    }
}

/// A function that templates can call.
#[derive(Debug, Clone)]
pub struct Function {
    /// How many arguments it takes.
    pub arguments: RangeInclusive<usize>,
    /// What it does.
    pub body: Body,
}

/// Functions under their names.
#[derive(Debug, Clone)]
pub struct Functions(BTreeMap<&'static str, Function>);

/// For as many arguments as one likes.
const ANY: usize = usize::MAX;

/// What Go has in every template, besides `and` and `or`, which do not look at all of their operands and so are no functions.
const BUILT_IN: [(&str, RangeInclusive<usize>, Body); 17] = [
    ("call", 1..=ANY, |arguments, _| Err(no_function(&arguments[0]))),
    ("eq", 1..=ANY, |arguments, _| compare::equal(arguments).map(Value::Bool)),
    ("ge", 2..=2, |arguments, _| compare::less(arguments).map(|is_less| Value::Bool(!is_less))),
    ("gt", 2..=2, |arguments, _| compare::less_or_equal(arguments).map(|is_less| Value::Bool(!is_less))),
    ("html", 0..=ANY, |arguments, most| Ok(escape::html(&escape::text(arguments, most)).into())),
    ("index", 1..=ANY, |arguments, _| parts::index(arguments)),
    ("js", 0..=ANY, |arguments, most| Ok(escape::js(&escape::text(arguments, most)).into())),
    ("le", 2..=2, |arguments, _| compare::less_or_equal(arguments).map(Value::Bool)),
    ("len", 1..=1, |arguments, _| parts::length(&arguments[0])),
    ("lt", 2..=2, |arguments, _| compare::less(arguments).map(Value::Bool)),
    ("ne", 2..=2, |arguments, _| compare::equal(arguments).map(|is_equal| Value::Bool(!is_equal))),
    ("not", 1..=1, |arguments, _| Ok(Value::Bool(!arguments[0].is_true()))),
    ("print", 0..=ANY, |arguments, most| Ok(print::sprint(arguments, most).into())),
    ("printf", 1..=ANY, printf),
    ("println", 0..=ANY, |arguments, most| Ok(print::sprintln(arguments, most).into())),
    ("slice", 1..=ANY, |arguments, _| parts::slice(arguments)),
    ("urlquery", 0..=ANY, |arguments, most| Ok(escape::url(&escape::text(arguments, most)).into())),
];

impl Default for Functions {
    /// Returns the functions that Go has in every template.
    fn default() -> Self {
        let mut functions = Self(BTreeMap::new());
        for (name, arguments, body) in BUILT_IN {
            functions.add(name, arguments, body);
        }
        functions
    }
}

impl Functions {
    /// Adds a function, or puts it in the place of another of its name.
    pub fn add(&mut self, name: &'static str, arguments: RangeInclusive<usize>, body: Body) {
        self.0.insert(name, Function { arguments, body });
    }

    /// Returns the function of a name.
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }

    /// Whether a template may call this.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name) || name == "and" || name == "or"
    }
}

fn printf(arguments: &[Value], bytes_max: usize) -> Result<Value, FunctionError> {
    let Value::Text(format) = &arguments[0] else {
        return Err(FunctionError::Type { argument: 0, expected: "string" });
    };
    let text = printf::sprintf(format, &arguments[1..], bytes_max);
    text.map(Value::from).ok_or_else(|| FunctionError::said("the text is too long"))
}

/// There are no values that are functions.
fn no_function(value: &Value) -> FunctionError {
    FunctionError::said(match value.is_nil() {
        true => "call of nil".to_owned(),
        false => format!("non-function of type {}", value.type_name()),
    })
}
