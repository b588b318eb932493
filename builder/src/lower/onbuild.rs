//! ONBUILD: triggers of a base run right after FROM, in order, and are then gone.

use kiln_frontend::ast::Instruction;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};

use super::attempt::Attempt;

impl Attempt<'_> {
    /// Returns the instructions that triggers stand for. What is wrong with them is shown at the FROM that brought them.
    pub(super) fn triggers(&mut self, triggers: &[String], from: Span) -> Vec<Instruction> {
        let mut instructions = Vec::new();
        for trigger in triggers {
            let source = Source::new("ONBUILD", trigger.as_str());
            match kiln_frontend::parse_onbuild(&source) {
                Ok(instruction) => instructions.push(instruction),
                Err(diagnostics) => {
                    for diagnostic in diagnostics {
                        let trigger = trigger.lines().next().unwrap_or_default();
                        let message = format!("in the trigger `ONBUILD {trigger}`: {}", diagnostic.message);
                        let found = Diagnostic { message, labels: Vec::new(), ..diagnostic };
                        self.expander.push(found.with_place(from, "this base brings the trigger"));
                    }
                }
            }
        }
        instructions
    }
}
