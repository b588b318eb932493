//! The cache mounts of a build that travel: before a step runs, a mount that is not here comes from the first cache that has it;
//! after the build those that steps have used leave for the caches that take them.
//!
//! None of it decides what comes out of a build, so nothing of it fails one: what goes wrong is a warning, and the mount is
//! empty, or the cache has what it had.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_sandbox::CancelToken;
use kiln_store::Patience;

use super::shared::SharedCache;
use super::{Exported, LEFT_OUT, MountsError, Replace, entry_name, export, import, shown_id};
use crate::cache::told;
use crate::progress::{Progress, ProgressEvent};
use crate::request::{CachePlace, CacheSource, CacheTarget};
use crate::workshop::Workshop;

/// Where the mounts of a build come from and go to.
#[derive(Debug)]
pub struct Travels {
    sources: Vec<CachePlace>,
    targets: Vec<CachePlace>,
    used: Mutex<BTreeSet<String>>,
}

/// What mounts travel with.
#[derive(Clone, Copy)]
pub struct Travel<'a> {
    /// The store, and what caches are reached with.
    pub workshop: &'a Workshop,
    /// Is told what happens.
    pub progress: &'a Arc<dyn Progress>,
    /// Ends the journey.
    pub cancel: &'a CancelToken,
}

impl Travels {
    /// Takes those of a build's caches that have to do with mounts.
    pub fn new(sources: &[CacheSource], targets: &[CacheTarget]) -> Self {
        let sources = sources.iter().filter(|source| source.has_mounts).map(|source| source.place.clone());
        let targets = targets.iter().filter(|target| target.takes_mounts).map(|target| target.place.clone());
        Self { sources: sources.collect(), targets: targets.collect(), used: Mutex::default() }
    }

    /// Brings a mount that a step is about to open, unless something is in it already. To be called in the blocking lane.
    pub fn bring(&self, travel: Travel<'_>, id: &str) {
        let may_ask = |place: &&CachePlace| travel.workshop.doubts.may_ask(place);
        for place in self.sources.iter().filter(may_ask) {
            // What the store cannot tell now the step will hear when it opens the mount.
            if !matches!(travel.workshop.store.has_in_cache_mount(id), Ok(false))
                || bring_from(travel, place, id)
            {
                return;
            }
        }
    }

    /// Takes note of a mount that a step has used.
    pub fn note_used(&self, id: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// Whether there is something to do once the build has its results.
    pub fn has_to_leave(&self) -> bool {
        !self.targets.is_empty() && !self.used.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Sends the mounts that steps have used. To be called in the blocking lane.
    pub fn send(&self, travel: Travel<'_>) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for place in &self.targets {
            for id in &used {
                let may_ask = travel.workshop.doubts.may_ask(place);
                if travel.cancel.is_cancelled() || !may_ask {
                    break;
                }
                send_to(travel, place, id);
            }
        }
    }
}

/// Brings a mount from a place, and tells whether another place need not be asked.
fn bring_from(travel: Travel<'_>, place: &CachePlace, id: &str) -> bool {
    let (name, shown) = (entry_name(id), shown_id(id));
    let mut cache = SharedCache::new(&travel, place, format!("import cache mount {shown} from {place}"));
    let outcome = import(travel.workshop, &name, &mut cache, Replace::No);
    let is_elsewhere = matches!(outcome, Err(MountsError::AlreadyHere { .. } | MountsError::InUse { .. }));
    cache.end(if is_elsewhere { "another build has it here" } else { "" });
    let error = match outcome {
        Ok(imported) => return imported.is_some(),
        Err(_) if is_elsewhere || travel.cancel.is_cancelled() => return true,
        Err(error) => error,
    };
    let doubts = &travel.workshop.doubts;
    let (is_news, more) = match cache.trouble {
        Some(trouble) => (doubts.place(place, trouble), ", which is not asked again"),
        None => {
            doubts.entry(place, &name);
            (true, "")
        }
    };
    if is_news {
        warn(
            travel,
            &format!("cache mount `{shown}` does not come from cache `{place}`{more}: {}", told(&error)),
        );
    }
    false
}

fn send_to(travel: Travel<'_>, place: &CachePlace, id: &str) {
    let shown = shown_id(id);
    let mut cache = SharedCache::new(&travel, place, format!("export cache mount {shown} to {place}"));
    cache.begin();
    let outcome = export(travel.workshop, id, Patience::None, &mut cache);
    let detail = match &outcome {
        Ok(Exported { is_same: true, .. }) => "nothing changed".to_owned(),
        Ok(Exported { left_out: count @ 1.., .. }) => format!("{count} left out: {LEFT_OUT}"),
        Err(error @ MountsError::InUse { .. }) => format!("left out: {error}"),
        Err(MountsError::Missing { .. }) => "it was removed".to_owned(),
        Ok(_) | Err(_) => String::new(),
    };
    cache.end(&detail);
    let error = match outcome {
        Ok(_) | Err(MountsError::InUse { .. } | MountsError::Missing { .. }) => return,
        Err(_) if travel.cancel.is_cancelled() => return,
        Err(error) => error,
    };
    if let Some(trouble) = cache.trouble {
        travel.workshop.doubts.place(place, trouble);
    }
    warn(travel, &format!("cache mount `{shown}` does not go to cache `{place}`: {}", told(&error)));
}

fn warn(travel: Travel<'_>, message: &str) {
    travel.progress.on(&ProgressEvent::Warning { message });
}
