//! A cache that builders share, as a place for mounts.
//!
//! Mounts are read and written by work that blocks, so it runs in the blocking lane and waits there for each answer. It ends
//! between two answers, or in the middle of one, when somebody stops the build: what was sent by then is blobs that no entry
//! names, and what was fetched is in scratch.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kiln_oci::Descriptor;

use super::document::SHARED_BYTES_MAX;
use super::far::FarMounts;
use super::travels::Travel;
use crate::doubts::{Doubt, Trouble};
use crate::far::{EntryKind, Far, FarError};
use crate::lanes::wait_for;
use crate::progress::ProgressEvent;
use crate::request::CachePlace;

/// What entries of mounts are to a far cache.
const ENTRIES: EntryKind =
    EntryKind { media_type: "application/vnd.kiln.cache.mount.v1+zstd", bytes_max: SHARED_BYTES_MAX };
/// Time between two looks whether the build is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The cache, and the journey of one mount.
pub(super) struct SharedCache<'a> {
    travel: &'a Travel<'a>,
    place: &'a CachePlace,
    /// What the journey is called.
    task: String,
    began: Option<Instant>,
    moved_bytes: u64,
    /// What is wrong with the whole place.
    pub(super) trouble: Option<Trouble>,
}

impl<'a> SharedCache<'a> {
    pub(super) fn new(travel: &'a Travel<'a>, place: &'a CachePlace, task: String) -> Self {
        Self { travel, place, task, began: None, moved_bytes: 0, trouble: None }
    }

    /// Tells that the journey begins, unless it has begun.
    pub(super) fn begin(&mut self) {
        if self.began.is_none() {
            self.began = Some(Instant::now());
            self.travel.progress.on(&ProgressEvent::Began { task: &self.task });
        }
    }

    /// Tells that the journey is over, if it began.
    pub(super) fn end(&self, detail: &str) {
        if let Some(began) = self.began {
            let (task, took) = (&self.task, began.elapsed());
            self.travel.progress.on(&ProgressEvent::Finished { task, took, detail });
        }
    }

    fn has_moved(&mut self, bytes: u64) {
        self.moved_bytes += bytes;
        let (task, done) = (&self.task, self.moved_bytes);
        self.travel.progress.on(&ProgressEvent::Moved { task, done, total: None });
    }

    fn far(&self) -> Far<'a> {
        Far { workshop: self.travel.workshop, place: self.place }
    }

    /// Waits for an answer, or until the build is to end.
    fn answer<T>(&mut self, asked: impl Future<Output = Result<T, FarError>>) -> io::Result<T> {
        let Travel { workshop, cancel, .. } = self.travel;
        let stopped = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let answered = wait_for(async {
            tokio::select! {
                biased;
                // Not as a call of the system that is interrupted, which readers repeat.
                () = stopped => Err(io::Error::other("the build is to end")),
                answered = workshop.lanes.net(asked) => Ok(answered),
            }
        });
        answered?.map_err(|error| {
            if !error.is_about_one() {
                self.trouble = Some(error.trouble());
            }
            io::Error::other(error)
        })
    }
}

impl FarMounts for SharedCache<'_> {
    fn get(&mut self, name: &str) -> io::Result<Option<Bytes>> {
        if self.travel.workshop.doubts.is_bad_entry(self.place, name) {
            return Ok(None);
        }
        let far = self.far();
        let found = self.answer(far.get(ENTRIES, name))?;
        if found.is_some() {
            self.begin();
        }
        Ok(found)
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>, blobs: &[Descriptor]) -> io::Result<()> {
        let far = self.far();
        let size = bytes.len() as u64;
        self.answer(far.put(ENTRIES, name, bytes.into(), blobs))?;
        self.has_moved(size);
        Ok(())
    }

    fn has(&mut self, blob: &Descriptor) -> io::Result<bool> {
        // One that was not as it should be is sent again.
        if self.travel.workshop.doubts.about(&blob.digest).is_some() {
            return Ok(false);
        }
        let far = self.far();
        self.answer(far.has(blob))
    }

    fn send(&mut self, blob: &Descriptor, bytes: Vec<u8>) -> io::Result<()> {
        let far = self.far();
        self.answer(far.write(blob, bytes.into()))?;
        self.has_moved(blob.size);
        Ok(())
    }

    fn fetch(&mut self, blob: &Descriptor) -> io::Result<Bytes> {
        let far = self.far();
        let fetched = self.answer(far.read(blob));
        match &fetched {
            Ok(bytes) => self.has_moved(bytes.len() as u64),
            Err(_) if self.travel.cancel.is_cancelled() || self.trouble.is_some() => {}
            Err(_) => self.travel.workshop.doubts.blob(self.place, blob.digest, Doubt::Absent),
        }
        fetched
    }
}
