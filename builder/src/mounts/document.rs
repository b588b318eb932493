//! The document of a mount: what its streams are made of, and where that is.
//!
//! | Field | Is |
//! |---|---|
//! | `format` | [`FORMAT`]; another one cannot be used |
//! | `outline` | digest of all headers and of what was seen: equal outlines are equal mounts |
//! | `files`, `seen` | streams: numbers of chunks, in order |
//! | `chunks` | digest, pack, place in the unpacked pack |
//! | `packs` | digest and size of the blob, and its size unpacked |

use std::collections::BTreeSet;

use kiln_layer::compress::{from_zstd, zstd_frame};
use kiln_layer::limits::{ARCHIVE_BYTES_MAX, RATIO_FREE_BYTES, RATIO_MAX};
use kiln_layer::{ContentDigest, ContentHasher};
use kiln_oci::{Descriptor, Digest, MediaType};
use kiln_store::MEMORY_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::MountsError;

/// The number of this form.
pub(super) const FORMAT: u32 = 1;
/// Largest document, packed and unpacked: of a mount of some 300 GiB.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 512 << 20;
/// Largest packed document in a cache that builders share: of a mount of some 40 GiB. It is held in memory.
pub(super) const SHARED_BYTES_MAX: u64 = 64 << 20;
/// Largest pack, unpacked; twice what this version writes.
pub(super) const PACK_BYTES_MAX: u64 = 8 << 20;
/// Media type of a pack.
const PACK: &str = "application/vnd.kiln.cache.pack.v1+zstd";
/// Longest id of a mount.
const ID_BYTES_MAX: usize = 64 * 1024;

/// What is known of a mount elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    format: u32,
    pub(super) id: String,
    /// When a step used it last, in nanoseconds since 1970.
    pub(super) used_ns: i64,
    pub(super) outline: ContentDigest,
    pub(super) files: Stream,
    /// What steps saw; none where nobody knows.
    pub(super) seen: Option<Stream>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) packs: Vec<Pack>,
}

/// Bytes, as chunks one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream(pub(super) Vec<u32>);

/// A piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) digest: ContentDigest,
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// A blob of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    digest: [u8; 32],
    pub(super) size: u32,
    pub(super) unpacked: u32,
}

impl Pack {
    pub(super) fn new(digest: &Digest, size: usize, unpacked: usize) -> Self {
        Self { digest: *digest.as_bytes(), size: size as u32, unpacked: unpacked as u32 }
    }

    /// Returns what a far place is asked for.
    pub(super) fn blob(&self) -> Descriptor {
        let digest = Digest::from_bytes(self.digest);
        Descriptor::new(MediaType::new(PACK), digest, u64::from(self.size))
    }
}

/// Returns the name of the entry of the mount `id`.
pub fn entry_name(id: &str) -> String {
    format!("mounts-{}", Digest::of(id.as_bytes()).hex())
}

impl Document {
    pub(super) fn new(id: &str, used_ns: i64, outline: ContentDigest) -> Self {
        Self {
            format: FORMAT,
            id: id.to_owned(),
            used_ns,
            outline,
            files: Stream::default(),
            seen: None,
            chunks: Vec::new(),
            packs: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, MountsError> {
        let bytes = postcard::to_stdvec(self).expect("plain fields always encode");
        zstd_frame(&bytes).map_err(|source| MountsError::Read { id: self.id.clone(), source })
    }

    /// Reads and checks a document. It is the entry called `name`.
    pub(super) fn decode(name: &str, packed: &[u8]) -> Result<Self, MountsError> {
        let refuse = |reason: String| MountsError::Document { name: name.to_owned(), reason };
        let bytes = from_zstd(packed, DOCUMENT_BYTES_MAX).map_err(|error| refuse(error.to_string()))?;
        let (format, _) =
            postcard::take_from_bytes::<u32>(&bytes).map_err(|_| refuse("it is damaged".to_owned()))?;
        if format != FORMAT {
            return Err(refuse(format!("its format is {format}, and this version reads {FORMAT}")));
        }
        let document: Self = postcard::from_bytes(&bytes).map_err(|_| refuse("it is damaged".to_owned()))?;
        match document.flaw(name) {
            Some(flaw) => Err(refuse(flaw.to_owned())),
            None => Ok(document),
        }
    }

    fn flaw(&self, name: &str) -> Option<&'static str> {
        if self.id.len() > ID_BYTES_MAX || entry_name(&self.id) != name {
            return Some("it belongs to another id");
        }
        if self.packs.iter().any(|pack| u64::from(pack.unpacked.max(pack.size)) > PACK_BYTES_MAX) {
            return Some("one of its packs is too large");
        }
        let is_inside = |chunk: &Chunk| {
            let pack = self.packs.get(chunk.pack as usize);
            pack.is_some_and(|pack| {
                chunk.offset.checked_add(chunk.length).is_some_and(|end| end <= pack.unpacked)
            })
        };
        if !self.chunks.iter().all(|chunk| chunk.length > 0 && is_inside(chunk)) {
            return Some("one of its chunks lies in no pack");
        }
        let (Some(files), Some(seen)) =
            (self.bytes_of(&self.files), self.bytes_of(self.seen.as_ref().unwrap_or(&Stream::default())))
        else {
            return Some("one of its chunks does not exist");
        };
        let packed: u64 = self.packs.iter().map(|pack| u64::from(pack.size)).sum();
        if files > ARCHIVE_BYTES_MAX || seen > MEMORY_BYTES_MAX {
            return Some("it is too large");
        }
        (files > RATIO_FREE_BYTES && files / RATIO_MAX > packed).then_some("it is much larger than its packs")
    }

    /// Returns the length of a stream; none when it has chunks that do not exist.
    pub(super) fn bytes_of(&self, stream: &Stream) -> Option<u64> {
        stream
            .0
            .iter()
            .map(|number| self.chunks.get(*number as usize).map(|chunk| u64::from(chunk.length)))
            .sum()
    }

    /// Returns what tells the files from any others: the digest of their chunks' digests; none when it has chunks that do not exist.
    pub(super) fn content(&self) -> Option<ContentDigest> {
        let mut hasher = ContentHasher::new();
        for number in &self.files.0 {
            hasher.update(self.chunks.get(*number as usize)?.digest.as_bytes());
        }
        Some(hasher.finish())
    }

    /// Returns the packs of which at least half is needed. The rest is not worth keeping.
    pub(super) fn good_packs(&self) -> BTreeSet<u32> {
        let mut needed = vec![0_u64; self.packs.len()];
        for chunk in &self.chunks {
            needed[chunk.pack as usize] += u64::from(chunk.length);
        }
        let numbered = self.packs.iter().zip(&needed).enumerate();
        let good = numbered.filter(|(_, (pack, needed))| **needed * 2 >= u64::from(pack.unpacked));
        good.map(|(number, _)| number as u32).collect()
    }
}
