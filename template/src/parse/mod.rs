//! From tokens to trees, by the rules and with the words of Go's `text/template/parse/parse.go`.

mod pipeline;

use std::collections::BTreeMap;

use crate::ParseError;
use crate::lex::{Kind, Token, tokens};
use crate::tree::{Branch, Closing, Node};

/// How deep blocks and parentheses may stand in each other.
const NESTING_MAX: usize = 64;

/// The templates of a source: the whole under its name, and what `define` and `block` add.
pub(crate) type Trees = BTreeMap<String, Vec<Node>>;

/// Reads a template. `is_function` says which functions there are.
pub(crate) fn parse(
    name: &str,
    source: &str,
    is_function: &dyn Fn(&str) -> bool,
) -> Result<Trees, ParseError> {
    let mut parser = Parser {
        name,
        tokens: tokens(source),
        next: 0,
        is_function,
        variables: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        action_line: 0,
        trees: Trees::new(),
    };
    let mut list = Vec::new();
    while parser.peek().kind != Kind::End {
        let begin = parser.next;
        if parser.next().kind == Kind::LeftDelimiter && parser.next_solid().is_keyword("define") {
            parser.definition()?;
            continue;
        }
        parser.next = begin;
        match parser.text_or_action()? {
            Item::Node(node) => list.push(node),
            Item::Closing(closing) => return Err(parser.error(format!("unexpected {closing}"))),
        }
    }
    parser.add(name.to_owned(), list)?;
    Ok(parser.trees)
}

/// What stands at one place of a list.
enum Item {
    Node(Node),
    Closing(Closing),
}

struct Parser<'a> {
    name: &'a str,
    tokens: Vec<Token<'a>>,
    /// The next token.
    next: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    /// The variables that can be seen.
    variables: Vec<String>,
    /// How many `range` are open.
    ranges: usize,
    depth: usize,
    /// The line on which the action began that is being read; 0 outside.
    action_line: usize,
    trees: Trees,
}

