//! Agents and keys that `--ssh` gives to steps.

use kiln_builder::agents::{AgentError, KeyError};

/// Returns what to do about a key that cannot be given.
pub(super) fn hint(error: &AgentError) -> Option<String> {
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
