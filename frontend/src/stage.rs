//! Which stage needs which: names, numbers, FROM links, `COPY --from`, mounts, and ONBUILD triggers of earlier stages.
//! Works on base names that are already expanded; whether a name that is no stage is an image or a named context is not
//! known here.
//!
//! How names are found, as in BuildKit:
//!
//! | Written in | Means |
//! |---|---|
//! | FROM | the last stage of this name *above*, case-sensitively (stage names are lower case); else an image |
//! | `COPY --from` | a number; else the last stage of this name in the whole file, in any case; else an image |
//! | `RUN --mount=from` | as `COPY --from`, but a number is no stage |
//! | `--target` | as `COPY --from`, but a number is no stage; without one the last stage |

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::{Dockerfile, Instruction, Operation};
use crate::diagnostic::Diagnostic;
use crate::expand::{Lexer, NoVariables};
use crate::parser::parse_onbuild;
use crate::source::{Source, Span, Word};
use crate::suggest;

/// What the base of a stage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image (or a named context).
    Image(String),
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
    /// Where it is named; for a trigger, the FROM that runs it.
    pub span: Span,
}

/// The stages of a file and the links between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageGraph {
    stages: Vec<StageNode>,
    /// The last stage of each name.
    names: BTreeMap<String, usize>,
    escape: char,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNode {
    /// The name in lower case.
    pub name: Option<String>,
    /// What it starts from.
    pub base: Base,
    /// What else it needs, in the order of the file.
    pub needs: Vec<Need>,
    /// ONBUILD triggers of its base, if that is a stage: they run here, before its own instructions.
    pub triggers: Vec<Trigger>,
    /// What is wrong with triggers; it matters only where the stage is built.
    pub trigger_errors: Vec<Diagnostic>,
    /// Its FROM.
    pub span: Span,
}

/// An ONBUILD trigger that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its text; the instruction's spans lie in it.
    pub source: Source,
    /// What it says.
    pub instruction: Instruction,
}

impl StageGraph {
    /// Links the stages of a file; `bases` are their base names after expansion, one a stage, in order.
    ///
    /// # Errors
    /// For a `--from` that cannot be, and for stages that need each other. All stages count, also those nobody needs.
    pub fn new(file: &Dockerfile, bases: &[String]) -> Result<Self, Vec<Diagnostic>> {
        assert_eq!(file.stages.len(), bases.len(), "every stage has a base name");
        let mut graph = Self { stages: Vec::new(), names: BTreeMap::new(), escape: file.escape };
        for (stage, base) in file.stages.iter().zip(bases) {
            graph.add(stage.name(), base, stage.from.span);
        }
        let mut found = Vec::new();
        for (index, stage) in file.stages.iter().enumerate() {
            for instruction in &stage.instructions {
                match graph.needs_of(instruction, None) {
                    Ok(needs) => graph.stages[index].needs.extend(needs),
                    Err(errors) => found.extend(errors),
                }
            }
        }
        found.extend(graph.circle());
        graph.inherit_triggers(file);
        if found.is_empty() { Ok(graph) } else { Err(found) }
    }

    /// Returns the stages in the order of the file.
    pub fn stages(&self) -> &[StageNode] {
        &self.stages
    }

