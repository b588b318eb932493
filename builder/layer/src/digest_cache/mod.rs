//! What is remembered of files from build to build, so that an unchanged one is neither read nor asked for its attributes.

mod stat_cache;

pub use stat_cache::{CLOCK_SLACK_NS, STAT_CACHE_FORMAT, StatCache, StatCacheError};

use crate::content::FileIdentity;
use crate::content_digest::ContentDigest;

/// What is remembered of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFile {
    /// The digest of its content.
    pub digest: ContentDigest,
    /// Whether it has no extended attributes that belong in a layer.
    pub is_plain: bool,
}

/// Remembers files as long as they do not change. Asked from several threads.
pub trait DigestCache: Sync {
    /// Returns what is known of the file with this identity.
    fn get(&self, identity: &FileIdentity) -> Option<KnownFile>;

    /// Remembers what was just read.
    fn put(&self, identity: &FileIdentity, file: KnownFile);
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoCache;

impl DigestCache for NoCache {
    fn get(&self, _identity: &FileIdentity) -> Option<KnownFile> {
        None
    }

    fn put(&self, _identity: &FileIdentity, _file: KnownFile) {}
}
