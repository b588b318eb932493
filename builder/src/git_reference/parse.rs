//! Text → reference.

use super::query::{self, Query};
use super::remote::{Remote, percent_decoded};
use super::{GitReference, GitReferenceError, Mtime, Standing};

/// Longest path of a subdirectory, in bytes: that of Linux.
const PATH_BYTES_MAX: usize = 4096;

pub(super) fn parse(text: &str, standing: Standing) -> Option<Result<GitReference, GitReferenceError>> {
    let parts = Parts::of(text);
    let address = match parts.address {
        address if address.starts_with("github.com/") => {
            (standing == Standing::Context).then(|| format!("https://{address}"))?
        }
        address if address.contains("://") => is_repository_url(address).then(|| address.to_owned())?,
        address => is_secure_copy(address).then(|| address.to_owned())?,
    };
    Some(read(&address, &parts))
}

fn read(address: &str, parts: &Parts<'_>) -> Result<GitReference, GitReferenceError> {
    let query = query::parse(parts.query)?;
    let (name, subdirectory) = fragment(parts.fragment);
    let name = query::merged("ref", name, query.name.clone())?;
    if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
        return Err(GitReferenceError::Name { name: name.to_owned() });
    }
    let subdirectory = query::merged("subdir", subdirectory, query.subdirectory.as_deref().map(clean))?;
    let subdirectory = subdirectory.unwrap_or_default();
    if subdirectory.len() > PATH_BYTES_MAX || subdirectory.contains('\0') {
        let (key, value) = ("subdir", subdirectory);
        return Err(GitReferenceError::Value { key, value, expected: "a path" });
    }
    let Query { checksum, keep_git_directory, submodules, mtime, fetch_by_commit, .. } = query;
    Ok(GitReference {
        remote: Remote::parse(address)?,
        name,
        subdirectory,
        checksum,
        keep_git_directory,
        submodules: submodules.unwrap_or(true),
        mtime: mtime.unwrap_or(Mtime::Checkout),
        fetch_by_commit: fetch_by_commit.unwrap_or(false),
    })
}

/// The three parts of a text: `address?query#fragment`.
struct Parts<'a> {
    address: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        Self { address, query, fragment }
    }
}

fn is_repository_url(address: &str) -> bool {
    let (scheme, rest) = address.split_once("://").unwrap_or((address, ""));
    match scheme.to_ascii_lowercase().as_str() {
        "ssh" | "git" => true,
        "http" | "https" => rest.split_once('/').is_some_and(|(_, path)| path.ends_with(".git")),
        _ => false,
    }
}

/// `user@host:path`, as in BuildKit's `util/sshutil`: without a user it could be a path.
fn is_secure_copy(address: &str) -> bool {
    let is_word = |text: &str, signs: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(&c))
    };
    address.split_once('@').is_some_and(|(user, rest)| {
        is_word(user, &['-', '_'])
            && rest.split_once(':').is_some_and(|(host, path)| is_word(host, &['-', '.']) && !path.is_empty())
    })
}

/// Splits `ref:subdirectory`.
fn fragment(text: &str) -> (Option<String>, Option<String>) {
    let decoded = percent_decoded(text).and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.unwrap_or_else(|| text.to_owned());
    let (name, subdirectory) = text.split_once(':').unwrap_or((&text, ""));
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    (some(name.to_owned()), some(clean(subdirectory)))
}

/// Returns a path without `.`, `..` and doubled slashes, clamped at the root of the repository.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether git could have a ref of this name. What could be taken for an option, a pattern or two names is none.
fn is_name(name: &str) -> bool {
    let has_bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !name.starts_with(['-', '/']) && !name.contains("..") && !name.contains(has_bad)
}
