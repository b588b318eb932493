//! A temporary root with busybox in it, and a way to run steps there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kiln_sandbox::{CancelToken, ExecError, Exit, ExitStatus, Mount, MountKind, RootPlan, RunSpec, run};
use tempfile::TempDir;

const APPLETS: &[&str] = &[
    "awk", "cat", "chmod", "chown", "cut", "df", "dd", "env", "false", "find", "grep", "head", "hostname",
    "id", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "ps", "pwd", "readlink", "rm", "seq",
    "setsid", "sh", "sleep", "sort", "stat", "su", "chroot", "tail", "tar", "test", "touch", "tr", "true",
    "umount", "unshare", "wc", "yes",
];

/// Directories of one test; gone when it ends.
pub(crate) struct Space {
    directory: TempDir,
}

/// What a step printed and how it ended.
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) exit: Exit,
}

impl Space {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let space = Space { directory };
        for name in ["base/bin", "base/tmp", "base/etc", "base/root", "upper", "work"] {
            fs::create_dir_all(space.path(name)).unwrap();
        }
        fs::copy("/bin/busybox", space.path("base/bin/busybox")).unwrap();
        APPLETS.iter().for_each(|name| symlink("busybox", space.path("base/bin").join(name)).unwrap());
        space
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory and returns it.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn overlay(&self) -> RootPlan {
        RootPlan::Overlay {
            lower: vec![self.path("base")],
            upper: self.path("upper"),
            work: self.path("work"),
        }
    }

    pub(crate) fn try_run(&self, spec: &RunSpec) -> Result<Outcome, ExecError> {
        self.try_run_in(spec, &self.overlay())
    }

    pub(crate) fn try_run_in(&self, spec: &RunSpec, root: &RootPlan) -> Result<Outcome, ExecError> {
        let mut output = Vec::new();
        let exit =
            run(spec, root, &CancelToken::new().unwrap(), &mut |bytes| output.extend_from_slice(bytes))?;
        Ok(Outcome { output: String::from_utf8(output).unwrap(), exit })
    }

    /// Runs a step that must succeed and returns what it printed.
    pub(crate) fn output(&self, spec: &RunSpec) -> String {
        let outcome = self.try_run(spec).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(outcome.exit.status, ExitStatus::Code(0), "{}", outcome.output);
        outcome.output
    }

    /// Runs a shell script that must succeed and returns what it printed.
    pub(crate) fn shell(&self, script: &str) -> String {
        self.output(&script_spec(script))
    }

    /// Everything below the directory that receives changes, sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.path("upper"), &self.path("upper"), &mut found);
        found.sort();
        found
    }
}

fn list(top: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
        if path.symlink_metadata().unwrap().is_dir() {
            list(top, &path, found);
        }
    }
}

/// A step that runs a shell script.
pub(crate) fn script_spec(script: &str) -> RunSpec {
    RunSpec::new(["/bin/sh", "-c", script])
}

/// A step that runs a shell script with one mount.
pub(crate) fn mounted(target: &str, kind: MountKind, script: &str) -> RunSpec {
    let mut spec = script_spec(script);
    spec.mounts.push(Mount { target: target.into(), kind });
    spec
}

/// Everything mounted where this process is.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}
