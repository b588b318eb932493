//! The variables that git gets. Nothing of the caller's surroundings reaches it but what is named here.
//!
//! | Reaches git | Always | Speaking to a server |
//! |---|---|---|
//! | `PATH` | yes | yes |
//! | configuration of the system and the user, hooks, templates, attributes, filters (LFS) | no | no |
//! | the user's `credential.*` settings | no | yes |
//! | the home: `.netrc`, what credential helpers keep | no | yes |
//! | `$HOME/.ssh`: `config`, `known_hosts`, keys; `SSH_AUTH_SOCK`, or the build's agent `default`; `GIT_SSH_COMMAND` | no | ssh |
//! | proxies | no | yes |
//! | secrets, user and password of the address | no | http, as one header |
//! | prompts | no | no |
//!
//! Settings and headers travel in variables, not in arguments, which every user of the machine can read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::authentication::Header;
use crate::git_reference::{Remote, Transport};
use crate::workshop::GitSurroundings;

/// Protocols that git may speak, whoever asks for others: a server that redirects, a configuration.
const PROTOCOLS: &str = "http:https:ssh:git";
/// Names of keys that a secure shell tries by itself.
const KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/// Settings that make git do the same everywhere.
const SETTINGS: [(&str, &str); 23] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.unpackLimit", "1"),
    ("fetch.writeCommitGraph", "false"),
    ("submodule.recurse", "false"),
    ("index.version", "2"),
    ("index.threads", "1"),
    ("index.skipHash", "false"),
    ("pack.writeReverseIndex", "false"),
    ("pack.indexVersion", "2"),
    // Less than a byte a second for a minute.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("protocol.version", "2"),
];

/// Variables and settings for one call.
#[derive(Clone, Default)]
pub(super) struct Environment {
    variables: Vec<(OsString, OsString)>,
    settings: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Returns what every call gets. `directory` is the git directory; none where it works without.
    pub(super) fn new(search_path: &OsStr, directory: Option<&Path>) -> Self {
        let mut environment = Self::default();
        environment.set("PATH", search_path);
        environment.set("GIT_DIR", directory.unwrap_or(Path::new("/dev/null")));
        for (name, value) in [
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", PROTOCOLS),
            ("SSH_ASKPASS_REQUIRE", "never"),
        ] {
            environment.set(name, value);
        }
        for (name, value) in SETTINGS {
            environment.configure(name, value);
        }
        environment
    }

    /// Returns what reads the user's own configuration, to find the settings for credentials in it.
    pub(super) fn of_user(surroundings: &GitSurroundings) -> Self {
        let mut environment = Self::default();
        environment.set("PATH", &surroundings.search_path);
        environment.set("GIT_DIR", "/dev/null");
        environment.set("LC_ALL", "C");
        environment.take_home(surroundings);
        environment
    }

    /// Adds what a call gets that speaks to a server.
    pub(super) fn speaking(
        mut self,
        surroundings: &GitSurroundings,
        remote: &Remote,
        header: Option<&Header>,
        credentials: &[(OsString, OsString)],
    ) -> Self {
        self.take_home(surroundings);
        for (name, value) in &surroundings.variables {
            self.set(name, value);
        }
        match remote.transport {
            Transport::Ssh => {
                self.set("GIT_SSH_COMMAND", shell_command(surroundings));
                self.set("GIT_SSH_VARIANT", "ssh");
            }
            Transport::Http | Transport::Https => {
                self.settings.extend_from_slice(credentials);
                if let Some(user) = remote.user.as_ref().filter(|user| user.password.is_none()) {
                    let name = OsString::from_vec(user.name.reveal().to_vec());
                    self.configure(&format!("credential.{}.username", remote.address), name);
                }
            }
            Transport::Git => {}
        }
        if let Some(header) = header {
            let value = OsString::from_vec(header.value.reveal().to_vec());
            self.configure(&format!("http.{}.extraHeader", header.scope), value);
            // Whatever the server answers, the header goes nowhere else.
            self.configure("http.followRedirects", "false");
        }
        self
    }

    /// Adds a variable.
    pub(super) fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let name = name.as_ref();
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Adds a setting.
    pub(super) fn configure(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.settings.push((name.into(), value.as_ref().to_owned()));
    }

