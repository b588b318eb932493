//! Which submodules a commit has, and where they are. Pure.

use crate::git_reference::{Remote, RemoteError};

/// A submodule, as `.gitmodules` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Submodule {
    /// Its name there.
    pub(super) name: String,
    /// Its address, as written.
    pub(super) address: String,
    /// Whether it is left out by `update = none`.
    pub(super) is_left_out: bool,
}

/// Returns the submodule at a path.
pub(super) fn at(settings: &[(String, String)], path: &str) -> Option<Submodule> {
    let parts = |key: &'_ str| -> Option<(String, String)> {
        let (name, key) = key.strip_prefix("submodule.")?.rsplit_once('.')?;
        Some((name.to_owned(), key.to_owned()))
    };
    let keyed = || settings.iter().filter_map(|(key, value)| Some((parts(key)?, value)));
    let ((name, _), _) =
        keyed().find(|((_, key), value)| key == "path" && value.trim_end_matches('/') == path)?;
    let value = |wanted: &str| {
        keyed()
            .filter(|((of, key), _)| *of == name && key == wanted)
            .map(|(_, value)| value.clone())
            .next_back()
    };
    let (address, update) = (value("url")?, value("update"));
    Some(Submodule { name, address, is_left_out: update.as_deref() == Some("none") })
}

/// Returns where a submodule is. An address that begins with `./` or `../` is relative to that of the repository.
pub(super) fn remote(of: &Remote, address: &str) -> Result<Remote, RemoteError> {
    if !address.starts_with("./") && !address.starts_with("../") {
        return Remote::parse(address);
    }
    // What stands before the path is never taken away; at `host:path` the colon ends a directory, too.
    let base = of.address.trim_end_matches('/');
    let start = match base.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
        None => base.find(':').unwrap_or(base.len()),
    };
    let (place, mut directory) = base.split_at(start);
    let mut rest = address;
    loop {
        if let Some(tail) = rest.strip_prefix("./") {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("../") {
            rest = tail;
            let parent = directory.rfind(['/', ':']).ok_or(RemoteError::Host)?;
            directory = &directory[..parent];
        } else {
            break;
        }
    }
    let sign = if directory.is_empty() && !base.contains("://") { ":" } else { "/" };
    Remote::parse(format!("{place}{directory}{sign}{rest}").trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_are_found_by_their_paths() {
        let settings = [
            ("submodule.a.b.path", "lib/x"),
            ("submodule.a.b.url", "../x.git"),
            ("submodule.c.path", "c/"),
            ("submodule.c.update", "none"),
            ("submodule.c.url", "https://h/c"),
            ("submodule.d.path", "d"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let found = |name: &str, address: &str, is_left_out| {
            Some(Submodule { name: name.to_owned(), address: address.to_owned(), is_left_out })
        };
        assert_eq!(at(&settings, "lib/x"), found("a.b", "../x.git", false));
        assert_eq!(at(&settings, "c"), found("c", "https://h/c", true));
        assert_eq!(at(&settings, "d"), None);
        assert_eq!(at(&settings, "e"), None);
    }

    #[test]
    fn relative_addresses_are_those_of_git() {
        for (of, address, expected) in [
            ("https://h/a/b.git", "../c.git", Some("https://h/a/c.git")),
            ("https://h/a/b.git/", "../../c/", Some("https://h/c")),
            ("https://h:8/a.git", "./x", Some("https://h:8/a.git/x")),
            ("git@h:a/b.git", "../c.git", Some("git@h:a/c.git")),
            ("git@h:a/b.git", "../../c.git", Some("git@h:c.git")),
            ("ssh://git@h/a/b", "../../x/y", Some("ssh://git@h/x/y")),
            ("https://h/a.git", "ssh://g/x", Some("ssh://g/x")),
            ("https://h/a.git", "g:x", Some("g:x")),
            ("https://h/a.git", "../../../../x", None),
            ("https://h/a.git", "/etc", None),
            ("https://h/a.git", "file:///etc", None),
            ("https://h/a.git", "ext::sh", None),
            ("https://h/a.git", "-u:x", None),
        ] {
            let of = Remote::parse(of).unwrap();
            let found = remote(&of, address).map(|remote| remote.address).ok();
            assert_eq!(found.as_deref(), expected, "{address}");
        }
    }
}
