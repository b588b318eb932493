//! The lines of a journal, as types. A new field or entry is no new format; readers pass over what they do not know.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::explain::Reason;
use crate::plan::{Op, Plan, Step, StepId};
use crate::request::{BuildRequest, ContextPlace, DockerfilePlace};
use crate::secrets::without_logins;

/// Number of the format.
pub const FORMAT: u32 = 1;
/// Longest text of an instruction that is kept, in bytes: a heredoc can be a megabyte.
const TEXT_BYTES_MAX: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the build began.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What happened. Times are in milliseconds; a step goes by its position in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// The build begins.
    Build(Box<Header>),
    /// Work that is no step has ended.
    Task {
        /// Its name.
        task: String,
        /// How long it took.
        took: u64,
        /// Bytes that it fetched.
        #[serde(default)]
        bytes: u64,
    },
    /// The plan is known. A second one takes the place of the first: the build began anew, with what it had done until then.
    Plan {
        /// Its steps, inputs before what needs them.
        steps: Vec<PlannedStep>,
    },
    /// A step was found in the cache.
    Cached {
        /// The step.
        step: u32,
    },
    /// A step was not found in the cache.
    Missed {
        /// The step.
        step: u32,
        /// Why.
        reason: Reason,
    },
    /// A step begins to run.
    Started {
        /// The step.
        step: u32,
    },
    /// A step is done.
    Done {
        /// The step.
        step: u32,
        /// How long it took.
        took: u64,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: u32,
        /// How long it took.
        took: u64,
    },
    /// The layers of some steps are known.
    Layers {
        /// Steps with the bytes of their layers as they are stored; zero where nothing was changed.
        layers: Vec<(u32, u64)>,
    },
    /// A blob has come or gone.
    Moved {
        /// What it belongs to: `library/debian`, `pushing localhost:5000/app`.
        what: String,
        /// Bytes that went over the line.
        bytes: u64,
    },
    /// Something was not as it should be.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The build has ended.
    Ended(Box<Ended>),
}

/// How a build was called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Number of the format.
    pub format: u32,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// The version of kiln.
    pub version: String,
    /// The words of the command line, without users and passwords of addresses. Of a secret they say where it is, never what.
    pub words: Vec<String>,
    /// Where the command was given.
    pub directory: String,
    /// What the files are copied from; empty where there are none.
    pub context: String,
    /// The Dockerfile, as it was named; empty where it is that of the context.
    pub dockerfile: String,
    /// The stage that was asked for.
    pub target: Option<String>,
    /// The platforms that were asked for; none is that of the machine.
    pub platforms: Vec<String>,
}

/// A step that may have to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its position in the plan, which its log is called by.
    pub step: u32,
    /// What it does.
    pub kind: StepKind,
    /// Its stage, as it is shown; empty for what belongs to none.
    pub stage: String,
    /// The stage's name in lower case; empty when it has none.
    pub stage_name: String,
    /// Position among the stage's steps.
    pub position: u32,
    /// How many of them there are.
    pub count: u32,
    /// First line in the Dockerfile, zero when it has none.
    pub line: u32,
    /// The instruction.
    pub text: String,
    /// The step whose file system it changes.
    pub parent: Option<u32>,
    /// The steps whose files it reads.
    pub reads: Vec<u32>,
    /// Whether some result needs it.
    pub is_needed: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// It starts from nothing.
    Scratch,
    /// It gives an image's files.
    Image,
    /// It gives a context's files.
    Context,
    /// It fetches a file.
    Http,
    /// It fetches a repository.
    Git,
    /// It runs a process.
    Run,
    /// It copies files.
    Copy,
    /// It makes a directory.
    MakeDirectory,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Ended {
    /// Well.
    Done {
        /// Digest of the manifest or index.
        digest: String,
        /// The names it got.
        names: Vec<String>,
        /// What is said of each step that did not make the same a second time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_the_same: Vec<String>,
    },
    /// Badly.
    Failed {
        /// What the error says.
        message: String,
    },
    /// Somebody stopped it.
    Interrupted,
}