    /// Returns all as variables.
    pub(super) fn into_variables(self) -> Vec<(OsString, OsString)> {
        let mut variables = self.variables;
        variables.push(("GIT_CONFIG_COUNT".into(), self.settings.len().to_string().into()));
        for (index, (name, value)) in self.settings.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{index}").into(), name));
            variables.push((format!("GIT_CONFIG_VALUE_{index}").into(), value));
        }
        variables
    }

    fn take_home(&mut self, surroundings: &GitSurroundings) {
        if let Some(home) = &surroundings.home {
            self.set("HOME", home);
        }
        if let Some(folder) = &surroundings.config_home {
            self.set("XDG_CONFIG_HOME", folder);
        }
    }
}

/// Returns the command of the secure shell: that of the user, or the usual one with the files of `HOME`. Within a user
/// namespace the program would look for them in the home of root.
fn shell_command(surroundings: &GitSurroundings) -> OsString {
    let mut command = match &surroundings.shell_command {
        Some(command) => command.as_bytes().to_vec(),
        None => usual_command(surroundings.home.as_deref()),
    };
    command.extend_from_slice(
        b" -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4",
    );
    OsString::from_vec(command)
}

fn usual_command(home: Option<&Path>) -> Vec<u8> {
    let folder = home.map(|home| home.join(".ssh"));
    let existing = |name: &str| -> Option<PathBuf> {
        folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists())
    };
    let mut command = b"ssh -F ".to_vec();
    let config = existing("config");
    command.extend(quoted(config.as_deref().unwrap_or(Path::new("/dev/null")).as_os_str().as_bytes()));
    if let Some(folder) = &folder {
        let option = |name: &str, path: &Path| -> Vec<u8> {
            // The program expands `%` and takes blanks for the end.
            let path = path.as_os_str().as_bytes();
            let mut value = format!("{name}=\"").into_bytes();
            path.iter()
                .for_each(|byte| value.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'%'))));
            value.push(b'"');
            [b" -o ".to_vec(), quoted(&value)].concat()
        };
        command.extend(option("UserKnownHostsFile", &folder.join("known_hosts")));
        for key in KEYS.iter().filter_map(|name| existing(name)) {
            command.extend(option("IdentityFile", &key));
        }
    }
    command
}

/// Quotes a word for a shell.
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secure_shell_gets_the_files_of_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("it's 100%");
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::write(home.join(".ssh/id_rsa"), "").unwrap();
        let surroundings = GitSurroundings { home: Some(home.clone()), ..GitSurroundings::default() };
        let command = shell_command(&surroundings).into_string().unwrap();
        let place = folder.path().display();
        let expected = format!(
            "ssh -F '/dev/null' -o 'UserKnownHostsFile=\"{place}/it'\\''s 100%%/.ssh/known_hosts\"' \
             -o 'IdentityFile=\"{place}/it'\\''s 100%%/.ssh/id_rsa\"' -o BatchMode=yes -o ConnectTimeout=30 \
             -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
        );
        assert_eq!(command, expected);
        std::fs::write(home.join(".ssh/config"), "").unwrap();
        let command = shell_command(&surroundings).into_string().unwrap();
        assert!(command.starts_with(&format!("ssh -F '{place}/it'\\''s 100%/.ssh/config'")), "{command}");
        let own = GitSurroundings { shell_command: Some("ssh -i k".into()), ..surroundings };
        assert!(shell_command(&own).into_string().unwrap().starts_with("ssh -i k -o BatchMode=yes"));
    }

    #[test]
    fn only_a_call_that_speaks_to_a_server_has_the_home_and_the_header() {
        let remote = Remote::parse("https://me@h/a.git").unwrap();
        let surroundings = GitSurroundings { home: Some("/home/u".into()), ..GitSurroundings::default() };
        let value = crate::secrets::Secret::new("Authorization: x");
        let header = Header { scope: "https://h/a.git".to_owned(), value };
        let local = Environment::new(OsStr::new("/bin"), None);
        let speaking = local.clone().speaking(&surroundings, &remote, Some(&header), &[]);
        let has = |environment: &Environment, value: &str| {
            environment.clone().into_variables().iter().any(|(_, known)| known == value)
        };
        for (value, expected) in
            [("/home/u", true), ("Authorization: x", true), ("me", true), ("/dev/null", true)]
        {
            assert_eq!(has(&speaking, value), expected, "{value}");
        }
        for value in ["/home/u", "Authorization: x", "me"] {
            assert!(!has(&local, value), "{value}");
        }
    }
}
