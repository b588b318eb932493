//! From words to links: what `--from` and `from=` mean, and the triggers that a base hands on.

use std::sync::Arc;

use super::{Base, Need, StageGraph, Supplier, Trigger, Triggers};
use crate::ast::{Instruction, Operation};
use crate::diagnostic::{Diagnostic, Label};
use crate::expand::{Lexer, NoVariables};
use crate::parser::parse_onbuild;
use crate::source::{Source, Span, Word};

/// A trigger's text and the ONBUILD that says it, where that is in the file.
type Written = (String, Option<Span>);

impl StageGraph {
    /// Finds what `COPY --from` names.
    ///
    /// # Errors
    /// For a variable and for a number without a stage.
    pub fn copy_source(&self, from: &Word) -> Result<Supplier, Box<Diagnostic>> {
        let expanded = Lexer::new(self.escape).expand(&from.text, &NoVariables);
        if !expanded.is_ok_and(|expanded| expanded.text == from.text) {
            let message = "variable expansion is not supported for --from";
            let help = "define a new stage with FROM using an ARG from global scope, and name that stage";
            return Err(Box::new(Diagnostic::error("variable-in-from", from.span, message).with_help(help)));
        }
        match from.text.parse::<i64>() {
            Err(_) => Ok(self.mount_source(&from.text)),
            Ok(index) => {
                let known = usize::try_from(index).ok().filter(|index| *index < self.stages.len());
                known.map(Supplier::Stage).ok_or_else(|| Box::new(self.no_such_index(index, from.span)))
            }
        }
    }

    /// Finds what `from=` of a mount names: never an error, as every name may be an image.
    pub fn mount_source(&self, from: &str) -> Supplier {
        self.find(from).map_or_else(|| Supplier::Image(from.to_owned()), Supplier::Stage)
    }

    /// Hands the ONBUILD triggers of a base image to the stage that starts from it.
    pub fn add_triggers(&mut self, stage: usize, triggers: &[String]) {
        let written = triggers.iter().map(|text| (text.clone(), None));
        self.stages[stage].triggers = Arc::new(self.read_triggers(written.collect()));
        // A trigger that is itself an ONBUILD reaches one stage further.
        if self.stages[stage].triggers.list.iter().any(|trigger| nested(trigger).is_some()) {
            self.inherit_triggers();
        }
    }

    /// Finds what the instructions of a stage need.
    pub(super) fn link(&mut self, index: usize, instructions: &[Instruction]) {
        for instruction in instructions {
            let takes_numbers = matches!(instruction.operation, Operation::Copy(_));
            for word in instruction.sources() {
                let supplier = match takes_numbers {
                    true => self.copy_source(&word),
                    false => Ok(self.mount_source(&word.text)),
                };
                match supplier {
                    Ok(supplier) => self.stages[index].needs.push(Need { supplier, span: word.span }),
                    Err(error) => self.errors.push(*error),
                }
            }
        }
    }

    /// Hands the triggers of stages to those that start from them. A base is always above, so one pass is enough; each list
    /// is read once, however many stages share it.
    pub(super) fn inherit_triggers(&mut self) {
        let mut handed_on: Vec<Option<Arc<Triggers>>> = vec![None; self.stages.len()];
        for index in 0..self.stages.len() {
            let Base::Stage(base) = self.stages[index].base else { continue };
            let triggers = match &handed_on[base] {
                Some(known) => Arc::clone(known),
                None => Arc::new(self.read_triggers(self.handed_on_by(base))),
            };
            handed_on[base] = Some(Arc::clone(&triggers));
            self.stages[index].triggers = triggers;
        }
    }

    fn handed_on_by(&self, base: usize) -> Vec<Written> {
        let node = &self.stages[base];
        let own = node.onbuild.iter().map(|onbuild| (onbuild.trigger.clone(), Some(onbuild.span)));
        let nested =
            node.triggers.list.iter().filter_map(|trigger| Some((nested(trigger)?, trigger.written)));
        nested.chain(own).collect()
    }

    fn read_triggers(&self, written: Vec<Written>) -> Triggers {
        let mut triggers = Triggers::default();
        for (text, span) in written {
            match self.read_trigger(text, span) {
                Ok(trigger) => {
                    let stages = trigger.suppliers.iter().filter_map(|supplier| match supplier {
                        Supplier::Stage(stage) => Some(*stage),
                        Supplier::Image(_) => None,
                    });
                    triggers.last_stage = triggers.last_stage.max(stages.max());
                    triggers.list.push(trigger);
                }
                Err(errors) => triggers.errors.extend(errors),
            }
        }
        triggers
    }

    fn read_trigger(&self, text: String, written: Option<Span>) -> Result<Trigger, Vec<Diagnostic>> {
        let source = Source::new("ONBUILD", text);
        let moved = |errors: Vec<Diagnostic>| {
            errors.into_iter().map(|error| moved(error, written, source.text())).collect::<Vec<_>>()
        };
        let instruction = parse_onbuild(&source).map_err(moved)?;
        let mut suppliers = Vec::new();
        for word in instruction.sources() {
            suppliers.push(match instruction.operation {
                Operation::Copy(_) => self.copy_source(&word).map_err(|error| moved(vec![*error]))?,
                _ => self.mount_source(&word.text),
            });
        }
        Ok(Trigger { source, instruction, suppliers, written })
    }

    fn no_such_index(&self, index: i64, span: Span) -> Diagnostic {
        let count = self.stages.len();
        let help = match count {
            1 => "the file has one stage, number 0".to_owned(),
            _ => format!("the file has {count} stages, counted from 0"),
        };
        Diagnostic::error("undefined-stage", span, format!("invalid stage index {index}")).with_help(help)
    }
}

/// Returns the trigger that a trigger leaves behind.
fn nested(trigger: &Trigger) -> Option<String> {
    match &trigger.instruction.operation {
        Operation::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
        _ => None,
    }
}

/// Takes an error from the text of a trigger to where the trigger stands; the stage that runs it is added when it is known.
fn moved(error: Diagnostic, written: Option<Span>, trigger: &str) -> Diagnostic {
    let first_line = trigger.lines().next().unwrap_or("");
    let message = format!("in the trigger `ONBUILD {first_line}`: {}", error.message);
    let label = |span| Label { span, text: "the trigger is written here".to_owned() };
    Diagnostic { message, labels: written.map(label).into_iter().collect(), fix: Vec::new(), ..error }
}