impl<'a> Parser<'a> {
    /// Returns the next token. The last one, an end or an error, is returned again and again.
    fn peek(&self) -> &Token<'a> {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Returns the next token that is no space.
    fn next_solid(&mut self) -> Token<'a> {
        self.peek_solid();
        self.next()
    }

    /// Passes spaces.
    fn peek_solid(&mut self) -> &Token<'a> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    /// Returns an error at the token that was read last.
    fn error(&self, reason: impl Into<String>) -> ParseError {
        let last = self.next.saturating_sub(1).min(self.tokens.len() - 1);
        ParseError { name: self.name.to_owned(), line: self.tokens[last].line, reason: reason.into() }
    }

    fn unexpected(&self, token: &Token<'_>, context: &str) -> ParseError {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {token} in {context}"));
        }
        let started = format!("started at {}:{}", self.name, self.action_line);
        match self.action_line != 0 && self.action_line != token.line {
            true if token.text.ends_with(" action") => self.error(format!("{token} {started}")),
            true => self.error(format!("{token} in action {started}")),
            false => self.error(token.to_string()),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'a>, ParseError> {
        let token = self.next_solid();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    /// Does something one level deeper.
    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(
                self.error(format!("more than {NESTING_MAX} actions and parentheses stand in each other"))
            );
        }
        let result = work(self);
        self.depth -= 1;
        result
    }

    /// Keeps a template. An empty one gives way to another of its name.
    fn add(&mut self, name: String, list: Vec<Node>) -> Result<(), ParseError> {
        let is_empty = |list: &[Node]| {
            list.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.trees.get(&name) {
            Some(before) if !is_empty(before) && !is_empty(&list) => Err(self
                .error(format!("template: multiple definition of template {}", crate::quote::quoted(&name)))),
            Some(before) if !is_empty(before) => Ok(()),
            _ => {
                self.trees.insert(name, list);
                Ok(())
            }
        }
    }

    /// `{{define "name"}} … {{end}}`, whose keyword has been read. It sees no variables from outside.
    fn definition(&mut self) -> Result<(), ParseError> {
        let name = self.template_name("define clause")?;
        self.expect(Kind::RightDelimiter, "define clause")?;
        let list = self.body("define clause")?;
        self.add(name, list)
    }

    /// The list of a template of its own, to its `end`.
    fn body(&mut self, context: &str) -> Result<Vec<Node>, ParseError> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (list, closing) = self.deeper(Self::list)?;
        (self.variables, self.ranges) = (variables, ranges);
        match closing {
            Closing::End => Ok(list),
            Closing::Else => Err(self.error(format!("unexpected {closing} in {context}"))),
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, Closing), ParseError> {
        let mut list = Vec::new();
        while self.peek_solid().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                Item::Closing(closing) => return Ok((list, closing)),
            }
        }
        self.next();
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Item, ParseError> {
        let token = self.next_solid();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into_owned()))),
            Kind::LeftDelimiter => {
                self.action_line = token.line;
                let item = self.action()?;
                self.action_line = 0;
                Ok(item)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, ParseError> {
        let begin = self.next;
        let token = self.next_solid();
        let keyword = if token.kind == Kind::Keyword { token.text.as_ref() } else { "" };
        let node = match keyword {
            "end" => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::Closing(Closing::End));
            }
            "else" => {
                // `{{else if …}}` and `{{else with …}}` go on with what follows.
                if !self.peek_solid().is_keyword("if") && !self.peek_solid().is_keyword("with") {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Item::Closing(Closing::Else));
            }
            "if" => Node::If(self.control("if")?),
            "with" => Node::With(self.control("with")?),
            "range" => Node::Range(self.control("range")?),
            "block" => self.block()?,
            "template" => self.template()?,
            "break" => self.leave("{{break}}", Node::Break)?,
            "continue" => self.leave("{{continue}}", Node::Continue)?,
            _ => {
                self.next = begin;
                self.peek_solid();
                Node::Action(self.pipeline("command", Kind::RightDelimiter)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn leave(&mut self, shown: &str, node: Node) -> Result<Node, ParseError> {
        self.expect(Kind::RightDelimiter, shown)?;
        if self.ranges == 0 {
            return Err(self.error(format!("{shown} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    fn control(&mut self, word: &str) -> Result<Branch, ParseError> {
        let seen = self.variables.len();
        let branch = self.deeper(|parser| parser.branch(word));
        self.variables.truncate(seen);
        branch
    }

    fn branch(&mut self, word: &str) -> Result<Branch, ParseError> {
        let is_range = usize::from(word == "range");
        let pipeline = self.pipeline(word, Kind::RightDelimiter)?;
        self.ranges += is_range;
        let (list, closing) = self.list()?;
        self.ranges -= is_range;
        if closing == Closing::End {
            return Ok(Branch { pipeline, list, otherwise: None });
        }
        let chained = self.peek().clone();
        if word != "range" && chained.is_keyword(word) {
            self.next();
            let branch = self.control(word)?;
            let node = if word == "if" { Node::If(branch) } else { Node::With(branch) };
            return Ok(Branch { pipeline, list, otherwise: Some(vec![node]) });
        }
        let (otherwise, closing) = self.list()?;
        match closing {
            Closing::End => Ok(Branch { pipeline, list, otherwise: Some(otherwise) }),
            Closing::Else => Err(self.error(format!("expected end; found {closing}"))),
        }
    }

    /// `{{block "name" pipeline}} … {{end}}`: a template that is defined and used.
    fn block(&mut self) -> Result<Node, ParseError> {
        let position = self.peek_solid().position;
        let name = self.template_name("block clause")?;
        let pipeline = self.pipeline("block clause", Kind::RightDelimiter)?;
        let list = self.body("block clause")?;
        self.add(name.clone(), list)?;
        Ok(Node::Template { position, name, pipeline: Some(pipeline) })
    }

    fn template(&mut self) -> Result<Node, ParseError> {
        let position = self.peek_solid().position;
        let name = self.template_name("template clause")?;
        if self.peek_solid().kind == Kind::RightDelimiter {
            self.next();
            return Ok(Node::Template { position, name, pipeline: None });
        }
        let pipeline = self.pipeline("template clause", Kind::RightDelimiter)?;
        Ok(Node::Template { position, name, pipeline: Some(pipeline) })
    }

    fn template_name(&mut self, context: &str) -> Result<String, ParseError> {
        let token = self.next_solid();
        match token.kind {
            Kind::Quoted | Kind::RawQuoted => {
                crate::quote::unquoted(&token.text).ok_or_else(|| self.error("invalid syntax"))
            }
            _ => Err(self.unexpected(&token, context)),
        }
    }
}
