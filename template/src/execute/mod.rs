//! Fills in a template: walks its tree with data, as Go's `text/template/exec.go` does.
//!
//! Whatever a template says, this ends: each byte of text costs one unit of [`WORK_MAX`], each pipeline, command, used template and round
//! of a loop [`STEP_COST`] of them, and lists in lists, parentheses and templates that use templates go [`DEPTH_MAX`] deep.

mod evaluate;

use std::fmt::Display;

use crate::print::display;
use crate::tree::{Branch, Node, Pipeline, shown_template};
use crate::{ExecuteError, Functions, MissingKey, Reason, Template, Value};

/// How much is done for one template at most.
const WORK_MAX: usize = 1 << 26;

/// What a step costs, in bytes that could be written instead.
const STEP_COST: usize = 64;

/// How deep lists, pipelines and used templates may stand in each other.
const DEPTH_MAX: usize = 100;

/// What goes on after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Fills in a template.
pub(crate) fn execute(
    template: &Template,
    data: &Value,
    functions: &Functions,
    missing_key: MissingKey,
) -> Result<String, (String, Box<ExecuteError>)> {
    let mut state = State {
        template,
        functions,
        missing_key,
        variables: vec![("$", data.clone())],
        executing: &template.name,
        out: String::new(),
        work_left: WORK_MAX,
        depth: 0,
    };
    match state.list(data, template.trees.get(&template.name).map_or(&[], Vec::as_slice)) {
        Ok(_) => Ok(state.out),
        Err(error) => Err((state.out, error)),
    }
}

/// A failure is boxed: every evaluation can end in one, and results should be small.
type Evaluated<T> = Result<T, Box<ExecuteError>>;

struct State<'a> {
    template: &'a Template,
    functions: &'a Functions,
    missing_key: MissingKey,
    variables: Vec<(&'a str, Value)>,
    /// The name of the template that is walked.
    executing: &'a str,
    out: String,
    work_left: usize,
    depth: usize,
}

impl<'a> State<'a> {
    fn failed(&self, position: usize, at: &dyn Display, reason: Reason) -> Box<ExecuteError> {
        let before = &self.template.source[..position];
        Box::new(ExecuteError {
            name: self.template.name.clone(),
            line: 1 + before.matches('\n').count(),
            column: before.rfind('\n').map_or(position, |newline| position - newline - 1),
            executing: self.executing.to_owned(),
            at: at.to_string(),
            reason,
        })
    }

    fn said(&self, position: usize, at: &dyn Display, text: impl Into<String>) -> Box<ExecuteError> {
        self.failed(position, at, Reason::Said(text.into()))
    }

    /// Returns an error about a pipeline's value, at the command that made it.
    fn at_end(&self, pipeline: &Pipeline, text: String) -> Box<ExecuteError> {
        match pipeline.commands.last().map(|command| (command, command.operands.as_slice())) {
            Some((_, [only])) => self.said(only.position, only, text),
            Some((command, _)) => self.said(command.position, command, text),
            None => self.said(pipeline.position, pipeline, text),
        }
    }

    /// Pays for work.
    fn pay(&mut self, amount: usize, position: usize, at: &dyn Display) -> Evaluated<()> {
        match self.work_left.checked_sub(amount) {
            Some(left) => self.work_left = left,
            None => return Err(self.failed(position, at, Reason::TooMuch)),
        }
        Ok(())
    }

