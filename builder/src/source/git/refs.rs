//! What a repository has, as `git ls-remote` lists it, and which of it a name means. Pure.

use crate::git_reference::is_commit_id;

/// The refs of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refs {
    /// Full names with their objects, and for annotated tags what they lead to.
    refs: Vec<Ref>,
    /// Where `HEAD` points.
    default: Option<String>,
    /// What `HEAD` is.
    head: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ref {
    name: String,
    object: String,
    peeled: Option<String>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The object: a commit, or an annotated tag.
    pub(super) object: String,
    /// The commit that an annotated tag leads to.
    pub(super) peeled: Option<String>,
    /// The full name.
    pub(super) name: Option<String>,
}

impl Refs {
    /// Reads the output of `git ls-remote --symref`. Lines that are none are left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut refs = Self::default();
        for (left, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            match (left.strip_prefix("ref: "), name) {
                (Some(target), "HEAD") => refs.default = Some(target.to_owned()),
                (Some(_), _) => {}
                (None, _) if !is_commit_id(left) => {}
                (None, "HEAD") => refs.head = Some(left.to_owned()),
                (None, name) => refs.add(name, left),
            }
        }
        refs
    }

    fn add(&mut self, name: &str, object: &str) {
        match (name.strip_suffix("^{}"), self.refs.last_mut()) {
            (Some(tag), Some(last)) if last.name == tag => last.peeled = Some(object.to_owned()),
            (Some(_), _) => {}
            (None, _) => {
                self.refs.push(Ref { name: name.to_owned(), object: object.to_owned(), peeled: None });
            }
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.head.is_none()
    }

    /// Returns the name of the hash that the ids are made by.
    pub(super) fn format(&self) -> &'static str {
        let first = self.refs.first().map(|found| &found.object).or(self.head.as_ref());
        if first.is_some_and(|id| id.len() == 64) { "sha256" } else { "sha1" }
    }

    /// Returns what `HEAD` is.
    pub(super) fn default_branch(&self) -> Option<Found> {
        let branch = self.default.as_deref().and_then(|name| self.full(name));
        let head = || Some(Found { object: self.head.clone()?, peeled: None, name: None });
        branch.or_else(head)
    }

    /// Returns what a name means, in BuildKit's order: as it stands below `refs/`, a branch, a tag.
    pub(super) fn named(&self, name: &str) -> Option<Found> {
        if name == "HEAD" {
            return self.default_branch();
        }
        if name.starts_with("refs/") {
            return self.full(name);
        }
        let places = ["refs/", "refs/heads/", "refs/tags/"];
        places.iter().find_map(|place| self.full(&format!("{place}{name}")))
    }

    fn full(&self, name: &str) -> Option<Found> {
        let found = self.refs.iter().find(|found| found.name == name)?;
        let Ref { name, object, peeled } = found.clone();
        Some(Found { object, peeled, name: Some(name) })
    }

    /// Returns the commits at branches and tags whose ids begin so.
    pub(super) fn beginning(&self, start: &str) -> Vec<String> {
        let commits = self.refs.iter().map(|found| found.peeled.as_ref().unwrap_or(&found.object));
        let mut commits: Vec<String> = commits.filter(|id| id.starts_with(start)).cloned().collect();
        commits.sort();
        commits.dedup();
        commits
    }

    /// Returns the names of branches and tags.
    pub(super) fn names(&self) -> Vec<String> {
        let short = |name: &'_ str| -> Option<String> {
            ["refs/heads/", "refs/tags/"].iter().find_map(|start| name.strip_prefix(start)).map(str::to_owned)
        };
        self.refs.iter().filter_map(|found| short(&found.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn refs() -> Refs {
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(id);
        Refs::parse(&format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/v1\n\
             {c}\trefs/pull/1/head\n{c}\trefs/tags/v1\n{d}\trefs/tags/v2\n{b}\trefs/tags/v2^{{}}\nnonsense\n"
        ))
    }

    #[test]
    fn names_mean_what_they_mean_to_buildkit() {
        let found = |object, peeled: Option<char>, name: &str| {
            Some(Found { object: id(object), peeled: peeled.map(id), name: Some(name.to_owned()) })
        };
        for (name, expected) in [
            ("main", found('a', None, "refs/heads/main")),
            ("heads/main", found('a', None, "refs/heads/main")),
            ("v1", found('b', None, "refs/heads/v1")),
            ("refs/tags/v1", found('c', None, "refs/tags/v1")),
            ("v2", found('d', Some('b'), "refs/tags/v2")),
            ("pull/1/head", found('c', None, "refs/pull/1/head")),
            ("HEAD", found('a', None, "refs/heads/main")),
            ("refs/heads/v2", None),
            ("ain", None),
        ] {
            assert_eq!(refs().named(name), expected, "{name}");
        }
        assert_eq!(refs().default_branch(), found('a', None, "refs/heads/main"));
        let detached = Refs::parse(&format!("{}\tHEAD\n", id('e')));
        assert_eq!(detached.default_branch(), Some(Found { object: id('e'), peeled: None, name: None }));
        assert!(Refs::parse("").is_empty() && !detached.is_empty());
    }

    #[test]
    fn commits_are_found_by_the_beginning_of_their_ids() {
        assert_eq!(refs().beginning("bbbb"), [id('b')]);
        assert_eq!(refs().beginning("ffff"), Vec::<String>::new());
    }

    #[test]
    fn branches_and_tags_have_short_names() {
        assert_eq!(refs().names(), ["main", "v1", "v1", "v2"]);
    }
}
