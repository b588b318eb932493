//! A process that somebody attends, in the place of a RUN: the same root, mounts, environment, user and directory.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use kiln_sandbox::{CancelToken, ExecError, ExitStatus, Owning, RunSpec, Streams, attend};

use super::StepError;
use super::caches::Caches;
use super::live_times::LiveTimes;
use super::run_mounts::Mounts;
use super::run_root::StepRoot;
use crate::agents::{AgentSocket, serve};
use crate::interrupt::Interrupt;
use crate::lanes::blocking;
use crate::request::Attendant;

/// Shells that are tried after the stage's own, in this order.
const SHELLS: [&[&str]; 7] = [
    &["/bin/sh"],
    &["/bin/bash"],
    &["/bin/ash"],
    &["/bin/busybox", "sh"],
    &["/busybox/sh"],
    &["/usr/local/bin/bash"],
    &["/usr/bin/busybox", "sh"],
];

/// A RUN that can be entered, with all that its mounts need. What is changed in it is thrown away.
pub struct OpenStep {
    pub(super) spec: RunSpec,
    pub(super) root: StepRoot,
    /// The stage's SHELL.
    pub(super) shell: Vec<String>,
    pub(super) agents: Arc<Vec<AgentSocket>>,
    pub(super) mounts: Mounts,
    pub(super) live: LiveTimes,
    pub(super) caches: Caches,
}

impl fmt::Debug for OpenStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OpenStep").field("root", &self.root.plan()).finish_non_exhaustive()
    }
}

/// What runs in a step that is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The stage's shell, or the first that is there.
    Shell,
    /// A program with its arguments.
    Words(Vec<String>),
}

impl OpenStep {
    /// Runs a command in the step until it ends, or somebody raises `interrupt`.
    ///
    /// # Errors
    /// [`StepError`] when it cannot be started.
    pub async fn attend(
        mut self,
        command: &Command,
        attendant: Attendant,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, StepError> {
        // Nobody's shell is ended for what the kernel refuses.
        if self.spec.remembered.owners == Owning::SetOrEnd {
            self.spec.remembered.owners = Owning::Set;
        }
        let is_set = self.spec.env.iter().any(|(name, _)| name == "TERM");
        if let Some(kind) = attendant.terminal_kind.filter(|_| !is_set) {
            self.spec.env.push(("TERM".into(), kind));
        }
        let cancel = CancelToken::new()
            .map_err(|source| StepError::Io { what: "cannot watch over the step".to_owned(), source })?;
        let (candidates, streams, token) = (self.candidates(command), attendant.streams, cancel.clone());
        let agents = Arc::clone(&self.agents);
        let mut work = Box::pin(blocking(move || {
            let outcome = self.first_that_starts(&candidates, &streams, &token);
            let ended = self.end();
            outcome.and_then(|status| ended.map(|_| status))
        }));
        tokio::select! {
            outcome = &mut work => outcome,
            never = serve(&agents) => match never {},
            () = interrupt.raised() => {
                cancel.cancel();
                work.await
            }
        }
    }

    /// Ends the use of mounts and caches; returns the root.
    pub(super) fn end(self) -> Result<StepRoot, StepError> {
        let Self { root, mounts, live, caches, .. } = self;
        let ended = live.end(&caches);
        drop(mounts);
        ended.map(|()| root)
    }

    fn candidates(&self, command: &Command) -> Vec<Vec<String>> {
        match command {
            Command::Words(words) => vec![words.clone()],
            Command::Shell => {
                // `["/bin/bash", "-o", "pipefail", "-c"]`: the flags are for commands.
                let own = self.shell.iter().take_while(|word| !word.starts_with('-')).cloned().collect();
                let others = SHELLS.iter().map(|words| words.iter().map(ToString::to_string).collect());
                std::iter::once(own).filter(|words: &Vec<String>| !words.is_empty()).chain(others).collect()
            }
        }
    }

    fn first_that_starts(
        &self,
        candidates: &[Vec<String>],
        streams: &Streams,
        cancel: &CancelToken,
    ) -> Result<ExitStatus, StepError> {
        let mut spec = self.spec.clone();
        for words in candidates {
            spec.argv = words.iter().map(OsString::from).collect();
            match attend(&spec, &self.root.plan(), cancel, streams) {
                Ok(exit) => return Ok(exit.status),
                // Nothing has run yet, so another one can be tried.
                Err(ExecError::NotFound { .. } | ExecError::BadInterpreter { .. })
                    if candidates.len() > 1 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StepError::NoShell { tried: candidates.iter().map(|words| words.join(" ")).collect() })
    }
}
