//! Scripts of RUN, read as far as rules need it: which commands there are, and which of them follow one another whatever
//! becomes of the first. No shell: nothing is expanded, and what cannot be read ends the script early.
//!
//! ```text
//! set -e; a && b | c        for x in 1 2; do d; done
//! └─────┘ └────────┘        └──────────────────────┘   statements; the last is compound
//!         └┘   └┘  └┘                        └┘        commands
//! ```

use std::ops::Range;

/// A script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) statements: Vec<Statement>,
}

impl Script {
    /// Returns all commands, also those inside of loops and the like.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.statements.iter().flat_map(|statement| &statement.commands)
    }
}

/// What stands between two `;` or newlines, outside of loops and the like.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Where it stands in the script.
    pub(crate) range: Range<usize>,
    pub(crate) commands: Vec<Command>,
    /// It holds a loop, a condition, a group, a function.
    pub(crate) is_compound: bool,
    /// It says what happens on failure: `||`, `!`.
    pub(crate) has_alternative: bool,
    /// It ends in `&`.
    pub(crate) is_background: bool,
}

/// A command with its words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Where it stands in the script.
    pub(crate) range: Range<usize>,
    /// Its words without quotes; assignments and redirections among them.
    pub(crate) words: Vec<String>,
}

/// Commands that run another one.
const WRAPPERS: [&str; 6] = ["sudo", "exec", "command", "time", "env", "nice"];

impl Command {
    /// Returns the words behind assignments, `sudo` and the like, the first without its folder.
    pub(crate) fn program(&self) -> Option<(&str, &[String])> {
        let is_prefix = |word: &&String| is_assignment(word) || WRAPPERS.contains(&word.as_str());
        let start = self.words.iter().take_while(is_prefix).count();
        let (first, rest) = self.words[start..].split_first()?;
        Some((first.rsplit('/').next().unwrap_or(first), rest))
    }
}

