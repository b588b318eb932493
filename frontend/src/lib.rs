//! The Dockerfile language: text to tree and diagnostics.
//!
//! - **Does**: parses Dockerfiles as BuildKit defines them (syntax 1.26), expands variables, knows which stage needs which,
//!   matches ignore files, and says what is legal and probably not meant. Reports every error of a file at once, with its place.
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
//!
//! # For editors and other tools
//!
//! Everything is a plain value, and no text is too broken: a file that is being typed has a tree as well. A
//! [`Span`](source::Span) counts bytes in the text, and [`Source`](source::Source) turns it into lines and columns.
//!
//! | To … | use |
//! |---|---|
//! | underline what is wrong, and offer the change | [`parse`], [`diagnostic::Diagnostic`], [`lint::lint`], [`lint::fix::apply`] |
//! | colour, fold, complete | [`ast`]: every instruction, flag, word, heredoc and comment with its place |
//! | show what a word becomes | [`expand::Lexer`], [`variables`] |
//! | jump to a stage, list what can be built | [`stage::StageGraph`], [`outline`] |
//! | say what of the context is sent | [`dockerignore::Matcher`] |
//!
//! ```
//! use std::collections::BTreeMap;
//! use kiln_frontend::ast::Operation;
//! use kiln_frontend::dockerignore::Matcher;
//! use kiln_frontend::expand::Lexer;
//! use kiln_frontend::stage::{StageGraph, Supplier};
//! use kiln_frontend::{parse, source::Source};
//!
//! let source = Source::new("Dockerfile", "\
//! FROM rust AS build
//! COPY . /src
//! FROM debian
//! ENV HOME=/home/app
//! WORKDIR $HOME/bin
//! COPY --from=build --chmod=755 /src/app ./
//! ");
//! let parsed = parse(&source);
//! assert!(!parsed.has_errors());
//! let [build, last] = parsed.file.stages.as_slice() else { panic!("there are two stages") };
//!
//! // Where something stands, for people: lines and columns from one.
//! let workdir = &last.instructions[1];
//! let place = source.position(workdir.span.start);
//! assert_eq!((place.line, place.column, source.slice(workdir.span)), (5, 1, "WORKDIR $HOME/bin"));
//!
//! // What a word becomes.
//! let Operation::Workdir(directory) = &workdir.operation else { panic!("it is WORKDIR") };
//! let variables = BTreeMap::from([("HOME".to_owned(), "/home/app".to_owned())]);
//! let expansion = Lexer::new(parsed.file.escape).expand(&directory.text, &variables)?;
//! assert_eq!(expansion.text, "/home/app/bin");
//!
//! // What the last stage needs. Bases are given expanded; here they have no variables.
//! let bases: Vec<String> = [build, last].map(|stage| stage.from.operation.base.text.clone()).into();
//! let graph = StageGraph::new(&parsed.file, &bases);
//! assert_eq!(graph.needed(1), [0, 1]);
//! assert_eq!(graph.stages()[1].needs[0].supplier, Supplier::Stage(0));
//!
//! // What `COPY . /src` does not see.
//! let ignore = Matcher::parse(b"target\n*.md\n!README.md\n")?;
//! let excluded = ["src/main.rs", "target/debug/app", "README.md", "NEWS.md"].map(|path| ignore.excluded_by(path.as_bytes()).is_some());
//! assert_eq!(excluded, [false, true, false, true]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`lint`] has an example of its own. `examples/stage_graph.rs` is a small program: it draws the stages of a file.

#[cfg(any(fuzzing, test))]
pub mod fuzz;

pub mod lint;

pub mod outline;

pub mod stage;

mod parser;
pub use parser::{Parsed, parse, parse_onbuild, parse_overridden};

pub mod pragma;

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
