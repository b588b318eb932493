//! A cache that was damaged costs time, never bytes.

use std::fs;
use std::path::{Path, PathBuf};

use super::Stage;

/// What can be damaged, below the store: everything that a build can do without.
const WHAT: [&str; 7] = [
    "records/files",
    "records/definition",
    "records/content",
    "records/listing",
    "records",
    "snapshots",
    "blobs",
];

/// How.
#[derive(Debug, Clone, Copy)]
enum How {
    Removed,
    Truncated,
    Flipped,
    Emptied,
}

/// Damages one thing after the other in one store, each time in each way, and says where a build comes out different.
pub(crate) fn every_damage(stage: &Stage<'_>) -> Vec<String> {
    let store = stage.space.path("damaged");
    let mut differences = Vec::new();
    differences.extend(stage.compare("before damage", stage.call(&stage.context, &store, "before damage")));
    for what in WHAT {
        // The bytes of an unpacked layer are the kernel's to keep: nothing reads them but steps. It may be gone, though.
        let ways: &[How] = match what {
            "snapshots" => &[How::Removed],
            _ => &[How::Removed, How::Truncated, How::Flipped, How::Emptied],
        };
        for how in ways {
            damage(&store.join(what), *how);
            let name = format!("{what} {how:?}");
            let mut call = stage.call(&stage.context, &store, &name).on_a_damaged_store();
            if what == "snapshots" {
                // Only a step that runs wants them.
                call = call.arg("--no-cache");
            }
            differences.extend(stage.compare(&name, call));
        }
    }
    // Everything is mended by now, so nothing is left to excuse.
    differences.extend(stage.compare("after damage", stage.call(&stage.context, &store, "after damage")));
    differences
}

fn damage(path: &Path, how: How) {
    if matches!(how, How::Removed) {
        if path.exists() {
            fs::remove_dir_all(path).unwrap();
        }
        return;
    }
    for file in files_below(path) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        match how {
            How::Truncated => bytes.truncate(middle),
            How::Emptied => bytes.clear(),
            How::Flipped => bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 0x10),
            How::Removed => {}
        }
        fs::write(file, bytes).unwrap();
    }
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { files.extend(files_below(&entry)) } else { files.push(entry) }
    }
    files
}
