//! Power cuts: from a log of everything done to the disk, each state that a cut may leave is rebuilt and opened.
//!
//! A file's contents are certain only up to its last sync, a name only if its directory was synced since. What is not
//! certain is lost, kept or half there, independently for contents, for the names of blobs and for all other names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_store::fsck::{Problem, fsck};
use kiln_store::{Lookup, Store};

use crate::disks::{Done, Recorder, quick};
use crate::scenario::{self, LAYER, MANIFEST};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uncertain {
    Lost,
    Half,
    Kept,
}

#[derive(Debug, Clone, Copy)]
struct Fate {
    contents: Uncertain,
    blob_names_kept: bool,
    other_names_kept: bool,
}

/// Which file each path leads to.
type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug, Default)]
struct Memory {
    files: Vec<Contents>,
    names: Names,
    synced_names: Names,
    /// Directories that were renamed: from where, and to where.
    moved: Vec<(PathBuf, PathBuf)>,
    directories: BTreeSet<PathBuf>,
    promised: BTreeSet<&'static str>,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl Memory {
    fn apply(&mut self, done: &Done) {
        match done {
            Done::Create(path) => {
                self.files.push(Contents::default());
                self.names.insert(path.clone(), self.files.len() - 1);
            }
            Done::Append(path, bytes) => self.file(path).now.extend_from_slice(bytes),
            Done::Truncate(path, len) => self.file(path).now.truncate(usize::try_from(*len).unwrap()),
            Done::Sync(path) => {
                let file = self.file(path);
                file.synced = file.now.clone();
            }
            Done::SyncDirectory(folder) => self.sync_directory(folder),
            // Of most directories (snapshots, cache mounts) no files were recorded.
            Done::Rename(from, to) if self.directories.contains(from) => self.rename_directory(from, to),
            Done::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Done::Unlink(path) => {
                self.names.remove(path);
            }
            Done::MakeDirectory(path) => {
                self.directories.insert(path.clone());
            }
            Done::Promised(what) => {
                self.promised.insert(what);
            }
        }
    }

    fn file(&mut self, path: &Path) -> &mut Contents {
        &mut self.files[self.names[path]]
    }

    /// A directory goes with the files in it. Until the folder that it came to is synced, a power cut may leave it where it was.
    fn rename_directory(&mut self, from: &Path, to: &Path) {
        self.directories.retain(|path| !path.starts_with(from));
        self.names = moved(&self.names, from, to);
        self.moved.push((from.to_owned(), to.to_owned()));
    }

    fn sync_directory(&mut self, folder: &Path) {
        for (from, to) in self.moved.iter().filter(|(_, to)| to.parent() == Some(folder)) {
            self.synced_names = moved(&self.synced_names, from, to);
        }
        let is_in = |path: &Path| path.parent() == Some(folder);
        self.synced_names.retain(|path, _| !is_in(path));
        let now = self.names.iter().filter(|(path, _)| is_in(path)).map(|(path, file)| (path.clone(), *file));
        self.synced_names.extend(now);
    }

    fn rebuild(&self, from: &Path, to: &Path, fate: Fate) {
        for directory in &self.directories {
            if let Ok(below) = directory.strip_prefix(from) {
                std::fs::create_dir_all(to.join(below)).unwrap();
            }
        }
        let is_kept = |path: &Path| {
            if path.starts_with(from.join("blobs")) { fate.blob_names_kept } else { fate.other_names_kept }
        };
        let kept = self.names.iter().filter(|(path, _)| is_kept(path));
        let synced = self.synced_names.iter().filter(|(path, _)| !is_kept(path));
        for (path, file) in kept.chain(synced) {
            let place = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, survivor(&self.files[*file], fate.contents)).unwrap();
        }
    }
}

fn moved(names: &Names, from: &Path, to: &Path) -> Names {
    let place = |path: &PathBuf| match path.strip_prefix(from) {
        Ok(below) => to.join(below),
        Err(_) => path.clone(),
    };
    names.iter().map(|(path, file)| (place(path), *file)).collect()
}

fn survivor(file: &Contents, fate: Uncertain) -> Vec<u8> {
    match fate {
        Uncertain::Kept => file.now.clone(),
        Uncertain::Lost => file.synced.clone(),
        // The length is there and half of the bytes are not.
        Uncertain::Half if file.now != file.synced => {
            let half = file.now.len() / 2;
            [&file.now[..half], &vec![0; file.now.len() - half]].concat()
        }
        Uncertain::Half => file.now.clone(),
    }
}

fn check(root: &Path, memory: &Memory, context: &str) {
    let store = Store::open_on(root, quick()).unwrap_or_else(|error| panic!("{context}: {error}"));
    store.collect_dead_scratch().unwrap();
    for problem in fsck(&store).unwrap().problems {
        assert!(matches!(problem, Problem::RecordDamaged(_)), "{context}: {problem}");
    }
    if let Lookup::Hit(record) = store.records().get("steps", &scenario::key()).unwrap() {
        assert_eq!(record.payload, b"payload", "{context}");
        store.blobs().verify(&Digest::of(LAYER)).unwrap();
    }
    if memory.promised.contains("name") {
        let named = store.names().get(&scenario::reference()).unwrap();
        assert_eq!(named, Some(scenario::descriptor(MANIFEST)), "{context}");
        store.blobs().verify(&Digest::of(MANIFEST)).unwrap();
    }
    assert_eq!(std::fs::read_dir(root.join("scratch")).unwrap().count(), 0, "{context}");
}

#[test]
fn no_power_cut_leaves_a_bad_blob_or_a_record_without_its_blobs() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("store");
    let recorder = Arc::new(Recorder::default());
    let promised = |what| recorder.note(Done::Promised(what));
    scenario::run(&root, recorder.clone(), &promised).unwrap();
    let log = recorder.done.lock().unwrap().clone();
    let mut memory = Memory::default();
    for (number, done) in log.iter().enumerate() {
        memory.apply(done);
        for contents in [Uncertain::Lost, Uncertain::Half, Uncertain::Kept] {
            for names in 0..4 {
                let fate =
                    Fate { contents, blob_names_kept: names & 1 == 1, other_names_kept: names & 2 == 2 };
                let after = tempfile::tempdir().unwrap();
                memory.rebuild(&root, after.path(), fate);
                check(after.path(), &memory, &format!("after operation {number} {done:?}, {fate:?}"));
            }
        }
    }
    assert!(memory.promised.len() == 2 && log.len() > 60, "{} operations", log.len());
}
