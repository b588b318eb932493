//! Addresses of repositories: what is handed to git, and what of them must not be.
//!
//! User and password of a web address are taken out of it, so that no command line, message or record can show them.

use crate::secrets::Secret;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The address for git, without what is secret in it.
    pub address: String,
    /// How it is reached.
    pub transport: Transport,
    /// The host, with its port.
    pub host: String,
    /// User and password of a web address.
    pub user: Option<UserInfo>,
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The web, in clear text.
    Http,
    /// The web, encrypted.
    Https,
    /// A secure shell.
    Ssh,
    /// Git's own, in clear text.
    Git,
}

/// What stands before the `@` of a web address. The name alone can be a token, so it is secret too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The user.
    pub name: Secret,
    /// The password, where one is given.
    pub password: Option<Secret>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Another protocol, or none.
    #[error("a git repository is reached by `https://`, `http://`, `ssh://`, `git://` or `user@host:path`")]
    Protocol,
    /// No host, or one that could be taken for an option.
    #[error("the address of the git repository has no valid host")]
    Host,
    /// Blanks or control characters.
    #[error("the address of the git repository has a character that cannot be in one")]
    Character,
}

impl Remote {
    /// Reads an address: a URL, or `[user@]host:path`.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(RemoteError::Character);
        }
        match text.split_once("://") {
            Some((scheme, rest)) => Self::of_url(scheme, rest),
            None => Self::of_secure_copy(text),
        }
    }

    fn of_url(scheme: &str, rest: &str) -> Result<Self, RemoteError> {
        let (name, transport) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", Transport::Http),
            "https" => ("https", Transport::Https),
            "ssh" => ("ssh", Transport::Ssh),
            "git" => ("git", Transport::Git),
            _ => return Err(RemoteError::Protocol),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        check_host(host)?;
        let (kept, user) = match (transport, user) {
            (Transport::Ssh, Some(user)) => {
                let name = user.split(':').next().unwrap_or_default();
                check_user(name)?;
                (format!("{name}@"), None)
            }
            (Transport::Http | Transport::Https, Some(user)) => (String::new(), Some(user_info(user))),
            (_, _) => (String::new(), None),
        };
        let address = format!("{name}://{kept}{host}{path}");
        Ok(Self { address, transport, host: host.to_owned(), user })
    }

    /// As git has it: a colon before the first slash.
    fn of_secure_copy(text: &str) -> Result<Self, RemoteError> {
        let (place, path) = text.split_once(':').ok_or(RemoteError::Protocol)?;
        // Behind two colons is what git hands to a helper program.
        if place.contains('/') || path.is_empty() || path.starts_with(':') {
            return Err(RemoteError::Protocol);
        }
        let (user, host) = place.rsplit_once('@').map_or((None, place), |(user, host)| (Some(user), host));
        check_host(host)?;
        user.map(check_user).transpose()?;
        let (address, host) = (text.to_owned(), host.to_owned());
        Ok(Self { address, transport: Transport::Ssh, host, user: None })
    }

    /// Whether both are at the same place, so that who is trusted with the one's password is with the other's.
    pub fn is_same_host(&self, other: &Self) -> bool {
        (self.transport, &self.host) == (other.transport, &other.host)
    }

    /// Whether it is asked over the web.
    pub fn is_web(&self) -> bool {
        matches!(self.transport, Transport::Http | Transport::Https)
    }
}

fn check_host(host: &str) -> Result<(), RemoteError> {
    let is_valid = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    match !host.is_empty() && !host.starts_with(['-', ':']) && host.chars().all(is_valid) {
        true => Ok(()),
        false => Err(RemoteError::Host),
    }
}

fn check_user(user: &str) -> Result<(), RemoteError> {
    let is_valid = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '%' | '~');
    match !user.is_empty() && !user.starts_with('-') && user.chars().all(is_valid) {
        true => Ok(()),
        false => Err(RemoteError::Host),
    }
}

fn user_info(text: &str) -> UserInfo {
    let (name, password) = match text.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (text, None),
    };
    let secret = |text: &str| Secret::new(percent_decoded(text).unwrap_or_else(|| text.as_bytes().to_vec()));
    UserInfo { name: secret(name), password: password.map(secret) }
}

/// Decodes `%41`; `None` where a `%` is followed by something else.
pub(super) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}
