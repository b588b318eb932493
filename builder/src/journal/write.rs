//! Events → lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_oci::Digest;
use kiln_store::{JournalWriter, Store, StoreError};

use super::entry::{Ended, Entry, Header, Line, number, planned};
use crate::plan::{Plan, StepId};
use crate::progress::{Progress, ProgressEvent};
use crate::rootfs::Rootfs;
use crate::secrets::without_logins;

/// How long a line may wait in memory while events come.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Builds whose logs are kept.
const BUILDS_MAX: usize = 200;
/// Builds more than that before somebody looks: not every build has to remove one.
const BUILDS_SLACK: usize = 20;
/// Bytes that logs may take on the disk.
const BYTES_MAX: u64 = 512 << 20;
/// How a transfer to a registry begins.
const PUSHING: &str = "pushing ";

/// Writes the journal of one build, and hands every event on.
pub struct Journal {
    display: Arc<dyn Progress>,
    started: Instant,
    state: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    file: Option<JournalWriter>,
    failed: Option<StoreError>,
    lines: Vec<u8>,
    /// When the first of `lines` came.
    waits_since: Option<Instant>,
    has_run: bool,
    parents: Vec<Option<StepId>>,
    sized: BTreeSet<u32>,
    /// Bytes that work fetched which goes on.
    fetched: BTreeMap<String, u64>,
    transfers: BTreeMap<(String, Digest), Transfer>,
}

struct Transfer {
    first: u64,
    done: u64,
    is_told: bool,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Progress for Journal {
    fn on(&self, event: &ProgressEvent<'_>) {
        self.display.on(event);
        // What a step prints is in its own log, and there can be gigabytes of it.
        if matches!(event, ProgressEvent::StepOutput { .. } | ProgressEvent::TaskOutput { .. }) {
            return;
        }
        let failed = {
            let mut writing = self.writing();
            writing.take(event, self.at());
            writing.failed.take()
        };
        self.complain(failed);
    }
}

impl Journal {
    /// Returns a journal before a display. Until [`Journal::begin`] it keeps what comes in memory.
    pub fn before(display: Arc<dyn Progress>) -> Arc<Self> {
        Arc::new(Self { display, started: Instant::now(), state: Mutex::default() })
    }

    /// Begins to write, into the store. `started_ns` is when the process started, in nanoseconds since 1970. That there can be no
    /// journal is a warning and no failure of the build.
    pub fn begin(&self, store: &Store, started_ns: i128, header: Header) {
        let header = Header { began: u64::try_from(started_ns / 1_000_000).unwrap_or_default(), ..header };
        let failed = {
            let mut writing = self.writing();
            let waiting = std::mem::take(&mut writing.lines);
            writing.add(Entry::Build(Box::new(header)), 0);
            writing.lines.extend(waiting);
            match store.logs().begin_journal(&build_id(started_ns)) {
                Ok(file) => writing.file = Some(file),
                Err(error) => writing.failed = Some(error),
            }
            writing.flush();
            writing.failed.take()
        };
        self.complain(failed);
    }

    /// Ends the journal, and removes the oldest ones where there are too many.
    pub fn end(&self, store: &Store, ended: Ended) {
        let (failed, has_run) = {
            let mut writing = self.writing();
            if writing.file.is_none() {
                return;
            }
            let at = self.at();
            writing.tell_transfers(at);
            writing.add(Entry::Ended(Box::new(ended)), at);
            writing.flush();
            writing.file = None;
            (writing.failed.take(), writing.has_run)
        };
        self.complain(failed);
        self.complain(bound(store, has_run).err());
    }

