//! buildah and podman, each with a storage, a policy and a home of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::peers;

/// One of the two, ready to be called.
pub(crate) struct Engine {
    program: &'static str,
    place: PathBuf,
    /// What is gone with the next start of the machine; podman wants it where the path has 50 letters at most.
    run: TempDir,
}

impl Engine {
    /// Prepares a program that keeps its images below `place`, which is made. A second one of the same place would be refused by podman.
    pub(crate) fn new(program: &'static str, place: &Path) -> Self {
        let settings = place.join("home/.config/containers");
        fs::create_dir_all(&settings).unwrap();
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(settings.join("policy.json"), policy).unwrap();
        let run = tempfile::Builder::new().prefix("kiln-engine-").tempdir_in("/tmp").unwrap();
        Self { program, place: place.to_owned(), run }
    }

    /// Returns `buildah` or `podman`.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    /// Runs it, and returns its standard output without the end of the last line; panics with everything it said when it fails.
    #[track_caller]
    pub(crate) fn run<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> String {
        let mut command = peers::command(self.program);
        // Copies of directories need nothing of the kernel or of the file system; links to them would need one that overlays.
        command.arg("--storage-driver=vfs").env("HOME", self.place.join("home"));
        command.arg("--root").arg(self.place.join("root")).arg("--runroot").arg(self.run.path());
        if self.program == "podman" {
            // Neither a journal nor systemd is asked for, and nothing is shared with the podman of this machine.
            command.args(["--events-backend=none", "--cgroup-manager=cgroupfs"]);
            command.arg("--tmpdir").arg(self.run.path());
        }
        peers::printed(command.args(words.into_iter().collect::<Vec<_>>())).trim_end().to_owned()
    }
}
