//! `--ssh SPEC`, as buildx reads it: `default`, or `ID[=SOCKET|KEY[,KEY…]]`; without a place the agent of `SSH_AUTH_SOCK`.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kiln_builder::AGENT_VARIABLE;
use kiln_builder::agents::AgentSource;

use super::SpecError;
use crate::settings::Environment;

const FLAG: &str = "--ssh";

/// Reads one `--ssh` and looks whether there is such a socket, or such files.
///
/// # Errors
/// [`SpecError`], naming what is missing.
pub(crate) fn parse(
    line: &str,
    base: &Path,
    environment: &Environment,
) -> Result<(String, AgentSource), SpecError> {
    let error = |reason: String| SpecError::new(FLAG, line, reason);
    let (id, place) = line.split_once('=').map_or((line, None), |(id, place)| (id, Some(place)));
    if id.is_empty() {
        return Err(error("the id is empty".to_owned()));
    }
    let Some(place) = place else {
        let path = environment.path(AGENT_VARIABLE).ok_or_else(|| {
            error(format!("the variable `{AGENT_VARIABLE}` is not set")).with_hint(
                "start an agent: `eval \"$(ssh-agent)\"`, then `ssh-add`; or name its socket or a key: `--ssh ID=SOCKET`, `--ssh ID=KEY`",
            )
        })?;
        let path = base.join(path);
        return match kind(&path).map_err(error)? {
            Kind::Socket => Ok((id.to_owned(), AgentSource::Socket(path))),
            Kind::File | Kind::Other => Err(error(format!("what `{AGENT_VARIABLE}` names is no socket"))),
        };
    };
    let mut keys = Vec::new();
    let parts: Vec<&str> = place.split(',').collect();
    for part in &parts {
        if part.is_empty() {
            return Err(error("the path of a socket or a key is empty".to_owned()));
        }
        let path = of_home(part, environment).unwrap_or_else(|| base.join(part));
        match kind(&path).map_err(error)? {
            Kind::Socket if parts.len() == 1 => return Ok((id.to_owned(), AgentSource::Socket(path))),
            Kind::Socket => return Err(error(format!("`{part}` is a socket, which stands alone"))),
            Kind::File => keys.push(path),
            Kind::Other => return Err(error(format!("`{part}` is neither a socket nor a file"))),
        }
    }
    Ok((id.to_owned(), AgentSource::Keys(keys)))
}

enum Kind {
    Socket,
    File,
    Other,
}

fn kind(path: &Path) -> Result<Kind, String> {
    let metadata = fs_err::metadata(path).map_err(|failed| failed.to_string())?;
    Ok(match metadata.file_type() {
        kind if kind.is_socket() => Kind::Socket,
        kind if kind.is_file() => Kind::File,
        _ => Kind::Other,
    })
}

/// Returns the path that `~/PATH` means: behind `ID=` no shell looks for a home.
fn of_home(path: &str, environment: &Environment) -> Option<PathBuf> {
    Some(environment.path("HOME")?.join(path.strip_prefix("~/")?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_agent_is_a_socket_named_or_of_the_variable_or_files_of_keys() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let socket = base.join("agent");
        let _listener = UnixListener::bind(&socket).unwrap();
        let keys = ["key", "other"].map(|name| base.join(name));
        keys.iter().for_each(|key| std::fs::write(key, "").unwrap());
        let with =
            Environment::of([(AGENT_VARIABLE, socket.to_str().unwrap()), ("HOME", base.to_str().unwrap())]);
        let without = Environment::of([(AGENT_VARIABLE, "")]);
        let file = Environment::of([(AGENT_VARIABLE, keys[0].to_str().unwrap())]);
        let agent = AgentSource::Socket(socket.clone());
        let [one, both] = [&keys[..1], &keys].map(|keys| AgentSource::Keys(keys.to_vec()));
        for (line, environment, expected) in [
            ("default", &with, Ok(("default", &agent))),
            ("other", &with, Ok(("other", &agent))),
            ("git=agent", &without, Ok(("git", &agent))),
            ("default", &without, Err("the variable `SSH_AUTH_SOCK` is not set")),
            ("", &with, Err("the id is empty")),
            ("=agent", &with, Err("the id is empty")),
            ("a=key", &without, Ok(("a", &one))),
            ("a=~/key", &with, Ok(("a", &one))),
            ("default=key,other", &without, Ok(("default", &both))),
            ("default", &file, Err("what `SSH_AUTH_SOCK` names is no socket")),
            ("a=", &with, Err("the path of a socket or a key is empty")),
            ("a=key,", &with, Err("the path of a socket or a key is empty")),
            ("a=key,agent", &with, Err("`agent` is a socket, which stands alone")),
            ("a=agent,key", &with, Err("`agent` is a socket, which stands alone")),
            ("a=.", &with, Err("`.` is neither a socket nor a file")),
        ] {
            let outcome = parse(line, base, environment).map_err(|error| error.reason);
            let expected =
                expected.map(|(id, source)| (id.to_owned(), source.clone())).map_err(str::to_owned);
            assert_eq!(outcome, expected, "{line}");
        }
        let missing = parse("a=missing", base, &with).unwrap_err().reason;
        assert!(missing.contains("missing") && missing.contains("No such file"), "{missing}");
    }
}
