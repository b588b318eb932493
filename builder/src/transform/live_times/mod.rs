//! Live times: what a RUN with cache mounts sees instead of the fixed times of its layers.
//!
//! All files of kiln's layers have one time, so a tool that keeps objects in a cache, and makes again those that are older than
//! their sources, would take every source for an old one. So beside each cache mount lies what the steps that used it have
//! seen (the [`table`]), and a path whose content is another one now is shown with the time of this step. The rest is shown as
//! it was, which is to say older than what was made from it: neither a fresh clone nor `touch` makes anything be made again.
//!
//! | Where a path is from | Its time is set |
//! |---|---|
//! | the root, an overlay | in a copy, in one more lower directory on top of the layers' ([`shown`]); a directory or a link costs no copy |
//! | the root, a directory of its own | in place |
//! | a bind mount | in the copy that the mount shows anyway |
//!
//! The table is saved before the step begins, since a step may leave objects that it has made even when it fails. A step that
//! only reads the cache leaves nothing, and is not remembered. The step's changes are found by comparing with the tree, in
//! which times stay what they are. With `--timestamp=preserve` files keep their own times, which are part of the layers; what
//! is seen is remembered all the same, for the builds without it.
//!
//! The clock is that of the file system, which dates the objects, too.

mod shown;

mod table;

mod view;

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_layer::{ArchivePath, Entry, Item, Timestamp as FileTime, Tree};
use kiln_store::{CacheMount, Memory, Presence};

use self::shown::{Shown, show};
use self::table::{Known, Moment, Nanoseconds, Table};
use self::view::{Bound, Viewed, view};
use super::caches::{Cache, Caches};
use super::mount_files::tree_of;
use super::selection::mount_source;
use super::{Bench, Given, StepError};
use crate::clock;
use crate::layers;
use crate::plan::{MountKind, RunOp};
use crate::rootfs::{Layer, Rootfs};

/// The time of what is older than the cache where the layer's own is not: that of layers, 1980-01-01.
const OLD_SECONDS: i64 = 315_532_800;
const NANOSECONDS: i64 = 1_000_000_000;

/// The times that one step sees. To be [ended](Self::end) when it is done.
#[derive(Default)]
pub(super) struct LiveTimes {
    bound: Vec<(usize, Arc<Tree>)>,
    /// Paths of the root whose time is not their layer's.
    changed: Vec<(ArchivePath, FileTime)>,
    shown: Option<Shown>,
    _presence: Vec<Presence>,
}

/// What a step is over.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    /// The layers.
    pub(super) stack: &'a [Layer],
    /// What they hold together.
    pub(super) tree: &'a Tree,
}

impl LiveTimes {
    /// Finds the times that a step sees, and remembers what it sees for those after it. An overlay needs a directory that shows them.
    pub(super) fn begin(
        bench: &Bench,
        op: &RunOp,
        given: &Given,
        below: Below<'_>,
        caches: &[Cache<'_>],
        is_overlay: bool,
    ) -> Result<Self, StepError> {
        if caches.is_empty() {
            return Ok(Self::default());
        }
        let mounts = bound(bench, op, given)?;
        let places: Vec<Bound> = mounts.iter().map(|(_, bound)| bound.clone()).collect();
        let view = view(below.tree, &places);
        let opened = open(caches)?;
        let sources = Sources { bench, layers: copied_layers(given), paths: OnceCell::new() };
        let (times, presence) = remember(bench, &opened, &view, &sources)?;
        if bench.timestamp.files().is_none() {
            return Ok(Self { _presence: presence, ..Self::default() });
        }
        let bound = mounts
            .iter()
            .enumerate()
            .map(|(place, (index, bound))| (*index, Arc::new(dated(bench, bound, place, &view, &times))))
            .collect();
        let memory = opened.iter().find(|opened| opened.is_writable);
        let changed = times.of_root(&view);
        let memory = memory.map(|opened| (&opened.memory, opened.mount));
        let shown = if is_overlay { show(bench, below, &changed, memory)? } else { None };
        Ok(Self { bound, changed, shown, _presence: presence })
    }

    /// Returns the directory that shows other times than the layers do; it goes on top of them.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        self.shown.as_ref().map(Shown::directory)
    }

