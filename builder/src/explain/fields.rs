//! Two portraits of a step, compared: the fields of their keys as things that people know.
//!
//! Fields that come several times (words of a command, patterns) are one thing; what belongs to a mount has the mount's name, and is
//! told of a mount that both have. What is told is text for a line: control characters are escaped in it.
//! Inputs are told apart by what they are for, so that a source that is written otherwise is that one change, and not also the
//! files that it stands for.

use std::collections::BTreeMap;

use super::{Change, Portrait};

/// Longest value that is shown, in characters; of a longer one what differs.
const SHOWN_MAX: usize = 60;
/// So much is shown before what differs.
const BEFORE_MAX: usize = 20;

/// What differs between two portraits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is the step's own.
    pub changes: Vec<Change>,
    /// The inputs that are for the same and are others: the place in the earlier one's, in the later one's, and what for.
    pub inputs: Vec<(usize, usize, String)>,
}

/// Returns what differs between two portraits of a step.
pub fn difference(before: &Portrait, after: &Portrait) -> Difference {
    let (earlier, later) = (Items::of(before), Items::of(after));
    let mut difference = Difference::default();
    let names =
        later.texts.keys().chain(earlier.texts.keys().filter(|name| !later.texts.contains_key(*name)));
    for name in names {
        let (was, is) = (earlier.texts.get(name), later.texts.get(name));
        if was != is {
            difference.changes.push(change(name, was, is));
        }
    }
    for (name, is) in &later.options {
        if let Some(was) = earlier.options.get(name).filter(|was| *was != is) {
            difference.changes.push(change(name, Some(was), Some(is)));
        }
    }
    for (name, (place, value)) in &later.inputs {
        if let Some((other, was)) = earlier.inputs.get(name)
            && was != value
        {
            difference.inputs.push((*other, *place, escaped(name)));
        }
    }
    let is_told = !difference.changes.is_empty() || !difference.inputs.is_empty();
    if !is_told && before.fields != after.fields {
        difference.changes.push(Change { what: "order of the inputs".to_owned(), before: None, after: None });
    }
    difference.changes.dedup();
    difference
}

fn change(name: &str, was: Option<&String>, is: Option<&String>) -> Change {
    let (before, after) = match (was, is) {
        (Some(was), Some(is)) => {
            let (was, is) = excerpts(was, is);
            (Some(was), Some(is))
        }
        (was, is) => (was.map(|text| excerpt(text, 0)), is.map(|text| excerpt(text, 0))),
    };
    Change { what: escaped(name), before, after }
}

/// Returns a text without characters that act on a terminal or break its line.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}

/// Returns both texts, or of long ones the part around the first difference.
fn excerpts(was: &str, is: &str) -> (String, String) {
    if was.chars().count().max(is.chars().count()) <= SHOWN_MAX {
        return (excerpt(was, 0), excerpt(is, 0));
    }
    let shared = was.chars().zip(is.chars()).take_while(|(one, other)| one == other).count();
    let from = shared.saturating_sub(BEFORE_MAX);
    (excerpt(was, from), excerpt(is, from))
}

fn excerpt(text: &str, from: usize) -> String {
    let mut rest = text.chars().skip(from);
    let part: String = rest.by_ref().take(SHOWN_MAX).collect();
    let (before, after) = (if from > 0 { "…" } else { "" }, if rest.next().is_some() { "…" } else { "" });
    if part.is_empty() && from == 0 {
        return "(nothing)".to_owned();
    }
    format!("{before}{}{after}", escaped(&part))
}

/// The fields of a portrait, by what they are for.
#[derive(Debug, Default)]
struct Items {
    texts: BTreeMap<String, String>,
    /// What belongs to mounts. One that is new or gone is told by its target alone.
    options: BTreeMap<String, String>,
    inputs: BTreeMap<String, (usize, Vec<u8>)>,
    /// Inputs so far; the first is the parent.
    reads: usize,
    /// The mount, source or text that the next fields belong to.
    subject: String,
    /// The kind of that mount.
    mount_kind: String,
}

impl Items {
    fn of(portrait: &Portrait) -> Self {
        let mut items = Self::default();
        let mut words = Vec::new();
        for (name, value) in &portrait.fields {
            let text = || String::from_utf8_lossy(value).into_owned();
            match name.as_str() {
                "argument" => words.push(text()),
                "variable" => items.variable(&text(), portrait),
                "parent" => items.input("step before", 0, value),
                _ => items.field(name, value),
            }
        }
        if let Some((command, shell)) = words.split_last() {
            items.put("shell", &shell.join(" "));
            items.put("command", command);
        }
        items
    }

