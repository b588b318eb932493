//! How a web server is told who asks: by secrets of the build, as in BuildKit, else by user and password of the address.
//!
//! | Secret | For | Header |
//! |---|---|---|
//! | `GIT_AUTH_HEADER.HOST` | any repository at that host | `Authorization:` and the value |
//! | `GIT_AUTH_TOKEN.HOST` | the same | `basic` with the user `x-access-token` |
//! | `GIT_AUTH_HEADER` | the repository that was named, and submodules at its host | as above |
//! | `GIT_AUTH_TOKEN` | the same | as above |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::GitError;
use crate::git_reference::Remote;
use crate::secrets::{self, Secret, Secrets};

/// A header that says who asks.
pub(super) struct Header {
    /// The beginning of the addresses it is sent to.
    pub(super) scope: String,
    /// Name and value.
    pub(super) value: Secret,
}

/// Returns the header for a repository. `named` is the one that the user named: what is for it is not for another host that a
/// `.gitmodules` names.
pub(super) fn header(secrets: &Secrets, remote: &Remote, named: &Remote) -> Result<Option<Header>, GitError> {
    if !remote.is_web() {
        return Ok(None);
    }
    let is_trusted = remote.is_same_host(named);
    let scope = remote.address.clone();
    for suffix in [Some(&remote.host), None] {
        for (kind, is_token) in [("GIT_AUTH_HEADER", false), ("GIT_AUTH_TOKEN", true)] {
            let id = match suffix {
                Some(host) => format!("{kind}.{host}"),
                None if is_trusted => kind.to_owned(),
                None => continue,
            };
            if let Some(secret) = secrets::resolve(secrets, &id)? {
                let value = text(&secret);
                if value.iter().any(u8::is_ascii_control) {
                    return Err(GitError::Header { id });
                }
                let value = if is_token { basic(b"x-access-token", value) } else { value.to_vec() };
                return Ok(Some(Header { scope, value: authorization(&value) }));
            }
        }
    }
    let user = remote.user.as_ref().or(named.user.as_ref().filter(|_| is_trusted));
    let password = user.and_then(|user| Some((user.name.reveal(), user.password.as_ref()?.reveal())));
    Ok(password.map(|(name, password)| Header { scope, value: authorization(&basic(name, password)) }))
}

/// Returns a secret without the end of a line: files have one.
fn text(secret: &Secret) -> &[u8] {
    let value = secret.reveal();
    let end = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    &value[..end]
}

fn basic(user: &[u8], password: &[u8]) -> Vec<u8> {
    format!("basic {}", STANDARD.encode([user, b":", password].concat())).into_bytes()
}

fn authorization(value: &[u8]) -> Secret {
    Secret::new([b"Authorization: ", value].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SecretSource;

    fn sent(secrets: &[(&str, &str)], remote: &str, named: &str) -> Option<String> {
        let source = |value: &str| SecretSource::Value(Secret::new(value));
        let secrets = secrets.iter().map(|(id, value)| ((*id).to_owned(), source(value))).collect();
        let (remote, named) = (Remote::parse(remote).unwrap(), Remote::parse(named).unwrap());
        let header = header(&secrets, &remote, &named).unwrap();
        header.map(|header| String::from_utf8(header.value.reveal().to_vec()).unwrap())
    }

    #[test]
    fn the_more_special_secret_wins_and_none_leaves_the_host_it_is_for() {
        let all = [("GIT_AUTH_TOKEN", "t\n"), ("GIT_AUTH_HEADER", "x y"), ("GIT_AUTH_TOKEN.h", "u")];
        let basic = |text: &str| Some(format!("Authorization: basic {}", STANDARD.encode(text)));
        for (secrets, remote, named, expected) in [
            (&all[..], "https://h/a.git", "https://h/a.git", basic("x-access-token:u")),
            (&all[..2], "https://h/a.git", "https://h/a.git", Some("Authorization: x y".to_owned())),
            (&all[..1], "https://h/b", "https://h/a.git", basic("x-access-token:t")),
            (&all[..2], "https://evil/b", "https://h/a.git", None),
            (&all[..2], "http://h/b", "https://h/a.git", None),
            (&all[..], "https://h/b", "https://other/a.git", basic("x-access-token:u")),
            (&all[..], "ssh://h/b", "ssh://h/b", None),
            (&[], "https://me:p@h/a.git", "https://me:p@h/a.git", basic("me:p")),
            (&[], "https://h/sub", "https://me:p@h/a.git", basic("me:p")),
            (&[], "https://evil/sub", "https://me:p@h/a.git", None),
            (&[], "https://me@h/a.git", "https://me@h/a.git", None),
        ] {
            assert_eq!(sent(secrets, remote, named), expected, "{remote} {named}");
        }
    }

    #[test]
    fn a_secret_with_a_line_break_is_no_header() {
        let source = SecretSource::Value(Secret::new("a\nX: y"));
        let secrets = Secrets::from([("GIT_AUTH_HEADER".to_owned(), source)]);
        let remote = Remote::parse("https://h/a.git").unwrap();
        assert!(matches!(header(&secrets, &remote, &remote), Err(GitError::Header { .. })));
    }
}
