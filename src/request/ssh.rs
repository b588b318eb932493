//! `--ssh SPEC`, as buildx reads it: `default`, or `ID[=SOCKET]`; without a socket the agent of `SSH_AUTH_SOCK`.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kiln_builder::AGENT_VARIABLE;

use super::SpecError;
use crate::settings::Environment;

const FLAG: &str = "--ssh";

/// Why key files are not read: an agent keeps them better, and asks for their passwords.
const KEY_HINT: &str =
    "keys are handed on by an agent: `eval \"$(ssh-agent)\"`, then `ssh-add KEY` and `--ssh default`";

/// Reads one `--ssh` and looks whether there is such a socket.
///
/// # Errors
/// [`SpecError`], naming what is missing.
pub(crate) fn parse(
    line: &str,
    base: &Path,
    environment: &Environment,
) -> Result<(String, PathBuf), SpecError> {
    let error = |reason: String| SpecError::new(FLAG, line, reason);
    let (id, place) = line.split_once('=').map_or((line, None), |(id, place)| (id, Some(place)));
    if id.is_empty() {
        return Err(error("the id is empty".to_owned()));
    }
    let (path, what) = match place {
        Some("") => return Err(error("the path of the socket is empty".to_owned())),
        Some(path) => (base.join(path), format!("`{path}`")),
        None => {
            let path = environment.path(AGENT_VARIABLE).ok_or_else(|| {
                error(format!("the variable `{AGENT_VARIABLE}` is not set")).with_hint(
                    "start an agent: `eval \"$(ssh-agent)\"`, then `ssh-add`; or name its socket: `--ssh ID=SOCKET`",
                )
            })?;
            (base.join(path), format!("the socket of `{AGENT_VARIABLE}`"))
        }
    };
    match fs_err::metadata(&path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok((id.to_owned(), path)),
        Ok(metadata) if metadata.is_file() => {
            Err(error(format!("{what} is a file, and no socket of an agent")).with_hint(KEY_HINT))
        }
        Ok(_) => Err(error(format!("{what} is no socket"))),
        // `KEY,KEY` is a list of files for buildx.
        Err(_) if place.is_some_and(|place| place.contains(',')) => {
            Err(error(format!("{what} is a list, and no socket of an agent")).with_hint(KEY_HINT))
        }
        Err(failed) => Err(error(failed.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_agent_is_a_socket_named_or_of_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let socket = base.join("agent");
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::write(base.join("key"), "").unwrap();
        let with = Environment::of([(AGENT_VARIABLE, socket.to_str().unwrap())]);
        let without = Environment::of([(AGENT_VARIABLE, "")]);
        for (line, environment, expected) in [
            ("default", &with, Ok("default")),
            ("other", &with, Ok("other")),
            ("git=agent", &without, Ok("git")),
            ("default", &without, Err("the variable `SSH_AUTH_SOCK` is not set")),
            ("", &with, Err("the id is empty")),
            ("=agent", &with, Err("the id is empty")),
            ("a=", &with, Err("the path of the socket is empty")),
            ("a=key", &with, Err("`key` is a file, and no socket of an agent")),
            ("a=key,other", &with, Err("`key,other` is a list, and no socket of an agent")),
            ("a=.", &with, Err("`.` is no socket")),
        ] {
            let outcome = parse(line, base, environment).map_err(|error| error.reason);
            let expected = expected.map(|id| (id.to_owned(), socket.clone())).map_err(str::to_owned);
            assert_eq!(outcome, expected, "{line}");
        }
        let missing = parse("a=missing", base, &with).unwrap_err().reason;
        assert!(missing.contains("missing") && missing.contains("No such file"), "{missing}");
    }
}