    fn variable(&mut self, text: &str, portrait: &Portrait) {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let is_argument = portrait.arguments.iter().any(|argument| argument == name);
        match (name, is_argument) {
            // The time of files has the same value under the same name.
            ("SOURCE_DATE_EPOCH", false) => {}
            (_, true) => self.put(&format!("build argument {name}"), value),
            (_, false) => self.put(&format!("environment variable {name}"), value),
        }
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        let yes = || if value == [1] { "yes" } else { "no" }.to_owned();
        let number = || {
            format!("{}", i128::from(value.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))))
        };
        match name {
            "key" => {}
            "op" => self.put("kind of step", &text()),
            "format" => self.put("kiln itself: format of keys", &number()),
            "tar" => self.put("kiln itself: format of layers", &number()),
            "compressor" => self.put("kiln itself: format of compression", &number()),
            "compression" => self.put("compression", &text()),
            "epoch" => self.put("SOURCE_DATE_EPOCH", &if value == b"preserve" { text() } else { number() }),
            "shm size" => self.put("--shm-size", &number()),
            "link" | "parents" => self.put(&format!("--{name}"), &yes()),
            "owner" => self.put("--chown", &text()),
            "mode" => self.put("--chmod", &text()),
            "network" => self.put("--network", &text()),
            "exclude" => self.put("--exclude", &text()),
            "unpack" => self.put("--unpack", &text()),
            "extra host" => self.put("--add-host", &text()),
            "limit" => self.put("--ulimit", &text()),
            "mount" => {
                self.subject = format!("mount {}", text());
                self.put("mounts", &text());
            }
            "mount kind" => {
                self.mount_kind = text();
                self.option("kind", &text());
            }
            "mount source" => self.option("source", &text()),
            "mount options" => {
                for (name, value) in mount_options(&self.mount_kind, &text()) {
                    self.option(name, value);
                }
            }
            "source" => {
                self.subject = format!("COPY {}", text());
                self.put("source", &text());
            }
            "inline" => {
                self.subject = format!("heredoc {}", text());
                self.put("source", &text());
            }
            "remote" => {
                self.subject = format!("remote file {}", self.reads + 1);
                self.put("source", "a remote file");
            }
            "text" => self.put(&self.subject.clone(), &text()),
            "files" | "mount content" => {
                self.reads += 1;
                self.input(&self.subject.clone(), self.reads, value);
            }
            other => self.put(other, &text()),
        }
    }

    fn put(&mut self, name: &str, text: &str) {
        join(&mut self.texts, name, text);
    }

    fn option(&mut self, name: &str, text: &str) {
        join(&mut self.options, &format!("{} {name}", self.subject), text);
    }

    fn input(&mut self, name: &str, place: usize, value: &[u8]) {
        self.inputs.entry(name.to_owned()).or_insert_with(|| (place, value.to_vec()));
    }
}

/// Adds a value; what comes several times is one value.
fn join(values: &mut BTreeMap<String, String>, name: &str, text: &str) {
    match values.get_mut(name) {
        Some(known) => {
            known.push_str(", ");
            known.push_str(text);
        }
        None => {
            values.insert(name.to_owned(), text.to_owned());
        }
    }
}

/// Takes apart what [`describe`](crate::plan::key::describe) says of a mount in one field, from the end: an id may hold spaces. A text
/// that another kiln wrote is what it is.
fn mount_options<'a>(kind: &str, text: &'a str) -> Vec<(&'static str, &'a str)> {
    let names: &[&str] = match kind {
        "cache" => &["gid", "uid", "mode", "readonly", "sharing", "id"],
        "secret" => &["gid", "uid", "mode", "required", "env", "id"],
        "ssh" => &["gid", "uid", "mode", "required", "id"],
        "tmpfs" => &["size"],
        _ => &["options"],
    };
    let values: Vec<&str> = text.rsplitn(names.len(), ' ').collect();
    match values.len() == names.len() {
        true => names.iter().copied().zip(values.into_iter().map(without_some)).collect(),
        false => vec![("options", text)],
    }
}

