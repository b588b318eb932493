//! Garbage collection: what nobody needs goes.
//!
//! | Kept | Because of |
//! |---|---|
//! | a blob | an entry of `index.json` needs it; a kept record names it; a living process holds it |
//! | a record | it was used recently enough, or there is room for it |
//! | a snapshot | it was used recently enough, or there is room for it; a living process holds it |
//! | a repository | it was used recently enough, or there is room for it; a living process holds it |
//! | a partial blob | somebody writes it, or it is young |
//!
//! Only the caller can tell what a manifest needs, so the store parses nothing. While gc decides and moves things to
//! scratch, everyone who wants to hold something waits; the deleting itself happens after that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kiln_oci::{Descriptor, DiffId, Digest};

use crate::blobs::Blobs;
use crate::disk::LockMode;
use crate::error::{Result, StoreError};
use crate::leases::{LEASES, LOCKS, Pin, pinned_by_the_living};
use crate::lock::remove_unheld;
use crate::partial;
use crate::records::RecordEntry;
use crate::repositories::{self, RepositoryEntry};
use crate::scratch::Scratch;
use crate::snapshots::SnapshotEntry;
use crate::store::Store;
use crate::usage::usage_of;

/// Says which blobs a manifest or index needs besides itself.
///
/// It may read blobs, and must not write or hold any. A blob that is needed and absent (a lazy base layer) is named too.
pub type Expand<'a> = dyn Fn(&Blobs, &Descriptor) -> std::result::Result<Vec<Digest>, Box<dyn std::error::Error + Send + Sync>>
    + 'a;

/// How much to remove. The default keeps every record and snapshot, and removes only what nothing refers to.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Records, snapshots, repositories and partial blobs unused for longer go.
    pub unused_for_max: Option<Duration>,
    /// When blobs, records, snapshots and repositories take more than this, those unused longest go until they do not.
    pub size_bytes_max: Option<u64>,
    /// Says what would go, and removes nothing.
    pub is_dry_run: bool,
}

/// What went, or would have gone.
#[derive(Debug, Default)]
pub struct Report {
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Records, by kind and key.
    pub records: Vec<(String, Digest)>,
    /// Snapshots.
    pub snapshots: Vec<DiffId>,
    /// Number of repositories.
    pub repositories: usize,
    /// Number of partial blobs.
    pub partial: usize,
    /// Bytes of all these.
    pub size_bytes: u64,
    /// What should have gone and could not be removed.
    pub kept: Vec<StoreError>,
}

/// Removes what nobody needs.
///
/// # Errors
/// [`StoreError::Expand`] when the caller cannot say what a named manifest needs: then nothing is removed. Or what the disk
/// says.
pub fn gc(store: &Store, policy: &Policy, expand: &Expand<'_>) -> Result<Report> {
    let trash = if policy.is_dry_run { None } else { Trash::new(store) };
    // Walking them takes long, and nobody has to wait for it. What appears later is too young to go.
    let directories = measure_directories(store, policy)?;
    let mut report = Report::default();
    {
        let _alone = store.session().lock("gc", LockMode::Exclusive)?;
        let census = take_census(store, directories, expand)?;
        let doomed = condemn(census, policy, store.session().disk().now());
        account(&doomed, &mut report);
        if policy.is_dry_run {
            return Ok(report);
        }
        bury(store, doomed, trash.as_ref(), &mut report);
    }
    if let Some(Err(error)) = trash.map(|trash| trash.0.close()) {
        report.kept.push(error);
    }
    remove_partial(store, policy, &mut report)?;
    remove_unheld(store.session().disk(), &store.path().join(LEASES).join(LOCKS))?;
    Ok(report)
}

/// Everything that could go, and what refers to what.
struct Census {
    /// All blobs with their sizes.
    blobs: BTreeMap<Digest, u64>,
    /// Blobs that stay whatever happens to records.
    rooted: BTreeSet<Digest>,
    /// Records, snapshots and repositories that may go, with what they name.
    cached: Vec<Cached>,
}

struct Cached {
    what: What,
    last_used: SystemTime,
    size_bytes: u64,
    names: Vec<Digest>,
}

