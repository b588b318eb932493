//! The files that hold credentials: Docker's `config.json` and podman's `auth.json`, which share a format.
//!
//! | Key | What is read |
//! |---|---|
//! | `auths.<name>.auth` | base64 of `user:password` |
//! | `auths.<name>.username`, `password` | the same in plain |
//! | `auths.<name>.identitytoken` | a refresh token for the token server |
//! | `auths.<name>.registrytoken` | a bearer token for the registry itself |
//! | `credHelpers.<name>`, `credsStore` | the program that keeps them instead |
//!
//! `<name>` is a host, an address (`https://index.docker.io/v1/`), or, as podman writes it, a host with a path; the
//! longest that fits wins. Other keys are kept when the file is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cause::CredentialError;
use crate::limit;
use crate::secret::Secret;

/// What proves to a registry who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password or access token.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, to be exchanged at the token server.
    IdentityToken {
        /// Whose it is, where that is known. Nobody is sent it, but podman takes no token without it.
        username: String,
        /// The token.
        token: Secret,
    },
    /// A bearer token, sent to the registry as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// Returns a name with its password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }
}

/// Docker's registry as its files and helpers know it.
const DOCKER_IO_KEY: &str = "https://index.docker.io/v1/";

/// Returns the name under which helpers and Docker's file know `registry`.
pub(crate) fn server_key(registry: &str) -> &str {
    if normalized(registry) == "docker.io" { DOCKER_IO_KEY } else { registry }
}

/// Returns the host, or host with path, that a key of a file means.
fn normalized(key: &str) -> &str {
    let name = match key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) {
        Some(address) => address.split('/').next().unwrap_or(address),
        None => key.trim_end_matches('/'),
    };
    match name {
        "index.docker.io" | "registry-1.docker.io" | "index.docker.io/v1" => "docker.io",
        other => other,
    }
}

/// One file, parsed.
#[derive(Debug)]
pub(crate) struct CredentialFile {
    path: PathBuf,
    document: Map<String, Value>,
}

impl CredentialFile {
    /// Reads the file. One that does not exist is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, CredentialError> {
        let mut bytes = Vec::new();
        match File::open(path)
            .and_then(|file| file.take(limit::CREDENTIALS_BYTES_MAX + 1).read_to_end(&mut bytes))
        {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => {
                return Err(CredentialError::File { path: path.to_owned(), action: "read", source });
            }
        }
        let document = parse(&bytes).map_err(|reason| malformed(path, reason))?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Returns the helper that keeps the credentials of `registry`, if one does.
    pub(crate) fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.document.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, _)| normalized(key) == normalized(registry)).map(|(_, name)| name)
        });
        own.or_else(|| self.document.get("credsStore"))
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Returns the credentials for `repository` of `registry` that the file itself holds.
    pub(crate) fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let Some(entries) = self.document.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let full = format!("{}/{repository}", normalized(registry));
        let mut wanted = full.trim_end_matches('/');
        loop {
            for (key, entry) in entries.iter().filter(|(key, _)| normalized(key) == wanted) {
                let found = credential(entry).map_err(|reason| {
                    malformed(&self.path, format!("entry `{}`: {reason}", crate::cause::printable(key)))
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            match wanted.rsplit_once('/') {
                Some((shorter, _)) => wanted = shorter,
                None => return Ok(None),
            }
        }
    }

    /// Whether the file itself holds something for exactly `registry`.
    pub(crate) fn has(&self, registry: &str) -> bool {
        let entries = self.document.get("auths").and_then(Value::as_object);
        entries.is_some_and(|entries| entries.keys().any(|key| normalized(key) == normalized(registry)))
    }

    /// Puts `credential` for `registry` in place of what is there. Podman's files know Docker's registry as
    /// `docker.io`, Docker's by its address; either reads both.
    pub(crate) fn set(&mut self, registry: &str, credential: &Credential) {
        self.remove(registry);
        let entry = match credential {
            Credential::Password { username, password } => {
                json!({"auth": STANDARD.encode(format!("{username}:{}", password.reveal()))})
            }
            Credential::IdentityToken { username, token } if username.is_empty() => {
                json!({"identitytoken": token.reveal()})
            }
            Credential::IdentityToken { username, token } => {
                json!({"auth": STANDARD.encode(format!("{username}:")), "identitytoken": token.reveal()})
            }
            Credential::RegistryToken(token) => json!({"registrytoken": token.reveal()}),
        };
        let entries = self.document.entry("auths").or_insert_with(|| json!({}));
        if !entries.is_object() {
            *entries = json!({});
        }
        if let Some(entries) = entries.as_object_mut() {
            entries.insert(server_key(registry).to_owned(), entry);
        }
    }

    /// Removes what is there for exactly `registry`. Returns whether anything was.
    pub(crate) fn remove(&mut self, registry: &str) -> bool {
        let Some(entries) = self.document.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = entries.len();
        entries.retain(|key, _| normalized(key) != normalized(registry));
        entries.len() < before
    }

    /// Writes the file: whole or not at all, readable by its owner only. A symbolic link is written through.
    pub(crate) fn write(&self) -> Result<(), CredentialError> {
        let failed = |source| CredentialError::File { path: self.path.clone(), action: "write", source };
        let path = target(&self.path);
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        serde::Serialize::serialize(&self.document, &mut serializer).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        replace(&path, &bytes).map_err(failed)
    }
}

/// Reads `path`, changes it by `change` and writes it if `change` says so, with the directory locked against another
/// process that does the same.
pub(crate) fn update(
    path: &Path,
    change: impl FnOnce(&mut CredentialFile) -> bool,
) -> Result<bool, CredentialError> {
    let failed = |source| CredentialError::File { path: path.to_owned(), action: "write", source };
    let real = target(path);
    let directory = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).create(directory).map_err(failed)?;
    let lock = File::open(directory).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut file = CredentialFile::read(path)?;
    let is_changed = change(&mut file);
    if is_changed {
        file.write()?;
    }
    drop(lock);
    Ok(is_changed)
}