    fn at(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn complain(&self, failed: Option<StoreError>) {
        if let Some(error) = failed {
            let message = format!("`kiln log` will not know all of this build: {error}");
            self.display.on(&ProgressEvent::Warning { message: &message });
        }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // Lines are whole or absent whatever panicked between them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the oldest logs. What ran nothing added next to nothing, so then only the number is looked at.
fn bound(store: &Store, has_run: bool) -> Result<(), StoreError> {
    if has_run {
        return store.logs().bound(BUILDS_MAX, BYTES_MAX).map(drop);
    }
    if store.logs().build_ids()?.len() > BUILDS_MAX + BUILDS_SLACK {
        store.logs().prune(BUILDS_MAX)?;
    }
    Ok(())
}

/// Returns the name of a build in the logs: sortable, and unlike that of a build that runs beside it.
pub fn build_id(started_ns: i128) -> String {
    format!("{:020}-{}", started_ns / 1_000_000, std::process::id())
}

impl Writing {
    fn take(&mut self, event: &ProgressEvent<'_>, at: u64) {
        let (entry, is_urgent) = match event {
            ProgressEvent::Finished { task, took, .. } => {
                let bytes = self.fetched.remove(*task).unwrap_or_default();
                let (task, took) = (without_logins(task), milliseconds(*took));
                (Entry::Task { task, took, bytes }, false)
            }
            ProgressEvent::Moved { task, done, .. } => {
                self.fetched.insert((*task).to_owned(), *done);
                return;
            }
            ProgressEvent::Planned { plan, needed } => {
                self.learn(plan);
                (Entry::Plan { steps: planned(plan, needed) }, true)
            }
            ProgressEvent::StepCached { step } => (Entry::Cached { step: number(*step) }, false),
            ProgressEvent::StepMissed { step, reason } => {
                let reason = (*reason).clone();
                (Entry::Missed { step: number(*step), reason }, false)
            }
            ProgressEvent::StepMade { step, rootfs } => match self.layers(*step, rootfs) {
                layers if layers.is_empty() => return,
                layers => (Entry::Layers { layers }, false),
            },
            ProgressEvent::StepStarted { step } => {
                self.has_run = true;
                (Entry::Started { step: number(*step) }, true)
            }
            ProgressEvent::StepDone { step, took } => {
                (Entry::Done { step: number(*step), took: milliseconds(*took) }, true)
            }
            ProgressEvent::StepFailed { step, took } => {
                (Entry::Failed { step: number(*step), took: milliseconds(*took) }, true)
            }
            ProgressEvent::Transfer { what, blob, done, total } => {
                return self.transfer(what, *blob, (*done, *total), at);
            }
            ProgressEvent::Warning { message } => (Entry::Warning { message: without_logins(message) }, true),
            ProgressEvent::Noticed { findings, others } => {
                for notice in others.iter().chain(*findings) {
                    let line = notice.place.map(|place| format!(" (line {})", place.line));
                    let message = format!("{}: {}{}", notice.code, notice.message, line.unwrap_or_default());
                    self.add(Entry::Warning { message: without_logins(&message) }, at);
                }
                return;
            }
            ProgressEvent::Began { .. }
            | ProgressEvent::TaskOutput { .. }
            | ProgressEvent::StepOutput { .. }
            | ProgressEvent::ShellOpened { .. }
            | ProgressEvent::ShellClosed
            | ProgressEvent::StepWaits { .. }
            | ProgressEvent::StepRepeated { .. }
            // The plan that follows says so.
            | ProgressEvent::StepPutOff { .. }
            // Its transfers say it.
            | ProgressEvent::ImageMoves { .. }
            | ProgressEvent::Layer { .. }
            | ProgressEvent::Named { .. } => return,
        };
        self.add(entry, at);
        if is_urgent || self.waits_since.is_some_and(|since| since.elapsed() > WAIT_MAX) {
            self.flush();
        }
    }

    fn learn(&mut self, plan: &Plan) {
        self.parents = plan.steps().map(|(_, step)| step.op.parent()).collect();
        self.sized.clear();
    }

    /// Returns the sizes of layers that are not told yet: those of a step, and of the steps before it in its stage.
    fn layers(&mut self, step: StepId, rootfs: &Rootfs) -> Vec<(u32, u64)> {
        let mut layers = rootfs.layers.iter().rev();
        let mut sizes = rootfs.made.iter().rev().map(|made| match made {
            true => layers.next().map_or(0, |layer| layer.blob.size),
            false => 0,
        });
        let parent_of = |step: &StepId| self.parents.get(step.index()).copied().flatten();
        let mut told = Vec::new();
        let mut next = Some(step);
        while let Some(step) = next {
            let Some(size) = sizes.next() else { break };
            if !self.sized.insert(number(step)) {
                break;
            }
            told.push((number(step), size));
            next = parent_of(&step);
        }
        told
    }

    fn transfer(&mut self, what: &str, blob: Digest, (done, total): (u64, u64), at: u64) {
        let key = (what.to_owned(), blob);
        let fresh = Transfer { first: 0, done: 0, is_told: false };
        let transfer = self.transfers.entry(key).or_insert_with(|| Transfer {
            // What a registry has already is told by one event, at its end.
            first: if done == total && what.starts_with(PUSHING) { done } else { 0 },
            ..fresh
        });
        transfer.done = done;
        if done == total && !transfer.is_told {
            transfer.is_told = true;
            let bytes = done - transfer.first;
            if bytes > 0 {
                self.add(Entry::Moved { what: what.to_owned(), bytes }, at);
            }
        }
    }

    /// Tells of transfers that did not come to their end.
    fn tell_transfers(&mut self, at: u64) {
        for ((what, _), transfer) in std::mem::take(&mut self.transfers) {
            if !transfer.is_told && transfer.done > 0 {
                self.add(Entry::Moved { what, bytes: transfer.done }, at);
            }
        }
    }

    fn add(&mut self, entry: Entry, at: u64) {
        serde_json::to_writer(&mut self.lines, &Line { at, entry }).expect("these types always serialize");
        self.lines.push(b'\n');
        self.waits_since.get_or_insert_with(Instant::now);
    }

    fn flush(&mut self) {
        let Some(file) = &self.file else { return };
        self.waits_since = None;
        if let Err(error) = file.append(&self.lines) {
            // One warning is enough; what is written up to here can be read.
            self.failed = Some(error);
            self.file = None;
        }
        self.lines.clear();
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