enum What {
    Record(String, Digest),
    Snapshot(DiffId),
    Repository(Digest),
}

#[derive(Default)]
struct Doomed {
    blobs: Vec<(Digest, u64)>,
    cached: Vec<Cached>,
}

fn take_census(store: &Store, directories: Vec<Cached>, expand: &Expand<'_>) -> Result<Census> {
    let pins = pinned_by_the_living(store.session())?;
    let mut rooted: BTreeSet<Digest> = pins.iter().filter_map(Pin::blob).collect();
    for descriptor in store.names().entries()? {
        rooted.insert(descriptor.digest);
        if store.blobs().contains(&descriptor.digest)? {
            let needed = expand(store.blobs(), &descriptor)
                .map_err(|source| StoreError::Expand { digest: descriptor.digest, source })?;
            rooted.extend(needed);
        }
    }
    let mut blobs = BTreeMap::new();
    for digest in store.blobs().list()? {
        blobs.insert(digest, store.blobs().size(&digest)?.unwrap_or_default());
    }
    let mut cached = Vec::new();
    for kind in store.records().kinds()? {
        for entry in store.records().list(&kind)? {
            cached.push(cached_record(store, &kind, entry)?);
        }
    }
    let is_free = |cached: &Cached| match cached.what {
        What::Snapshot(diff_id) => !pins.contains(&Pin::Snapshot(diff_id)),
        // Who holds a repository is asked when it is to go.
        What::Record(..) | What::Repository(_) => true,
    };
    cached.extend(directories.into_iter().filter(is_free));
    Ok(Census { blobs, rooted, cached })
}

fn measure_directories(store: &Store, policy: &Policy) -> Result<Vec<Cached>> {
    if policy.unused_for_max.is_none() && policy.size_bytes_max.is_none() {
        return Ok(Vec::new());
    }
    let measure = |what, path: &Path, last_used| {
        let size_bytes = usage_of(path)?.total_bytes;
        Ok(Cached { what, last_used, size_bytes, names: Vec::new() })
    };
    let snapshot = |entry: SnapshotEntry| {
        measure(What::Snapshot(entry.diff_id), &store.snapshots().path(&entry.diff_id), entry.last_used)
    };
    let repository = |entry: RepositoryEntry| {
        let path = repositories::path_of(store.session(), &entry.name);
        measure(What::Repository(entry.name), &path, entry.last_used)
    };
    let snapshots = store.snapshots().list()?.into_iter().map(snapshot);
    snapshots.chain(repositories::list(store.session())?.into_iter().map(repository)).collect()
}

fn cached_record(store: &Store, kind: &str, entry: RecordEntry) -> Result<Cached> {
    let named = store.records().named_blobs(kind, &entry.key)?;
    // A damaged record is the first to go, and names nothing.
    let last_used = if named.is_some() { entry.last_used } else { SystemTime::UNIX_EPOCH };
    let what = What::Record(kind.to_owned(), entry.key);
    Ok(Cached { what, last_used, size_bytes: entry.size_bytes, names: named.unwrap_or_default() })
}

/// Decides what goes: pure.
fn condemn(mut census: Census, policy: &Policy, now: SystemTime) -> Doomed {
    let mut doomed = Doomed::default();
    // A record whose blobs are gone can never hit again.
    let blobs = &census.blobs;
    doomed.cached.extend(
        census.cached.extract_if(.., |cached| cached.names.iter().any(|name| !blobs.contains_key(name))),
    );
    if let Some(unused_for_max) = policy.unused_for_max {
        let is_old = |cached: &mut Cached| is_older(now, cached.last_used, unused_for_max);
        doomed.cached.extend(census.cached.extract_if(.., is_old));
    }
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    for name in census.cached.iter().flat_map(|cached| unique(&cached.names)) {
        *users.entry(name).or_default() += 1;
    }
    let is_free = |digest: &Digest, users: &BTreeMap<Digest, usize>| {
        !census.rooted.contains(digest) && users.get(digest).is_none_or(|count| *count == 0)
    };
    let free = census.blobs.iter().filter(|(digest, _)| is_free(digest, &users));
    doomed.blobs = free.map(|(digest, size_bytes)| (*digest, *size_bytes)).collect();
    census.blobs.retain(|digest, _| !is_free(digest, &users));
    let Some(size_bytes_max) = policy.size_bytes_max else {
        return doomed;
    };
    let mut total: u64 = census.blobs.values().sum::<u64>()
        + census.cached.iter().map(|cached| cached.size_bytes).sum::<u64>();
    census.cached.sort_by_key(|cached| cached.last_used);
    for cached in census.cached {
        if total <= size_bytes_max {
            break;
        }
        total -= cached.size_bytes;
        for name in unique(&cached.names) {
            users.entry(name).and_modify(|count| *count -= 1);
            if is_free(&name, &users)
                && let Some(size_bytes) = census.blobs.remove(&name)
            {
                total -= size_bytes;
                doomed.blobs.push((name, size_bytes));
            }
        }
        doomed.cached.push(cached);
    }
    doomed
}