/// Tells whether a word sets a variable.
pub(crate) fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name.trim_end_matches('+'));
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a script.
pub(crate) fn read(text: &str) -> Script {
    let mut reader = Reader::new(text);
    while reader.step() {}
    reader.end_statement();
    Script { statements: reader.statements }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    statements: Vec<Statement>,
    statement: Statement,
    command: Command,
    /// What is open: loops, conditions, groups.
    open: Vec<&'static str>,
    /// The ends of heredocs whose bodies begin on the next line.
    heredocs: Vec<(String, bool)>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            statements: Vec::new(),
            statement: Statement::default(),
            command: Command::default(),
            open: Vec::new(),
            heredocs: Vec::new(),
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Reads one word or operator; tells whether there was one.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        match first {
            '\n' => self.newline(),
            _ if first.is_whitespace() => self.at += first.len_utf8(),
            '\\' if rest.starts_with("\\\n") => self.at += 2,
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            ';' => {
                self.at += if rest.starts_with(";;") { 2 } else { 1 };
                self.end_part();
            }
            '&' | '|' => self.operator(rest),
            '(' => self.bracket(rest),
            ')' => {
                self.at += 1;
                self.end_command();
                // In `case`, a bracket only ends a pattern.
                if self.open.last() == Some(&"(") {
                    self.open.pop();
                }
            }
            _ => self.word(),
        }
        true
    }

    fn newline(&mut self) {
        self.at += 1;
        for (end, strips_tabs) in std::mem::take(&mut self.heredocs) {
            self.skip_body(&end, strips_tabs);
        }
        self.end_part();
    }

    fn skip_body(&mut self, end: &str, strips_tabs: bool) {
        while !self.rest().is_empty() {
            let rest = self.rest();
            let line = rest.split_inclusive('\n').next().unwrap_or(rest);
            self.at += line.len();
            let line = line.trim_end_matches(['\n', '\r']);
            let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
            if line == end {
                return;
            }
        }
    }

    fn operator(&mut self, rest: &str) {
        let (length, is_alternative, is_background) = match rest.as_bytes() {
            // `&>file` sends output, and `&` does not end the command.
            [b'&', b'>', ..] => {
                self.at += 1;
                return self.word();
            }
            [b'&', b'&', ..] | [b'|', b'&', ..] => (2, false, false),
            [b'|', b'|', ..] => (2, true, false),
            [b'&', ..] => (1, false, true),
            _ => (1, false, false),
        };
        self.at += length;
        self.end_command();
        if !self.open.is_empty() {
            return;
        }
        self.statement.has_alternative |= is_alternative;
        if is_background {
            self.statement.is_background = true;
            self.end_statement();
        } else {
            self.skip_blank_lines();
        }
    }

    /// Behind `&&`, `||` and `|` a statement goes on below.
    fn skip_blank_lines(&mut self) {
        let rest = self.rest();
        if self.heredocs.is_empty() {
            self.at += rest.len() - rest.trim_start().len();
        }
    }

    /// `(`: a group, or the brackets of a function.
    fn bracket(&mut self, rest: &str) {
        self.statement.is_compound = true;
        if !self.command.words.is_empty() {
            let inner = rest[1..].trim_start();
            self.command = Command::default();
            if inner.starts_with(')') {
                self.at += rest.len() - inner.len() + 1;
                return;
            }
        }
        self.at += 1;
        self.open.push("(");
    }

    fn word(&mut self) {
        let start = self.at;
        let word = self.scan_word();
        if self.at == start {
            // Nothing that a word may begin with: read on behind it.
            self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            return;
        }
        if self.command.words.is_empty() {
            self.begin_statement(start);
            if self.keyword(&word) {
                return;
            }
            self.command.range.start = start;
        }
        self.note_heredoc(&word);
        self.command.words.push(word);
        self.command.range.end = self.at;
        self.statement.range.end = self.at;
    }

    fn begin_statement(&mut self, at: usize) {
        let is_new =
            self.statement.commands.is_empty() && !self.statement.is_compound && self.open.is_empty();
        if is_new && !self.statement.has_alternative {
            self.statement.range = at..at;
        }
    }

    /// Takes a word with a meaning of its own where a command may begin.
    fn keyword(&mut self, word: &str) -> bool {
        let opened = match word {
            "if" => "if",
            "for" | "while" | "until" | "select" => "loop",
            "case" => "case",
            "{" => "{",
            "!" => {
                self.statement.has_alternative |= self.open.is_empty();
                return true;
            }
            "then" | "elif" | "else" | "do" => {
                self.statement.is_compound = true;
                return true;
            }
            "function" => {
                self.statement.is_compound = true;
                self.skip_blanks();
                self.scan_word();
                return true;
            }
            "fi" | "done" | "esac" | "}" => {
                self.open.pop();
                self.statement.range.end = self.at;
                return true;
            }
            _ => return false,
        };
        self.statement.is_compound = true;
        self.open.push(opened);
        true
    }

    /// Reads a word, quotes taken away.
    fn scan_word(&mut self) -> String {
        let mut word = String::new();
        while let Some(character) = self.rest().chars().next() {
            match character {
                '\'' => self.scan_quoted(&mut word),
                '"' => self.scan_nested(&mut word, '"'),
                '`' => self.scan_nested(&mut word, '`'),
                '$' if self.rest().starts_with("$(") || self.rest().starts_with("${") => {
                    self.scan_substitution(&mut word);
                }
                '\\' => {
                    self.at += 1;
                    let escaped = self.rest().chars().next();
                    self.at += escaped.map_or(0, char::len_utf8);
                    word.extend(escaped.filter(|c| *c != '\n'));
                }
                '>' | '<' => {
                    word.push(character);
                    self.at += 1;
                    // `>&2` and `<(…)` belong to the word.
                    if let Some(next) = self.rest().chars().next().filter(|c| matches!(c, '&' | '(')) {
                        match next {
                            '(' => self.scan_substitution(&mut word),
                            _ => {
                                word.push(next);
                                self.at += 1;
                            }
                        }
                    }
                }
                ';' | '&' | '|' | '(' | ')' => break,
                _ if character.is_whitespace() => break,
                _ => {
                    word.push(character);
                    self.at += character.len_utf8();
                }
            }
        }
        word
    }

    fn scan_quoted(&mut self, word: &mut String) {
        let inner = &self.rest()[1..];
        let end = inner.find('\'').unwrap_or(inner.len());
        word.push_str(&inner[..end]);
        self.at += 1 + (end + 1).min(inner.len());
    }

    fn scan_nested(&mut self, word: &mut String, quote: char) {
        let start = self.at + 1;
        self.at = start;
        while let Some(character) = self.rest().chars().next() {
            match character {
                _ if character == quote => break,
                '\\' => self.at += 1 + self.rest()[1..].chars().next().map_or(0, char::len_utf8),
                '$' if self.rest().starts_with("$(") => self.scan_substitution(&mut String::new()),
                _ => self.at += character.len_utf8(),
            }
        }
        word.push_str(&self.text[start..self.at]);
        self.at += usize::from(!self.rest().is_empty());
    }

    /// Skips `$(…)`, `${…}` or `(…)` with all brackets in it, but those that end patterns of a `case`.
    fn scan_substitution(&mut self, word: &mut String) {
        let start = self.at;
        let text = self.rest();
        let mut brackets = Brackets::default();
        for (at, character) in text.char_indices() {
            self.at = start + at + character.len_utf8();
            let is_word = character.is_ascii_alphanumeric() || character == '_';
            if !is_word {
                brackets.end_word(&text[brackets.word..at]);
                brackets.word = at + character.len_utf8();
            }
            if brackets.closes(character) {
                break;
            }
        }
        word.push_str(&self.text[start..self.at]);
    }

    fn note_heredoc(&mut self, word: &str) {
        let Some((_, mark)) = word.split_once("<<") else { return };
        let (strips_tabs, mark) = mark.strip_prefix('-').map_or((false, mark), |mark| (true, mark));
        if mark.starts_with('<') {
            return;
        }
        let mark = if mark.is_empty() {
            self.skip_blanks();
            self.scan_word()
        } else {
            mark.to_owned()
        };
        self.heredocs.push((mark, strips_tabs));
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// A `;` or a newline: the end of a statement, unless something is open.
    fn end_part(&mut self) {
        self.end_command();
        if self.open.is_empty() {
            self.end_statement();
        }
    }

    fn end_command(&mut self) {
        let command = std::mem::take(&mut self.command);
        if !command.words.is_empty() {
            self.statement.commands.push(command);
        }
    }

    fn end_statement(&mut self) {
        self.end_command();
        let statement = std::mem::take(&mut self.statement);
        if !statement.commands.is_empty() || statement.is_compound {
            self.statements.push(statement);
        }
    }
}

/// What is open inside of a substitution.
#[derive(Default)]
struct Brackets {
    depth: usize,
    quote: Option<char>,
    /// How deep each open `case` stands.
    cases: Vec<usize>,
    /// Where the current word begins.
    word: usize,
}

impl Brackets {
    fn end_word(&mut self, word: &str) {
        match word {
            "case" if self.quote.is_none() => self.cases.push(self.depth),
            "esac" if self.quote.is_none() => drop(self.cases.pop()),
            _ => {}
        }
    }

    /// Takes a character; tells whether it closes all that was open.
    fn closes(&mut self, character: char) -> bool {
        match character {
            _ if self.quote == Some(character) => self.quote = None,
            '\'' | '"' if self.quote.is_none() => self.quote = Some(character),
            '(' | '{' if self.quote != Some('\'') => self.depth += 1,
            ')' if self.cases.last() == Some(&self.depth) => {}
            ')' | '}' if self.quote != Some('\'') => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests;
