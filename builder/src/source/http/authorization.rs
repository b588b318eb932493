//! Which secret of the build opens a host: `HTTP_AUTH_TOKEN_<host>` is a bearer token, `HTTP_AUTH_HEADER_<host>` the whole
//! value of the header. The host is without port, as in BuildKit (`source/http/source.go`); of the two the token goes first,
//! and either before user and password in the address.

use kiln_registry::{Authorization, WebUrl};

use super::HttpError;
use crate::secrets::{self, Secrets};

const KINDS: [(&str, &[u8]); 2] = [("HTTP_AUTH_TOKEN_", b"Bearer "), ("HTTP_AUTH_HEADER_", b"")];

/// Returns what the secrets have for the host of an address. Reads the secret's file.
pub(super) fn authorization(secrets: &Secrets, url: &WebUrl) -> Result<Option<Authorization>, HttpError> {
    for (prefix, scheme) in KINDS {
        let is_for_host =
            |id: &&String| id.strip_prefix(prefix).is_some_and(|host| host.eq_ignore_ascii_case(url.host()));
        let Some(id) = secrets.keys().find(is_for_host) else { continue };
        let Some(secret) = secrets::resolve(secrets, id)? else { continue };
        // Files end with a newline, which no header can have.
        let value = secret.reveal().trim_ascii_end();
        let header = Authorization::new(&[scheme, value].concat());
        return header.map(Some).ok_or_else(|| HttpError::Authorization { id: id.clone() });
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{Secret, SecretSource};

    #[test]
    fn the_secret_of_the_host_is_taken_and_a_token_first() {
        let given = |ids: &[(&str, &str)]| -> Secrets {
            let source = |value: &str| SecretSource::Value(Secret::new(value));
            ids.iter().map(|(id, value)| ((*id).to_owned(), source(value))).collect()
        };
        let token = ("HTTP_AUTH_TOKEN_host.example", "t\n");
        let header = ("HTTP_AUTH_HEADER_host.example", "Basic abc");
        let local = ("HTTP_AUTH_TOKEN_127.0.0.1", "l");
        let local6 = ("HTTP_AUTH_TOKEN_::1", "l6");
        for (secrets, url, expected) in [
            (&[token, header][..], "https://host.example/x", Some("Bearer t")),
            (&[header], "https://HOST.example:8443/x", Some("Basic abc")),
            (&[token, header], "https://a.host.example/x", None),
            (&[token, header], "https://example/x", None),
            (&[local], "http://127.0.0.1:8080/x", Some("Bearer l")),
            (&[local6], "http://[::1]:8080/x", Some("Bearer l6")),
            (&[], "http://127.0.0.1/x", None),
        ] {
            let found = authorization(&given(secrets), &url.parse().unwrap()).unwrap();
            assert_eq!(found, expected.and_then(|value| Authorization::new(value.as_bytes())), "{url}");
        }
        let bad = authorization(&given(&[("HTTP_AUTH_HEADER_h", "canary\nx")]), &"http://h".parse().unwrap());
        let text = bad.unwrap_err().to_string();
        assert_eq!(text, "secret `HTTP_AUTH_HEADER_h` has characters that no header can have");
    }
}
