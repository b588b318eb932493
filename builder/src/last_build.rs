//! What the last build of a store was: enough to walk its road again, up to a step that somebody wants to enter.
//!
//! The words of the command line are kept, without users and passwords of addresses. Of a secret they say where it is, never what.

use std::ffi::OsString;
use std::path::PathBuf;

use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::secrets::without_logins;

const KIND: &str = "last-build";
/// Version of the record's form; another one counts as none.
const FORMAT: u32 = 1;

/// A build that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBuild {
    format: u32,
    words: Vec<OsString>,
    directory: OsString,
    dockerfile: [u8; 32],
    /// The step that failed, if one did.
    pub failed: Option<FailedStep>,
}

/// Where a step stands that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// Its stage, as it is shown.
    pub stage: String,
    /// The stage's name in lower case; empty when it has none.
    pub stage_name: String,
    /// Its first line.
    pub line: u32,
}

impl LastBuild {
    /// Describes a build by its command line, the directory where that was given, and its Dockerfile.
    pub fn new(
        words: &[OsString],
        directory: PathBuf,
        dockerfile: Digest,
        failed: Option<FailedStep>,
    ) -> Self {
        let clean =
            |word: &OsString| word.to_str().map_or_else(|| word.clone(), |text| without_logins(text).into());
        Self {
            format: FORMAT,
            words: words.iter().map(clean).collect(),
            directory: directory.into_os_string(),
            dockerfile: *dockerfile.as_bytes(),
            failed,
        }
    }

    /// Returns the words of its command line.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Returns where its command line was given.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(&self.directory)
    }

    /// Returns the digest of its Dockerfile.
    pub fn dockerfile(&self) -> Digest {
        Digest::from_bytes(self.dockerfile)
    }

    /// Keeps it in the place of the one before. Nothing is written where it is the same.
    ///
    /// # Errors
    /// What the store says.
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        if Self::of(store)?.as_ref() == Some(self) {
            return Ok(());
        }
        let payload = postcard::to_stdvec(self).expect("records serialize to memory");
        store.records().put(KIND, &key(), &payload, &[])
    }

    /// Returns the last build of a store, if one is known.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(store: &Store) -> Result<Option<Self>, StoreError> {
        let Lookup::Hit(record) = store.records().get(KIND, &key())? else { return Ok(None) };
        // What cannot be read was written by another version.
        Ok(postcard::from_bytes(&record.payload).ok().filter(|known: &Self| known.format == FORMAT))
    }
}

fn key() -> Digest {
    Digest::of(KIND.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_build_is_kept_without_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(LastBuild::of(&store).unwrap(), None);
        let words = ["build", "--secret=id=a,env=TOKEN", "https://me:pass@h/a.git"].map(OsString::from);
        let failed = FailedStep { stage: "0".to_owned(), stage_name: String::new(), line: 3 };
        let build = LastBuild::new(&words, "/d".into(), Digest::of(b"FROM a"), Some(failed));
        build.keep(&store).unwrap();
        build.keep(&store).unwrap();
        let known = LastBuild::of(&store).unwrap().unwrap();
        assert_eq!(known, build);
        assert_eq!(known.words()[1..], ["--secret=id=a,env=TOKEN", "https://h/a.git"].map(OsString::from));
    }
}
