//! Pipelines, commands, operands.

use super::Parser;
use crate::lex::{Kind, Token};
use crate::quote::{quoted, unquoted};
use crate::tree::{Command, Operand, Pipeline, Term};
use crate::{ParseError, Value, number};

impl Parser<'_> {
    /// Reads a pipeline and the token that ends it.
    pub(super) fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipeline, ParseError> {
        self.deeper(|parser| {
            let mut pipeline = Pipeline { position: parser.peek_solid().position, ..Pipeline::default() };
            parser.declarations(&mut pipeline, context)?;
            loop {
                let token = parser.peek_solid().clone();
                if token.kind == end {
                    parser.next();
                    parser.check(&pipeline, context)?;
                    return Ok(pipeline);
                }
                if !begins_operand(&token) {
                    parser.next();
                    return Err(parser.unexpected(&token, context));
                }
                pipeline.commands.push(parser.command()?);
            }
        })
    }

    /// `$x :=`, `$x =`, or `$i, $x :=` of a range.
    fn declarations(&mut self, pipeline: &mut Pipeline, context: &str) -> Result<(), ParseError> {
        loop {
            let variable = self.peek_solid().clone();
            let begin = self.next;
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next();
            let after = self.peek_solid().clone();
            let is_comma = after.kind == Kind::Character && after.text == ",";
            if !is_comma && !matches!(after.kind, Kind::Assign | Kind::Declare) {
                self.next = begin;
                return Ok(());
            }
            self.next();
            pipeline.variables.push(variable.text.clone().into_owned());
            self.variables.push(variable.text.into_owned());
            if !is_comma {
                pipeline.is_assignment = after.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipeline.variables.len() > 1 {
                return Err(self.error(format!("too many declarations in {context}")));
            }
            if !matches!(
                self.peek_solid().kind,
                Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis
            ) {
                return Err(self.error("range can only initialize variables"));
            }
        }
    }

    /// A pipeline has commands, and only the first may be something that cannot take an argument.
    fn check(&self, pipeline: &Pipeline, context: &str) -> Result<(), ParseError> {
        if pipeline.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        let is_constant = |command: &Command| {
            matches!(command.operands[0].term, Term::Dot | Term::Nil | Term::Constant(..))
        };
        match pipeline.commands.iter().skip(1).position(is_constant) {
            Some(stage) => Err(self.error(format!("non executable command in pipeline stage {}", stage + 2))),
            None => Ok(()),
        }
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let mut command = Command { position: self.peek_solid().position, ..Command::default() };
        loop {
            self.peek_solid();
            command.operands.extend(self.operand()?);
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => break,
                _ => self.next(),
            };
            if token.kind == Kind::Pipe {
                break;
            }
            return Err(self.unexpected(&token, "operand"));
        }
        if command.operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(command)
    }

    /// A term and the fields that follow it without a space.
    fn operand(&mut self) -> Result<Option<Operand>, ParseError> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        let position = self.peek().position;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(field_name(&self.next()));
        }
        match &mut operand.term {
            Term::Field(names) | Term::Variable(_, names) => {
                names.append(&mut fields);
                operand.position = position;
            }
            Term::Dot | Term::Nil | Term::Constant(..) => {
                return Err(self.error(format!("unexpected . after term {}", quoted(&operand.to_string()))));
            }
            Term::Function(_) | Term::Parenthesised(_) | Term::Chain(..) => {
                operand = Operand { position, term: Term::Chain(Box::new(operand), fields) };
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>, ParseError> {
        let token = self.peek_solid().clone();
        if !begins_operand(&token) {
            return Ok(None);
        }
        self.next();
        let text = token.text.as_ref();
        let constant = |value: Option<Value>| value.map(|value| Term::Constant(value, text.to_owned()));
        let term = match token.kind {
            Kind::Identifier if (self.is_function)(text) => Term::Function(text.to_owned()),
            Kind::Identifier => return Err(self.error(format!("function {} not defined", quoted(text)))),
            Kind::Dot => Term::Dot,
            Kind::Keyword => Term::Nil,
            Kind::Variable if self.variables.iter().any(|known| known == text) => {
                Term::Variable(text.to_owned(), Vec::new())
            }
            Kind::Variable => return Err(self.error(format!("undefined variable {}", quoted(text)))),
            Kind::Field => Term::Field(vec![field_name(&token)]),
            Kind::Bool => Term::Constant(Value::Bool(text == "true"), text.to_owned()),
            Kind::Number => constant(number::parse(text)).ok_or_else(|| self.error("invalid syntax"))?,
            Kind::CharacterConstant => constant(number::character(text))
                .ok_or_else(|| self.error(format!("malformed character constant: {text}")))?,
            Kind::LeftParenthesis => {
                let pipeline = self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?;
                Term::Parenthesised(Box::new(pipeline))
            }
            _ => constant(unquoted(text).map(Value::from)).ok_or_else(|| self.error("invalid syntax"))?,
        };
        Ok(Some(Operand { position: token.position, term }))
    }
}

fn begins_operand(token: &Token<'_>) -> bool {
    token.is_keyword("nil")
        || matches!(
            token.kind,
            Kind::Bool
                | Kind::CharacterConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawQuoted
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParenthesis
        )
}

fn field_name(token: &Token<'_>) -> String {
    token.text.trim_start_matches('.').to_owned()
}
