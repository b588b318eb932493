//! Runs `git`: nothing of the surroundings but what is given, nothing it could ask, nothing left behind.
//!
//! The child is a process group of its own, which is killed when nobody waits for it any more. Its standard input is the
//! lock of the repository it works on, or what it shall read, so that a child which outlives a killed kiln keeps others away
//! from what it still writes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How much of what git says is kept for an error.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Longest line that is passed on.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Time between two lines that only count on.
const COUNTING_EVERY: Duration = Duration::from_secs(3);

/// One call of git.
pub(super) struct Call<'a> {
    /// The words behind `git`.
    pub(super) arguments: Vec<OsString>,
    /// All variables it gets.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// What its standard input is.
    pub(super) input: Input,
    /// The most bytes that are read from its standard output.
    pub(super) output_max: usize,
    /// How long nothing may be heard of it; for ever otherwise.
    pub(super) silence_max: Option<Duration>,
    /// Is told what git says, line by line.
    pub(super) listener: &'a (dyn Fn(&str) + Send + Sync),
}

/// What the standard input of a call is.
pub(super) enum Input {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A lock, which stays taken until the call is over.
    Lock(File),
}

/// Why a call did not go well.
#[derive(Debug)]
pub(super) enum CallError {
    /// It could not be started, or spoken with.
    Io(io::Error),
    /// It failed.
    Failed(FailedCall),
    /// Nothing was heard of it for this long.
    Silent(Duration),
    /// It wrote more than is read.
    TooLarge(usize),
}

/// What git said when it failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct FailedCall {
    message: String,
}

/// What kind of failure it is, as far as git's words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Who asks is not known there, or not allowed to.
    Authentication,
    /// The key of the host is not known here.
    HostKey,
    /// There is no program for secure shells.
    NoSecureShell,
    /// The server sends elsewhere, and what is secret is not sent there.
    Redirect,
    /// No such repository, or none that may be seen.
    NotFound,
    /// The server gives no single commits.
    Shallow,
    /// The server gives no commit that no branch or tag leads to directly.
    Unadvertised,
    /// What is kept here of the repository is damaged.
    Damaged,
    /// The connection failed.
    Connection,
    /// Something else.
    Other,
}

/// Words of git and its helpers (in the locale `C`), the more telling ones first.
const WORDS: [(&str, Problem); 36] = [
    ("cannot run ssh", Problem::NoSecureShell),
    ("ssh: not found", Problem::NoSecureShell),
    ("Host key verification failed", Problem::HostKey),
    ("Authentication failed", Problem::Authentication),
    ("could not read Username", Problem::Authentication),
    ("could not read Password", Problem::Authentication),
    ("Permission denied (", Problem::Authentication),
    ("returned error: 401", Problem::Authentication),
    ("returned error: 403", Problem::Authentication),
    ("returned error: 301", Problem::Redirect),
    ("returned error: 302", Problem::Redirect),
    ("returned error: 307", Problem::Redirect),
    ("returned error: 308", Problem::Redirect),
    ("dumb http transport does not support shallow", Problem::Shallow),
    ("does not support shallow", Problem::Shallow),
    ("not our ref", Problem::Unadvertised),
    ("unadvertised object", Problem::Unadvertised),
    ("not found", Problem::NotFound),
    ("does not exist", Problem::NotFound),
    ("access denied or repository not exported", Problem::NotFound),
    ("does not appear to be a git repository", Problem::NotFound),
    ("corrupt", Problem::Damaged),
    ("bad object", Problem::Damaged),
    ("missing necessary objects", Problem::Damaged),
    ("did not send all necessary objects", Problem::Damaged),
    ("unresolved deltas", Problem::Damaged),
    ("unable to read", Problem::Damaged),
    ("not a git repository", Problem::Damaged),
    ("is too small", Problem::Damaged),
    ("unable to access", Problem::Connection),
    ("RPC failed", Problem::Connection),
    ("early EOF", Problem::Connection),
    ("hung up unexpectedly", Problem::Connection),
    ("unable to connect", Problem::Connection),
    ("Connection ", Problem::Connection),
    ("unexpected disconnect", Problem::Connection),
];

