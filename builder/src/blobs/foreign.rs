//! Layers that registries do not distribute ("foreign", "nondistributable"): an image names addresses that have them.
//!
//! They are fetched when a step must read them, and for nothing else. An address gets no credentials of ours, and may only give
//! the bytes that the image names.

use std::str::FromStr;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest};
use kiln_registry::{Known, Piece, WebAnswer, WebRequest, WebUrl};
use kiln_store::{Partial, PartialBlob, StoreError};

use super::FetchError;
use crate::lanes::blocking;
use crate::progress::{Progress, ProgressEvent};
use crate::workshop::Workshop;

/// Addresses that are tried for a layer.
const ADDRESSES_MAX: usize = 8;

/// Why a foreign layer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The image names nobody who has it.
    #[error("layer `{digest}` is not distributed by registries, and its image names no address that has it")]
    NoAddress {
        /// The blob.
        digest: Digest,
    },
    /// An address did not give it.
    #[error("layer `{digest}` is not distributed by registries, and `{address}` does not give it")]
    Address {
        /// The blob.
        digest: Digest,
        /// The last address that was asked.
        address: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whether the image names an address that may have the layer.
pub(super) fn has_address(blob: &Descriptor) -> bool {
    addresses(blob).next().is_some()
}

fn addresses(blob: &Descriptor) -> impl Iterator<Item = &String> {
    let is_foreign = blob.media_type.is_foreign();
    let is_web = |address: &&String| address.starts_with("https://") || address.starts_with("http://");
    blob.urls.iter().filter(move |_| is_foreign).filter(is_web).take(ADDRESSES_MAX)
}

/// Brings a foreign layer into the store, from the first address that gives it.
pub(super) async fn fetch(
    workshop: &Workshop,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let mut failure = ForeignError::NoAddress { digest: blob.digest };
    for address in addresses(blob) {
        match fetch_from(workshop, address, blob, progress).await {
            Err(FetchError::Foreign(error)) => failure = error,
            outcome => return outcome,
        }
    }
    Err(failure.into())
}

async fn fetch_from(
    workshop: &Workshop,
    address: &str,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), FetchError> {
    let (blobs, digest, size) = (workshop.store.blobs().clone(), blob.digest, blob.size);
    // May wait for another process that fetches the same blob now.
    let mut partial = match blocking(move || blobs.partial(&digest, size)).await? {
        Partial::There => return Ok(()),
        Partial::Resume(partial) => partial,
    };
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| ForeignError::Address {
        digest,
        address: WebUrl::from_str(address).map_or_else(|_| "an address".to_owned(), |url| url.to_string()),
        source,
    };
    // What an earlier attempt left may be of another address.
    partial.restart()?;
    receive(workshop, address, &mut partial, &|done| {
        progress.on(&ProgressEvent::Transfer { what: "foreign layer", blob: digest, done, total: size });
    })
    .await
    .map_err(refused)?;
    match blocking(move || partial.commit()).await {
        Ok(()) => Ok(()),
        Err(error @ (StoreError::WrongDigest { .. } | StoreError::WrongSize { .. })) => {
            Err(refused(Box::new(error)).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Receives what an address sends, and no more than was announced.
async fn receive(
    workshop: &Workshop,
    address: &str,
    partial: &mut PartialBlob,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let request = WebRequest {
        url: WebUrl::from_str(address)?,
        authorization: None,
        known: Known::default(),
        is_verified: true,
    };
    let WebAnswer::File(mut body) = workshop.registry.web(request).await? else {
        unreachable!("nothing was said to be known")
    };
    loop {
        match body.next_piece().await? {
            Piece::Chunk(chunk) => {
                partial.append(&chunk)?;
                on_bytes(partial.len_bytes());
            }
            Piece::FromStart => partial.restart()?,
            Piece::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::MediaType;

    #[test]
    fn only_foreign_layers_have_addresses_and_only_of_the_web() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        for (media_type, urls, expected) in [
            (foreign, vec!["https://h/x"], true),
            (foreign, vec!["file:///etc/shadow", "http://h/x"], true),
            (foreign, vec!["file:///etc/shadow"], false),
            (foreign, vec![], false),
            ("application/vnd.oci.image.layer.v1.tar+gzip", vec!["https://h/x"], false),
        ] {
            let mut blob = Descriptor::new(MediaType::new(media_type), Digest::of(b""), 0);
            blob.urls = urls.iter().map(|&url| url.to_owned()).collect();
            assert_eq!(has_address(&blob), expected, "{media_type} {urls:?}");
        }
    }
}
