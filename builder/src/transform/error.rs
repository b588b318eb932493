//! Why a step failed.

use std::error::Error;
use std::sync::Arc;

use kiln_layer::content_hash::SelectionError;
use kiln_layer::{ArchivePath, CommitError, CopyError, TreeError};
use kiln_sandbox::{ExecError, ExitStatus};
use kiln_store::StoreError;

use super::OpenStep;
use crate::blobs::FetchError;
use crate::boxed::boxed;
use crate::clock::ClockError;
use crate::layers::LayerError;
use crate::recording::Lack;
use crate::secrets::SecretError;
use crate::source::context::ContextError;
use crate::source::git::GitError;
use crate::source::http::HttpError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The process failed.
    #[error(transparent)]
    Run(#[from] RunFailure),
    /// It cannot be told what is older than the step.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The process could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A RUN failed, and is left as it is.
    #[error("{error}")]
    Left {
        /// How it failed.
        error: Box<StepError>,
        /// What can be entered.
        step: Box<OpenStep>,
    },
    /// There is no shell in a step that is entered.
    #[error("there is no shell in this step")]
    NoShell {
        /// The ones that were tried.
        tried: Vec<String>,
    },
    /// The kernel would refuse what the step has.
    #[error("{0}")]
    Lack(#[from] Lack),
    /// This machine cannot run processes of steps.
    #[error("this machine cannot run the step: {reason}")]
    Impossible {
        /// What is missing.
        reason: String,
    },
    /// Programs of the step's platform do not run here.
    #[error("programs of `{platform}` cannot run on this machine: {}", missing_handler(.handler, .interpreter.as_deref()))]
    Foreign {
        /// The step's platform.
        platform: String,
        /// The handler of the kernel that would run them.
        handler: String,
        /// Its interpreter, when it is registered and would not find that in the step's root.
        interpreter: Option<String>,
    },
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] Arc<ContextError>),
    /// A git repository could not be had.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The rules of COPY and ADD do not allow it.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A literal source is not there.
    #[error("source `/{path}` was not found")]
    NoSource {
        /// The source, cleaned.
        path: ArchivePath,
        /// What is there and may have been meant.
        meant: Option<String>,
    },
    /// A source is there, but hidden by the ignore file.
    #[error(
        "source `/{path}` was not found: it is excluded by the pattern `{pattern}` in line {line} of `{file}`"
    )]
    Ignored {
        /// The source.
        path: String,
        /// The pattern that hides it.
        pattern: String,
        /// Its line.
        line: usize,
        /// Name of the ignore file.
        file: String,
    },
    /// An owner is unknown.
    #[error("{what} `{text}`: {source}")]
    Owner {
        /// What names it: `--chown` or `USER`.
        what: &'static str,
        /// As written.
        text: String,
        /// What is wrong.
        source: kiln_layer::OwnerError,
    },
    /// A mode is malformed.
    #[error("--chmod: {0}")]
    Mode(#[from] kiln_layer::ChmodError),
    /// An `--exclude` pattern is malformed.
    #[error("--exclude: {reason}")]
    Exclude {
        /// What is wrong.
        reason: String,
    },
    /// A file was not hashed when it should have been.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// An archive could not be unpacked.
    #[error("cannot unpack `{name}`")]
    Archive {
        /// The archive.
        name: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The layer could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What the step changed could not be found out.
    #[error("cannot find out what the step changed")]
    Diff {
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mount cannot be made.
    #[error("cannot mount `{target}`: {reason}")]
    Mount {
        /// Where.
        target: String,
        /// Why not.
        reason: String,
    },
    /// A secret that the step needs was not given.
    #[error("secret `{id}` is required, but the build was not given it")]
    SecretMissing {
        /// Its id.
        id: String,
    },
    /// An agent that the step needs was not given.
    #[error("ssh agent `{id}` is required, but the build was not given it")]
    AgentMissing {
        /// Its id.
        id: String,
    },
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file could not be read or written.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file of the web could not be fetched.
    #[error(transparent)]
    Http(#[from] Box<HttpError>),
    /// A layer could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A layer could not be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// Trees do not fit together.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StepError {
    /// Returns the error that this one shows as its own, which hides it from those who ask for the source.
    pub fn told(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Store(error)
            | Self::Fetch(FetchError::Store(error))
            | Self::Layer(LayerError::Store(error)) => error,
            Self::Layer(error) => error,
            Self::Fetch(error) => error,
            Self::Exec(error) => error,
            other => other,
        }
    }
}

fn missing_handler(handler: &str, interpreter: Option<&str>) -> String {
    match interpreter {
        None => format!("the kernel has no handler for them (`{handler}`)"),
        Some(interpreter) => format!(
            "the kernel's handler `{handler}` is registered without the flag F, and the image has no `{interpreter}`"
        ),
    }
}

boxed!(StepError { Http: HttpError });

/// A process of a step that ended badly.
#[derive(Debug, thiserror::Error)]
#[error("RUN failed: {}", describe(*.status))]
pub struct RunFailure {
    /// How it ended.
    pub status: ExitStatus,
    /// The command.
    pub argv: Vec<String>,
    /// Where its whole output is kept.
    pub log: std::path::PathBuf,
}

fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code: {code}"),
        ExitStatus::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("killed by signal {signal} ({name})"),
            None => format!("killed by signal {signal}"),
        },
    }
}

/// Names of the signals from 1 on, which are the same on every processor that kiln runs on.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// Returns the name of a signal; those of real time have none.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    SIGNALS.get(usize::try_from(signal).ok()?.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_by_number_and_name() {
        for (status, expected) in [
            (ExitStatus::Code(2), "exit code: 2"),
            (ExitStatus::Signal(9), "killed by signal 9 (SIGKILL)"),
            (ExitStatus::Signal(31), "killed by signal 31 (SIGSYS)"),
            (ExitStatus::Signal(34), "killed by signal 34"),
        ] {
            assert_eq!(describe(status), expected);
        }
    }
}