    /// Finds a stage by name, in any case; of several, the last.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(&name.to_lowercase()).copied()
    }

    /// Finds the stage to build.
    ///
    /// # Errors
    /// For a name that is no stage, with the nearest that is.
    pub fn target(&self, name: Option<&str>) -> Result<usize, UnknownTarget> {
        let Some(name) = name else {
            return self.stages.len().checked_sub(1).ok_or(UnknownTarget { name: String::new(), near: None });
        };
        self.find(name).ok_or_else(|| UnknownTarget {
            name: name.to_owned(),
            near: suggest::nearest(name, self.names.keys().map(String::as_str)).map(ToOwned::to_owned),
        })
    }

    /// Takes a named context in place of a stage: it has no base and needs nothing.
    pub fn replace_by_context(&mut self, stage: usize, context: &str) {
        let node = &mut self.stages[stage];
        node.base = Base::Image(context.to_owned());
        node.needs.clear();
        node.triggers.clear();
        node.trigger_errors.clear();
    }

    /// Adds what a trigger of a base image needs.
    pub fn add_trigger(&mut self, stage: usize, trigger: &Instruction) {
        let place = self.stages[stage].span;
        match self.needs_of(trigger, Some(place)) {
            Ok(needs) => self.stages[stage].needs.extend(needs),
            Err(errors) => self.stages[stage].trigger_errors.extend(errors),
        }
    }

    /// Returns the stages that a target needs, itself included, in an order in which they can be built.
    ///
    /// # Errors
    /// For a stage that takes files from a later one.
    pub fn needed(&self, target: usize) -> Result<Vec<usize>, Vec<Diagnostic>> {
        let mut reached = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if reached.insert(index) {
                open.extend(self.suppliers(index));
                if let Base::Stage(base) = self.stages[index].base {
                    open.push(base);
                }
            }
        }
        let mut found = Vec::new();
        for index in &reached {
            found.extend(self.stages[*index].trigger_errors.iter().cloned());
            for need in &self.stages[*index].needs {
                match need.supplier {
                    Supplier::Stage(other) if other >= *index => {
                        found.push(self.later_stage(*index, other, need.span));
                    }
                    _ => {}
                }
            }
        }
        if found.is_empty() { Ok(reached.into_iter().collect()) } else { Err(found) }
    }

    fn later_stage(&self, index: usize, other: usize, span: Span) -> Diagnostic {
        let message = format!(
            "cannot copy from stage {}, it needs to be defined before current stage {}",
            self.title(other),
            self.title(index)
        );
        Diagnostic::error("later-stage", span, message)
            .with_place(self.stages[other].span, "defined here")
            .with_help("move the stage above the one that uses it")
    }

    /// How messages call a stage.
    pub fn title(&self, index: usize) -> String {
        let name = self.stages[index].name.as_ref();
        name.map_or_else(|| format!("`stage-{index}`"), |name| format!("`{name}`"))
    }

    /// Returns the stages that a stage takes files from.
    fn suppliers(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.stages[index].needs.iter().filter_map(|need| match need.supplier {
            Supplier::Stage(stage) => Some(stage),
            Supplier::Image(_) => None,
        })
    }

    fn add(&mut self, name: Option<&str>, base: &str, span: Span) {
        let base = match self.names.get(base) {
            Some(stage) => Base::Stage(*stage),
            None if base == "scratch" => Base::Scratch,
            None => Base::Image(base.to_owned()),
        };
        let name = name.map(ToOwned::to_owned);
        if let Some(name) = &name {
            self.names.insert(name.clone(), self.stages.len());
        }
        self.stages.push(StageNode {
            name,
            base,
            needs: Vec::new(),
            triggers: Vec::new(),
            trigger_errors: Vec::new(),
            span,
        });
    }

    /// Returns what one instruction needs. `place` stands for its own spans where it is a trigger.
    fn needs_of(&self, instruction: &Instruction, place: Option<Span>) -> Result<Vec<Need>, Vec<Diagnostic>> {
        let takes_numbers = matches!(instruction.operation, Operation::Copy(_));
        let mut needs = Vec::new();
        let mut found = Vec::new();
        for word in instruction.sources() {
            let word = Word { span: place.unwrap_or(word.span), ..word };
            match self.resolve(&word, takes_numbers) {
                Ok(supplier) => needs.push(Need { supplier, span: word.span }),
                Err(error) => found.push(*error),
            }
        }
        if found.is_empty() { Ok(needs) } else { Err(found) }
    }

    fn resolve(&self, word: &Word, takes_numbers: bool) -> Result<Supplier, Box<Diagnostic>> {
        if takes_numbers {
            let expanded = Lexer::new(self.escape).expand(&word.text, &NoVariables);
            if expanded.is_err() || expanded.is_ok_and(|expanded| expanded.text != word.text) {
                let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG \
                               from global scope as a workaround";
                return Err(Box::new(Diagnostic::error("variable-in-from", word.span, message)));
            }
            if let Ok(index) = word.text.parse::<i64>() {
                let Some(stage) = usize::try_from(index).ok().filter(|index| *index < self.stages.len())
                else {
                    let error = Diagnostic::error(
                        "undefined-stage",
                        word.span,
                        format!("invalid stage index {index}"),
                    );
                    let help = format!("the file has {} stages, counted from 0", self.stages.len());
                    return Err(Box::new(error.with_help(help)));
                };
                return Ok(Supplier::Stage(stage));
            }
        }
        Ok(self.find(&word.text).map_or_else(|| Supplier::Image(word.text.clone()), Supplier::Stage))
    }

    /// Hands the triggers of a stage to the stages that start from it.
    fn inherit_triggers(&mut self, file: &Dockerfile) {
        for index in 0..self.stages.len() {
            let Base::Stage(base) = self.stages[index].base else { continue };
            let place = self.stages[index].span;
            for text in file.stages[base].instructions.iter().filter_map(trigger) {
                let source = Source::new("ONBUILD", text);
                match parse_onbuild(&source) {
                    Ok(instruction) => {
                        self.add_trigger(index, &instruction);
                        self.stages[index].triggers.push(Trigger { source, instruction });
                    }
                    Err(errors) => {
                        let errors = errors.into_iter().map(|error| moved(error, place, source.text()));
                        self.stages[index].trigger_errors.extend(errors);
                    }
                }
            }
        }
    }

    /// Reports the first circle of stages that take files from each other. (A base is always above.)
    fn circle(&self) -> Option<Diagnostic> {
        let mut visits = vec![Visit::Unseen; self.stages.len()];
        let stage = (0..self.stages.len()).find_map(|start| self.reached_again(start, &mut visits))?;
        let node = &self.stages[stage];
        let place = node.needs.first().map_or(node.span, |need| need.span);
        let message = format!("circular dependency detected on stage: {}", self.title(stage));
        Some(
            Diagnostic::error("circular-dependency", place, message)
                .with_place(node.span, "the stage needs itself, directly or through others"),
        )
    }

    /// Walks depth first with a list of its own; returns a stage that is reached from itself.
    fn reached_again(&self, start: usize, visits: &mut [Visit]) -> Option<usize> {
        if visits[start] == Visit::Done {
            return None;
        }
        visits[start] = Visit::Open;
        let mut path = vec![(start, self.suppliers(start).collect::<Vec<_>>())];
        while let Some((index, left)) = path.last_mut() {
            let Some(next) = left.pop() else {
                visits[*index] = Visit::Done;
                path.pop();
                continue;
            };
            match visits[next] {
                Visit::Open => return Some(next),
                Visit::Done => {}
                Visit::Unseen => {
                    visits[next] = Visit::Open;
                    path.push((next, self.suppliers(next).collect()));
                }
            }
        }
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Unseen,
    Open,
    Done,
}

fn trigger(instruction: &Instruction) -> Option<String> {
    instruction.trigger().map(str::to_owned)
}

/// Says an error of a trigger at the FROM that runs it.
fn moved(error: Diagnostic, place: Span, trigger: &str) -> Diagnostic {
    let first_line = trigger.lines().next().unwrap_or("");
    let mut moved =
        Diagnostic::error(error.code, place, format!("{} (in `ONBUILD {first_line}`)", error.message));
    moved.help = error.help;
    moved
}

/// `--target` names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target stage \"{name}\" could not be found")]
pub struct UnknownTarget {
    /// The name that was given.
    pub name: String,
    /// A stage of a similar name.
    pub near: Option<String>,
}

#[cfg(test)]
mod tests;
