//! Blobs that other programs made: they are held to the specification, and not to what kiln promises of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

static BLOBS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
static KEEPERS: Mutex<Vec<Keeper>> = Mutex::new(Vec::new());

/// Returns where a server or cache of a test would keep the blob with these hexadecimal digits.
type Keeper = Box<dyn Fn(&str) -> PathBuf + Send>;

/// Remembers a blob, `sha256:…`, that a test made or another program did.
pub(crate) fn remember(digest: &str) {
    BLOBS.lock().unwrap().insert(digest.to_owned());
}

/// Remembers that a registry keeps its blobs below a directory.
pub(crate) fn remember_registry(data: &Path) {
    let data = data.to_owned();
    remember_keeper(move |hex| {
        data.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    });
}

/// Remembers that something keeps blobs in files.
pub(crate) fn remember_keeper(file: impl Fn(&str) -> PathBuf + Send + 'static) {
    KEEPERS.lock().unwrap().push(Box::new(file));
}

/// Returns whether another program made the blob.
pub(crate) fn is_foreign(digest: &str) -> bool {
    BLOBS.lock().unwrap().contains(digest)
}

/// Returns whether a server of this test has the blob, so that it need not be in a store.
pub(crate) fn has(digest: &str) -> bool {
    let hex = digest.trim_start_matches("sha256:");
    let keeps = |keeper: &Keeper| hex.len() == 64 && keeper(hex).exists();
    is_foreign(digest) || KEEPERS.lock().unwrap().iter().any(keeps)
}