impl Header {
    /// Describes a build by what was asked for.
    pub fn new(request: &BuildRequest, words: &[OsString], directory: &Path, version: &str) -> Self {
        let context = match &request.context {
            // `.` of a path means nothing to whoever reads it later.
            ContextPlace::Directory(path) => path.components().collect::<PathBuf>().display().to_string(),
            ContextPlace::Archive(_) => "-".to_owned(),
            ContextPlace::Web(url) => url.to_string(),
            ContextPlace::Git(reference) => reference.shown(),
            ContextPlace::Empty => String::new(),
        };
        let dockerfile = match &request.dockerfile {
            DockerfilePlace::Default => String::new(),
            DockerfilePlace::Path(path) => path.display().to_string(),
            DockerfilePlace::Text(_) => "-".to_owned(),
            DockerfilePlace::Web(url) => url.to_string(),
        };
        Self {
            format: FORMAT,
            began: 0,
            version: version.to_owned(),
            words: words.iter().map(|word| without_logins(&word.to_string_lossy())).collect(),
            directory: directory.display().to_string(),
            context: without_logins(&context),
            dockerfile: without_logins(&dockerfile),
            target: request.target.clone(),
            platforms: request.platforms.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Ended {
    /// Whether a build made what it should, and the same where that was looked at.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Done { not_the_same, .. } if not_the_same.is_empty())
    }

    /// Returns that a build ended well, but for the steps that did not make the same a second time.
    pub fn done(digest: &Digest, names: Vec<String>, not_the_same: &[String]) -> Self {
        let not_the_same = not_the_same.iter().map(|finding| without_logins(finding)).collect();
        Self::Done { digest: digest.to_string(), names, not_the_same }
    }

    /// Returns that a build ended badly: what the error says, and what was below it.
    pub fn failed(error: &dyn Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause: &&dyn Error| Error::source(*cause));
        let texts = std::iter::once(error.to_string()).chain(causes.map(ToString::to_string));
        Self::Failed { message: without_logins(&texts.collect::<Vec<_>>().join(": ")) }
    }
}

/// Returns the steps of a plan as they are kept.
pub(super) fn planned(plan: &Plan, needed: &[bool]) -> Vec<PlannedStep> {
    let is_needed = |id: StepId| needed.get(id.index()).copied().unwrap_or_default();
    plan.steps().map(|(id, step)| planned_step(id, step, is_needed(id))).collect()
}

fn planned_step(id: StepId, step: &Step, is_needed: bool) -> PlannedStep {
    let origin = &step.origin;
    let text = match &step.op {
        Op::Scratch if origin.text.is_empty() => "FROM scratch".to_owned(),
        _ => bounded(without_logins(&origin.text)),
    };
    PlannedStep {
        step: number(id),
        kind: kind(&step.op),
        stage: origin.stage.clone(),
        stage_name: origin.stage_name.clone(),
        position: origin.position,
        count: origin.count,
        line: origin.line,
        text,
        parent: step.op.parent().map(number),
        reads: step.op.reads().into_iter().map(number).collect(),
        is_needed,
    }
}

/// Returns a step's number.
pub(super) fn number(id: StepId) -> u32 {
    u32::try_from(id.index()).expect("a plan has less than four thousand million steps")
}

fn kind(op: &Op) -> StepKind {
    match op {
        Op::Scratch => StepKind::Scratch,
        Op::Image(_) => StepKind::Image,
        Op::Context(_) => StepKind::Context,
        Op::Http(_) => StepKind::Http,
        Op::Git(_) => StepKind::Git,
        Op::Run(_) => StepKind::Run,
        Op::Copy(_) => StepKind::Copy,
        Op::MakeDir(_) => StepKind::MakeDirectory,
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl PlannedStep {
    /// Returns where it stands, as reasons name it: `STAGE:LINE`, or the instruction where it has no line.
    pub fn place(&self) -> String {
        match self.line {
            0 => self.text.clone(),
            line => format!("{}:{line}", self.stage),
        }
    }
}

impl StepKind {
    /// Whether it changes a file system, and so is run or found in the cache.
    pub fn is_transform(self) -> bool {
        matches!(self, Self::Run | Self::Copy | Self::MakeDirectory)
    }
}
