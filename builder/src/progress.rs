//! What a build tells while it goes on. A display implements [`Progress`]; nothing here prints.

use std::time::Duration;

use kiln_oci::{Digest, Reference};
use kiln_sandbox::Streams;

use crate::explain::Reason;
use crate::plan::{Origin, Plan, StepId};
use crate::repeated::Verdict;
use crate::rootfs::Rootfs;

/// Takes events, from any thread.
pub trait Progress: Send + Sync {
    /// Takes one event. Must not block for long: steps wait for it.
    fn on(&self, event: &ProgressEvent<'_>);
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum ProgressEvent<'a> {
    /// Work that is no step begins: reading the context, resolving a name. Ends with [`ProgressEvent::Finished`].
    Began {
        /// A name that is unique among what goes on.
        task: &'a str,
    },
    /// Such work said something.
    TaskOutput {
        /// Its name.
        task: &'a str,
        /// One line, as it came.
        line: &'a str,
    },
    /// Bytes of such work are moving.
    Moved {
        /// Its name.
        task: &'a str,
        /// Bytes so far. Fewer than before when the work began anew.
        done: u64,
        /// Bytes in all, if that is known.
        total: Option<u64>,
    },
    /// Such work ended.
    Finished {
        /// Its name.
        task: &'a str,
        /// How long it took.
        took: Duration,
        /// A word on the outcome, may be empty.
        detail: &'a str,
    },
    /// The plan is known.
    Planned {
        /// The plan.
        plan: &'a Plan,
        /// For each step, whether it is needed.
        needed: &'a [bool],
    },
    /// A step was found in the cache: before it began, or after it by what its inputs turned out to be.
    StepCached {
        /// The step.
        step: StepId,
    },
    /// A step was not found in the cache.
    StepMissed {
        /// The step.
        step: StepId,
        /// Why.
        reason: &'a Reason,
    },
    /// A step begins to run.
    StepStarted {
        /// The step.
        step: StepId,
    },
    /// A step waits until somebody else has done the same.
    StepWaits {
        /// The step.
        step: StepId,
        /// The process that does it, where that is known. It may be this one.
        pid: Option<u32>,
    },
    /// A step printed something.
    StepOutput {
        /// The step.
        step: StepId,
        /// Raw bytes, not necessarily whole lines.
        bytes: &'a [u8],
    },
    /// A step is done.
    StepDone {
        /// The step.
        step: StepId,
        /// How long it took.
        took: Duration,
    },
    /// The file system that a step made is known, from the cache or because it ran. Comes before the step is said to be done.
    StepMade {
        /// The step.
        step: StepId,
        /// The file system.
        rootfs: &'a Rootfs,
    },
    /// A step failed; the build's error says how.
    StepFailed {
        /// The step.
        step: StepId,
        /// How long it took.
        took: Duration,
    },
    /// A step was ended before it was done, and is done anew: the build begins again in another way, which a warning tells.
    StepPutOff {
        /// The step.
        step: StepId,
        /// How long it took.
        took: Duration,
    },
    /// A step was done a second time, to see whether it makes the same.
    StepRepeated {
        /// The step.
        step: StepId,
        /// What became of it.
        verdict: &'a Verdict,
        /// How long it took.
        took: Duration,
    },
    /// Somebody is given a command in a step. Until [`ProgressEvent::ShellClosed`] the screen is theirs.
    ShellOpened {
        /// Where the step comes from.
        origin: &'a Origin,
        /// The step's own command.
        argv: &'a [String],
        /// Why.
        reason: ShellReason<'a>,
        /// What they read and write by.
        streams: &'a Streams,
    },
    /// They have left.
    ShellClosed,
    /// Bytes are moving.
    Transfer {
        /// What: `library/debian`, `pushing localhost:5000/app`.
        what: &'a str,
        /// Which blob.
        blob: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// An image that somebody asked for by name is on its way; events about its layers follow. A build says nothing of the kind.
    ImageMoves {
        /// The name.
        reference: &'a Reference,
        /// From a registry or to it.
        direction: Direction,
    },
    /// A layer of such an image, or of one that a build pushes, has come so far.
    Layer {
        /// Its blob.
        blob: Digest,
        /// How far.
        stage: LayerStage<'a>,
    },
    /// Something the user should know, though the build goes on.
    Warning {
        /// One sentence.
        message: &'a str,
    },
    /// Doubtful places of the Dockerfile, before any step runs.
    Noticed {
        /// What rules of the linter found, in the order of the file.
        findings: &'a [Notice],
        /// What was noticed besides; it comes with the result, too.
        others: &'a [Notice],
    },
    /// A result has a name now.
    Named {
        /// The name.
        reference: &'a Reference,
        /// Digest of its manifest or index.
        digest: Digest,
    },
}

/// Where an image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It comes here.
    Pull,
    /// It goes to a registry.
    Push,
}

/// How far a layer of an image on its way has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStage<'a> {
    /// It will be fetched.
    Pulling,
    /// Its bytes are here, and are those of its digest.
    Downloaded,
    /// It is part of an image of this store.
    Pulled,
    /// It was in the store before.
    Exists,
    /// The registry will be asked whether it has it.
    Pushing,
    /// It was sent.
    Pushed,
    /// The repository had it before.
    ExistsThere,
    /// The registry took it from another of its repositories.
    Mounted {
        /// Which.
        from: &'a str,
    },
}

/// Why somebody is given a command in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellReason<'a> {
    /// The step failed, and its root is as it left it.
    Failed {
        /// How.
        message: &'a str,
    },
    /// They asked for it, and the root is what the step starts from.
    Entered {
        /// Whether they know what is to run: then nothing needs to be explained.
        is_command: bool,
        /// Whether the Dockerfile is another one than when the step was built.
        has_changed: bool,
    },
}

/// Something that is said about the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The name of the rule, or of the kind of warning or error.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The Dockerfile.
    pub file: String,
    /// Where; `None` for what is about everything.
    pub place: Option<NoticePlace>,
    /// What to do about it.
    pub help: Option<String>,
    /// Changes of the text that belong together.
    pub fix: Vec<NoticeEdit>,
}

/// A place: lines and columns from one, columns in characters; offsets in bytes of UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticePlace {
    /// The line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column behind the last character.
    pub end_column: usize,
    /// The offset of the first byte.
    pub start: usize,
    /// The offset behind the last byte.
    pub end: usize,
}

/// A change of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeEdit {
    /// What goes away.
    pub place: NoticePlace,
    /// What comes instead.
    pub replacement: String,
}

/// Takes events and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn on(&self, _event: &ProgressEvent<'_>) {}
}
