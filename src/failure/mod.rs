//! Any error → what the user is told: kind, message, causes, hints, exit code. The only place with hints.
//!
//! | Exit code | Kind | When |
//! |---|---|---|
//! | 0 | | done; also when whoever read the output went away |
//! | 1 | [`Kind::Failed`] | the build or command failed |
//! | 2 | [`Kind::Usage`] | wrong usage: flags, variables, configuration file |
//! | 3 | [`Kind::Findings`] | `lint` or `build --check` has findings, and no errors; `fsck` found damage; `diff --exit-code` a difference |
//! | 4 | [`Kind::Machine`] | this machine cannot do it |
//! | 70 | [`Kind::Bug`] | a mistake in kiln |
//! | 130 | [`Kind::Interrupted`] | ended by a signal |
//!
//! `kiln run` has 125 for all but the last two: its codes are the command's.

use std::error::Error;
use std::io;

use kiln_builder::agents::{AgentError, KeyError};
use kiln_builder::build::{BuildError, EnterError};
use kiln_builder::catalog::CatalogError;
use kiln_builder::mounts::MountsError;
use kiln_builder::plan::Origin;
use kiln_builder::remote::RemoteError;
use kiln_builder::source::git::{GitError, Problem, SubmoduleError};
use kiln_builder::transform::{OwnerError, StepError};
use kiln_builder::upkeep::StoreError;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};
use kiln_frontend::suggest::nearest;
use kiln_registry::WebError;
use kiln_sandbox::{ExecError, ExitStatus, Operation, is_foreign};
use kiln_template::{ExecuteError, Reason};

use crate::settings::{ConfigError, SettingsError};

/// What a failure means to the caller of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The build or command failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// A check has findings.
    Findings,
    /// This machine cannot do it.
    Machine,
    /// A mistake in kiln.
    Bug,
    /// Ended by a signal.
    Interrupted,
}

impl Kind {
    /// Returns the exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::Machine => 4,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }

    /// Returns the word that machine-readable output has for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Findings => "findings",
            Self::Machine => "machine",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Something that went wrong, in the words the user gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What it means to the caller.
    pub(crate) kind: Kind,
    /// One sentence.
    pub(crate) message: String,
    /// What was below, nearest first.
    pub(crate) causes: Vec<String>,
    /// What to do about it.
    pub(crate) hints: Vec<String>,
    /// Places in the Dockerfile. Where there are some, they say the message.
    pub(crate) report: Option<Box<Report>>,
    /// Whether `message` is a whole text with its own heading.
    pub(crate) is_rendered: bool,
    /// Whether the user has seen it already.
    pub(crate) is_shown: bool,
}

/// Findings in one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The Dockerfile.
    pub(crate) source: Source,
    /// The findings, in order.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// Returns a failure with nothing but a message.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            report: None,
            is_rendered: false,
            is_shown: false,
        }
    }

    /// Returns a failure of wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Returns a failure whose text is whole.
    pub(crate) fn rendered(kind: Kind, text: String) -> Self {
        Self { is_rendered: true, ..Self::new(kind, text) }
    }

    /// Returns the failure that an error is, with its causes and the hints that follow from them.
    pub(crate) fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut next = error.source();
        let mut said = failure.message.clone();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat their source in their own message.
            if !said.ends_with(&text) {
                failure.causes.push(text.clone());
                said = text;
            }
            next = cause.source();
        }
        failure.hints.extend(hint_of_chain(error));
        failure
    }

    /// Returns the failure of work that was interrupted.
    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says the message at a place in the Dockerfile, if it has one.
    fn at(self, span: Option<(usize, usize)>, source: Source, label: String) -> Self {
        let Some((start, end)) = span else { return self };
        let diagnostic = Diagnostic::error("", Span::new(start, end), self.message.clone()).with_label(label);
        self.with_report(source, vec![diagnostic])
    }

    /// Adds the places it speaks of.
    fn with_report(self, source: Source, diagnostics: Vec<Diagnostic>) -> Self {
        Self { report: Some(Box::new(Report { source, diagnostics })), ..self }
    }

    /// Returns the exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }
}

