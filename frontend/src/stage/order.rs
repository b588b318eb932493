//! What a target needs, and whether it can be built in the order of the file.

use std::collections::BTreeSet;

use super::{Base, StageGraph, Supplier};
use crate::diagnostic::{Diagnostic, Label};
use crate::source::Span;

/// The most errors that are collected; a hostile file has more, and nobody reads them.
const ERRORS_MAX: usize = 200;
/// The code of circles.
const CIRCULAR: &str = "circular-dependency";
/// The most places that one circle is shown with.
const CIRCLE_LABELS_MAX: usize = 8;

impl StageGraph {
    /// Returns the stages that a target needs, itself included, in the order of the file, which is the order in which they
    /// are built.
    pub fn needed(&self, target: usize) -> Vec<usize> {
        let mut reached = vec![false; self.stages.len()];
        // Triggers are shared by all stages of one base, and followed once.
        let mut followed = vec![false; self.stages.len()];
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut reached[index], true) {
                continue;
            }
            let node = &self.stages[index];
            open.extend(self.suppliers(index));
            let mut follows = true;
            if let Base::Stage(base) = node.base {
                open.push(base);
                follows = !std::mem::replace(&mut followed[base], true);
            }
            if follows {
                open.extend(self.suppliers_of_triggers(index));
            }
        }
        (0..reached.len()).filter(|index| reached[*index]).collect()
    }

    /// Returns what keeps these stages from being built, besides [`StageGraph::errors`]: files from later stages, and triggers
    /// that cannot be read.
    pub fn errors_in(&self, needed: &[usize]) -> Vec<Diagnostic> {
        let circles = self.errors.iter().filter(|error| error.code == CIRCULAR);
        let circular: BTreeSet<Span> =
            circles.flat_map(|error| &error.labels).map(|label| label.span).collect();
        let mut found = Vec::new();
        for index in needed {
            let node = &self.stages[*index];
            let later = node.needs.iter().filter_map(|need| match need.supplier {
                Supplier::Stage(other) if other >= *index && !circular.contains(&need.span) => {
                    Some((other, need.span))
                }
                _ => None,
            });
            let errors = later.map(|(other, span)| self.later_stage(*index, other, span));
            found.extend(errors.take(ERRORS_MAX));
            found.extend(node.triggers.errors.iter().map(|error| run_here(error, node.span)));
            if node.triggers.last_stage >= Some(*index) {
                found.extend(self.triggers_too_early(*index));
            }
            if found.len() >= ERRORS_MAX {
                break;
            }
        }
        found.truncate(ERRORS_MAX);
        found
    }

    fn triggers_too_early(&self, index: usize) -> Vec<Diagnostic> {
        let node = &self.stages[index];
        let mut found = Vec::new();
        for trigger in &node.triggers.list {
            for other in stages(&trigger.suppliers).filter(|other| *other >= index) {
                let mut error = self.later_stage(index, other, node.span);
                if let Some(span) = trigger.written {
                    error = error.with_place(span, "by this trigger");
                }
                found.push(error);
                if found.len() >= ERRORS_MAX {
                    return found;
                }
            }
        }
        found
    }

    fn later_stage(&self, index: usize, other: usize, span: Span) -> Diagnostic {
        let (title, current) = (self.title(other), self.title(index));
        if index == other {
            let message = format!("circular dependency detected on stage: {title} copies from itself");
            return Diagnostic::error(CIRCULAR, span, message);
        }
        let message =
            format!("cannot copy from stage {title}, it needs to be defined before current stage {current}");
        let help = match self.needed(other).binary_search(&index) {
            Ok(_) => format!("{title} needs {current} in turn: take what both need into a stage of its own"),
            Err(_) => format!("move {title} above {current}"),
        };
        Diagnostic::error("later-stage", span, message)
            .with_place(self.stages[other].span, "defined here")
            .with_help(help)
    }

    /// Returns the stages that the triggers of a stage take files from.
    pub(crate) fn suppliers_of_triggers(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.stages[index].triggers.list.iter().flat_map(|trigger| stages(&trigger.suppliers))
    }

    /// Returns the stages that the instructions of a stage take files from.
    pub(crate) fn suppliers(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        self.stages[index].needs.iter().filter_map(|need| match need.supplier {
            Supplier::Stage(stage) => Some(stage),
            Supplier::Image(_) => None,
        })
    }

    /// Reports stages that take files from each other in a circle. (A base is always above.) Walks depth first, with a list
    /// of its own, so that no depth is too deep.
    pub(super) fn circles(&self) -> Vec<Diagnostic> {
        let mut visits = vec![Visit::Unseen; self.stages.len()];
        let mut found = Vec::new();
        for start in 0..self.stages.len() {
            if visits[start] != Visit::Unseen {
                continue;
            }
            visits[start] = Visit::Open;
            // Each stage on the way, and which of its needs is looked at next.
            let mut path = vec![(start, 0)];
            while let Some((index, next)) = path.last_mut() {
                let Some(need) = self.stages[*index].needs.get(*next) else {
                    visits[*index] = Visit::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let Supplier::Stage(supplier) = need.supplier else { continue };
                match visits[supplier] {
                    Visit::Open if found.len() < ERRORS_MAX => found.push(self.circle(&path, supplier)),
                    Visit::Open | Visit::Done => {}
                    Visit::Unseen => {
                        visits[supplier] = Visit::Open;
                        path.push((supplier, 0));
                    }
                }
            }
        }
        found
    }

    /// Describes the circle that leads from a stage on the path back to it.
    fn circle(&self, path: &[(usize, usize)], stage: usize) -> Diagnostic {
        let first = path.iter().position(|(index, _)| *index == stage).unwrap_or(0);
        let mut links = path[first..].iter().filter_map(|(index, next)| {
            let need = self.stages[*index].needs.get(next.checked_sub(1)?)?;
            let Supplier::Stage(other) = need.supplier else { return None };
            let text = format!("{} needs {}", self.title(*index), self.title(other));
            Some(Label { span: need.span, text })
        });
        let place = links.next();
        let message = format!("circular dependency detected on stage: {}", self.title(stage));
        let span = place.as_ref().map_or(self.stages[stage].span, |label| label.span);
        let mut error = Diagnostic::error(CIRCULAR, span, message);
        error.labels = place.into_iter().chain(links.take(CIRCLE_LABELS_MAX - 1)).collect();
        error
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Unseen,
    Open,
    Done,
}

fn stages(suppliers: &[Supplier]) -> impl Iterator<Item = usize> + '_ {
    suppliers.iter().filter_map(|supplier| match supplier {
        Supplier::Stage(stage) => Some(*stage),
        Supplier::Image(_) => None,
    })
}

/// Says an error of a trigger at the FROM that runs it.
fn run_here(error: &Diagnostic, from: Span) -> Diagnostic {
    let mut error = error.clone();
    error.labels.insert(0, Label { span: from, text: "this base brings the trigger".to_owned() });
    error
}
