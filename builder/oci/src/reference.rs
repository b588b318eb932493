//! Image names: `[domain[:port]/]path[:tag][@digest]`.
//!
//! The grammar and the defaults are Docker's (`distribution/reference`): the first component is a domain only if it contains
//! `.` or `:`, is `localhost`, or has an upper-case letter; else the domain is `docker.io`, and a single component there
//! lies below `library/`. What is wrong is said in Docker's words where it has some, for scripts that look for them.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A parsed image name in canonical form. Ordered by its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: invalid reference format: {reason}")]
pub struct ReferenceError {
    /// The text as given, with control characters escaped.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const REPOSITORY_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;

impl Reference {
    /// Returns the registry's name, with port if it has one: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository within the registry: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if one is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if one is named. Where tag and digest are, the digest decides.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns this name with the tag `latest` where it names neither tag nor digest.
    pub fn or_latest(&self) -> Self {
        match (&self.tag, self.digest) {
            (None, None) => self.with_tag("latest").expect("`latest` is a valid tag"),
            _ => self.clone(),
        }
    }

    /// Returns the same repository with another tag and no digest.
    ///
    /// # Errors
    /// [`ReferenceError`] when `tag` is not a valid tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag).map_err(|reason| ReferenceError { text: printable(tag), reason })?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns the same repository, without a tag, at `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the short form that people write: `debian:12` for `docker.io/library/debian:12`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.write_suffix(&mut text).expect("writing to a string cannot fail");
        text
    }

    /// Returns the short form without tag and digest: `debian`.
    pub fn familiar_name(&self) -> String {
        match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            (DEFAULT_REGISTRY, Some(name)) if !name.contains('/') => name.to_owned(),
            (DEFAULT_REGISTRY, _) => self.repository.clone(),
            _ => format!("{}/{}", self.registry, self.repository),
        }
    }

    fn write_suffix(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(out, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: printable(text), reason })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("repository name must have at least one component".to_owned());
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            (name, Some(digest.parse().map_err(|error: crate::DigestError| error.to_string())?))
        }
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"));
    }
    let (registry, repository) = split_domain(name);
    check_domain(&registry)?;
    check_repository(&repository)?;
    Ok(Reference { registry, repository, tag: tag.map(str::to_owned), digest })
}

fn split_domain(name: &str) -> (String, String) {
    let is_domain = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase())
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        return (registry.to_owned(), format!("library/{repository}"));
    }
    (registry.to_owned(), repository.to_owned())
}

fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (
            address,
            Some(port.strip_prefix(':').ok_or("characters follow the `]` of the registry's address")?),
        ),
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err()) {
        return Err(format!("the port of registry `{}` is not a number up to 65535", printable(domain)));
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_v6 = domain.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_v6 && !host.split('.').all(label) {
        return Err(format!("`{}` is not a registry's name", printable(domain)));
    }
    Ok(())
}

fn check_repository(repository: &str) -> Result<(), String> {
    if repository.len() > REPOSITORY_LENGTH_MAX {
        return Err(format!("repository name must not be more than {REPOSITORY_LENGTH_MAX} characters"));
    }
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("repository name ({}) must be lowercase", printable(repository)));
    }
    for component in repository.split('/') {
        check_component(component)?;
    }
    Ok(())
}

/// A component is `[a-z0-9]+` joined by one `.`, one or two `_`, or any number of `-`.
fn check_component(component: &str) -> Result<(), String> {
    if component.is_empty() {
        return Err("a component of the repository name is empty".to_owned());
    }
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(wrong) = component.chars().find(|c| !is_word(*c) && !matches!(c, '.' | '_' | '-')) {
        return Err(format!("the character {wrong:?} is not allowed in a repository name"));
    }
    let separators: Vec<&str> = component.split(is_word).filter(|part| !part.is_empty()).collect();
    let at_edge = !component.starts_with(is_word) || !component.ends_with(is_word);
    let wrong = |part: &str| !matches!(part, "." | "_" | "__") && part.chars().any(|c| c != '-');
    if at_edge || separators.iter().any(|part| wrong(part)) {
        return Err(format!(
            "`{}` is not a repository component: letters and digits, joined by one `.`, `_`, `__` or some `-`",
            printable(component)
        ));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() || tag.len() > TAG_LENGTH_MAX {
        return Err(format!("a tag has 1 to {TAG_LENGTH_MAX} characters"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.starts_with(['.', '-']) || !tag.chars().all(allowed) {
        return Err(format!(
            "`{}` is not a tag: letters, digits, `_`, `.` and `-`, not starting with `.` or `-`",
            printable(tag)
        ));
    }
    Ok(())
}

fn printable(text: &str) -> String {
    text.chars()
        .take(300)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        self.write_suffix(formatter)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_get_their_canonical_and_familiar_forms() {
        for (text, canonical, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("index.docker.io/library/debian", "docker.io/library/debian", "debian"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("me/app", "docker.io/me/app", "me/app"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app", "127.0.0.1:5000/app"),
            ("[::1]:5000/app:x", "[::1]:5000/app:x", "[::1]:5000/app:x"),
            ("ghcr.io/a-b/c__d.e--f", "ghcr.io/a-b/c__d.e--f", "ghcr.io/a-b/c__d.e--f"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (canonical, familiar)
            );
        }
    }

    #[test]
    fn malformed_names_are_refused_with_their_reason() {
        let long = "a/".repeat(200) + "a";
        let id = "ab".repeat(32);
        for (text, says) in [
            ("", "`: invalid reference format: repository name must have at least one component"),
            ("UPPER", "`UPPER`: invalid reference format: repository name (library/UPPER) must be lowercase"),
            ("example.com/a/UPPER:1", "format: repository name (a/UPPER) must be lowercase"),
            (id.as_str(), "), cannot specify 64-byte hexadecimal strings"),
            ("a//b", "empty"),
            ("a b", "' '"),
            ("a\nb", "'\\n'"),
            ("-a", "component"),
            ("a..b", "component"),
            ("a___b", "component"),
            ("app:", "1 to 128"),
            ("app:.x", "not a tag"),
            ("app@sha256:00", "malformed"),
            ("app@md5:00", "not supported"),
            ("host:99999/app", "port"),
            ("ho_st.x/app", "registry's name"),
            (long.as_str(), "repository name must not be more than 255 characters"),
        ] {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.to_string().contains(says), "{text:?}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn latest_is_added_only_where_nothing_is_named() {
        let reference = |text: &str| text.parse::<Reference>().unwrap().or_latest().familiar();
        assert_eq!(reference("a"), "a:latest");
        assert_eq!(reference("a:1"), "a:1");
        let digest = Digest::of(b"");
        assert_eq!(reference(&format!("a@{digest}")), format!("a@{digest}"));
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(text in "([a-z]{1,5}(\\.[a-z]{2})?(:[0-9]{1,4})?/)?[a-z0-9]{1,5}([._-][a-z0-9]{1,3}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,5})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
                prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn any_text_is_accepted_or_refused_without_panic(text in "\\PC*") {
            if let Err(error) = text.parse::<Reference>() {
                prop_assert!(!error.reason.is_empty());
            }
        }
    }
}
