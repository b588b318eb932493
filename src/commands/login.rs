//! `kiln login` and `kiln logout`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use kiln_registry::{Client, Credential, Credentials, KeptIn, Login};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Context, client_config, credential_files, failed, print};
use crate::cli::{LoginArgs, LogoutArgs};
use crate::failure::{Failure, Kind};
use crate::ui::show_text;

const DEFAULT_REGISTRY: &str = "docker.io";

/// Longest name or password, in bytes.
const ANSWER_SIZE_MAX: u64 = 64 * 1024;

/// Tries credentials, and keeps them.
pub(super) async fn run(args: &LoginArgs, context: Context) -> Result<(), Failure> {
    let registry = registry(args.registry.as_deref())?;
    let names_nobody = args.username.is_none() && args.password.is_none();
    if names_nobody && are_kept_accepted(&registry, &context).await? {
        return print("Login Succeeded\n");
    }
    let username = match &args.username {
        Some(name) => name.clone(),
        None => ask("Username: ", Echo::On)?,
    };
    let password = match &args.password {
        Some(password) => {
            show_text("warning: other users of this machine can see --password; --password-stdin is safer\n");
            password.clone()
        }
        None if args.password_stdin => line_of(io::stdin().lock())?,
        None => ask("Password: ", Echo::Off)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::usage("name and password must not be empty"));
    }
    let credential = Credential::password(username, password);
    let client = Client::new(client_config(&context.settings));
    let (outcome, credential) = client.check_login(&registry, credential).await.map_err(failed)?;
    let credentials = Credentials::new(credential_files(&context.settings));
    let kept = credentials.store(&registry, &credential).await.map_err(failed)?;
    show_text(&remarks(&registry, outcome, Some(&kept)));
    print("Login Succeeded\n")
}

/// Tries the credentials that are kept already, as Docker does where the command line names nobody. False where there are none, or
/// none that are good.
async fn are_kept_accepted(registry: &str, context: &Context) -> Result<bool, Failure> {
    let credentials = Credentials::new(credential_files(&context.settings));
    let kept = credentials.find(registry, "").await;
    let Some(credential) = kept.map_err(failed)? else { return Ok(false) };
    show_text("Authenticating with existing credentials...\n");
    match Client::new(client_config(&context.settings)).check_login(registry, credential.clone()).await {
        Ok((outcome, better)) => {
            let kept = match better != credential {
                true => Some(credentials.store(registry, &better).await.map_err(failed)?),
                false => None,
            };
            show_text(&remarks(registry, outcome, kept.as_ref()));
            Ok(true)
        }
        Err(error) if error.is_unauthorized() => {
            show_text("Stored credentials invalid or expired\n");
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Forgets credentials.
pub(super) async fn forget(args: &LogoutArgs, context: Context) -> Result<(), Failure> {
    let registry = registry(args.registry.as_deref())?;
    let erased = Credentials::new(credential_files(&context.settings)).erase(&registry).await;
    let erased = erased.map_err(failed)?;
    // What is asked for is so either way.
    match erased.is_empty() {
        true => print(&format!("Not logged in to {registry}\n")),
        false => print(&format!("Removing login credentials for {registry}\n")),
    }
}

/// Returns a registry's name from what people give: a host, perhaps with a scheme and a path.
fn registry(text: Option<&str>) -> Result<String, Failure> {
    let text = text.unwrap_or(DEFAULT_REGISTRY);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.split('/').next().unwrap_or(host);
    let is_hub = matches!(host, "index.docker.io" | "registry-1.docker.io" | "docker.io");
    let host = if is_hub { DEFAULT_REGISTRY } else { host };
    match format!("{host}/x").parse::<kiln_oci::Reference>() {
        Ok(name) if name.registry() == host => Ok(host.to_owned()),
        Ok(_) | Err(_) => Err(Failure::usage(format!("`{text}` is no registry"))
            .with_hint("a registry is a host with a dot or a port: `registry.example`, `localhost:5000`")),
    }
}

fn remarks(registry: &str, outcome: Login, kept: Option<&KeptIn>) -> String {
    let mut text = String::new();
    if outcome == Login::NotAsked {
        text.push_str(&format!("warning: `{registry}` asks nobody for a password; it was not tried\n"));
    }
    if let Some(KeptIn::File(path)) = kept {
        text.push_str(&format!("warning: the login is kept unencrypted in `{}`\n", path.display()));
    }
    text
}

/// Whether what is typed can be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

/// Asks on the terminal of this process.
fn ask(question: &str, echo: Echo) -> Result<String, Failure> {
    let opened = File::options().read(true).write(true).open("/dev/tty");
    let terminal = opened.map_err(|_| {
        Failure::usage("there is no terminal to ask for name and password")
            .with_hint("give them with `--username NAME --password-stdin`")
    })?;
    (&terminal).write_all(question.as_bytes()).map_err(failed)?;
    let _hidden = (echo == Echo::Off).then(|| Hidden::begin(&terminal)).transpose().map_err(failed)?;
    let answer = line_of(BufReader::new(&terminal));
    if echo == Echo::Off {
        (&terminal).write_all(b"\n").map_err(failed)?;
    }
    answer
}

/// Hides what is typed as long as it lives.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The terminal is gone when this fails, and there is nothing to restore.
        tcsetattr(self.terminal, OptionalActions::Flush, &self.before).ok();
    }
}

fn line_of(input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    let read = input.take(ANSWER_SIZE_MAX).read_line(&mut line);
    read.map_err(|error| Failure::new(Kind::Failed, format!("cannot read the answer: {error}")))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_by_their_host() {
        for (text, expected) in [
            (None, Some("docker.io")),
            (Some("https://index.docker.io/v1/"), Some("docker.io")),
            (Some("localhost:5000"), Some("localhost:5000")),
            (Some("http://127.0.0.1:5000/v2/"), Some("127.0.0.1:5000")),
            (Some("ghcr.io/me"), Some("ghcr.io")),
            (Some("word"), None),
            (Some("a b.c"), None),
            (Some(""), None),
        ] {
            assert_eq!(registry(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_doubtful_about_a_login_is_said() {
        let file = KeptIn::File("/c".into());
        for (outcome, kept, lines) in [
            (Login::Accepted, None, 0),
            (Login::Accepted, Some(&file), 1),
            (Login::Accepted, Some(&KeptIn::Helper("h".to_owned())), 0),
            (Login::NotAsked, None, 1),
            (Login::NotAsked, Some(&file), 2),
        ] {
            assert_eq!(remarks("r", outcome, kept).lines().count(), lines, "{outcome:?} {kept:?}");
        }
    }

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(line_of(&b"secret word\r\nmore"[..]).unwrap(), "secret word");
        assert_eq!(line_of(&b""[..]).unwrap(), "");
    }
}
