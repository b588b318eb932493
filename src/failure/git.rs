//! Git repositories: the program, its servers, names that a repository does not have.

use kiln_builder::source::git::{GitError, Problem, SubmoduleError};

use super::{Failure, Kind};

/// Returns the failure of a git repository.
pub(super) fn failure(error: &GitError) -> Failure {
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