fn unique(names: &[Digest]) -> BTreeSet<Digest> {
    names.iter().copied().collect()
}

fn is_older(now: SystemTime, last_used: SystemTime, age_max: Duration) -> bool {
    // A time in the future counts as used now.
    now.duration_since(last_used).unwrap_or_default() > age_max
}

fn account(doomed: &Doomed, report: &mut Report) {
    for (digest, size_bytes) in &doomed.blobs {
        report.blobs.push(*digest);
        report.size_bytes += size_bytes;
    }
    for cached in &doomed.cached {
        report.size_bytes += cached.size_bytes;
        match &cached.what {
            What::Record(kind, key) => report.records.push((kind.clone(), *key)),
            What::Snapshot(diff_id) => report.snapshots.push(*diff_id),
            What::Repository(_) => report.repositories += 1,
        }
    }
}

/// Takes everything out of sight: records before the blobs they name.
fn bury(store: &Store, doomed: Doomed, trash: Option<&Trash>, report: &mut Report) {
    for cached in doomed.cached {
        let done = match cached.what {
            What::Record(kind, key) => store.records().remove(&kind, &key),
            What::Snapshot(diff_id) => bury_path(store, trash, &store.snapshots().path(&diff_id))
                .and_then(|()| crate::remove::remove_tree(&store.snapshots().note(&diff_id))),
            What::Repository(name) => repositories::remove(store.session(), &name).map(|is_gone| {
                if !is_gone {
                    report.repositories -= 1;
                    report.size_bytes -= cached.size_bytes;
                }
            }),
        };
        report.kept.extend(done.err());
    }
    for (digest, _) in doomed.blobs {
        let path = store.blobs().path(&digest);
        report.kept.extend(bury_path(store, trash, &path).and_then(|()| store.blobs().remove(&digest)).err());
    }
}

fn bury_path(store: &Store, trash: Option<&Trash>, path: &Path) -> Result<()> {
    let moved =
        trash.is_some_and(|trash| store.session().disk().rename(path, &trash.place_for(path)).is_ok());
    // On a full disk there may be no room for a name in scratch; removing in place takes longer, and works.
    if moved { Ok(()) } else { crate::remove::remove_tree(path) }
}

/// A scratch directory for what goes, when the disk has room for one.
struct Trash(Scratch);

impl Trash {
    fn new(store: &Store) -> Option<Self> {
        // Without it things are removed in place.
        store.scratch("gc").ok().map(Self)
    }

    fn place_for(&self, path: &Path) -> PathBuf {
        // A blob and a snapshot may have the same digest.
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.0.path().join(format!("{folder}-{name}"))
    }
}

fn remove_partial(store: &Store, policy: &Policy, report: &mut Report) -> Result<()> {
    let Some(unused_for_max) = policy.unused_for_max else {
        return Ok(());
    };
    let now = store.session().disk().now();
    let is_old = |metadata: &std::fs::Metadata| {
        metadata.modified().is_ok_and(|modified| is_older(now, modified, unused_for_max))
    };
    let (count, size_bytes) = partial::remove_old(store.blobs(), &is_old)?;
    report.partial = count;
    report.size_bytes += size_bytes;
    Ok(())
}