    /// Does something one level deeper.
    fn deeper<T>(
        &mut self,
        position: usize,
        at: &dyn Display,
        work: impl FnOnce(&mut Self) -> Evaluated<T>,
    ) -> Evaluated<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.said(position, at, format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: &Value, list: &'a [Node]) -> Evaluated<Flow> {
        for node in list {
            let flow = self.node(dot, node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'a Node) -> Evaluated<Flow> {
        match node {
            Node::Text(text) => {
                self.pay(text.len(), 0, &"text")?;
                self.out.push_str(text);
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(dot, pipeline)?;
                if pipeline.variables.is_empty() {
                    let text = display(&value, self.work_left);
                    self.pay(text.len(), pipeline.position, pipeline)?;
                    self.out.push_str(&text);
                }
            }
            Node::If(branch) => return self.condition(dot, branch, false),
            Node::With(branch) => return self.condition(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { position, name, pipeline } => {
                self.template(dot, *position, name, pipeline.as_ref())?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// `if`, and `with`, whose list has another dot.
    fn condition(&mut self, dot: &Value, branch: &'a Branch, is_with: bool) -> Evaluated<Flow> {
        let seen = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let (dot, list) = match (value.is_true(), is_with) {
            (true, true) => (&value, Some(&branch.list)),
            (true, false) => (dot, Some(&branch.list)),
            (false, _) => (dot, branch.otherwise.as_ref()),
        };
        let flow = self.below(dot, &branch.pipeline, list)?;
        self.variables.truncate(seen);
        Ok(flow)
    }

    fn below(&mut self, dot: &Value, of: &'a Pipeline, list: Option<&'a Vec<Node>>) -> Evaluated<Flow> {
        self.deeper(of.position, of, |state| state.list(dot, list.map_or(&[], Vec::as_slice)))
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Evaluated<Flow> {
        let seen = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let pipeline = &branch.pipeline;
        let is_empty = match &value {
            Value::Missing | Value::Nil | Value::NoList | Value::NoMap => true,
            Value::List(items) => {
                let pairs = items.iter().enumerate();
                self.rounds(branch, pairs.map(|(index, item)| (counted(index), item.clone())))?
            }
            Value::Map(map) => {
                let pairs =
                    map.entries.iter().map(|(name, value)| (Value::Text(name.clone()), value.clone()));
                self.rounds(branch, pairs)?
            }
            Value::Int(number) if pipeline.variables.len() > 1 => {
                let text = format!("can't use {number} to iterate over more than one variable");
                return Err(self.at_end(pipeline, text));
            }
            Value::Int(number) => {
                self.rounds(branch, (0..*number).map(|number| (Value::Int(number), Value::Int(number))))?
            }
            other => {
                let text = format!("range can't iterate over {}", display(other, SHOWN_MAX));
                return Err(self.at_end(pipeline, text));
            }
        };
        let flow = match is_empty {
            true => self.below(dot, pipeline, branch.otherwise.as_ref())?,
            false => Flow::Next,
        };
        self.variables.truncate(seen);
        Ok(flow)
    }

    /// Walks the list for each pair; returns whether there were none.
    fn rounds(&mut self, branch: &'a Branch, pairs: impl Iterator<Item = (Value, Value)>) -> Evaluated<bool> {
        let pipeline = &branch.pipeline;
        let seen = self.variables.len();
        let mut is_empty = true;
        for (key, item) in pairs {
            is_empty = false;
            self.pay(STEP_COST, pipeline.position, pipeline)?;
            // The pipeline has declared them, or found that they are there.
            let values =
                if pipeline.variables.len() > 1 { vec![key, item.clone()] } else { vec![item.clone()] };
            for (name, value) in pipeline.variables.iter().zip(values) {
                assert!(self.set(name, value), "`{name}` is there");
            }
            let flow = self.below(&item, pipeline, Some(&branch.list))?;
            self.variables.truncate(seen);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(is_empty)
    }

    fn template(
        &mut self,
        dot: &Value,
        position: usize,
        name: &'a str,
        pipeline: Option<&'a Pipeline>,
    ) -> Evaluated<()> {
        let at = shown_template(name, pipeline);
        self.pay(STEP_COST, position, &at)?;
        let Some(list) = self.template.trees.get(name) else {
            let text = format!("template {} not defined", crate::quote::quoted(name));
            return Err(self.said(position, &at, text));
        };
        let dot = match pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Value::Missing,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let before = std::mem::replace(&mut self.executing, name);
        self.deeper(position, &at, |state| state.list(&dot, list))?;
        (self.variables, self.executing) = (variables, before);
        Ok(())
    }

    /// Gives a variable another value. Returns whether there is one.
    fn set(&mut self, name: &str, value: Value) -> bool {
        let found = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        found.map(|(_, place)| *place = value).is_some()
    }
}

/// How much of a value an error shows, and of what a function said.
const SHOWN_MAX: usize = 1000;

fn counted(index: usize) -> Value {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}