/// Returns what to do about the deepest error that something is known about.
fn hint_of_chain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let mut hint = None;
    while let Some(error) = next {
        // An error that holds another one in a box gives the box as its source.
        let boxed = || error.downcast_ref::<Box<kiln_registry::Error>>().map(|boxed| &**boxed);
        let of_registry = error.downcast_ref().or_else(boxed).and_then(hint_of_registry);
        let of_removal = error.downcast_ref().and_then(hint_of_removal);
        let of_web = error.downcast_ref().and_then(hint_of_web);
        let of_mounts = error.downcast_ref().and_then(hint_of_mounts);
        let of_list = error.downcast_ref().and_then(hint_of_list);
        let of_store = hint_of_store(error);
        let of_template = error.downcast_ref().and_then(hint_of_template);
        hint = error
            .downcast_ref::<io::Error>()
            .and_then(hint_of_io)
            .or(of_store)
            .or(of_mounts)
            .or(of_list)
            .or(of_registry)
            .or(of_removal)
            .or(of_web)
            .or(of_template)
            .or(hint);
        next = error.source();
    }
    hint
}

/// How many names a hint lists.
const NAMES_MAX: usize = 12;

fn hint_of_step(error: &StepError) -> Option<String> {
    match error {
        StepError::NoSource { meant, .. } => meant.as_ref().map(|meant| format!("did you mean `{meant}`?")),
        StepError::Owner { source: OwnerError::Unknown { name, listed, .. }, .. } => {
            Some(match nearest(name, listed.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if listed.is_empty() => "it lists nobody; a number needs no list".to_owned(),
                None => {
                    let rest = if listed.len() > NAMES_MAX { ", …" } else { "" };
                    let names: Vec<&str> = listed.iter().take(NAMES_MAX).map(String::as_str).collect();
                    format!("it lists {}{rest}; a number needs no list", names.join(", "))
                }
            })
        }
        StepError::SecretMissing { id } => {
            Some(format!("`--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE` gives it"))
        }
        StepError::NoShell { tried } => Some(format!(
            "tried {}; `kiln enter STAGE:LINE -- PROGRAM` runs a program that is there",
            tried.join(", ")
        )),
        StepError::AgentMissing { id } => Some(format!(
            "`--ssh {id}` hands on the agent of SSH_AUTH_SOCK, `--ssh {id}=SOCKET` another, `--ssh {id}=KEY` the key of a file"
        )),
        StepError::Owner { source: OwnerError::NoFile { .. }, .. } => {
            Some("a number needs no list".to_owned())
        }
        _ => None,
    }
}

fn hint_of_registry(error: &kiln_registry::Error) -> Option<String> {
    if let kiln_registry::Error::Bucket(_) = error {
        let hint = "the key is that of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of AWS_PROFILE in ~/.aws/credentials; it \
            must be allowed to list, read and write";
        return error.is_unauthorized().then(|| hint.to_owned());
    }
    if error.is_unauthorized() {
        return Some(
            "`kiln login REGISTRY` keeps credentials; a name that does not exist can look like this too"
                .to_owned(),
        );
    }
    if let Some(wait) = error.retry_after().filter(|wait| !wait.is_zero()) {
        return Some(format!("the registry asks to be left alone for {} s", wait.as_secs()));
    }
    if let kiln_registry::Error::OnlyMirror { .. } = error {
        let hint =
            "if the name is right, the registry itself has to be reached; a proxy is taken from HTTPS_PROXY";
        return Some(hint.to_owned());
    }
    let hint = "the configuration file can name a mirror, a proxy is taken from HTTPS_PROXY, and `http = true` is for \
        registries without TLS";
    error.is_unreachable().then(|| hint.to_owned())
}

fn hint_of_removal(error: &RemoteError) -> Option<String> {
    let hint = "the registry lets nobody remove anything this way, and its tags are as they were; `docker-registry` does with \
        `delete: {enabled: true}` in its storage settings, others in their own interface";
    error.is_removal_unsupported().then(|| hint.to_owned())
}

