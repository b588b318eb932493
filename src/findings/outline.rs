//! Targets of a file and what one of them takes: BuildKit's documents of `frontend.targets` and `frontend.outline`, version
//! 1.0.0, and their texts.

use kiln_frontend::outline::{Argument, Credential, Outline, Target};
use kiln_frontend::source::{Source, Span};
use serde::Serialize;

use super::json::{Location, data, location, to_text};
use crate::ui::{heading, table};

#[derive(Serialize)]
struct OutlineDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgDocument<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<CredentialDocument<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<CredentialDocument<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct ArgDocument<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct CredentialDocument<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

/// Returns the document of an outline.
pub(crate) fn json(source: &Source, outline: &Outline) -> String {
    let place = |span: Span| location(source, span);
    to_text(&OutlineDocument {
        name: outline.name.as_deref(),
        description: outline.description.as_deref(),
        args: outline.arguments.iter().map(|it| argument(it, place(it.span))).collect(),
        secrets: outline.secrets.iter().map(|it| credential(it, place(it.span))).collect(),
        ssh: outline.ssh.iter().map(|it| credential(it, place(it.span))).collect(),
        sources: [data(source)],
    })
}

fn argument(argument: &Argument, location: Location) -> ArgDocument<'_> {
    let Argument { name, description, value, .. } = argument;
    // As in BuildKit, an empty value is none.
    let value = value.as_deref().filter(|value| !value.is_empty());
    ArgDocument { name, description: description.as_deref(), value, location }
}

fn credential(credential: &Credential, location: Location) -> CredentialDocument<'_> {
    CredentialDocument { name: &credential.id, required: credential.is_required, location }
}

/// Returns an outline for people.
pub(crate) fn text(outline: &Outline) -> String {
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        text.push_str(&format!("TARGET:      {}\n", line(name)));
        if let Some(description) = &outline.description {
            text.push_str(&format!("DESCRIPTION: {}\n", line(description)));
        }
        text.push('\n');
    }
    let argument = |argument: &Argument| {
        let cell = |text: &Option<String>| line(text.as_deref().unwrap_or_default());
        vec![line(&argument.name), cell(&argument.value), cell(&argument.description)]
    };
    let credential = |credential: &Credential| {
        let required = if credential.is_required { "true" } else { "" };
        vec![line(&credential.id), required.to_owned()]
    };
    section(&mut text, &["BUILD ARG", "VALUE", "DESCRIPTION"], outline.arguments.iter().map(argument));
    section(&mut text, &["SECRET", "REQUIRED"], outline.secrets.iter().map(credential));
    section(&mut text, &["SSH", "REQUIRED"], outline.ssh.iter().map(credential));
    text
}

fn section(text: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        text.push_str(&table::packed(header, &rows, 3));
        text.push('\n');
    }
}

#[derive(Serialize)]
struct TargetsDocument<'a> {
    targets: Vec<TargetDocument<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct TargetDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

/// Returns the document of targets.
pub(crate) fn targets_json(source: &Source, targets: &[Target<'_>]) -> String {
    to_text(&TargetsDocument {
        targets: targets.iter().map(|it| target(source, it)).collect(),
        sources: [data(source)],
    })
}

fn target<'a>(source: &Source, target: &Target<'a>) -> TargetDocument<'a> {
    TargetDocument {
        name: target.name,
        default: target.is_default,
        description: target.description,
        base: target.base,
        platform: target.platform,
        location: location(source, target.span),
    }
}

/// Returns targets for people.
pub(crate) fn targets_text(targets: &[Target<'_>]) -> String {
    let row = |target: &Target<'_>| {
        let name = match (target.name, target.is_default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.to_owned(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        vec![line(&name), line(target.description.unwrap_or_default())]
    };
    table::packed(&["TARGET", "DESCRIPTION"], &targets.iter().map(row).collect::<Vec<_>>(), 1)
}

/// Returns a text in one line, safe to show.
fn line(text: &str) -> String {
    heading(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use kiln_frontend::outline::targets;
    use kiln_frontend::parse;
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "FROM a AS one\n# two has the result\nFROM --platform=$P one AS two\nRUN \\\n true\n";

    fn sample() -> Outline {
        let argument = |name: &str, value: Option<&str>, description: Option<&str>| Argument {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            description: description.map(str::to_owned),
            span: Span::new(0, 6),
        };
        let span = Span::new(TEXT.find("RUN").unwrap(), TEXT.len() - 1);
        let credential = |id: &str, is_required| Credential { id: id.to_owned(), is_required, span };
        Outline {
            name: Some("two".to_owned()),
            description: Some("has the result".to_owned()),
            arguments: vec![
                argument("VERSION", Some("1.22"), Some("is what is built")),
                argument("X", None, None),
            ],
            secrets: vec![credential("token", true), credential("other", false)],
            ssh: vec![credential("default", false)],
        }
    }

    #[test]
    fn an_outline_reads_as_in_buildx() {
        let expected = "\
TARGET:      two
DESCRIPTION: has the result

BUILD ARG   VALUE   DESCRIPTION
VERSION     1.22    is what is built
X

SECRET   REQUIRED
token    true
other

SSH       REQUIRED
default

";
        assert_eq!(text(&sample()), expected);
        assert_eq!(text(&Outline::default()), "");
    }

    #[test]
    fn targets_read_as_in_buildx() {
        let source = Source::new("Dockerfile", TEXT);
        let parsed = parse(&source);
        let expected = "\
TARGET        DESCRIPTION
one
two (default) has the result
";
        assert_eq!(targets_text(&targets(&parsed.file)), expected);
    }

    #[test]
    fn documents_have_the_fields_of_buildkit() {
        let source = Source::new("Dockerfile", TEXT);
        let parsed = parse(&source);
        let lines = |lines: &[usize]| {
            let range = |line: &usize| json!({ "start": { "line": line }, "end": { "line": line } });
            json!({ "ranges": lines.iter().map(range).collect::<Vec<_>>() })
        };
        let value = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let expected = json!({
            "targets": [
                { "name": "one", "base": "a", "location": lines(&[1]) },
                {
                    "name": "two", "default": true, "description": "has the result", "base": "one",
                    "platform": "$P", "location": lines(&[3]),
                },
            ],
            "sources": [data(&source)],
        });
        assert_eq!(value(targets_json(&source, &targets(&parsed.file))), expected);
        let expected = json!({
            "name": "two",
            "description": "has the result",
            "args": [
                { "name": "VERSION", "description": "is what is built", "value": "1.22", "location": lines(&[1]) },
                { "name": "X", "location": lines(&[1]) },
            ],
            "secrets": [
                { "name": "token", "required": true, "location": lines(&[4, 5]) },
                { "name": "other", "location": lines(&[4, 5]) },
            ],
            "ssh": [{ "name": "default", "location": lines(&[4, 5]) }],
            "sources": [data(&source)],
        });
        assert_eq!(value(json(&source, &sample())), expected);
    }
}