impl FailedCall {
    /// Returns what kind of failure it is.
    pub fn problem(&self) -> Problem {
        let found = WORDS.iter().find(|(words, _)| self.message.contains(words));
        found.map_or(Problem::Other, |(_, problem)| *problem)
    }
}

/// Returns where git is: in a directory of the search path that is absolute, since a relative one would run whatever lies
/// in the current one.
pub(super) fn find(search_path: &std::ffi::OsStr) -> Option<PathBuf> {
    let directories = std::env::split_paths(search_path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join("git")).find(|candidate| candidate.is_file())
}

/// Runs git to its end and returns what it wrote.
pub(super) async fn run(program: &Path, call: Call<'_>) -> Result<Vec<u8>, CallError> {
    // Many futures hold this one; it lies in none of them.
    Box::pin(run_to_end(program, call)).await
}

async fn run_to_end(program: &Path, call: Call<'_>) -> Result<Vec<u8>, CallError> {
    let (stdin, bytes) = match call.input {
        Input::Empty => (Stdio::null(), None),
        Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
        Input::Lock(file) => (Stdio::from(file), None),
    };
    let mut command = Command::new(program);
    command
        .args(&call.arguments)
        .env_clear()
        .envs(call.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).kill_on_drop(true).spawn().map_err(CallError::Io)?;
    let mut group = Group { child, is_over: false };
    let pipes = Pipes {
        stdin: group.child.stdin.take().zip(bytes),
        stdout: group.child.stdout.take().expect("standard output is piped"),
        stderr: group.child.stderr.take().expect("standard error is piped"),
    };
    let mut heard = Heard::new(call.listener);
    let output = pipes.exchange(&mut heard, call.output_max, call.silence_max).await?;
    let status = group.child.wait().await.map_err(CallError::Io)?;
    group.is_over = true;
    match status.success() {
        true => Ok(output),
        false => Err(CallError::Failed(FailedCall { message: heard.message(&status.to_string()) })),
    }
}

/// A child with all the processes it started; they are killed when this is dropped before they ended.
struct Group {
    child: Child,
    is_over: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id.filter(|_| !self.is_over) {
            // It may have ended by itself just now.
            kill_process_group(id, Signal::KILL).ok();
        }
    }
}

struct Pipes {
    stdin: Option<(ChildStdin, Vec<u8>)>,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Pipes {
    async fn exchange(
        mut self,
        heard: &mut Heard<'_>,
        output_max: usize,
        silence_max: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let stdin = self.stdin.take();
        let write = async {
            let Some((mut pipe, bytes)) = stdin else { return Ok(()) };
            match pipe.write_all(&bytes).await {
                // It may end without reading; its status tells then.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CallError::Io(error)),
                Ok(()) | Err(_) => Ok(()),
            }
        };
        let (_, output) = tokio::try_join!(write, self.read(heard, output_max, silence_max))?;
        Ok(output)
    }

    async fn read(
        mut self,
        heard: &mut Heard<'_>,
        output_max: usize,
        silence_max: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let (mut output, mut from_stdout, mut from_stderr) =
            (Vec::new(), vec![0; 16 << 10], vec![0; 4 << 10]);
        let (mut has_output, mut has_errors) = (true, true);
        while has_output || has_errors {
            let silence = tokio::time::sleep(silence_max.unwrap_or(Duration::MAX));
            tokio::select! {
                count = self.stdout.read(&mut from_stdout), if has_output => {
                    let count = count.map_err(CallError::Io)?;
                    has_output = count > 0;
                    output.extend_from_slice(&from_stdout[..count]);
                    if output.len() > output_max {
                        return Err(CallError::TooLarge(output_max));
                    }
                }
                count = self.stderr.read(&mut from_stderr), if has_errors => {
                    let count = count.map_err(CallError::Io)?;
                    has_errors = count > 0;
                    heard.take(&from_stderr[..count]);
                }
                () = silence => return Err(CallError::Silent(silence_max.unwrap_or_default())),
            }
        }
        Ok(output)
    }
}

/// What git said so far.
struct Heard<'a> {
    listener: &'a (dyn Fn(&str) + Send + Sync),
    /// The last bytes of all.
    last: Vec<u8>,
    /// The line that is not ended yet.
    line: Vec<u8>,
    /// What comes next stands in its place, unless it is its end.
    is_overwritten: bool,
    counted: Option<Instant>,
}