/// Of a value that may be absent, the value: nothing, or what stands in `Some(…)`.
fn without_some(text: &str) -> &str {
    let inner = text.strip_prefix("Some(").and_then(|text| text.strip_suffix(')'));
    match inner {
        Some(inner) => inner.trim_matches('"'),
        None if text == "None" => "",
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portrait(fields: &[(&str, &str)]) -> Portrait {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        Portrait::new(fields.collect(), Vec::new(), vec!["VERSION".to_owned()])
    }

    fn said(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let difference = difference(&portrait(before), &portrait(after));
        let changes = difference.changes.iter().map(ToString::to_string);
        let inputs = difference.inputs.iter().map(|(was, is, what)| format!("{what} {was}/{is}"));
        changes.chain(inputs).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn fields_are_told_in_words_that_people_know() {
        let long = "x".repeat(100);
        for (before, after, expected) in [
            (
                &[("variable", "VERSION=1")][..],
                &[("variable", "VERSION=2")][..],
                "build argument VERSION 1→2",
            ),
            (&[("variable", "A=1")], &[("variable", "A=")], "environment variable A 1→(nothing)"),
            (&[], &[("variable", "A=1")], "environment variable A added: 1"),
            (
                &[("argument", "sh"), ("argument", "a")],
                &[("argument", "sh"), ("argument", "b")],
                "command a→b",
            ),
            (
                &[("argument", "sh"), ("argument", "a")],
                &[("argument", "ash"), ("argument", "a")],
                "shell sh→ash",
            ),
            (&[("exclude", "a"), ("exclude", "b")], &[("exclude", "a")], "--exclude a, b→a"),
            (&[("owner", "")], &[("owner", "1:2")], "--chown (nothing)→1:2"),
            (
                &[("mount", "/m"), ("mount kind", "cache"), ("mount options", "an id shared false 755 0 0")],
                &[("mount", "/m"), ("mount kind", "cache"), ("mount options", "an id locked false 700 0 0")],
                "mount /m mode 755→700; mount /m sharing shared→locked",
            ),
            (
                &[("mount", "/m"), ("mount source", "/a"), ("mount", "/m"), ("mount source", "/b")],
                &[("mount", "/m"), ("mount source", "/c"), ("mount", "/m"), ("mount source", "/b")],
                "mount /m source /a, /b→/c, /b",
            ),
            (
                &[("mount", "/m"), ("mount kind", "tmpfs"), ("mount options", "None")],
                &[("mount", "/m"), ("mount kind", "tmpfs"), ("mount options", "Some(64)")],
                "mount /m size (nothing)→64",
            ),
            (
                &[("mount", "/m"), ("mount kind", "secret"), ("mount options", "i None true 400 0 0")],
                &[("mount", "/m"), ("mount kind", "secret"), ("mount options", "i Some(\"A\") true 400 0 0")],
                "mount /m env (nothing)→A",
            ),
            (&[], &[("mount", "/m"), ("mount kind", "tmpfs"), ("mount options", "None")], "mounts added: /m"),
            (
                &[("mount", "/\u{1b}\n"), ("mount kind", "bind ro"), ("mount source", "/\r")],
                &[("mount", "/\u{1b}\n"), ("mount kind", "bind ro"), ("mount source", "/\t")],
                "mount /\\u{1b}\\n source /\\r→/\\t",
            ),
            (&[("tar", "\u{1}")], &[("tar", "\u{2}")], "kiln itself: format of layers 1→2"),
            (&[("parent", "a")], &[("parent", "b")], "step before 0/0"),
            (
                &[("source", "src/"), ("files", "1")],
                &[("source", "lib/"), ("files", "2")],
                "source src/→lib/",
            ),
            (&[("source", "src/"), ("files", "1")], &[("source", "src/"), ("files", "2")], "COPY src/ 1/1"),
            (
                &[("variable", "A=1"), ("variable", "B=2")],
                &[("variable", "B=2"), ("variable", "A=1")],
                "order of the inputs changed",
            ),
            (
                &[("text", &*format!("{long}\na"))],
                &[("text", &*format!("{long}\nb"))],
                " …xxxxxxxxxxxxxxxxxxx\\na→…xxxxxxxxxxxxxxxxxxx\\nb",
            ),
        ] {
            assert_eq!(said(before, after), expected, "{before:?} {after:?}");
        }
    }
}
