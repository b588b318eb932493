//! `ENV key value` and `LABEL key value`, without `=`.
//!
//! The fix is made only where it is exact: after expansion the value is the same for every value of every variable. The value
//! stays as it is written where it is one word; else it goes between double quotes:
//!
//! | Written | Between double quotes | Because there |
//! |---|---|---|
//! | `"…"` | without its quotes | everything means the same |
//! | `'…'` | `"`, `$` and the escape character escaped | these three have a meaning |
//! | an escape and a character | the same for these three; else the character alone | other characters cannot be escaped |
//! | `$x` before a quote or an escape | `${x}` | the quote no longer ends the name |
//! | `$` alone before a quote or an escape | escaped | it would begin a name |
//! | `${x:-…}` | as it is, if no quote and no escape stands in the value | quotes inside are read by two rules |
//! | `${…` without `}` | not | it would reach over the quote |

use std::iter::Peekable;
use std::str::Chars;

use crate::ast::{Operation, Pair};
use crate::diagnostic::Edit;
use crate::lint::report::Report;
use crate::lint::scene::{Scene, Step};
use crate::lint::{Level, LintRequest, Rule};
use crate::source::Span;
use crate::words::split_quoted;

pub(super) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    summary: "keys and values are separated by `=`, not by a blank",
    level: Level::On,
    page: "legacy-key-value-format.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for step in scene.stages.iter().flat_map(|stage| &stage.steps) {
        let (Operation::Env(pairs) | Operation::Label(pairs)) = &step.instruction.operation else { continue };
        for pair in pairs.iter().filter(|pair| pair.is_legacy) {
            look_at(pair, step, scene.request, report);
        }
    }
}

fn look_at(pair: &Pair, step: &Step<'_>, request: &LintRequest<'_>, report: &mut Report<'_>) {
    let name = step.instruction.keyword.text.to_uppercase();
    let message = format!("`{name} key value` is the old form of `{name} key=value`");
    let mut found = report
        .warning(pair.key.span.cover(pair.value.span), message)
        .with_help("put `=` between them, and quotes around a value with blanks");
    if step.trigger.is_none() {
        found.fix = fix(pair, request).unwrap_or_default();
    }
    report.push(step, found);
}

fn fix(pair: &Pair, request: &LintRequest<'_>) -> Option<Vec<Edit>> {
    let escape = request.file.escape;
    let is_plain = |c: char| !matches!(c, '\'' | '"' | '=') && c != escape && !c.is_whitespace();
    let between = Span::new(pair.key.span.end, pair.value.span.start);
    if !pair.key.text.chars().all(is_plain) {
        return None;
    }
    let value = &pair.value.text;
    let written = rewritten(value, escape)?;
    let edit = |span, replacement: &str| Edit { span, replacement: replacement.to_owned() };
    if written == *value {
        return Some(vec![edit(between, &separator("=", between, request))]);
    }
    let end = Span::new(pair.value.span.end, pair.value.span.end);
    if written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(value) {
        // Continuations and comments between the lines of the value stay where they are.
        return Some(vec![edit(between, &separator("=\"", between, request)), edit(end, "\"")]);
    }
    let is_one_line = request.source.slice(pair.value.span) == value;
    is_one_line
        .then(|| vec![edit(between, &separator("=", between, request)), edit(pair.value.span, &written)])
}

