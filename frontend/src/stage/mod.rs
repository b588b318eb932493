//! Which stage needs which: names, numbers, FROM links, `COPY --from`, mounts, and ONBUILD triggers. Works on base names that
//! are already expanded; whether a name that is no stage is an image or a named context is not known here.
//!
//! How names are found, as in BuildKit:
//!
//! | Written in | Means |
//! |---|---|
//! | FROM | the last stage of this name *above*, case-sensitively (stage names are lower case); else an image |
//! | `COPY --from` | a number; else the last stage of this name in the whole file, in any case; else an image |
//! | `RUN --mount=from` | as `COPY --from`, but a number is no stage |
//! | `--target` | as `COPY --from`, but a number is no stage; without one the last stage |
//!
//! What is an error, and when:
//!
//! | Error | Counts |
//! |---|---|
//! | a number without a stage, a variable in `--from` | in every stage, needed or not: [`StageGraph::errors`] |
//! | stages that copy from each other in a circle | in every stage, needed or not: [`StageGraph::errors`] |
//! | files from a later stage, a trigger that cannot be read | where the stage is built: [`StageGraph::errors_in`] |
//!
//! One difference is on purpose: in BuildKit a number may also hit an image that an earlier `--from` names.

mod links;

mod order;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Dockerfile, Instruction, OnbuildInstruction, Operation};
use crate::diagnostic::Diagnostic;
use crate::source::{Source, Span};
use crate::suggest;

/// What the base of a stage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image (or a named context in its place).
    Image(String),
    /// A named context stands for the whole stage: see [`StageGraph::replace_by_context`].
    Context,
    /// Not known: its name could not be expanded.
    Unknown,
}

/// Where a `COPY --from` or a mount takes its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supplier {
    /// A stage, by its index in the file.
    Stage(usize),
    /// An image (or a named context), as written.
    Image(String),
}

/// Something that a stage needs beside its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What is needed.
    pub supplier: Supplier,
    /// Where it is named.
    pub span: Span,
}

/// The stages of a file and the links between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StageGraph {
    stages: Vec<StageNode>,
    /// The last stage of each name.
    names: BTreeMap<String, usize>,
    escape: char,
    errors: Vec<Diagnostic>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNode {
    /// The name in lower case.
    pub name: Option<String>,
    /// What it starts from.
    pub base: Base,
    /// What its own instructions need, in the order of the file.
    pub needs: Vec<Need>,
    /// ONBUILD triggers of its base: they run here, before its own instructions.
    pub triggers: Arc<Triggers>,
    /// Its FROM.
    pub span: Span,
    /// Its own ONBUILD instructions, which run in the stages that start from it.
    onbuild: Vec<OnbuildInstruction>,
}

/// The triggers of one base. Stages with the same base share them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Triggers {
    /// Those that can be read, in the order in which they run.
    pub list: Vec<Trigger>,
    /// What is wrong with the others; places are those of ONBUILD instructions in the file, where there are any.
    pub errors: Vec<Diagnostic>,
    /// The last stage that one of them takes files from.
    last_stage: Option<usize>,
}

/// An ONBUILD trigger that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its text; the instruction's spans lie in it.
    pub source: Source,
    /// What it says.
    pub instruction: Instruction,
    /// What it needs.
    pub suppliers: Vec<Supplier>,
    /// The ONBUILD in the file; `None` for one of an image.
    pub written: Option<Span>,
}

impl StageGraph {
    /// Links the stages of a file; `bases` are their base names after expansion, one a stage, in order. An empty one stands
    /// for a name that could not be expanded.
    ///
    /// # Panics
    /// When the number of names is not that of the stages.
    pub fn new(file: &Dockerfile, bases: &[String]) -> Self {
        assert_eq!(file.stages.len(), bases.len(), "every stage has a base name");
        let (stages, names) = (Vec::with_capacity(bases.len()), BTreeMap::new());
        let mut graph = Self { stages, names, escape: file.escape, errors: Vec::new() };
        for (stage, base) in file.stages.iter().zip(bases) {
            let onbuild = stage.instructions.iter().filter_map(|other| match &other.operation {
                Operation::Onbuild(onbuild) => Some(onbuild.clone()),
                _ => None,
            });
            graph.add(stage.name(), base, stage.from.span, onbuild.collect());
        }
        for (index, stage) in file.stages.iter().enumerate() {
            graph.link(index, &stage.instructions);
        }
        graph.errors.extend(graph.circles());
        graph.inherit_triggers();
        graph
    }

    /// Returns what is wrong with the file, whichever stage is built.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// Returns the stages in the order of the file.
    pub fn stages(&self) -> &[StageNode] {
        &self.stages
    }

    /// Returns the names of stages in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Finds a stage by name, in any case; of several, the last.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(&name.to_lowercase()).copied()
    }

    /// Returns the stage name that may have been meant by a word that is none.
    pub fn near(&self, word: &str) -> Option<String> {
        let lower = word.to_lowercase();
        if lower != word && self.names.contains_key(&lower) {
            return Some(lower);
        }
        suggest::nearest(&lower, self.names()).map(ToOwned::to_owned)
    }

    /// Finds the stage to build; without a name the last.
    ///
    /// # Errors
    /// For a name that is no stage, with the nearest that is; and for a file without stages.
    pub fn target(&self, name: Option<&str>) -> Result<usize, UnknownTarget> {
        let found = match name {
            Some(name) => self.find(name),
            None => self.stages.len().checked_sub(1),
        };
        let name = name.unwrap_or_default();
        found.ok_or_else(|| UnknownTarget { name: name.to_owned(), near: self.near(name) })
    }

    /// Takes a named context in place of a stage: it has no base and needs nothing. What it has by ONBUILD still runs in the
    /// stages that start from it, as in BuildKit.
    pub fn replace_by_context(&mut self, stage: usize) {
        let node = &mut self.stages[stage];
        node.base = Base::Context;
        node.needs.clear();
        node.triggers = Arc::default();
    }

    /// Returns how messages call a stage.
    pub fn title(&self, index: usize) -> String {
        let name = self.stages[index].name.as_ref();
        name.map_or_else(|| format!("`stage-{index}`"), |name| format!("`{name}`"))
    }

    fn add(&mut self, name: Option<&str>, base: &str, span: Span, onbuild: Vec<OnbuildInstruction>) {
        let base = match self.names.get(base) {
            Some(stage) => Base::Stage(*stage),
            None if base.is_empty() => Base::Unknown,
            None if base == "scratch" => Base::Scratch,
            None => Base::Image(base.to_owned()),
        };
        let name = name.map(ToOwned::to_owned);
        if let Some(name) = &name {
            self.names.insert(name.clone(), self.stages.len());
        }
        let (needs, triggers) = (Vec::new(), Arc::default());
        self.stages.push(StageNode { name, base, needs, triggers, span, onbuild });
    }
}

/// `--target` names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target stage `{name}` could not be found")]
pub struct UnknownTarget {
    /// The name that was given.
    pub name: String,
    /// A stage of a similar name.
    pub near: Option<String>,
}

impl UnknownTarget {
    /// Returns it as an error, with the similar name.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error_at_large("undefined-target", self.to_string()).with_suggestion(self.near.clone())
    }
}

#[cfg(test)]
mod tests;