/// Returns what `path` points to, so that replacing it keeps a symbolic link.
fn target(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Needs the directory to be locked, since the temporary name is always the same: one left by a killed process is
/// replaced, not collected.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".kiln-new");
    let temporary = PathBuf::from(temporary);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&temporary, path)).inspect_err(|_| {
        // The first error is the one to report; a file left over is replaced next time.
        std::fs::remove_file(&temporary).ok();
    })
}

fn malformed(path: &Path, reason: String) -> CredentialError {
    CredentialError::Malformed { path: path.to_owned(), reason }
}

/// Parses without ever quoting the text: serde's own messages would show what they stumbled over.
fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.len() as u64 > limit::CREDENTIALS_BYTES_MAX {
        return Err(format!("it is longer than {} bytes", limit::CREDENTIALS_BYTES_MAX));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(error) => Err(format!("it is not JSON (line {}, column {})", error.line(), error.column())),
    }
}

fn credential(entry: &Value) -> Result<Option<Credential>, &'static str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        // Nothing needs the name.
        let username = text("auth").and_then(|auth| pair(auth).ok()).map(|(username, _)| username);
        let username = username.or_else(|| text("username").map(str::to_owned)).unwrap_or_default();
        return Ok(Some(Credential::IdentityToken { username, token: Secret::new(token) }));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(Secret::new(token))));
    }
    if let Some(encoded) = text("auth") {
        let (username, password) = pair(encoded)?;
        return Ok(Some(Credential::Password { username, password }));
    }
    Ok(match (text("username"), text("password")) {
        (Some(username), Some(password)) => Some(Credential::password(username, password)),
        _ => None,
    })
}

/// Reads `auth`: name and password, with a colon between, in base64.
fn pair(encoded: &str) -> Result<(String, Secret), &'static str> {
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| "`auth` is not base64")?;
    let decoded = String::from_utf8(bytes).map_err(|_| "`auth` is not UTF-8 inside")?;
    let (username, password) = decoded.split_once(':').ok_or("`auth` holds no `:`")?;
    Ok((username.to_owned(), Secret::new(password.trim_matches('\0'))))
}
