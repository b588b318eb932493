//! The way of a blob of the store to a repository. An upload that a kiln left unfinished, because it was killed or the registry was
//! away for too long, is gone on with by the next: where, stands in the record `upload` under registry, repository and digest.
//!
//! Such a record holds an address at the registry's own host, where each request still says who asks. It goes when the upload is
//! over, when the registry has forgotten it, and like all records when it was unused for long.

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{KeepAddress, ProgressSink, Upload};
use kiln_store::{Lookup, Store, StoreError, Turn};

use super::outgoing::open_at;
use crate::workshop::Workshop;

const UPLOADS: &str = "upload";
/// Smaller blobs are sent again from the start: they go in one request.
const KEPT_BYTES_MIN: u64 = 1 << 20;
/// Longer addresses are not kept.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// Sends a blob of the store to the repository of `to`, from where an earlier kiln left it.
///
/// # Errors
/// What the registry says, or that the blob cannot be read.
pub async fn push_blob(
    workshop: &Workshop,
    to: &Reference,
    blob: &Descriptor,
    progress: ProgressSink,
) -> Result<(), kiln_registry::Error> {
    let (blobs, digest) = (workshop.store.blobs().clone(), blob.digest);
    let open = move |offset| open_at(blobs.clone(), digest, offset);
    let key = Digest::of(format!("{}/{}@{digest}", to.registry(), to.repository()).as_bytes());
    let place = Place { store: &workshop.store, key };
    // Two that go on with one upload would spoil it: the second begins its own. So does one in a store that cannot be written.
    let is_long = blob.size > KEPT_BYTES_MIN;
    let turn = is_long.then(|| workshop.store.take_turn(&format!("{UPLOADS} {key}")).ok()).flatten();
    let is_ours = matches!(turn, Some(Turn::Ours(_)));
    let keep = |address: Option<&str>| place.keep(address);
    let upload = Upload {
        progress: Some(progress),
        earlier: is_ours.then(|| place.kept()).flatten(),
        keep: is_ours.then_some(&keep as &KeepAddress<'_>),
        ..Upload::new(to, blob, &open)
    };
    workshop.registry.push_blob(upload).await
}

/// Where the address of an upload is kept.
struct Place<'a> {
    store: &'a Store,
    key: Digest,
}

impl Place<'_> {
    fn kept(&self) -> Option<String> {
        // Without it the upload starts over.
        let record = self.store.records().get(UPLOADS, &self.key).ok().and_then(Lookup::hit)?;
        String::from_utf8(record.payload).ok()
    }

    fn keep(&self, address: Option<&str>) {
        let kept: Result<(), StoreError> = match address {
            Some(address) if address.len() <= ADDRESS_BYTES_MAX => {
                self.store.records().put(UPLOADS, &self.key, address.as_bytes(), &[])
            }
            _ => self.store.records().remove(UPLOADS, &self.key),
        };
        // What cannot be kept cannot be gone on with, and that is all: this upload needs no record.
        drop(kept);
    }
}
