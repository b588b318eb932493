//! What the files of a mount are, by the state that its directory is in: as long as that stays, no file is read again to know that a
//! far place has them.
//!
//! Names, sizes and times alone do not tell: who sets times, as reproducible builds do, may write other bytes of one length at one
//! time. A state is a [fingerprint](kiln_layer::Survey::fingerprint), with the times that nobody can set. It means nothing on
//! another machine, so it is a record of the store.

use kiln_layer::ContentDigest;
use kiln_oci::Digest;
use kiln_store::{Lookup, Store};
use serde::{Deserialize, Serialize};

use super::document::{Document, FORMAT};

const STATES: &str = "mount-states";
/// Version of the records' form; another one counts as none.
const STATES_FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredState {
    formats: (u32, u32),
    fingerprint: ContentDigest,
    content: ContentDigest,
}

/// Whether the files of the mount `id`, in the state of `fingerprint`, are known to be those of `document`.
pub(super) fn has_files_of(
    store: &Store,
    id: &str,
    fingerprint: Option<ContentDigest>,
    document: &Document,
) -> bool {
    // Whatever is wrong with a record, nothing is known then.
    let record = store.records().get(STATES, &Digest::of(id.as_bytes())).ok().and_then(Lookup::hit);
    let stored = record.and_then(|record| postcard::from_bytes::<StoredState>(&record.payload).ok());
    stored.is_some_and(|stored| {
        stored.formats == (STATES_FORMAT, FORMAT)
            && Some(stored.fingerprint) == fingerprint
            && Some(stored.content) == document.content()
    })
}

/// Remembers that the files of the mount are those of `document`. What cannot be remembered is read again.
pub(super) fn remember(store: &Store, id: &str, fingerprint: Option<ContentDigest>, document: &Document) {
    let (Some(fingerprint), Some(content)) = (fingerprint, document.content()) else { return };
    let stored = StoredState { formats: (STATES_FORMAT, FORMAT), fingerprint, content };
    let payload = postcard::to_stdvec(&stored).expect("records serialize to memory");
    let _kept = store.records().put(STATES, &Digest::of(id.as_bytes()), &payload, &[]);
}
