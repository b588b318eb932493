//! Files of keys: an agent of the build's own serves them.
//!
//! The programs `ssh-agent` and `ssh-add` do it, which whoever has such keys has too: they know every kind of key, certificates
//! beside the files and security keys, and no key ever is in the memory of this process. Nobody is asked for a passphrase.
//!
//! ```text
//! scratch/keys-…/  (0700)   sh ── reads what kiln never writes: the pipe ends when kiln does, whatever ends it
//!    socket ◄─────────────── └─ ssh-agent, which sh ends then
//! ```
//!
//! A death signal would not do: the kernel takes it from a set-group-id program, as `ssh-agent` mostly is, and it is sent when
//! the thread ends that started the child.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kiln_store::Scratch;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest time that `ssh-agent` or `ssh-add` may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How much of what a program says is kept for an error.
const MESSAGE_BYTES_MAX: u64 = 4 << 10;
/// The agent, until the standard input ends. The shell's own output is closed, so that it ends with the agent's.
const SCRIPT: &str = "ssh-agent -D -a socket & exec >&- 2>&-; read -r _; kill $!";
/// The bits of a mode by which others than the owner get at a file.
const OTHERS: u32 = 0o077;

/// Why keys cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key")]
    Unreadable(#[source] io::Error),
    /// Others than the owner get at the file.
    #[error("the key `{}` has the mode {mode:04o}: others than its owner get at it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key wants a passphrase.
    #[error("the key `{}` has a passphrase, and a build asks for none", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// `ssh-add` does not take the file.
    #[error("`{}` is no key of the secure shell: {message}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What `ssh-add` says.
        message: String,
    },
    /// A program cannot be run.
    #[error("cannot run `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// What failed.
        source: io::Error,
    },
    /// The agent does not begin.
    #[error("`ssh-agent` does not start: {message}")]
    NoAgent {
        /// What it says.
        message: String,
    },
}

/// An agent with the keys of some files, which ends when this is dropped, and with this process in any case.
#[derive(Debug)]
pub(super) struct KeyAgent {
    directory: std::fs::File,
    // Its standard input is the pipe. This is dropped before the directory is removed.
    _shell: Child,
    _place: Scratch,
}

impl KeyAgent {
    /// Starts an agent in `place` and gives it `keys`. Programs are looked up in `search_path`.
    pub(super) async fn start(
        place: Scratch,
        keys: &[PathBuf],
        search_path: &OsStr,
    ) -> Result<Self, KeyError> {
        keys.iter().try_for_each(|key| refuse_open(key))?;
        let path = absolute(search_path);
        let start = async || {
            fs_err::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700))?;
            let directory = fs_err::File::open(place.path())?.into_parts().0;
            let mut command = Command::new("/bin/sh");
            command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            // Ctrl-C is for kiln, which ends the agent when nobody asks it any more.
            command.env_clear().env("PATH", &path).current_dir(place.path()).process_group(0);
            let mut shell = command.spawn()?;
            let message = begin(&mut shell).await?;
            Ok((directory, shell, message))
        };
        let program = |program| move |source| KeyError::Program { program, source };
        let (directory, shell, message) = start().await.map_err(program("ssh-agent"))?;
        if let Some(message) = message {
            return Err(KeyError::NoAgent { message });
        }
        for key in keys {
            let mut command = Command::new("ssh-add");
            command.args(["-q", "--"]).arg(key).env_clear().env("PATH", &path);
            command.env("SSH_AUTH_SOCK", "socket").current_dir(place.path());
            // Whoever would be asked for a passphrase answers nothing, also where there is a terminal.
            command.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force");
            command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
            let added = in_time(command.output()).await.map_err(program("ssh-add"))?;
            if !added.status.success() {
                return Err(refused(key, &added.stderr));
            }
        }
        Ok(Self { directory, _shell: shell, _place: place })
    }

    /// Returns the socket, by a path that is short however deep the store lies, also for children of this process.
    pub(super) fn socket(&self) -> PathBuf {
        format!("/proc/{}/fd/{}/socket", std::process::id(), self.directory.as_raw_fd()).into()
    }
}

/// Waits until the agent listens. Returns what it says where it does not.
async fn begin(shell: &mut Child) -> io::Result<Option<String>> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (output, errors) = (shell.stdout.take().ok_or_else(gone)?, shell.stderr.take().ok_or_else(gone)?);
    // It tells its socket as soon as there is one.
    let (mut line, mut said) = (String::new(), Vec::new());
    let mut output = BufReader::new(output.take(MESSAGE_BYTES_MAX));
    if in_time(output.read_line(&mut line)).await? > 0 {
        return Ok(None);
    }
    in_time(errors.take(MESSAGE_BYTES_MAX).read_to_end(&mut said)).await?;
    Ok(Some(last_line(&said)))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Refuses a key that `ssh` would not take either, in words that tell what to do.
fn refuse_open(path: &Path) -> Result<(), KeyError> {
    let metadata = fs_err::File::open(path).and_then(|file| file.metadata()).map_err(KeyError::Unreadable)?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    match metadata.mode() & 0o7777 {
        mode if is_own && mode & OTHERS != 0 => Err(KeyError::Open { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}

/// Returns why `ssh-add` did not take a key. It says nothing where it had to ask, and nobody answered.
fn refused(path: &Path, said: &[u8]) -> KeyError {
    let path = path.to_owned();
    match last_line(said) {
        message if message.is_empty() => KeyError::Passphrase { path },
        message => KeyError::Refused { path, message },
    }
}

fn last_line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).trim().lines().last().unwrap_or_default().to_owned()
}

/// Returns the directories of a search path that are absolute: a relative one would run whatever lies in the current one.
fn absolute(search_path: &OsStr) -> OsString {
    let directories = std::env::split_paths(search_path).filter(|directory| directory.is_absolute());
    // What was split at colons has none.
    std::env::join_paths(directories).unwrap_or_default()
}
