//! Near before far: what the store's records do not know is asked of the caches that builders share, one after the other.
//!
//! Whatever is wrong with one of them or with an entry is told, and is a miss. One that does not answer is not asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::{Descriptor, DiffId, Digest, MediaType};
use tokio::sync::{OnceCell, Semaphore};

use super::entry::{ENTRIES, Entry, EntryError, entry_name};
use crate::blobs::check_layer;
use crate::doubts::Doubt;
use crate::far::{Far, FarError};
use crate::plan::{KeyKind, StepKey};
use crate::progress::{Progress, ProgressEvent};
use crate::request::{CachePlace, CacheSource};
use crate::rootfs::{Layer, Rootfs};
use crate::workshop::Workshop;

/// Entries that are asked for at once.
const LOOKUPS_MAX: usize = 8;

/// A blob, and which layer of which type it should be.
type Comparison = (Digest, DiffId, MediaType);

/// The far caches of a build, in the order in which they are asked.
#[derive(Debug)]
pub struct Tiers {
    places: Vec<CachePlace>,
    permits: Semaphore,
    /// Layers of the store that were found to be what entries say, or are being looked at. Many entries name the same.
    checked: Mutex<BTreeMap<Comparison, Arc<OnceCell<()>>>>,
}

/// Something that a far cache knew.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What.
    pub value: T,
    /// Which.
    pub place: CachePlace,
}

impl Tiers {
    /// Takes the places of caches.
    pub fn new(sources: &[CacheSource]) -> Self {
        let places = sources.iter().map(|source| source.place.clone()).collect();
        Self { places, permits: Semaphore::new(LOOKUPS_MAX), checked: Mutex::default() }
    }

    /// Whether there is one that can be asked.
    pub fn may_ask(&self, workshop: &Workshop) -> bool {
        self.places.iter().any(|place| workshop.doubts.may_ask(place))
    }

    /// Returns the file system that a definition key leads to, after `transforms` steps on the layers of a base image.
    pub async fn definition(
        &self,
        workshop: &Workshop,
        progress: &dyn Progress,
        key: StepKey,
        (base, transforms): (&[Layer], usize),
    ) -> Option<Found<Rootfs>> {
        let usable = |entry: Entry| entry.onto(base, transforms);
        self.ask(workshop, progress, (KeyKind::Definition, key), usable).await
    }

    /// Returns what a content key leads to: a layer, or that nothing changed.
    pub async fn content(
        &self,
        workshop: &Workshop,
        progress: &dyn Progress,
        key: StepKey,
    ) -> Option<Found<Option<Layer>>> {
        let usable = |entry: Entry| Ok(entry.into_layer());
        self.ask(workshop, progress, (KeyKind::Content, key), usable).await
    }

    async fn ask<T>(
        &self,
        workshop: &Workshop,
        progress: &dyn Progress,
        (kind, key): (KeyKind, StepKey),
        usable: impl Fn(Entry) -> Result<T, EntryError>,
    ) -> Option<Found<T>> {
        for place in &self.places {
            let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
            if !workshop.doubts.may_ask(place) {
                continue;
            }
            let far = Far { workshop, place };
            let read = self.look(far, kind, key).await;
            let warn = |message: String| progress.on(&ProgressEvent::Warning { message: &message });
            match read {
                Ok(Some(entry)) => match usable(entry) {
                    Ok(value) => return Some(Found { value, place: place.clone() }),
                    Err(error) => warn(unusable(place, kind, key, &error)),
                },
                Ok(None) => {}
                Err(Problem::Entry(error)) => warn(unusable(place, kind, key, &error)),
                Err(Problem::Far(error)) if error.is_about_one() => warn(unusable(place, kind, key, &error)),
                Err(Problem::Far(error)) => {
                    if workshop.doubts.place(place, error.trouble()) {
                        warn(format!(
                            "cache `{place}` cannot be used, and is not asked again: {}",
                            told(&error)
                        ));
                    }
                }
            }
        }
        None
    }

    /// Reads the entry of a key, unless something that it names is in doubt.
    async fn look(&self, far: Far<'_>, kind: KeyKind, key: StepKey) -> Result<Option<Entry>, Problem> {
        let Some(document) = far.get(ENTRIES, &entry_name(kind, key)).await.map_err(Problem::Far)? else {
            return Ok(None);
        };
        let entry = Entry::parse(&document, kind, key).map_err(Problem::Entry)?;
        let store = &far.workshop.store;
        let is_here = |blob: &Descriptor| matches!(store.blobs().size(&blob.digest), Ok(Some(size)) if size == blob.size);
        let (mut missing, mut is_doubted) = (Vec::new(), false);
        for layer in entry.layers() {
            match far.workshop.doubts.about(&layer.blob.digest) {
                Some(Doubt::Wrong) => is_doubted = true,
                _ if is_here(&layer.blob) => self.check(far, layer).await.map_err(Problem::Far)?,
                doubt => {
                    is_doubted |= doubt.is_some();
                    missing.push(layer.blob.clone());
                }
            }
        }
        if is_doubted {
            return Ok(None);
        }
        match far.may_have(&missing).await.map_err(Problem::Far)? {
            true => Ok(Some(entry)),
            false => Err(Problem::Entry(EntryError::Layers("a layer that it names is not there"))),
        }
    }

    /// Finds out whether a blob of the store is the layer that an entry says it is, once for all entries.
    async fn check(&self, far: Far<'_>, layer: &Layer) -> Result<(), FarError> {
        let key = (layer.blob.digest, layer.diff_id, layer.blob.media_type.clone());
        let cell = {
            // Only whole values come and go, so a panic elsewhere harmed nothing.
            let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(checked.entry(key).or_default())
        };
        cell.get_or_try_init(|| check_layer(far.workshop, layer)).await.copied()
    }
}

/// Why an entry was not read.
enum Problem {
    Far(FarError),
    Entry(EntryError),
}

fn unusable(place: &CachePlace, kind: KeyKind, key: StepKey, error: &dyn std::error::Error) -> String {
    let name = entry_name(kind, key);
    format!("entry `{name}` of cache `{place}` cannot be used, so the step counts as new: {}", told(error))
}

/// Returns an error with its causes, in one line.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