impl<'a> Heard<'a> {
    fn new(listener: &'a (dyn Fn(&str) + Send + Sync)) -> Self {
        Self { listener, last: Vec::new(), line: Vec::new(), is_overwritten: false, counted: None }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => self.is_overwritten = true,
                _ if self.is_overwritten => {
                    // It counts on: now and then is enough.
                    if self.counted.is_none_or(|last| last.elapsed() >= COUNTING_EVERY) {
                        self.counted = Some(Instant::now());
                        self.tell();
                    }
                    self.is_overwritten = false;
                    self.line.clear();
                    self.line.push(*byte);
                }
                byte if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn tell(&self) {
        let text = String::from_utf8_lossy(&self.line);
        if !text.trim().is_empty() {
            (self.listener)(text.trim_end());
        }
    }

    fn end_line(&mut self) {
        self.tell();
        self.is_overwritten = false;
        self.last.append(&mut self.line);
        self.last.push(b'\n');
        let excess = self.last.len().saturating_sub(MESSAGE_BYTES_MAX);
        self.last.drain(..excess);
    }

    /// Returns what it said about its failure: what is no progress, or its status.
    fn message(mut self, status: &str) -> String {
        if !self.line.is_empty() {
            self.end_line();
        }
        let text = String::from_utf8_lossy(&self.last);
        let is_progress = |line: &&str| line.contains("% (") || line.starts_with("hint:") || line.is_empty();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !is_progress(line)).collect();
        if lines.is_empty() { format!("git ended with {status}") } else { lines.join("\n") }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_kind_of_a_failure_is_told_by_gits_words() {
        for (message, problem) in [
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                Problem::Authentication,
            ),
            ("git@h: Permission denied (publickey).\nfatal: Could not read", Problem::Authentication),
            ("Host key verification failed.\nfatal: Could not read from remote", Problem::HostKey),
            ("fatal: repository 'http://h/a.git/' not found", Problem::NotFound),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 503",
                Problem::Connection,
            ),
            ("fatal: unable to access 'http://h/': The requested URL returned error: 301", Problem::Redirect),
            ("fatal: remote error: upload-pack: not our ref 01", Problem::Unadvertised),
            ("fatal: bad object refs/kiln/01", Problem::Damaged),
            ("fatal: something", Problem::Other),
        ] {
            assert_eq!(FailedCall { message: message.to_owned() }.problem(), problem, "{message}");
        }
    }

    #[test]
    fn lines_are_told_and_counting_is_no_message() {
        let told = Mutex::new(Vec::new());
        let listener = |line: &str| told.lock().unwrap().push(line.to_owned());
        let mut heard = Heard::new(&listener);
        heard.take(b"Receiving objects:  10% (1/10)\rReceiving objects: 100% (10/10), done.\nfatal: b");
        heard.take(b"ad\r\n");
        assert_eq!(heard.message("exit status: 1"), "fatal: bad");
        let expected =
            ["Receiving objects:  10% (1/10)", "Receiving objects: 100% (10/10), done.", "fatal: bad"];
        assert_eq!(*told.lock().unwrap(), expected);
        assert_eq!(Heard::new(&listener).message("exit status: 1"), "git ended with exit status: 1");
    }

    #[tokio::test]
    async fn a_child_that_is_not_waited_for_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("children");
        let script = format!("sleep 1000 & echo $! > {}; echo begun >&2; wait", file.display());
        let begun = tokio::sync::Notify::new();
        let call = Call {
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            input: Input::Empty,
            output_max: 100,
            silence_max: None,
            listener: &|_| begun.notify_one(),
        };
        tokio::select! {
            outcome = run(Path::new("/bin/sh"), call) => panic!("{outcome:?}"),
            () = begun.notified() => {}
        }
        let child: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        while state().contains("sleep") && !state().contains(") Z") {
            tokio::task::yield_now().await;
        }
    }
}
