//! Where rules put what they find: says it in the name of the rule, leaves out what is switched off, and moves findings in
//! ONBUILD triggers to the FROM that runs them.

use std::cell::Cell;

use super::scene::{Step, TriggerPlace};
use super::{Config, Finding, Linted, Rule, config};
use crate::ast::{Comment, Instruction};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// What one rule finds.
pub(crate) struct Report<'r> {
    rule: &'static Rule,
    config: &'r Config,
    linted: &'r mut Linted,
    /// The comments that were read last, by where they begin, and what they say.
    last: Cell<Option<(usize, bool)>>,
}

/// The instruction that a finding is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor<'a> {
    span: Span,
    comments: &'a [Comment],
    /// The finding is about a trigger: its places lie in another text than the file.
    trigger: Option<TriggerPlace>,
}

impl<'a> Anchor<'a> {
    /// Makes the anchor of an instruction that stands in the file.
    pub(crate) fn of<T>(instruction: &'a Instruction<T>) -> Self {
        Self { span: instruction.span, comments: &instruction.comments, trigger: None }
    }

    /// Makes the anchor of a place that belongs to no instruction.
    pub(crate) fn at(span: Span) -> Self {
        Self { span, comments: &[], trigger: None }
    }

    /// Says which comments may switch the rule off there.
    pub(crate) fn below(self, comments: &'a [Comment]) -> Self {
        Self { comments, ..self }
    }
}

impl<'a> From<&'a Step<'a>> for Anchor<'a> {
    fn from(step: &'a Step<'a>) -> Self {
        match step.trigger {
            Some(place) => Self { span: place.from, comments: &[], trigger: step.trigger },
            None => Self::of(step.instruction),
        }
    }
}

impl<'a, T> From<&'a Instruction<T>> for Anchor<'a> {
    fn from(instruction: &'a Instruction<T>) -> Self {
        Self::of(instruction)
    }
}

impl<'r> Report<'r> {
    pub(super) fn new(rule: &'static Rule, config: &'r Config, linted: &'r mut Linted) -> Self {
        Self { rule, config, linted, last: Cell::new(None) }
    }

    /// Starts a finding at a place: lowercase, no full stop, names in backticks.
    pub(crate) fn warning(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.rule.name, span, message)
    }

    /// Tells whether the rule is looked at below comments.
    pub(crate) fn is_on(&self, comments: &[Comment]) -> bool {
        let Some(place) = comments.first().map(|comment| comment.span.start) else {
            return self.config.allows(self.rule);
        };
        // One instruction may have many findings and many comments.
        match self.last.get() {
            Some((last, is_on)) if last == place => is_on,
            _ => {
                let inline = config::of_comments(comments);
                let merged = inline.map(|inline| self.config.merged(&inline));
                let is_on = merged.as_ref().unwrap_or(self.config).allows(self.rule);
                self.last.set(Some((place, is_on)));
                is_on
            }
        }
    }

    /// Takes a finding about an instruction (or a step), unless the rule is switched off there. Tells whether it was taken.
    pub(crate) fn push<'a>(&mut self, about: impl Into<Anchor<'a>>, mut diagnostic: Diagnostic) -> bool {
        let about = about.into();
        if !self.is_on(about.comments) {
            return false;
        }
        if let Some(trigger) = about.trigger {
            diagnostic.labels.truncate(1);
            diagnostic.labels.iter_mut().for_each(|label| label.span = trigger.from);
            diagnostic.fix.clear();
            diagnostic = match trigger.written {
                Some(written) => diagnostic.with_place(written, "by this trigger"),
                None => diagnostic.with_label("by a trigger of this base"),
            };
        }
        let finding = Finding { rule: self.rule, diagnostic, instruction: about.span, unknown_image: None };
        self.linted.findings.push(finding);
        true
    }

    /// Says that facts about an image might take the last finding away.
    pub(crate) fn want(&mut self, image: &str) {
        if let Some(finding) = self.linted.findings.last_mut() {
            finding.unknown_image = Some(image.to_owned());
        }
        self.linted.wants.insert(image.to_owned());
    }
}
