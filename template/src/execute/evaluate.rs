//! Values of pipelines: fields, variables, calls.

use super::{Evaluated, SHOWN_MAX, STEP_COST, State};
use crate::tree::{Command, Operand, Pipeline, Term};
use crate::{ExecuteError, FunctionError, MissingKey, Reason, Value};

impl<'a> State<'a> {
    /// Returns the value of a pipeline, which its variables have from now on.
    pub(super) fn pipeline(&mut self, dot: &Value, pipeline: &'a Pipeline) -> Evaluated<Value> {
        self.pay(STEP_COST, pipeline.position, pipeline)?;
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(dot, command, value.take())?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipeline.variables {
            if !pipeline.is_assignment {
                self.variables.push((name, value.clone()));
            } else if !self.set(name, value.clone()) {
                return Err(self.at_end(pipeline, format!("undefined variable: {name}")));
            }
        }
        Ok(value)
    }

    /// Returns the value of a command, which has the value before it in the pipeline as its last argument.
    fn command(&mut self, dot: &Value, command: &'a Command, last: Option<Value>) -> Evaluated<Value> {
        self.pay(STEP_COST, command.position, command)?;
        let Some((first, arguments)) = command.operands.split_first() else { return Ok(Value::Missing) };
        if let Term::Function(name) = &first.term {
            return self.call(dot, name, command, arguments, last);
        }
        let has_arguments = !arguments.is_empty() || last.is_some();
        match &first.term {
            Term::Nil if !has_arguments => Err(self.said(first.position, first, "nil is not a command")),
            Term::Field(names) | Term::Chain(_, names) if has_arguments => {
                let field = names.last().map_or("", String::as_str);
                Err(self.said(first.position, first, format!("{field} is not a method but has arguments")))
            }
            Term::Variable(_, names) if has_arguments && !names.is_empty() => {
                let field = &names[names.len() - 1];
                Err(self.said(first.position, first, format!("{field} is not a method but has arguments")))
            }
            _ if has_arguments => {
                let text = format!("can't give argument to non-function {first}");
                Err(self.said(first.position, first, text))
            }
            _ => self.operand(dot, first),
        }
    }

    /// Returns the value of an operand without arguments.
    fn operand(&mut self, dot: &Value, operand: &'a Operand) -> Evaluated<Value> {
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Nil),
            Term::Constant(value, _) => Ok(value.clone()),
            Term::Field(names) => self.fields(dot.clone(), names, operand),
            Term::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, value)) = known else {
                    return Err(self.said(operand.position, operand, format!("undefined variable: {name}")));
                };
                self.fields(value.clone(), names, operand)
            }
            Term::Function(name) => {
                let command = Command { position: operand.position, operands: vec![operand.clone()] };
                self.call(dot, name, &command, &[], None)
            }
            Term::Parenthesised(pipeline) => {
                self.deeper(operand.position, operand, |state| state.pipeline(dot, pipeline))
            }
            Term::Chain(inner, names) => {
                if inner.term == Term::Nil {
                    let text = format!("indirection through explicit nil in {operand}");
                    return Err(self.said(operand.position, operand, text));
                }
                let value = self.operand(dot, inner)?;
                self.fields(value, names, operand)
            }
        }
    }

    fn fields(&mut self, mut value: Value, names: &[String], at: &Operand) -> Evaluated<Value> {
        for name in names {
            value = self.field(&value, name, at)?;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, at: &Operand) -> Evaluated<Value> {
        let fail = |reason| Err(self.failed(at.position, at, reason));
        let is_error = self.missing_key == MissingKey::IsError;
        match value {
            Value::Missing if is_error => {
                fail(Reason::Said(format!("nil data; no entry for key {}", crate::quote::quoted(name))))
            }
            Value::NoMap if is_error => fail(Reason::NoKey { key: name.to_owned() }),
            Value::Missing | Value::NoMap => Ok(Value::Missing),
            Value::Nil => fail(Reason::Said(format!("nil pointer evaluating interface {{}}.{name}"))),
            Value::Map(map) => match map.entries.get(name) {
                Some(value) => Ok(value.clone()),
                None if is_error => fail(Reason::NoKey { key: name.to_owned() }),
                None => Ok(Value::Missing),
            },
            Value::Struct(record) => match record.get(name) {
                Some(value) => Ok(value.clone()),
                None => fail(Reason::NoField {
                    field: name.to_owned(),
                    type_name: record.type_name,
                    known: record.fields().map(|(name, _)| name).collect(),
                }),
            },
            other => fail(Reason::NoField {
                field: name.to_owned(),
                type_name: other.type_name(),
                known: Vec::new(),
            }),
        }
    }

    fn call(
        &mut self,
        dot: &Value,
        name: &str,
        command: &Command,
        operands: &'a [Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        if name == "and" || name == "or" {
            return self.shortcut(dot, name == "or", command, operands, last);
        }
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(dot, operand)?);
        }
        arguments.extend(last);
        let Some(function) = self.functions.get(name) else {
            return Err(self.said(
                command.position,
                command,
                format!("{} is not a defined function", crate::quote::quoted(name)),
            ));
        };
        let (least, most) = (function.arguments.start(), function.arguments.end());
        if !function.arguments.contains(&arguments.len()) {
            let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
            let text = format!("wrong number of args for {name}: want {wanted} got {}", arguments.len());
            return Err(self.said(command.position, &name, text));
        }
        let given: usize = arguments.iter().map(cost).sum();
        self.pay(given + 1, command.position, command)?;
        let result = (function.body)(&arguments, self.work_left);
        let value = match result {
            Ok(value) => value,
            Err(error) => return Err(self.refused(name, command, operands, &arguments, &error)),
        };
        self.pay(cost(&value), command.position, command)?;
        Ok(value)
    }

    /// Returns the error of a function that took its arguments for wrong.
    fn refused(
        &self,
        name: &str,
        command: &Command,
        operands: &[Operand],
        arguments: &[Value],
        error: &FunctionError,
    ) -> Box<ExecuteError> {
        match error {
            FunctionError::Type { argument, expected } => {
                let got = arguments.get(*argument).map_or("nothing", Value::type_name);
                let text = format!("wrong type for value; expected {expected}; got {got}");
                match operands.get(*argument) {
                    Some(operand) => self.said(operand.position, operand, text),
                    None => self.said(command.position, command, text),
                }
            }
            FunctionError::Said(reason) => {
                let reason: String = reason.chars().take(SHOWN_MAX).collect();
                self.said(command.position, command, format!("error calling {name}: {reason}"))
            }
        }
    }

    /// `and` and `or` look at no more arguments than they must.
    fn shortcut(
        &mut self,
        dot: &Value,
        is_or: bool,
        command: &Command,
        operands: &'a [Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        let mut value = None;
        for operand in operands {
            let found = self.operand(dot, operand)?;
            if found.is_true() == is_or {
                return Ok(found);
            }
            value = Some(found);
        }
        last.or(value).ok_or_else(|| {
            let name = if is_or { "or" } else { "and" };
            let text = format!("wrong number of args for {name}: want at least 1 got 0");
            self.said(command.position, command, text)
        })
    }
}

/// What a value costs that is given to a function or comes from one: what it holds itself.
fn cost(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len() * size_of::<Value>(),
        _ => 0,
    }
}
