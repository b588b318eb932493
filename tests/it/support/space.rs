//! A fresh place for one test: home, store, configuration and contexts, gone when the test ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::mounts::{Filesystem, Mounted};
use super::program::{Invocation, Outcome};
use super::requires::is_root;

/// What a place in memory may take; a bomb would take all of it.
const MEMORY_MAX: &str = "2g";

/// The directory of one test.
pub(crate) struct TestSpace {
    /// Taken away before the directory that it covers.
    _memory: Option<Mounted>,
    root: tempfile::TempDir,
}

impl TestSpace {
    /// Makes a fresh place.
    pub(crate) fn new() -> Self {
        Self::over(|_| None)
    }

    fn over(mount: impl FnOnce(&Path) -> Option<Mounted>) -> Self {
        let root = tempfile::Builder::new().prefix("kiln-test-").tempdir().unwrap();
        let _memory = mount(root.path());
        for name in ["home", "tmp"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { _memory, root }
    }

    /// Makes a fresh place that other users can enter.
    pub(crate) fn shared() -> Self {
        Self::new().opened()
    }

    /// Makes a fresh place in memory that other users can enter, for tests of very many builds: what they prove does not depend on the
    /// disk, and most of their time is waiting for it. Who may not mount gets the disk.
    pub(crate) fn in_memory() -> Self {
        let mount = |root: &Path| Mounted::new(root.to_owned(), Filesystem::Tmpfs(MEMORY_MAX));
        Self::over(|root| is_root().then(|| mount(root))).opened()
    }

    fn opened(self) -> Self {
        fs::set_permissions(self.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Returns a path inside the place.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() { self.root.path().to_owned() } else { self.root.path().join(relative) }
    }

    /// Returns the place of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file, making the directories above it.
    pub(crate) fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a context directory: file names and contents. Returns its path.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.path(name);
        fs::create_dir_all(&root).unwrap();
        for (file, content) in files {
            self.file(&format!("{name}/{file}"), content);
        }
        root
    }

    /// Writes the configuration file that this place's program reads.
    pub(crate) fn config(&self, toml: &str) {
        self.file("config.toml", toml);
    }

    /// Prepares a call of the program with this place's store, home and configuration.
    pub(crate) fn kiln<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Invocation {
        Invocation::new(&program(), self.path(""), &self.store()).args(arguments)
    }

    /// Prepares `kiln build` of a context directory, with plain progress.
    pub(crate) fn build(&self, context: &Path) -> Invocation {
        self.kiln(["build", "--progress=plain"]).arg(context)
    }

    /// Builds `context` into an OCI layout directory and returns it.
    pub(crate) fn build_layout(&self, context: &Path, name: &str, more: &[&str]) -> (PathBuf, Outcome) {
        let layout = self.path(name);
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let outcome = self.build(context).args(["-o", &output]).args(more).run().success();
        (layout, outcome)
    }
}

/// Returns the path of the program under test: this build's, or the one that `KILN_TEST_PROGRAM` names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("KILN_TEST_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_kiln")), PathBuf::from)
}

/// Returns the repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a directory below `target/` that outlives the test, for what is costly to make.
pub(crate) fn kept(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).unwrap();
    path
}
