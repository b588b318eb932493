//! The tags of a repository, and which of them are one image.
//!
//! **Order of versions**, highest first: numbers are compared as numbers, part by part (`10` is more than `9`); a missing part is 0;
//! what follows a `-` makes a version lower than the same without it (semver.org, paragraph 11). A `v` in front means nothing. Tags
//! that are no versions come last, by name.

use std::cmp::{Ordering, Reverse};
use std::str::FromStr;

use futures_util::{StreamExt, TryStreamExt};
use kiln_glob::Glob;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::Client;

use super::RemoteError;

/// How many tags are asked for at once.
const ASKED_AT_ONCE: usize = 8;

/// The order of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOrder {
    /// By their bytes.
    Name,
    /// Highest version first.
    Version,
}

/// The tags of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// The repository.
    pub repository: Reference,
    /// Its tags, in order.
    pub tags: Vec<String>,
}

/// A pattern that tags may fit: `tag=1.*`.
#[derive(Debug, Clone)]
pub struct TagFilter(Glob);

/// A text that is no filter of tags.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no filter of tags: write `tag=PATTERN`")]
pub struct TagFilterError {
    /// The text.
    pub text: String,
}

impl FromStr for TagFilter {
    type Err = TagFilterError;

    fn from_str(text: &str) -> Result<Self, TagFilterError> {
        let pattern = text.strip_prefix("tag=").filter(|pattern| !pattern.is_empty());
        let glob = pattern.and_then(|pattern| Glob::new(pattern.as_bytes()).ok());
        glob.map(Self).ok_or_else(|| TagFilterError { text: text.to_owned() })
    }
}

/// Tags of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The tags, in the order of the list.
    pub tags: Vec<String>,
    /// What they stand for; `None` where the registry does not say it, or the tag went meanwhile.
    pub image: Option<Descriptor>,
}

impl TagList {
    /// Asks a registry for the tags of a repository.
    ///
    /// # Errors
    /// [`RemoteError::Read`].
    pub async fn fetch(
        client: &Client,
        repository: &Reference,
        order: TagOrder,
    ) -> Result<Self, RemoteError> {
        let mut tags = client.tags(repository).await.map_err(RemoteError::read(repository))?;
        match order {
            TagOrder::Name => tags.sort_unstable(),
            TagOrder::Version => tags.sort_by(|a, b| is_newer(a, b)),
        }
        Ok(Self { repository: repository.clone(), tags })
    }

    /// Keeps the tags that fit one of the filters, if there are any.
    pub fn keep(&mut self, filters: &[TagFilter]) {
        let fits = |tag: &String| filters.iter().any(|TagFilter(glob)| glob.matches(tag.as_bytes()));
        self.tags.retain(|tag| filters.is_empty() || fits(tag));
    }
}

/// Asks what each tag stands for, and puts the tags of one image together, where the first of them is.
///
/// # Errors
/// [`RemoteError::Read`] of the first tag that cannot be asked for.
pub async fn by_digest(client: &Client, list: &TagList) -> Result<Vec<Group>, RemoteError> {
    let ask = |tag: String| async move {
        let name = list.repository.with_tag(&tag).expect("the client lists nothing but tags");
        let image = client.head(&name).await.map_err(RemoteError::read(&name))?;
        Ok::<_, RemoteError>((tag, image))
    };
    let asked = futures_util::stream::iter(list.tags.clone()).map(ask).buffered(ASKED_AT_ONCE);
    Ok(grouped(asked.try_collect().await?))
}

/// Takes a tag away at its registry, and no other tag of what it stands for.
///
/// # Errors
/// [`RemoteError::NoTag`], or what the registry says.
pub async fn untag(client: &Client, name: &Reference) -> Result<(), RemoteError> {
    let reference = || Box::new(name.clone());
    match client.untag(name).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(RemoteError::NoTag { reference: reference() }),
        Err(source) => Err(RemoteError::Untag { reference: reference(), source: Box::new(source) }),
    }
}

fn grouped(tags: Vec<(String, Option<Descriptor>)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for (tag, image) in tags {
        let known = image.as_ref().and_then(|image| places.get(&image.digest)).copied();
        if let Some(place) = known {
            let group: &mut Group = &mut groups[place];
            group.tags.push(tag);
            continue;
        }
        if let Some(image) = &image {
            places.insert(image.digest, groups.len());
        }
        groups.push(Group { tags: vec![tag], image });
    }
    groups
}

/// Compares two tags for a list whose highest version is first.
pub fn is_newer(a: &str, b: &str) -> Ordering {
    let key = |tag| Version::read(tag).map(Reverse);
    match (key(a), key(b)) {
        (Some(left), Some(right)) => left.cmp(&right).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version<'a> {
    numbers: Vec<Number<'a>>,
    suffix: Suffix<'a>,
}

/// Digits without leading zeros: the longer is the greater.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number<'a>(usize, &'a str);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix<'a> {
    Some(Vec<Word<'a>>),
    None,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word<'a> {
    Number(Number<'a>),
    Text(&'a str),
}

impl<'a> Version<'a> {
    fn read(tag: &'a str) -> Option<Self> {
        let tag = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
        let (numbers, suffix) =
            tag.split_once('-').map_or((tag, None), |(numbers, rest)| (numbers, Some(rest)));
        let mut numbers = numbers.split('.').map(Number::read).collect::<Option<Vec<_>>>()?;
        // A missing part is 0.
        while numbers.last().is_some_and(|number| number.0 == 0) {
            numbers.pop();
        }
        let word = |text| Number::read(text).map_or(Word::Text(text), Word::Number);
        let words = |rest: &'a str| Suffix::Some(rest.split('.').map(word).collect());
        Some(Self { numbers, suffix: suffix.map_or(Suffix::None, words) })
    }
}

impl<'a> Number<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let digits = text.trim_start_matches('0');
        is_number.then_some(Self(digits.len(), digits))
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, MediaType};

    use super::*;

    #[test]
    fn the_highest_version_is_first_and_what_is_none_last() {
        let mut tags = [
            "latest",
            "1.9.0",
            "v1.10.0",
            "1.10.0-rc.2",
            "1.10.0-rc.10",
            "1.10",
            "2",
            "edge",
            "1.10.0-alpine",
            "20240501",
            "99999999999999999999999",
            "1..2",
            "1.10.1",
        ];
        tags.sort_by(|a, b| is_newer(a, b));
        assert_eq!(
            tags,
            [
                "99999999999999999999999",
                "20240501",
                "2",
                "1.10.1",
                "1.10",
                "v1.10.0",
                "1.10.0-rc.10",
                "1.10.0-rc.2",
                "1.10.0-alpine",
                "1.9.0",
                "1..2",
                "edge",
                "latest",
            ]
        );
    }

    #[test]
    fn tags_of_one_image_stand_together_where_the_first_of_them_is() {
        let image = |text: &str| Some(Descriptor::new(MediaType::OCI_INDEX, Digest::of(text.as_bytes()), 1));
        let tag = |name: &str, image| (name.to_owned(), image);
        let groups = grouped(vec![
            tag("1.2", image("a")),
            tag("1.1", image("b")),
            tag("1", image("a")),
            tag("gone", None),
            tag("lost", None),
        ]);
        let tags: Vec<Vec<String>> = groups.into_iter().map(|group| group.tags).collect();
        assert_eq!(tags, [vec!["1.2", "1"], vec!["1.1"], vec!["gone"], vec!["lost"]]);
    }
}
