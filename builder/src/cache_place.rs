//! Where caches are that builders share: words for a request, and their stored form.

use std::fmt;
use std::path::PathBuf;

use kiln_oci::Reference;
pub use kiln_registry::Bucket;
use serde::{Deserialize, Serialize};

/// The prefix of tags where the reference has no tag.
const PREFIX: &str = "kiln";
/// Longest prefix: what registries allow of a tag, less the longest name of an entry.
pub const PREFIX_CHARS_MAX: usize = 128 - 80;

/// A place that holds a cache for many builders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachePlace {
    /// A repository of a registry.
    Registry(RepositoryCache),
    /// A directory.
    Local(PathBuf),
    /// A bucket of an object store.
    S3(BucketCache),
}

/// A cache in a bucket, below prefixes of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketCache {
    /// The bucket.
    pub bucket: Bucket,
    /// What the keys of entries begin with.
    pub entries: String,
    /// What the keys of blobs begin with.
    pub blobs: String,
}

/// A cache in a repository, beside other images: all its tags begin with one prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryCache {
    // Invariant: neither tag nor digest.
    repository: Reference,
    // Invariant: no longer than `PREFIX_CHARS_MAX`, of letters that tags have.
    prefix: String,
}

/// A cache that is asked for what the store does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSource {
    /// Where it is.
    pub place: CachePlace,
    /// Whether it is asked for cache mounts, too.
    pub has_mounts: bool,
}

/// A cache that is given what a build finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    /// Where it is.
    pub place: CachePlace,
    /// Which steps it gets.
    pub extent: CacheExtent,
    /// Whether a build succeeds that could not write it.
    pub ignores_errors: bool,
    /// Whether it gets the cache mounts that steps used.
    pub takes_mounts: bool,
}

/// Which steps go to a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheExtent {
    /// Those that the results are made of.
    #[default]
    Results,
    /// All steps, also those whose files were copied from, or that only ran.
    Everything,
}

impl RepositoryCache {
    /// Takes the repository of a reference; its tag, if there is one, is the prefix of the cache's tags.
    ///
    /// # Errors
    /// What is wrong: it has a digest, or a tag that is too long to begin others.
    pub fn new(reference: &Reference) -> Result<Self, String> {
        if reference.digest().is_some() {
            return Err("a cache cannot be named by a digest".to_owned());
        }
        let prefix = reference.tag().unwrap_or(PREFIX).to_owned();
        if prefix.len() > PREFIX_CHARS_MAX {
            return Err(format!(
                "the tag begins those of all entries, so it has at most {PREFIX_CHARS_MAX} characters"
            ));
        }
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let repository = name.parse().expect("a reference without its tag is one");
        Ok(Self { repository, prefix })
    }

    /// Returns the repository.
    pub fn repository(&self) -> &Reference {
        &self.repository
    }

    /// Returns the reference of an entry.
    pub fn tagged(&self, name: &str) -> Reference {
        let tag = format!("{}-{name}", self.prefix);
        self.repository.with_tag(&tag).expect("prefix and name are of letters that tags have, and short")
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(RepositoryCache { repository, prefix }) if prefix == PREFIX => {
                formatter.write_str(&repository.familiar_name())
            }
            Self::Registry(RepositoryCache { repository, prefix }) => {
                write!(formatter, "{}:{prefix}", repository.familiar_name())
            }
            Self::Local(directory) => write!(formatter, "{}", directory.display()),
            Self::S3(BucketCache { bucket, entries, .. }) => {
                write!(formatter, "s3://{}/{entries}", bucket.name)
            }
        }
    }
}

/// The form in which a [`CachePlace`] is remembered. The order of the variants is part of the format.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum StoredPlace {
    /// Repository and prefix.
    Registry(String),
    /// A directory. Names that are not UTF-8 are not remembered.
    Local(String),
    /// A bucket.
    S3(BucketCache),
}

impl StoredPlace {
    /// Returns the stored form, where there is one.
    pub fn of(place: &CachePlace) -> Option<Self> {
        Some(match place {
            CachePlace::Registry(cache) => {
                let name = format!("{}/{}", cache.repository.registry(), cache.repository.repository());
                Self::Registry(format!("{name}:{}", cache.prefix))
            }
            CachePlace::Local(directory) => Self::Local(directory.to_str()?.to_owned()),
            CachePlace::S3(cache) => Self::S3(cache.clone()),
        })
    }

    /// Returns the place, unless it was damaged.
    pub fn place(&self) -> Option<CachePlace> {
        match self {
            Self::Registry(name) => RepositoryCache::new(&name.parse().ok()?).ok().map(CachePlace::Registry),
            Self::Local(directory) => Some(CachePlace::Local(directory.into())),
            Self::S3(cache) => Some(CachePlace::S3(cache.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(text: &str) -> Result<RepositoryCache, String> {
        RepositoryCache::new(&text.parse().unwrap())
    }

    #[test]
    fn the_tag_of_a_reference_begins_those_of_entries() {
        let plain = cache("host:5000/team/app").unwrap();
        assert_eq!(plain.tagged("d-00").familiar(), "host:5000/team/app:kiln-d-00");
        let tagged = cache("host:5000/team/app:main").unwrap();
        assert_eq!(tagged.tagged("d-00").familiar(), "host:5000/team/app:main-d-00");
        assert!(cache(&format!("app:{}", "a".repeat(PREFIX_CHARS_MAX + 1))).is_err());
        assert!(cache(&format!("app@sha256:{}", "a".repeat(64))).is_err());
    }

    #[test]
    fn places_are_remembered_as_they_are() {
        for place in [
            CachePlace::Registry(cache("host:5000/team/app:main").unwrap()),
            CachePlace::Registry(cache("app").unwrap()),
            CachePlace::Local("/a b".into()),
            CachePlace::S3(BucketCache {
                bucket: Bucket { name: "b".into(), region: "r".into(), endpoint: None, is_path_style: true },
                entries: "e/".into(),
                blobs: String::new(),
            }),
        ] {
            let bytes = postcard::to_stdvec(&StoredPlace::of(&place).unwrap()).unwrap();
            let stored: StoredPlace = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(stored.place(), Some(place));
        }
    }
}
