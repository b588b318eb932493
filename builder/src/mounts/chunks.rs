//! Streams as chunks: cut where their content says so, and packed.
//!
//! The cut depends on the bytes near it (FastCDC, 2020), so a change moves no cut but its own.

use std::collections::HashMap;
use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;
use kiln_layer::ContentDigest;
use kiln_layer::compress::zstd_frame;
use kiln_oci::{Descriptor, Digest};

use super::MountsError;
use super::document::{Chunk, Document, Pack, Stream};
use super::far::FarMounts;

/// Sizes of chunks. Smaller ones find more that is the same, and make documents longer: 32 KiB are some 1.5 MiB for 1 GiB.
const CHUNK_BYTES_MIN: usize = 8 * 1024;
const CHUNK_BYTES_MEAN: usize = 32 * 1024;
const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// A pack is closed when it has this many bytes.
const PACK_BYTES: usize = 4 << 20;

/// Makes a document, and sends what the far place has not.
pub(super) struct Packer<'a> {
    far: &'a mut dyn FarMounts,
    document: Document,
    numbers: HashMap<ContentDigest, u32>,
    before: Before,
    /// Chunks of the pack that is being filled.
    pack: Vec<u8>,
    /// Bytes of blobs that were sent.
    sent_bytes: u64,
}

/// What a far place has now.
pub(super) struct Sent {
    pub(super) document: Document,
    /// Bytes that went, document and blobs.
    pub(super) bytes: u64,
    /// Whether the far place had all of it.
    pub(super) is_same: bool,
}

/// What an earlier document says.
struct Before {
    document: Option<Document>,
    chunks: HashMap<ContentDigest, Chunk>,
    /// Numbers of its packs in the new document; none for one that the far place has lost.
    packs: HashMap<u32, Option<u32>>,
}

impl Before {
    fn new(document: Option<Document>) -> Self {
        let good = document.as_ref().map(Document::good_packs).unwrap_or_default();
        let all = document.iter().flat_map(|document| &document.chunks);
        let chunks =
            all.filter(|chunk| good.contains(&chunk.pack)).map(|chunk| (chunk.digest, *chunk)).collect();
        Self { document, chunks, packs: HashMap::new() }
    }
}

impl<'a> Packer<'a> {
    pub(super) fn new(far: &'a mut dyn FarMounts, document: Document, before: Option<Document>) -> Self {
        let before = Before::new(before);
        Self { far, document, numbers: HashMap::new(), before, pack: Vec::new(), sent_bytes: 0 }
    }

    /// Cuts a stream, and sends it but for what may still be in the open pack.
    pub(super) fn stream(&mut self, stream: impl Read) -> io::Result<Stream> {
        let mut numbers = Vec::new();
        for chunk in StreamCDC::new(stream, CHUNK_BYTES_MIN, CHUNK_BYTES_MEAN, CHUNK_BYTES_MAX) {
            numbers.push(self.chunk(&chunk.map_err(io::Error::from)?.data)?);
        }
        Ok(Stream(numbers))
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let digest = ContentDigest::of(bytes);
        if let Some(number) = self.numbers.get(&digest) {
            return Ok(*number);
        }
        let chunk = match self.earlier(&digest)? {
            Some(chunk) => chunk,
            None => {
                if self.pack.len() + bytes.len() > PACK_BYTES {
                    self.close_pack()?;
                }
                let offset = self.pack.len() as u32;
                self.pack.extend_from_slice(bytes);
                // The number of the open pack is known when it is closed.
                Chunk { digest, pack: u32::MAX, offset, length: bytes.len() as u32 }
            }
        };
        let number = self.document.chunks.len() as u32;
        self.document.chunks.push(chunk);
        self.numbers.insert(digest, number);
        Ok(number)
    }

    /// Returns a chunk of an earlier pack that the far place still has.
    fn earlier(&mut self, digest: &ContentDigest) -> io::Result<Option<Chunk>> {
        let (Some(chunk), Some(before)) = (self.before.chunks.get(digest), &self.before.document) else {
            return Ok(None);
        };
        let number = match self.before.packs.get(&chunk.pack) {
            Some(number) => *number,
            None => {
                let pack = &before.packs[chunk.pack as usize];
                let number = self.far.has(&pack.blob())?.then_some(self.document.packs.len() as u32);
                if number.is_some() {
                    self.document.packs.push(pack.clone());
                }
                self.before.packs.insert(chunk.pack, number);
                number
            }
        };
        Ok(number.map(|pack| Chunk { pack, ..*chunk }))
    }

    fn close_pack(&mut self) -> io::Result<()> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let packed = zstd_frame(&self.pack)?;
        let pack = Pack::new(&Digest::of(&packed), packed.len(), self.pack.len());
        if !self.far.has(&pack.blob())? {
            self.sent_bytes += packed.len() as u64;
            self.far.send(&pack.blob(), packed)?;
        }
        let number = self.document.packs.len() as u32;
        self.document.packs.push(pack);
        // They are the last ones, with earlier packs' between.
        let mut open_bytes = self.pack.len() as u64;
        for chunk in self.document.chunks.iter_mut().rev().filter(|chunk| chunk.pack == u32::MAX) {
            chunk.pack = number;
            open_bytes -= u64::from(chunk.length);
            if open_bytes == 0 {
                break;
            }
        }
        self.pack.clear();
        Ok(())
    }

    /// Sends the rest, and the document, which so never names a blob that is not there; nothing, when the earlier document says it.
    pub(super) fn finish(
        mut self,
        name: &str,
        files: Stream,
        seen: Option<Stream>,
    ) -> Result<Sent, MountsError> {
        let failed = |source| MountsError::Far { verb: "send", name: name.to_owned(), source };
        self.close_pack().map_err(failed)?;
        (self.document.files, self.document.seen) = (files, seen);
        let Self { far, document, before, sent_bytes, .. } = self;
        let has_new_packs = before.packs.values().flatten().count() < document.packs.len();
        let says_the_same = |before: &Document| {
            !has_new_packs && before.outline == document.outline && before.content() == document.content()
        };
        if before.document.as_ref().is_some_and(says_the_same) {
            return Ok(Sent { document, bytes: 0, is_same: true });
        }
        let encoded = document.encode()?;
        let bytes = sent_bytes + encoded.len() as u64;
        let blobs: Vec<Descriptor> = document.packs.iter().map(Pack::blob).collect();
        far.put(name, encoded, &blobs).map_err(failed)?;
        Ok(Sent { document, bytes, is_same: false })
    }
}
