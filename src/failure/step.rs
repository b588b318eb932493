//! A step that failed: what its end mostly means, what it lacks, its line of the Dockerfile.

use kiln_builder::plan::Origin;
use kiln_builder::source::git::GitError;
use kiln_builder::transform::{OwnerError, StepError};
use kiln_frontend::source::Source;
use kiln_frontend::suggest::nearest;
use kiln_sandbox::{ExecError, ExitStatus};

use super::{Failure, Kind, git, machine};

/// Returns the failure of a step, under its line of the Dockerfile.
pub(super) fn failure(origin: &Origin, source: Source, error: &StepError) -> Failure {
    let failure = match error {
        StepError::Exec(ExecError::Cancelled) | StepError::Git(GitError::Interrupted) => {
            return Failure::interrupted();
        }
        StepError::Git(error) => git::failure(error),
        StepError::Run(run) => hint_of_exit(run.status)
            .into_iter()
            .fold(Failure::of(Kind::Failed, error), Failure::with_hint)
            .with_hint(format!(
                "the whole output is kept in `{}`; `kiln enter` opens a shell where the step starts",
                run.log.display()
            )),
        _ => match machine::hint_of_machine(error) {
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
pub(super) fn hint_of_exit(status: ExitStatus) -> Option<&'static str> {
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

/// Exit codes by which a shell says that a signal ended a command.
const SIGBUS: i32 = 128 + 7;
const SIGKILL: i32 = 128 + 9;
const SIGXCPU: i32 = 128 + 24;
const SIGXFSZ: i32 = 128 + 25;
const SIGSYS: i32 = 128 + 31;

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