    /// Returns the tree of the root with these times, where a root of its own shows them.
    pub(super) fn dated(&self, tree: &Arc<Tree>) -> Arc<Tree> {
        if self.changed.is_empty() {
            return Arc::clone(tree);
        }
        let mut dated = (**tree).clone();
        for (path, time) in &self.changed {
            if let Some(inode) = dated.inode(path) {
                dated.set_time(inode, *time);
            }
        }
        Arc::new(dated)
    }

    /// Returns the tree that a bind mount, by its index among the mounts, shows.
    pub(super) fn of_mount(&self, index: usize) -> Option<&Arc<Tree>> {
        self.bound.iter().find(|(bound, _)| *bound == index).map(|(_, tree)| tree)
    }

    /// Notes the end of the step, and keeps the copies that were made for the next that uses the cache.
    pub(super) fn end(self, caches: &Caches) -> Result<(), StepError> {
        for mount in caches.mounts() {
            mount.memory()?.touch()?;
        }
        if let Some(shown) = self.shown {
            shown.keep(caches.mounts());
        }
        Ok(())
    }
}

/// The memory of a cache mount, open, with what was in it.
struct Opened<'a> {
    mount: &'a CacheMount,
    memory: Memory,
    known: Known,
    /// When something was done in the mount last.
    used: Nanoseconds,
    is_writable: bool,
}

/// Opens the memories of all mounts, each once and in one order, so that two steps never wait for each other.
fn open<'a>(caches: &[Cache<'a>]) -> Result<Vec<Opened<'a>>, StepError> {
    let mut order: Vec<&Cache<'a>> = caches.iter().collect();
    order.sort_by_key(|cache| (cache.mount.path(), !cache.is_writable));
    order.dedup_by_key(|cache| cache.mount.path());
    let opened = order.into_iter().map(|cache| {
        let memory = cache.mount.memory()?;
        let kept = memory.read()?;
        let used = kept.as_ref().map_or(Nanoseconds::MIN, |(_, touched)| *touched);
        let known = Known::read(kept.as_ref().map(|(bytes, _)| &**bytes));
        if known == Known::Lost {
            // Which contents its times stand for is lost, too.
            memory.drop_shown()?;
        }
        Ok(Opened { mount: cache.mount, memory, known, used, is_writable: cache.is_writable })
    });
    opened.collect()
}

/// The times of a view's paths.
struct Times {
    /// When the first of the mounts was used first.
    born: Nanoseconds,
    /// For each path; none where it is older than all mounts.
    since: Vec<Option<Nanoseconds>>,
}

