//! The protocol of `docker-credential-…` programs: `get`, `store`, `erase`; a name or JSON in, JSON out.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::cause::{CredentialError, HelperProblem, printable};
use crate::credential_file::Credential;
use crate::limit;
use crate::secret::Secret;

/// The user name under which helpers keep identity tokens.
const TOKEN_USER: &str = "<token>";

/// Asks the helper `name` for the credentials of `server`. `None` when it has none.
pub(crate) async fn get(
    name: &str,
    path: &OsStr,
    server: &str,
) -> Result<Option<Credential>, CredentialError> {
    let answer = match run(name, path, "get", server).await {
        Err(HelperProblem::Failed(message)) if is_not_found(&message) => return Ok(None),
        other => other.map_err(|reason| failed(name, reason))?,
    };
    let malformed = || failed(name, HelperProblem::Answer("get"));
    let document: Value = serde_json::from_slice(&answer).map_err(|_| malformed())?;
    let text = |key| document.get(key).and_then(Value::as_str);
    let (Some(username), Some(secret)) = (text("Username"), text("Secret")) else { return Err(malformed()) };
    Ok(match (username, secret) {
        (_, "") => None,
        (TOKEN_USER, token) => {
            Some(Credential::IdentityToken { username: String::new(), token: Secret::new(token) })
        }
        (username, password) => Some(Credential::password(username, password)),
    })
}

/// Has the helper `name` keep the credentials of `server`.
pub(crate) async fn store(
    name: &str,
    path: &OsStr,
    server: &str,
    credential: &Credential,
) -> Result<(), CredentialError> {
    let (username, secret) = match credential {
        Credential::Password { username, password } => (username.as_str(), password),
        Credential::IdentityToken { token, .. } | Credential::RegistryToken(token) => (TOKEN_USER, token),
    };
    let document = serde_json::json!({"ServerURL": server, "Username": username, "Secret": secret.reveal()});
    match run(name, path, "store", &document.to_string()).await {
        Ok(_) => Ok(()),
        Err(HelperProblem::Failed(message)) if message.contains(secret.reveal()) => {
            Err(failed(name, HelperProblem::Failed("(its message holds the secret)".to_owned())))
        }
        Err(reason) => Err(failed(name, reason)),
    }
}

/// Has the helper `name` forget the credentials of `server`. Returns whether it had any.
pub(crate) async fn erase(name: &str, path: &OsStr, server: &str) -> Result<bool, CredentialError> {
    match run(name, path, "erase", server).await {
        Ok(_) => Ok(true),
        Err(HelperProblem::Failed(message)) if is_not_found(&message) => Ok(false),
        Err(reason) => Err(failed(name, reason)),
    }
}

fn failed(name: &str, reason: HelperProblem) -> CredentialError {
    CredentialError::Helper { helper: printable(&format!("docker-credential-{name}")), reason }
}

/// The words every helper built on Docker's library answers with, on its standard output.
fn is_not_found(message: &str) -> bool {
    message.contains("credentials not found") || message.contains("no credentials server URL")
}

async fn run(name: &str, path: &OsStr, action: &str, input: &str) -> Result<Vec<u8>, HelperProblem> {
    let program = find(name, path)?;
    let exchange = async {
        let mut child = Command::new(program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        match stdin.write_all(input.as_bytes()).await {
            // It may answer without reading.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => drop(stdin),
        }
        let mut answer = Vec::new();
        stdout.take(limit::CREDENTIALS_BYTES_MAX).read_to_end(&mut answer).await?;
        let status = child.wait().await?;
        if status.success() {
            return Ok(answer);
        }
        let message = printable(&String::from_utf8_lossy(&answer));
        Err(HelperProblem::Failed(if message.is_empty() { status.to_string() } else { message }))
    };
    match tokio::time::timeout(limit::HELPER_TIME_MAX, exchange).await {
        Ok(result) => result,
        Err(_) => Err(HelperProblem::Timeout),
    }
}

fn find(name: &str, path: &OsStr) -> Result<PathBuf, HelperProblem> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(HelperProblem::Name);
    }
    let program = format!("docker-credential-{name}");
    // A relative directory in the search path would run whatever lies in the current one.
    let directories = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    let mut candidates = directories.map(|directory| directory.join(&program));
    candidates.find(|candidate| candidate.is_file()).ok_or(HelperProblem::Missing)
}
