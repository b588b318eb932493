//! Names of stages, contexts and images, and absolute paths.

use std::collections::BTreeMap;

use kiln_oci::{Platform, Reference};

use crate::request::NamedContext;

/// Returns the context that `name` stands for: first the one for the platform (`name::platform`), then the one for all.
/// `scratch` and `context` have a meaning of their own and are never replaced.
pub(super) fn named_context<'a>(
    contexts: &'a BTreeMap<String, NamedContext>,
    name: &str,
    platform: &Platform,
) -> Option<(&'a str, &'a NamedContext)> {
    if ["scratch", "context"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return None;
    }
    let find = |wanted: &str| contexts.iter().find(|(key, _)| normalized(key) == wanted);
    let short = normalized(name);
    let found = find(&format!("{short}::{platform}")).or_else(|| find(&short));
    found.map(|(key, context)| (key.as_str(), context))
}

/// Returns the form in which names of contexts are compared: familiar, and without `:latest`.
fn normalized(name: &str) -> String {
    let (name, platform) = match name.split_once("::") {
        Some((name, platform)) => (name, Some(platform)),
        None => (name, None),
    };
    let familiar =
        name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar());
    let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    match platform {
        Some(platform) => format!("{short}::{platform}"),
        None => short.to_owned(),
    }
}

/// Returns `path` as seen from `directory`: absolute, cleaned, with a final `/` if `path` has one or names a directory by
/// `.` at its end.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let names_directory = path.is_empty() || path.ends_with('/') || path == "." || path.ends_with("/.");
    let cleaned = clean(&joined);
    if names_directory && cleaned != "/" { format!("{cleaned}/") } else { cleaned }
}

/// Returns the working directory that `written` means where `current` is in force. As in BuildKit, only a relative one is
/// cleaned: an absolute one is kept as it is written, and nothing at all keeps the current one.
pub(super) fn working_directory(current: &str, written: &str) -> String {
    let current = if current.starts_with('/') { current.to_owned() } else { clean(current) };
    match written {
        "" => current,
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => clean(&format!("{current}/{relative}")),
    }
}

/// Returns an absolute path without `.`, `..` and doubled slashes, clamped at the root.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (directory, path, expected) in [
            ("/", "a", "/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", ".", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "", "/w/"),
            ("/", ".", "/"),
            ("/w", "/a//b/../c", "/a/c"),
            ("/w", "../../../x", "/x"),
            ("/w", "a/.", "/w/a/"),
        ] {
            assert_eq!(absolute(directory, path), expected, "{directory} {path}");
        }
    }

    #[test]
    fn a_working_directory_is_cleaned_where_it_is_relative() {
        for (current, written, expected) in [
            ("", "", "/"),
            ("", "a", "/a"),
            ("/w/", "", "/w/"),
            ("/w//x/", ".", "/w/x"),
            ("/w/", "a//b/", "/w/a/b"),
            ("/w", "/a/../b/", "/a/../b/"),
            ("/w", "..", "/"),
            ("w/", "", "/w"),
            ("w", "w", "/w/w"),
        ] {
            assert_eq!(working_directory(current, written), expected, "{current} {written}");
        }
    }

    #[test]
    fn contexts_are_found_by_familiar_name_and_by_platform() {
        let context = |name: &str| NamedContext::Image(name.parse().unwrap());
        let contexts = BTreeMap::from([
            ("alpine".to_owned(), context("one")),
            ("debian::linux/arm64".to_owned(), context("two")),
            ("base".to_owned(), context("three")),
            ("scratch".to_owned(), context("four")),
        ]);
        let find = |name: &str, platform: &str| {
            named_context(&contexts, name, &platform.parse().unwrap()).map(|(name, _)| name.to_owned())
        };
        assert_eq!(find("docker.io/library/alpine:latest", "linux/amd64").as_deref(), Some("alpine"));
        assert_eq!(find("alpine:3", "linux/amd64"), None);
        assert_eq!(find("debian", "linux/arm64").as_deref(), Some("debian::linux/arm64"));
        assert_eq!(find("debian", "linux/amd64"), None);
        assert_eq!(find("base", "linux/amd64").as_deref(), Some("base"));
        assert_eq!(find("Scratch", "linux/amd64"), None);
    }
}