fn hint_of_web(error: &WebError) -> Option<String> {
    let hint = match (error.status(), error) {
        (Some(401 | 403), _) => {
            "`--secret id=HTTP_AUTH_TOKEN_HOST,src=FILE` gives a bearer token for HOST (without its port), \
             HTTP_AUTH_HEADER_HOST the whole value of the header"
        }
        (_, WebError::Downgrade { .. }) => {
            "with `ADD --checksum=sha256:…` it does not matter where the bytes come from; or name the http address itself"
        }
        _ if error.is_unreachable() => "a proxy is taken from HTTP_PROXY and HTTPS_PROXY",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_list(error: &CatalogError) -> Option<String> {
    let hint = match error {
        CatalogError::ListExists { .. } => "`kiln manifest create --amend` adds to it",
        CatalogError::NoList { is_image: false, .. } => "`kiln manifest create` makes one",
        CatalogError::NotInList { .. } => "`kiln manifest inspect` shows what is in a list",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_template(error: &ExecuteError) -> Option<String> {
    let Reason::NoField { field, known, .. } = &error.reason else { return None };
    match nearest(field, known.iter().copied()) {
        Some(meant) => Some(format!("did you mean `.{meant}`?")),
        None if known.is_empty() => None,
        None => Some(format!("the fields are .{}", known.join(", ."))),
    }
}

fn hint_of_store(error: &(dyn Error + 'static)) -> Option<String> {
    let of_catalog = match error.downcast_ref() {
        Some(CatalogError::Store(error)) => Some(error),
        _ => None,
    };
    let error: &StoreError = error.downcast_ref().or(of_catalog)?;
    if matches!(error, StoreError::NoLocks { .. }) {
        let hint = "`--store DIR` or KILN_HOME can name a place on a local disk; for NFS, the mount option `nolock` \
            or `local_lock=flock` is enough where a single machine uses the store";
        return Some(hint.to_owned());
    }
    let is_damage = matches!(
        error,
        StoreError::DocumentDamaged { .. } | StoreError::Expand { .. } | StoreError::WrongDigest { .. }
    );
    is_damage.then(|| "`kiln fsck --repair` moves away what is damaged, and says what to do".to_owned())
}

fn hint_of_mounts(error: &MountsError) -> Option<String> {
    let hint = match error {
        MountsError::Missing { .. } => "`kiln cache mounts ls` lists those that there are",
        MountsError::InUse { .. } => {
            "try again when that build has ended; `export` and `rm` wait for it with `--wait`"
        }
        MountsError::AlreadyHere { .. } => "`--replace` puts the other one in its place",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_io(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => {
            "the disk is full; nothing half-written is left. `kiln prune` makes room, `--store DIR` or KILN_HOME can name a larger one"
        }
        io::ErrorKind::QuotaExceeded => "your quota on this disk is used up; nothing half-written is left",
        io::ErrorKind::ReadOnlyFilesystem => {
            "`--store DIR` or KILN_HOME can name a place that can be written"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether an error means that whoever read our output has gone away.
pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let failure = Self::of(Kind::Usage, &error);
        match error {
            SettingsError::NoPlace { .. } => {
                failure.with_hint("name a directory with `--store DIR` or KILN_HOME")
            }
            SettingsError::Config(ConfigError::UnknownKey { hint, .. }) => failure.with_hint(hint),
            _ => failure,
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = Self::of(Kind::Failed, &error);
        match error {
            BuildError::Dockerfile { source_text, diagnostics } => {
                failure.with_report(*source_text, diagnostics)
            }
            BuildError::Step { origin, source_text, error } => of_step(&origin, *source_text, &error),
            BuildError::Image { span, source_text, meant, error } => {
                let failure = Self::of(Kind::Failed, &*error).at(span, *source_text, String::new());
                match meant {
                    Some(stage) => failure
                        .with_hint(format!("no stage has this name; did you mean the stage `{stage}`?")),
                    None => failure,
                }
            }
            BuildError::Git(error) => of_git(&error),
            BuildError::Agent(error) => match hint_of_agent(&error) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            },
            BuildError::Invalid(error) => Self::of(Kind::Bug, &BuildError::Invalid(error)),
            BuildError::Interrupted => Self::interrupted(),
            BuildError::CacheExport(_) => {
                failure.with_hint("with `--cache-to …,ignore-error=true` this is a warning")
            }
            _ => failure,
        }
    }
}

impl From<EnterError> for Failure {
    fn from(error: EnterError) -> Self {
        let failure = Self::of(Kind::Failed, &error);
        match error {
            EnterError::Build(error) => error.into(),
            EnterError::NoStage { name, known } => {
                failure.with_hint(match nearest(&name, known.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if known.is_empty() => "its stages have numbers only, the first is 0".to_owned(),
                    None => format!("there are `{}`", known.join("`, `")),
                })
            }
            EnterError::NotBuilt { .. } => failure
                .with_hint("`kiln build --target STAGE` builds a stage that the last one does not need"),
            EnterError::NoStep => failure,
        }
    }
}

fn hint_of_agent(error: &AgentError) -> Option<String> {
    let AgentError::Keys { id, source } = error else { return None };
    Some(match source {
        KeyError::Open { path, .. } => format!("`chmod 600 {}`", path.display()),
        KeyError::Passphrase { path } => {
            format!("an agent asks for it: `ssh-add {}`, then `--ssh {id}`", path.display())
        }
        KeyError::Refused { .. } => "a private key is wanted, not the file that ends in `.pub`".to_owned(),
        KeyError::Program { .. } | KeyError::NoAgent { .. } => {
            format!("install OpenSSH's client; or hand on an agent that runs: `--ssh {id}=SOCKET`")
        }
        KeyError::Unreadable(_) => return None,
    })
}

/// Returns the failure of a step, under its line of the Dockerfile.
fn of_step(origin: &Origin, source: Source, error: &StepError) -> Failure {
    let failure = match error {
        StepError::Exec(ExecError::Cancelled) | StepError::Git(GitError::Interrupted) => {
            return Failure::interrupted();
        }
        StepError::Git(error) => of_git(error),
        StepError::Run(run) => hint_of_exit(run.status)
            .into_iter()
            .fold(Failure::of(Kind::Failed, error), Failure::with_hint)
            .with_hint(format!(
                "the whole output is kept in `{}`; `kiln enter` opens a shell where the step starts",
                run.log.display()
            )),
        _ => match hint_of_machine(error) {
            Some(hint) => Failure::of(Kind::Machine, error).with_hint(hint),
            None => {
                hint_of_step(error).into_iter().fold(Failure::of(Kind::Failed, error), Failure::with_hint)
            }
        },
    };
    let stage = (!origin.stage.is_empty()).then(|| format!("in stage `{}`", origin.stage));
    let output = matches!(error, StepError::Run(_)).then(|| "its output is above".to_owned());
    let label: Vec<String> = stage.into_iter().chain(output).collect();
    match origin.span {
        Some(span) => failure.at(Some(span), source, label.join("; ")),
        None => Failure { message: format!("{} ({})", failure.message, origin.text), ..failure },
    }
}

/// Says what the end of a step mostly means, where that is no secret of its program.
fn hint_of_exit(status: ExitStatus) -> Option<&'static str> {
    match status.shell_code() {
        126 => Some(
            "126 means: a command is there and cannot be executed. Has it the mode for that (`chmod +x`), and is it for this \
             processor?",
        ),
        127 => Some(
            "127 means: a command was not found, or the interpreter that a script names in its first line. Is its package \
             installed in this stage, its directory in PATH, and has the script no carriage returns?",
        ),
        SIGBUS => Some("a full `/dev/shm` can be the reason: `--shm-size` makes it larger"),
        SIGKILL => Some(
            "a process was killed, probably because memory ran out: the kernel's log (`dmesg`) says so. Fewer steps at once \
             (`-j`) and fewer jobs within the step need less",
        ),
        SIGXCPU | SIGXFSZ => Some("a limit of `--ulimit` was reached"),
        SIGSYS => Some("a system call was refused; steps have the filter of Docker's containers"),
        _ => None,
    }
}

/// Returns what to do about an error that is this machine's, not the build's; `None` when it is none.
pub(crate) fn hint_of_machine(error: &StepError) -> Option<&'static str> {
    match error {
        StepError::Exec(ExecError::Setup { operation: Operation::Overlay, source })
            if source.kind() == io::ErrorKind::InvalidInput =>
        {
            Some(OVERLAY_HINT)
        }
        StepError::Exec(ExecError::IdNotMapped { .. }) => Some(IDS_HINT),
        StepError::Exec(cause) if cause.is_machine_limit() => Some(MACHINE_HINT),
        StepError::Exec(ExecError::WrongFormat { machine, .. }) if is_foreign(machine) => Some(FOREIGN_HINT),
        StepError::Impossible { .. } => Some(MACHINE_HINT),
        StepError::Foreign { .. } => Some(FOREIGN_HINT),
        _ => None,
    }
}

/// Exit codes by which a shell says that a signal ended a command.
const SIGBUS: i32 = 128 + 7;
const SIGKILL: i32 = 128 + 9;
const SIGXCPU: i32 = 128 + 24;
const SIGXFSZ: i32 = 128 + 25;
const SIGSYS: i32 = 128 + 31;

/// Returns the failure of a git repository.
fn of_git(error: &GitError) -> Failure {
    let kind = match error {
        GitError::Interrupted => return Failure::interrupted(),
        GitError::NoProgram | GitError::TooOld { .. } => Kind::Machine,
        _ => Kind::Failed,
    };
    let failure = Failure::of(kind, error);
    match hint_of_git(error) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

fn hint_of_git(error: &GitError) -> Option<String> {
    let hint = match error {
        GitError::NoProgram => "install the package `git`",
        GitError::UnknownName { near: Some(near), .. } => return Some(format!("did you mean `{near}`?")),
        GitError::UnknownName { known, .. } if !known.is_empty() => {
            return Some(format!("among others it has `{}`", known.join("`, `")));
        }
        GitError::Submodule { source, .. } => match &**source {
            SubmoduleError::Git(error) => return hint_of_git(error),
            _ => "`?submodules=false` behind the address leaves submodules out",
        },
        error => match error.problem()? {
            Problem::NoSecureShell => "install the package `openssh-client`",
            Problem::HostKey => {
                "add the host's key to `~/.ssh/known_hosts`: `ssh-keyscan HOST` prints it, and its owner says whether it is right"
            }
            Problem::Authentication | Problem::NotFound => {
                "a private repository needs a token (`--secret id=GIT_AUTH_TOKEN,env=…`), a credential helper, or for ssh a key \
                 in the agent (`--ssh default=SOCKET` names another than that of SSH_AUTH_SOCK)"
            }
            Problem::Redirect => {
                "the server sends elsewhere, and what is secret is not sent there: write the new address"
            }
            _ => return None,
        },
    };
    Some(hint.to_owned())
}

const OVERLAY_HINT: &str = "the filesystem of the store cannot take the changes of an overlay; a container's own cannot. \
    Without `build.root` in config.toml steps run in copies, or keep the store on a volume (`--store DIR`, `KILN_HOME`)";

const IDS_HINT: &str =
    "whoever made the user namespace around kiln, such as a container runtime, decides which ids it has";
const MACHINE_HINT: &str = "RUN needs user and mount namespaces: in a container, allow them (unconfined seccomp and \
    apparmor profiles), or run kiln as a root that may at least chroot and chown (docs/rootless.md); a Dockerfile without RUN needs \
    nothing. `kiln doctor` says what this machine lacks";

const FOREIGN_HINT: &str = "programs of another architecture run where the kernel has a handler for them, registered with \
    the flag F: Debian has `qemu-user-static` and `binfmt-support`, and `kiln doctor` lists what is there. A Dockerfile \
    without RUN needs none, and a stage `FROM --platform=$BUILDPLATFORM` runs this machine's programs";

#[cfg(test)]
mod tests;