/// Finds the times of all paths: each is as new as it is for one of the mounts.
fn remember(
    bench: &Bench,
    opened: &[Opened<'_>],
    view: &[Viewed],
    sources: &Sources<'_>,
) -> Result<(Times, Vec<Presence>), StepError> {
    // The clock may have gone back since.
    let latest = opened.iter().map(|opened| opened.known.latest().max(opened.used)).max();
    let latest = latest.unwrap_or(Nanoseconds::MIN);
    let now = clock::now(&bench.workshop.store)?.max(latest.saturating_add(1));
    let mut presence = Vec::new();
    let mut tables: Vec<(&Opened<'_>, Table)> = Vec::new();
    for opened in opened {
        let has_company = match opened.is_writable {
            true => {
                presence.push(opened.memory.enter()?);
                presence.last().is_some_and(|presence| presence.has_company)
            }
            false => false,
        };
        let moment = Moment { now, has_company };
        let is_source = |viewed: &Viewed| viewed.bound.is_some() || sources.has(&viewed.path);
        tables.push((opened, opened.known.after(view, moment, &is_source)));
    }
    // A time is given once only, so every mount must know that this one is.
    let latest = tables.iter().map(|(_, table)| table.latest).max().unwrap_or(now);
    for (opened, table) in &mut tables {
        table.latest = latest;
        if opened.is_writable && !opened.known.is(table) {
            opened.memory.write(&table.encode())?;
        }
    }
    let mut since = vec![None; view.len()];
    for (_, table) in &tables {
        for (time, found) in since.iter_mut().zip(table.since()) {
            *time = found.max(*time);
        }
    }
    let born = tables.iter().map(|(_, table)| table.born).min().unwrap_or(now);
    Ok((Times { born, since }, presence))
}

impl Times {
    /// Returns the time to be shown of what has `own` in its layer; none where that is right.
    fn instead(&self, index: usize, own: FileTime) -> Option<FileTime> {
        let own_ns = own.seconds.saturating_mul(NANOSECONDS).saturating_add(i64::from(own.nanoseconds));
        match self.since[index] {
            None => (own_ns >= self.born).then_some(FileTime::from_seconds(OLD_SECONDS)),
            Some(since) => (own_ns != since).then(|| FileTime {
                seconds: since.div_euclid(NANOSECONDS),
                nanoseconds: u32::try_from(since.rem_euclid(NANOSECONDS)).unwrap_or_default(),
            }),
        }
    }

    /// Returns the paths of the root that need another time than their layer's.
    fn of_root(&self, view: &[Viewed]) -> Vec<(ArchivePath, FileTime)> {
        let own = view.iter().enumerate().filter(|(_, viewed)| viewed.bound.is_none() && viewed.is_dated);
        let changed =
            own.filter_map(|(index, viewed)| Some((viewed.path.clone(), self.instead(index, viewed.time)?)));
        changed.collect()
    }
}

/// Returns what a bind mount shows, with the times of its paths.
fn dated(bench: &Bench, bound: &Bound, place: usize, view: &[Viewed], times: &Times) -> Tree {
    let mut tree = (*bound.tree).clone();
    let layer = FileTime::from_seconds(bench.timestamp.files().unwrap_or(OLD_SECONDS));
    let is_missing = |path: &ArchivePath| bound.tree.get(path).is_none();
    let names = bound.tree.names_below(&bound.part).map(|(path, _)| path);
    for parent in names.filter_map(ArchivePath::parent).filter(|parent| is_missing(parent)) {
        // A directory of which nothing is known but what lies in it.
        for directory in parent.ancestors().chain([parent.clone()]).filter(|path| is_missing(path)) {
            let inode = tree.insert(directory, Entry::implied_directory());
            tree.set_time(inode, layer);
        }
    }
    for (index, viewed) in view.iter().enumerate().filter(|(_, viewed)| viewed.bound == Some(place)) {
        let below = viewed.path.strip_prefix(&bound.target);
        if let Some(inode) = below.and_then(|below| tree.inode(&bound.part.join_path(&below))) {
            tree.set_time(inode, times.instead(index, layer).unwrap_or(layer));
        }
    }
    tree
}

/// Returns the bind mounts with their places among all mounts.
fn bound(bench: &Bench, op: &RunOp, given: &Given) -> Result<Vec<(usize, Bound)>, StepError> {
    let mut reads = given.reads.iter();
    let mut found = Vec::new();
    for (index, mount) in op.mounts.iter().enumerate() {
        let read = mount.kind.reads().and_then(|_| reads.next());
        if let (MountKind::Bind { source, .. }, Some(read)) = (&mount.kind, read) {
            let (tree, _) = tree_of(bench, read)?;
            let part = mount_source(&tree, source)?;
            // The plan has a clean target.
            let Ok(target) = ArchivePath::clamp(mount.target.as_bytes()) else { continue };
            found.push((index, Bound { target, tree, part }));
        }
    }
    // One that lies in another is seen, and not what it covers.
    found.sort_by_key(|(_, bound)| bound.target.components().count());
    Ok(found)
}

/// The paths that COPY and ADD put into a root.
struct Sources<'a> {
    bench: &'a Bench,
    layers: Vec<&'a Layer>,
    paths: OnceCell<HashSet<ArchivePath>>,
}

impl Sources<'_> {
    fn has(&self, path: &ArchivePath) -> bool {
        self.paths.get_or_init(|| self.gather()).contains(path)
    }

    fn gather(&self) -> HashSet<ArchivePath> {
        let mut paths = HashSet::new();
        for layer in &self.layers {
            // The tree was merged from it a moment ago.
            let Ok(listing) = layers::listing(&self.bench.workshop, layer) else { continue };
            let named =
                listing.items.iter().filter(|(_, item)| !matches!(item, Item::Whiteout | Item::Opaque));
            paths.extend(named.map(|(path, _)| path.clone()));
        }
        paths
    }
}

/// Returns the layers that COPY and ADD made of what a step is given.
fn copied_layers(given: &Given) -> Vec<&Layer> {
    let Some(Rootfs { layers, made }) = &given.parent else { return Vec::new() };
    let makers = made.iter().zip(&given.copies).filter(|(made, _)| **made).map(|(_, is_copy)| *is_copy);
    // From the top down, since nothing says how many are the base's.
    let makers: Vec<bool> = makers.collect();
    let pairs = layers.iter().rev().zip(makers.iter().rev());
    pairs.filter(|(_, is_copy)| **is_copy).map(|(layer, _)| layer).collect()
}
