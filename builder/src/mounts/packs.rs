//! Streams put together from the packs of a far place, each of which is fetched once.
//!
//! An entry that was written many times has its chunks in packs of all ages. A pack that is needed again after others, and for
//! which there is no room in memory, waits on the disk until the last of its chunks was read.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use kiln_layer::ContentDigest;
use kiln_layer::compress::from_zstd;
use kiln_oci::Digest;
use kiln_store::{Scratch, Store};

use super::document::{Document, Stream};
use super::far::FarMounts;

/// Unpacked packs that are held in memory.
const PACKS_HELD_MAX: usize = 8;

/// The packs of a document.
pub(super) struct Packs<'a> {
    far: &'a mut dyn FarMounts,
    document: &'a Document,
    store: &'a Store,
    /// How many chunks of each pack are still to be read.
    needed: Vec<u64>,
    held: VecDeque<(u32, Arc<[u8]>)>,
    /// Files of packs that wait, called by their numbers.
    waiting: Option<Scratch>,
    /// Bytes that were fetched.
    pub(super) fetched_bytes: u64,
}

impl<'a> Packs<'a> {
    pub(super) fn new(far: &'a mut dyn FarMounts, document: &'a Document, store: &'a Store) -> Self {
        let mut needed = vec![0; document.packs.len()];
        let numbers = document.files.0.iter().chain(document.seen.iter().flat_map(|seen| &seen.0));
        for number in numbers {
            needed[document.chunks[*number as usize].pack as usize] += 1;
        }
        Self { far, document, store, needed, held: VecDeque::new(), waiting: None, fetched_bytes: 0 }
    }

    /// Reads one of the document's streams, each no more than once. Every chunk is checked.
    pub(super) fn read(&mut self, stream: &'a Stream) -> Assembly<'_, 'a> {
        Assembly { packs: self, rest: stream.0.iter(), pack: Arc::from([]), at: 0, end: 0 }
    }

    /// Returns an unpacked pack for one of its chunks.
    fn take(&mut self, number: u32) -> io::Result<Arc<[u8]>> {
        let place = self.held.iter().position(|(held, _)| *held == number);
        let bytes = match place.and_then(|place| self.held.remove(place)) {
            Some((_, bytes)) => bytes,
            None => match self.waited(number)? {
                Some(bytes) => bytes,
                None => self.fetch(number)?,
            },
        };
        let needed = &mut self.needed[number as usize];
        *needed -= 1;
        if *needed > 0 {
            self.hold(number, &bytes)?;
        }
        Ok(bytes)
    }

    fn fetch(&mut self, number: u32) -> io::Result<Arc<[u8]>> {
        let pack = &self.document.packs[number as usize];
        let blob = pack.blob();
        let packed = self.far.fetch(&blob)?;
        if Digest::of(&packed) != blob.digest {
            return Err(damaged(format!("pack `{}` has other bytes than its digest says", blob.digest)));
        }
        self.fetched_bytes += blob.size;
        let bytes = from_zstd(&packed, u64::from(pack.unpacked))?;
        if bytes.len() as u64 != u64::from(pack.unpacked) {
            return Err(damaged(format!("pack `{}` is not as long as it should be", blob.digest)));
        }
        Ok(bytes.into())
    }

    /// Keeps a pack near, as the one that was used last.
    fn hold(&mut self, number: u32, bytes: &Arc<[u8]>) -> io::Result<()> {
        if self.held.len() == PACKS_HELD_MAX
            && let Some((oldest, bytes)) = self.held.pop_front()
        {
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                none => none.insert(self.store.scratch("packs").map_err(io::Error::other)?),
            };
            fs_err::write(waiting.path().join(oldest.to_string()), bytes)?;
        }
        self.held.push_back((number, Arc::clone(bytes)));
        Ok(())
    }

    /// Takes a pack back from the disk, where it is there.
    fn waited(&self, number: u32) -> io::Result<Option<Arc<[u8]>>> {
        let Some(waiting) = &self.waiting else { return Ok(None) };
        let path = waiting.path().join(number.to_string());
        match fs_err::read(&path) {
            Ok(bytes) => fs_err::remove_file(&path).map(|()| Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One stream.
pub(super) struct Assembly<'p, 'a> {
    packs: &'p mut Packs<'a>,
    rest: std::slice::Iter<'a, u32>,
    pack: Arc<[u8]>,
    at: usize,
    end: usize,
}

impl Read for Assembly<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            let Some(number) = self.rest.next() else { return Ok(0) };
            let chunk = self.packs.document.chunks[*number as usize];
            let pack = self.packs.take(chunk.pack)?;
            let range = chunk.offset as usize..(chunk.offset + chunk.length) as usize;
            if ContentDigest::of(&pack[range.clone()]) != chunk.digest {
                let digest = chunk.digest;
                return Err(damaged(format!("chunk `{digest}` has other bytes than its digest says")));
            }
            (self.pack, self.at, self.end) = (pack, range.start, range.end);
        }
        let count = out.len().min(self.end - self.at);
        out[..count].copy_from_slice(&self.pack[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
