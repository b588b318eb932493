//! Templates with the meaning of Go's `text/template`, as `docker … --format` has them.
//!
//! - **Does**: reads templates, and fills them in with plain values. Conditions, loops, variables, pipelines, templates in templates,
//!   trim markers and Go's own functions, `printf` with its verbs among them. Errors have Go's words.
//! - **Does not**: call methods, know which functions a program adds, or read anything. It cannot be made to run for long or to use much memory.
//! - **Main type**: [`Template`]; data is a [`Value`].
//! - **Main function**: [`Template::execute`].
//!
//! **Not as in Go**: texts are UTF-8 (half a character, as from `slice`, is U+FFFD), there are no complex
//! numbers, no hexadecimal floats, and no values that are functions.
//!
//! ```
//! use kiln_template::{Functions, MissingKey, Template, Value};
//!
//! let functions = Functions::default();
//! let template = Template::parse("", "{{range .}}{{printf \"%-4s\" .}}|{{end}}", &functions)?;
//! let data: Value = ["a", "bc"].into_iter().map(Value::from).collect();
//! assert_eq!(template.execute(&data, &functions, MissingKey::IsMissing)?, "a   |bc  |");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod execute;

mod functions;
pub use functions::{Body, Function, FunctionError, Functions};

mod printf;

mod print;

mod parse;

mod lex;

mod number;

mod tree;

mod error;
pub use error::{ExecuteError, ParseError, Reason};

mod quote;

mod value;
pub use value::{Map, Struct, Value};

/// A template that has been read.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    source: String,
    trees: parse::Trees,
}

/// What a key gives that a map does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// [`Value::Missing`].
    IsMissing,
    /// An error.
    IsError,
}

impl Template {
    /// Reads a template that may call these functions.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn parse(name: &str, source: &str, functions: &Functions) -> Result<Self, ParseError> {
        let trees = parse::parse(name, source, &|function| functions.has(function))?;
        Ok(Self { name: name.to_owned(), source: source.to_owned(), trees })
    }

    /// Fills in the template.
    ///
    /// # Errors
    /// When the data has not what the template asks for, or the template asks for too much.
    pub fn execute(
        &self,
        data: &Value,
        functions: &Functions,
        missing_key: MissingKey,
    ) -> Result<String, Box<ExecuteError>> {
        execute::execute(self, data, functions, missing_key).map_err(|(_, error)| error)
    }

    /// Fills in the template as far as it goes: what comes after an error is left out.
    pub fn execute_leniently(&self, data: &Value, functions: &Functions) -> String {
        execute::execute(self, data, functions, MissingKey::IsMissing).unwrap_or_else(|(text, _)| text)
    }
}
