//! What is known of an address from earlier builds: the digest of its bytes, and how to ask whether they are still those.
//!
//! The record names the blob, so that both stay together, and both go when the record was not used for long. Its key is
//! the address without user and password, which would be secret; a server that gives different users different files
//! has different `ETag`s for them. A record that cannot be read is a miss.

use kiln_oci::Digest;
use kiln_registry::{Known, WebHead, WebUrl};
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

const KIND: &str = "web";
/// Version of the record's form; another one is a miss.
const FORMAT: u32 = 1;
/// How many `ETag`s of the same bytes are kept: as many servers as may answer for one name.
const ETAGS_MAX: usize = 4;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownFile {
    /// Digest of its bytes.
    pub(super) digest: Digest,
    /// When it was modified, in seconds since 1970.
    pub(super) modified: Option<i64>,
    /// How to ask for it again.
    pub(super) known: Known,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    modified: Option<i64>,
    etags: Vec<String>,
    last_modified: Option<String>,
}

/// Returns what is known of an address; its blob is in the store and held.
pub(super) fn find(store: &Store, url: &WebUrl) -> Option<KnownFile> {
    // Without a record, the file is fetched again.
    let record = store.records().get(KIND, &key(url)).ok().and_then(Lookup::hit)?;
    let [digest] = record.blobs.as_slice() else { return None };
    let stored: Stored = postcard::from_bytes(&record.payload).ok()?;
    if stored.format != FORMAT {
        return None;
    }
    let known = Known { etags: stored.etags, last_modified: stored.last_modified };
    Some(KnownFile { digest: *digest, modified: stored.modified, known })
}

/// Keeps what a server said of a file whose bytes are in the store. `before` is what was known until now.
pub(super) fn keep(
    store: &Store,
    url: &WebUrl,
    digest: Digest,
    head: &WebHead,
    before: Option<&KnownFile>,
) -> Result<(), StoreError> {
    let same = before.filter(|before| before.digest == digest);
    let stored = Stored {
        format: FORMAT,
        modified: head.modified,
        etags: etags(head, same),
        last_modified: head.last_modified.clone(),
    };
    let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
    store.records().put(KIND, &key(url), &payload, &[digest])
}

/// Returns the `ETag`s of the same bytes, the latest first.
fn etags(head: &WebHead, same: Option<&KnownFile>) -> Vec<String> {
    let mut etags: Vec<String> = head.etag.iter().cloned().collect();
    for etag in same.iter().flat_map(|same| &same.known.etags) {
        if !etags.contains(etag) && !etags.is_empty() {
            etags.push(etag.clone());
        }
    }
    etags.truncate(ETAGS_MAX);
    etags
}

fn key(url: &WebUrl) -> Digest {
    Digest::of(url.unshown().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(etag: Option<&str>) -> WebHead {
        WebHead { etag: etag.map(str::to_owned), modified: Some(7), ..WebHead::default() }
    }

    #[test]
    fn a_file_is_known_by_its_address_without_the_password_until_its_blob_goes() {
        let space = tempfile::tempdir().unwrap();
        let store = Store::open(space.path().join("store")).unwrap();
        let url: WebUrl = "https://me:pass@host/x?y".parse().unwrap();
        assert_eq!(find(&store, &url), None);
        let digest = store.blobs().put_bytes(b"hello").unwrap();
        keep(&store, &url, digest, &head(Some("\"a\"")), None).unwrap();
        let known = Known { etags: vec!["\"a\"".to_owned()], last_modified: None };
        let expected = Some(KnownFile { digest, modified: Some(7), known });
        assert_eq!(find(&store, &url), expected);
        assert_eq!(find(&store, &"https://host/x?y".parse().unwrap()), expected);
        assert_eq!(find(&store, &"https://host/x".parse().unwrap()), None);
        std::fs::remove_file(store.path().join("blobs/sha256").join(digest.hex())).unwrap();
        assert_eq!(find(&store, &url), None);
    }

    #[test]
    fn a_file_is_kept_as_long_as_its_record() {
        let space = tempfile::tempdir().unwrap();
        let open = || Store::open(space.path().join("store")).unwrap();
        let collect = || {
            let nothing = |_: &_, _: &_| Ok(Vec::new());
            kiln_store::gc::gc(&open(), &kiln_store::gc::Policy::default(), &nothing).unwrap().gone_blobs()
        };
        let url: WebUrl = "https://host/x".parse().unwrap();
        let digest = {
            let store = open();
            let digest = store.blobs().put_bytes(b"hello").unwrap();
            keep(&store, &url, digest, &head(None), None).unwrap();
            digest
        };
        assert_eq!(collect(), []);
        open().records().remove(KIND, &key(&url)).unwrap();
        assert_eq!(collect(), [digest]);
    }

    #[test]
    fn a_record_of_another_format_is_a_miss() {
        let space = tempfile::tempdir().unwrap();
        let store = Store::open(space.path().join("store")).unwrap();
        let url: WebUrl = "https://host/x".parse().unwrap();
        let digest = store.blobs().put_bytes(b"hello").unwrap();
        let stored = Stored { format: FORMAT + 1, modified: None, etags: Vec::new(), last_modified: None };
        for payload in [postcard::to_stdvec(&stored).unwrap(), b"x".to_vec()] {
            store.records().put(KIND, &key(&url), &payload, &[digest]).unwrap();
            assert_eq!(find(&store, &url), None);
        }
    }

    #[test]
    fn several_etags_of_the_same_bytes_are_kept() {
        let file = |etags: &[&str]| KnownFile {
            digest: Digest::of(b""),
            modified: None,
            known: Known {
                etags: etags.iter().map(|etag| (*etag).to_owned()).collect(),
                last_modified: None,
            },
        };
        for (now, before, expected) in [
            (Some("b"), &["a"][..], &["b", "a"][..]),
            (Some("a"), &["a"], &["a"]),
            (Some("e"), &["d", "c", "b", "a"], &["e", "d", "c", "b"]),
            (Some("a"), &[], &["a"]),
            // A server that stopped to say one would say no more that it is the same.
            (None, &["a"], &[]),
        ] {
            assert_eq!(etags(&head(now), Some(&file(before))), expected, "{now:?} {before:?}");
        }
    }
}
