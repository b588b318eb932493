//! `?key=value&…`.

use super::remote::percent_decoded;
use super::{GitReferenceError, Mtime};

/// Every key, in the order of the manual.
pub const KEYS: [&str; 10] = [
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "submodules",
    "keep-git-dir",
    "mtime",
    "fetch-by-commit",
];

/// What a query says.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// From `ref`, `tag` or `branch`; the latter two as full names.
    pub(super) name: Option<String>,
    pub(super) subdirectory: Option<String>,
    pub(super) checksum: Option<String>,
    pub(super) keep_git_directory: Option<bool>,
    pub(super) submodules: Option<bool>,
    pub(super) mtime: Option<Mtime>,
    pub(super) fetch_by_commit: Option<bool>,
}

pub(super) fn parse(text: &str) -> Result<Query, GitReferenceError> {
    let mut query = Query::default();
    let (mut seen, mut tag, mut branch) = (Vec::new(), None, None);
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value));
        let Some(known) = KEYS.iter().find(|known| **known == key) else {
            return Err(GitReferenceError::UnknownKey { key });
        };
        if seen.contains(known) {
            return Err(GitReferenceError::Repeated { key });
        }
        seen.push(known);
        let is_switch = matches!(*known, "submodules" | "keep-git-dir" | "fetch-by-commit");
        if value.is_empty() && !is_switch {
            return Err(GitReferenceError::NoValue { key });
        }
        match *known {
            "ref" => query.name = Some(value),
            "tag" => tag = Some(full_name("refs/tags/", value)),
            "branch" => branch = Some(full_name("refs/heads/", value)),
            "subdir" => query.subdirectory = Some(value),
            "checksum" | "commit" => {
                query.checksum = merged("checksum", query.checksum.take(), Some(checksum(&value)?))?;
            }
            "submodules" => query.submodules = Some(switch("submodules", value)?),
            "keep-git-dir" => query.keep_git_directory = Some(switch("keep-git-dir", value)?),
            "fetch-by-commit" => query.fetch_by_commit = Some(switch("fetch-by-commit", value)?),
            _ => query.mtime = Some(mtime(value)?),
        }
    }
    query.name = merged("ref", query.name.take(), merged("ref", tag, branch)?)?;
    Ok(query)
}

/// Returns what two parts say.
///
/// # Errors
/// When they say different things.
pub(super) fn merged(
    what: &'static str,
    one: Option<String>,
    other: Option<String>,
) -> Result<Option<String>, GitReferenceError> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(GitReferenceError::Conflict { what, one, other }),
        (one, other) => Ok(one.or(other)),
    }
}

/// Checks the id of a commit, or its beginning.
pub(super) fn checksum(text: &str) -> Result<String, GitReferenceError> {
    let is_id = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(GitReferenceError::Checksum { text: text.to_owned() }),
    }
}

fn full_name(start: &str, name: String) -> String {
    if name.starts_with(start) { name } else { format!("{start}{name}") }
}

/// The words of Go's `strconv.ParseBool`; a key alone is true.
fn switch(key: &'static str, value: String) -> Result<bool, GitReferenceError> {
    match value.as_str() {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(GitReferenceError::Value { key, value, expected: "`true` or `false`" }),
    }
}

fn mtime(value: String) -> Result<Mtime, GitReferenceError> {
    match value.as_str() {
        "checkout" => Ok(Mtime::Checkout),
        "commit" => Ok(Mtime::Commit),
        _ => Err(GitReferenceError::Value { key: "mtime", value, expected: "`checkout` or `commit`" }),
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decoded(&text).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}
