//! The Dockerfile language: text to tree and diagnostics.
//!
//! - **Does**: parses Dockerfiles as BuildKit defines them (syntax 1.26), expands variables, knows which stage needs which,
//!   and matches ignore files. Reports every error of a file at once, with its place.
//! - **Does not**: touch the world. No files, no environment, no clock, no network; it knows of no image.
//! - **Main type**: [`ast::Dockerfile`].
//! - **Main function**: [`parse`].
//!
//! ```
//! use kiln_frontend::{parse, source::Source};
//!
//! let source = Source::new("Dockerfile", "FROM scratch AS base\nCOPPY a b\n");
//! let parsed = parse(&source);
//! assert_eq!(parsed.file.stages[0].name(), Some("base"));
//! assert_eq!(parsed.diagnostics[0].message, "unknown instruction: COPPY");
//! assert_eq!(parsed.diagnostics[0].help.as_deref(), Some("did you mean `COPY`?"));
//! ```

#[cfg(any(fuzzing, test))]
pub mod fuzz;

pub mod lint;

pub mod outline;

pub mod stage;

mod parser;
pub use parser::{Parsed, parse, parse_onbuild, parse_overridden};

pub mod variables;

pub mod instruction;

pub mod ast;

mod heredoc;

mod flags;

mod words;

pub mod expand;

mod lines;

pub mod directive;

mod json;

pub mod dockerignore;

pub mod suggest;

pub mod diagnostic;

pub mod source;
