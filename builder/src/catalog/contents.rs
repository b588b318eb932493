//! The bytes of a file of an image, read from the layer's archive: nothing is unpacked.
//!
//! A layer's listing says where a file lies in the archive, its size and its digest. A small file is written out when its digest was
//! found right, a large one while it is read, with an error afterwards if it was not. Memory is bounded by [`HELD_BYTES_MAX`].

use std::io::{self, Read, Write};
use std::sync::Arc;

use kiln_layer::tar::read::{Limits, MemberKind, ReadError, TarReader};
use kiln_layer::{Content, ContentDigest, ContentHasher, Origin};
use kiln_oci::Platform;

use super::CatalogError;
use super::paths::{Last, files};
use crate::blobs;
use crate::layers::{LayerError, plain};
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::source::image::ImageError;
use crate::workshop::Workshop;

/// Largest file that is checked before any of it is written.
const HELD_BYTES_MAX: u64 = 1 << 20;
const PIECE_BYTES: usize = 128 << 10;

/// Why a file could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The layer cannot be opened.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The layer cannot be read.
    #[error("cannot read the layer of `{path}`")]
    Archive {
        /// The file.
        path: String,
        /// What is wrong.
        source: ReadError,
    },
    /// The content cannot be read.
    #[error("cannot read `{path}`")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The layer does not have what its listing says.
    #[error("the layer of `{path}` does not have it as its listing says; `kiln fsck` checks the store")]
    NotAsListed {
        /// The file.
        path: String,
    },
    /// Nobody takes it.
    #[error("cannot write the content of `{path}`")]
    Output {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A file of an image whose layer is in the store.
#[derive(Debug)]
pub struct FoundFile {
    path: String,
    content: Content,
    layer: Option<Layer>,
}

/// Finds files of an image, and fetches the layers they are in, where these are not here.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::NoFile`], [`CatalogError::WrongKind`], [`CatalogError::Path`],
/// [`CatalogError::Platform`], or what is wrong with a layer.
pub async fn find_files(
    workshop: &Arc<Workshop>,
    image: &str,
    paths: &[Vec<u8>],
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<FoundFile>, CatalogError> {
    let files = files(workshop, image, platform, progress).await?;
    let mut found = Vec::new();
    let mut needed: Vec<Layer> = Vec::new();
    for text in paths {
        let place = files.at(text, Last::Followed)?;
        let Some(content) = place.entry.and_then(|entry| entry.content()) else {
            return Err(files.wrong_kind(text, &place));
        };
        let layer = match content.origin {
            Origin::Layer(id) => files.layers.iter().find(|layer| layer.diff_id == id).cloned(),
            _ => None,
        };
        needed.extend(layer.clone().filter(|layer| !needed.contains(layer)));
        found.push(FoundFile { path: format!("/{}", place.path), content: content.clone(), layer });
    }
    blobs::fetch_layers(workshop, &needed, progress).await.map_err(ImageError::from)?;
    Ok(found)
}

impl FoundFile {
    /// Writes the content to `out`.
    ///
    /// # Errors
    /// [`ContentError`]. What was written before an error is not the file.
    pub fn write_to(&self, workshop: &Workshop, out: &mut dyn Write) -> Result<(), ContentError> {
        let not_as_listed = || ContentError::NotAsListed { path: self.path.clone() };
        let (Some(layer), Some(digest)) = (&self.layer, self.content.digest) else {
            return Err(not_as_listed());
        };
        let archive = |source| ContentError::Archive { path: self.path.clone(), source };
        let mut reader = TarReader::new(plain(workshop, layer)?, Limits::default());
        while let Some(member) = reader.next_member().map_err(archive)? {
            // A hostile archive may have a name several times; the listing knows which of them counts.
            let is_it =
                member.path == self.content.path && member.kind == MemberKind::File(self.content.size);
            if is_it && self.pass_on(&mut reader.content(), digest, out)? {
                return Ok(());
            }
        }
        Err(not_as_listed())
    }

    /// Writes a content out, if it is the right one.
    fn pass_on(
        &self,
        content: &mut impl Read,
        digest: ContentDigest,
        out: &mut dyn Write,
    ) -> Result<bool, ContentError> {
        let failed = |source| ContentError::Content { path: self.path.clone(), source };
        let unwritten = |source| ContentError::Output { path: self.path.clone(), source };
        if self.content.size <= HELD_BYTES_MAX {
            let mut held = Vec::new();
            content.read_to_end(&mut held).map_err(failed)?;
            let is_right = ContentDigest::of(&held) == digest;
            if is_right {
                out.write_all(&held).map_err(unwritten)?;
            }
            return Ok(is_right);
        }
        let (mut hasher, mut piece) = (ContentHasher::new(), vec![0; PIECE_BYTES]);
        loop {
            match content.read(&mut piece).map_err(failed)? {
                0 if hasher.finish() == digest => return Ok(true),
                0 => return Err(ContentError::NotAsListed { path: self.path.clone() }),
                count => {
                    hasher.update(&piece[..count]);
                    out.write_all(&piece[..count]).map_err(unwritten)?;
                }
            }
        }
    }
}
