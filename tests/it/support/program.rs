//! Calls of the program: a clean environment, everything captured.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::users::User;
use super::validator::{self, Call};

/// The search path that programs under test get.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call of a program, being prepared.
pub(crate) struct Invocation {
    program: PathBuf,
    prefix: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    stdin: Vec<u8>,
    is_damaged: bool,
}

impl Invocation {
    /// Prepares a call of `program` with a home at `place` and a store at `store`, and nothing else around it.
    pub(crate) fn new(program: &Path, place: PathBuf, store: &Path) -> Self {
        let environment = vec![
            ("PATH".into(), SEARCH_PATH.into()),
            ("HOME".into(), place.join("home").into()),
            ("TMPDIR".into(), place.join("tmp").into()),
            ("KILN_HOME".into(), store.into()),
            ("KILN_CONFIG".into(), place.join("config.toml").into()),
            ("DOCKER_CONFIG".into(), place.join("home/.docker").into()),
            ("LANG".into(), "C.UTF-8".into()),
        ];
        let (prefix, arguments, stdin) = (Vec::new(), Vec::new(), Vec::new());
        let (program, is_damaged) = (program.to_owned(), false);
        Self { program, prefix, arguments, environment, directory: place, stdin, is_damaged }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable; a later value wins.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Calls the program by another path.
    pub(crate) fn program(mut self, path: &Path) -> Self {
        self.program = path.to_owned();
        self
    }

    /// Uses another store.
    pub(crate) fn store(self, path: &Path) -> Self {
        self.env("KILN_HOME", path)
    }

    /// Runs in another directory.
    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.directory = path.to_owned();
        self
    }

    /// Gives bytes on standard input.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Says that the test has damaged the store: nothing but what this call makes is checked when it ends.
    pub(crate) fn on_a_damaged_store(mut self) -> Self {
        self.is_damaged = true;
        self
    }

    /// Runs the program under another one, such as `timeout 5` or `setpriv …`.
    pub(crate) fn under<A: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = A>) -> Self {
        let mut words: Vec<OsString> = prefix.into_iter().map(|word| word.as_ref().to_owned()).collect();
        words.append(&mut self.prefix);
        self.prefix = words;
        self
    }

    /// Runs a copy of the program as another user, whose home it gets.
    pub(crate) fn user(mut self, user: &User) -> Self {
        self.program = user.copy_of(&self.program);
        self.under(user.prefix()).env("HOME", &user.home).env("TMPDIR", "/tmp").env("USER", &user.name)
    }

    /// Runs the program as this user if there is one, with a store of the user's own.
    pub(crate) fn by(self, user: Option<&User>) -> Self {
        match user {
            Some(user) => self.user(user).store(&user.path("store")),
            None => self,
        }
    }

    /// Starts the program with a terminal as its standard streams.
    pub(crate) fn start_on(self, terminal: &OwnedFd) -> Child {
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = self.command();
        command.stdin(stream()).stdout(stream()).stderr(stream());
        command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.shown()))
    }

    /// Starts the program; standard output and error are captured.
    pub(crate) fn start(self) -> Running {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.shown()));
        Running { child, call: self }
    }

    fn command(&self) -> Command {
        let mut words = self.prefix.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(&self.arguments).env_clear().current_dir(&self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        let mut running = self.start();
        let writer = running.child.stdin.take().map(|mut pipe| {
            let bytes = std::mem::take(&mut running.call.stdin);
            // The program may end before it has read everything; its exit code tells then.
            std::thread::spawn(move || pipe.write_all(&bytes).is_ok())
        });
        let outcome = running.wait();
        if let Some(writer) = writer {
            writer.join().unwrap();
        }
        outcome
    }

    /// Returns the call as a person would type it.
    pub(crate) fn shown(&self) -> String {
        let program = [self.program.clone().into_os_string()];
        let words = self.prefix.iter().chain(&program).chain(&self.arguments);
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// A call that has started.
pub(crate) struct Running {
    /// The process.
    pub(crate) child: Child,
    call: Invocation,
}

impl Running {
    /// Waits for the end, and has what the program made looked at by the [`validator`].
    #[track_caller]
    pub(crate) fn wait(self) -> Outcome {
        let Self { child, call } = self;
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let command = call.shown();
        let outcome = Outcome { status: output.status, stdout: output.stdout, stderr, command };
        let called_by = call.program.file_name().unwrap_or_default();
        validator::check(
            &Call {
                is_build: called_by == "build" || call.arguments.iter().any(|argument| argument == "build"),
                arguments: &call.arguments,
                environment: &call.environment,
                directory: &call.directory,
                is_damaged: call.is_damaged,
            },
            &outcome,
        );
        outcome
    }
}

/// How a call ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit status.
    pub(crate) status: ExitStatus,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error as text.
    pub(crate) stderr: String,
    command: String,
}

impl Outcome {
    /// Returns standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the last line of standard output: the digest, where there is one.
    pub(crate) fn digest(&self) -> String {
        let text = self.text();
        let digest = text.lines().last().unwrap_or_default().trim().to_owned();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "no digest on standard output: {self}");
        digest
    }

    /// Returns whether the program crashed: a signal, a panic, or the exit code of a bug.
    pub(crate) fn crashed(&self) -> bool {
        self.status.signal().is_some()
            || matches!(self.status.code(), Some(70 | 101))
            || self.stderr.contains("panicked at")
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "should succeed: {self}");
        self
    }

    /// Asserts an exit code, and that it was no crash.
    #[track_caller]
    pub(crate) fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "another exit code expected: {self}");
        assert!(!self.stderr.contains("panicked at"), "crashed: {self}");
        self
    }

    /// Asserts that standard error contains each text.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "standard error should contain {text:?}: {self}");
        }
        self
    }

    /// Asserts that standard error contains none of the texts.
    #[track_caller]
    pub(crate) fn never_says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.stderr.contains(text), "standard error should not contain {text:?}: {self}");
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stderr, command, .. } = self;
        write!(formatter, "{status}\n$ {command}\n--- stdout\n{}\n--- stderr\n{stderr}", self.text())
    }
}