/// Returns what comes between key and value: nothing more, unless there are comments, which stay. The blanks around them go: they
/// would belong to the value.
fn separator(start: &str, between: Span, request: &LintRequest<'_>) -> String {
    let comments = &request.file.comments;
    let first = comments.partition_point(|comment| comment.span.start < between.start);
    if !comments.get(first).is_some_and(|comment| between.contains(comment.span.start)) {
        return start.to_owned();
    }
    let lines = request.source.slice(between).split_inclusive('\n');
    let keep = |line| if is_comment(line) { line } else { line.trim_start() };
    start.to_owned() + &lines.map(keep).collect::<String>()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Returns how a value is written behind `=`, or `None` where that is not certain.
fn rewritten(value: &str, escape: char) -> Option<String> {
    if split_quoted(value, escape).first() == Some(&(0..value.len())) {
        return Some(value.to_owned());
    }
    // A byte order mark is dropped at the start of a word only.
    if value.starts_with('\u{feff}') {
        return None;
    }
    let is_simple = !value.contains(['\'', '"', escape]);
    if is_simple {
        return is_closed(value).then(|| format!("\"{value}\""));
    }
    let mut quoter = Quoter { rest: value.chars().peekable(), escape, quoted: String::from("\"") };
    quoter.value()?;
    quoter.quoted.push('"');
    Some(quoter.quoted)
}

/// Whether every `${` has its brace: else the quote behind the value would be read as a part of it.
fn is_closed(value: &str) -> bool {
    let mut open = 0_usize;
    for (position, character) in value.char_indices() {
        match character {
            '{' if value[..position].ends_with('$') => open += 1,
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    open == 0
}

/// Writes a value with quotes and escapes anew, between double quotes.
struct Quoter<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    quoted: String,
}

impl Quoter<'_> {
    fn value(&mut self) -> Option<()> {
        while let Some(character) = self.rest.next() {
            match character {
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '$' => self.dollar()?,
                // An escape character at the very end stands for nothing.
                _ if character == self.escape => {
                    if let Some(escaped) = self.rest.next() {
                        self.literal(escaped);
                    }
                }
                _ => self.quoted.push(character),
            }
        }
        Some(())
    }

    fn literal(&mut self, character: char) {
        if self.has_meaning(character) {
            self.quoted.push(self.escape);
        }
        self.quoted.push(character);
    }

    /// Tells whether a character has to be escaped between double quotes.
    fn has_meaning(&self, character: char) -> bool {
        matches!(character, '"' | '$') || character == self.escape
    }

    fn single_quoted(&mut self) -> Option<()> {
        loop {
            match self.rest.next()? {
                '\'' => return Some(()),
                character => self.literal(character),
            }
        }
    }

    fn double_quoted(&mut self) -> Option<()> {
        loop {
            match self.rest.next()? {
                '"' => return Some(()),
                '$' => self.dollar()?,
                character => {
                    self.quoted.push(character);
                    if character == self.escape {
                        let escaped = self.rest.peek().copied().filter(|next| self.has_meaning(*next));
                        self.quoted.extend(escaped);
                        self.rest.next_if(|_| escaped.is_some());
                    }
                }
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Option<()> {
        let is_braced = self.rest.next_if_eq(&'{').is_some();
        let name = self.name();
        if is_braced {
            self.rest.next_if_eq(&'}').filter(|_| !name.is_empty())?;
            self.quoted.push_str(&format!("${{{name}}}"));
            return Some(());
        }
        let next = self.rest.peek().copied();
        // Letters beyond ASCII belong to the name too; they are too rare to be worth the care.
        if next.is_some_and(|next| !next.is_ascii()) {
            return None;
        }
        let is_at_border = next.is_some_and(|next| matches!(next, '\'' | '"') || next == self.escape);
        match (is_at_border, name.is_empty()) {
            (false, _) => self.quoted.push_str(&format!("${name}")),
            (true, false) => self.quoted.push_str(&format!("${{{name}}}")),
            (true, true) => self.literal('$'),
        }
        Some(())
    }

    /// A name of ASCII letters, digits and `_`, or of digits, or one of the shell's special characters; else nothing.
    fn name(&mut self) -> String {
        if let Some(special) = self.rest.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            return special.to_string();
        }
        let is_number = self.rest.peek().is_some_and(char::is_ascii_digit);
        let belongs = |c: &char| c.is_ascii_digit() || (!is_number && (c.is_ascii_alphabetic() || *c == '_'));
        std::iter::from_fn(|| self.rest.next_if(belongs)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::fix::tests::check_fixes;
    use crate::lint::tests::{World, check};

    #[test]
    fn a_pair_without_equals_sign_is_found_in_env_and_label() {
        let help = "(put `=` between them, and quotes around a value with blanks)";
        let env = format!("2 a b  c | `ENV key value` is the old form of `ENV key=value` {help}");
        let label = format!("3 a \\\n b | `LABEL key value` is the old form of `LABEL key=value` {help}");
        let trigger = format!("3 FROM b | `ENV key value` is the old form of `ENV key=value` {help}");
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nENV a b  c\nlabel a \\\n b\n", &[&env, &label]),
            ("FROM a\nENV a=b c=d\nLABEL a= \nARG a\n", &[]),
            ("FROM a AS b\nONBUILD ENV a b\nFROM b", &[&trigger]),
        ];
        check("LegacyKeyValueFormat", &World::default(), cases);
    }

    #[test]
    fn the_fix_keeps_the_value_and_is_not_made_where_that_is_not_certain() {
        let cases: &[(&str, &str)] = &[
            ("ENV a b", "ENV a=b"),
            ("ENV a  \t b ", "ENV a=b "),
            ("ENV a b c", "ENV a=\"b c\""),
            ("ENV a b=c", "ENV a=b=c"),
            ("ENV a =b", "ENV a==b"),
            ("ENV a \"b c\"", "ENV a=\"b c\""),
            ("ENV a 'b c' d", "ENV a=\"b c d\""),
            ("ENV a '\"$\\' d", "ENV a=\"\\\"\\$\\\\ d\""),
            ("ENV a b\\ c", "ENV a=b\\ c"),
            ("ENV a b\\ c d", "ENV a=\"b c d\""),
            ("ENV a \\$b \\c \\\\", "ENV a=\"\\$b c \\\\\""),
            ("ENV a $b ${c}", "ENV a=\"$b ${c}\""),
            ("ENV a $b'c' d", "ENV a=\"${b}c d\""),
            ("ENV a $$'c' d", "ENV a=\"${$}c d\""),
            ("ENV a $'c' d", "ENV a=\"\\$c d\""),
            ("ENV a \"$\"c d$", "ENV a=\"\\$c d$\""),
            ("ENV a ${b:-c} d", "ENV a=\"${b:-c} d\""),
            ("ENV a ${b:-'c'} d", "ENV a ${b:-'c'} d"),
            ("ENV a b ${c:-${d}}", "ENV a=\"b ${c:-${d}}\""),
            ("ENV a b ${c:-${d}", "ENV a b ${c:-${d}"),
            ("ENV a } ${", "ENV a } ${"),
            ("ENV a ${b:-c} 'd'", "ENV a ${b:-c} 'd'"),
            ("ENV $a b", "ENV $a=b"),
            ("ENV a\\b c", "ENV a\\b c"),
            ("ENV a\u{a0}b c", "ENV a\u{a0}b c"),
            ("ENV a \u{feff}b c", "ENV a \u{feff}b c"),
            ("ENV a \u{a0}b", "ENV a=\"\u{a0}b\""),
            ("ENV a b c\\\\", "ENV a=\"b c\\\\\""),
            ("LABEL a \\\n  b \\\n  c\nCMD []", "LABEL a=\"b \\\n  c\"\nCMD []"),
            ("ENV a b \\\n# why\n  c \\\n", "ENV a=\"b \\\n# why\n  c\" \\\n"),
            ("ENV a \\\n# why\n  b", "ENV a=\\\n# why\nb"),
            (
                "ENV a \t\\ \r\n  # why\r\n \r\n  \\\r\n\tb \\\r\n# c\r\n  c\r\n",
                "ENV a=\"\\ \r\n  # why\r\n\\\r\nb \\\r\n# c\r\n  c\"\r\n",
            ),
            ("ENV a \\\n# why\n  'b' c", "ENV a=\\\n# why\n\"b c\""),
            ("ENV a 'b' \\\r\n  c", "ENV a 'b' \\\r\n  c"),
            ("ENV a b \\\r\n  c", "ENV a=\"b \\\r\n  c\""),
        ];
        let with_from = |text: &str| format!("FROM a\n{text}");
        for (text, expected) in cases {
            check_fixes("LegacyKeyValueFormat", &[(&with_from(text), &with_from(expected))]);
        }
        check_fixes(
            "LegacyKeyValueFormat",
            &[("# escape=`\nFROM a\nENV a C:\\b `$x\n", "# escape=`\nFROM a\nENV a=\"C:\\b `$x\"\n")],
        );
    }
}
