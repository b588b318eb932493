//! Docker's token authentication: who signs tokens that a registry believes, and a server that gives them to `ACCOUNT`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::http::{HttpServer, Request, Response};
use super::peers;
use super::registry::{ACCOUNT, TOKEN_ISSUER, TOKEN_SERVICE};

/// For so long a token is said to live.
pub(crate) const LIFE_SECONDS: u64 = 300;

/// A key, and the certificate by which a registry knows it.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    /// The certificate's file.
    pub(crate) certificate: PathBuf,
}

impl Signer {
    /// Makes a key and its certificate below `place`.
    pub(crate) fn new(place: &Path) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let (key, certificate) = (place.join("key.pem"), place.join("certificate.pem"));
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kiln-tests -keyout";
        let words = words.split(' ').map(PathBuf::from);
        peers::run("openssl", words.chain([key.clone(), "-out".into(), certificate.clone()]));
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pem(&key), &SystemRandom::new());
        Self { key: key.unwrap(), certificate }
    }

    /// Starts a server that gives tokens to `ACCOUNT`; its realm is `/token`.
    pub(crate) fn start(self) -> HttpServer {
        HttpServer::start(move |request| match access(&request.query) {
            access if is_account(request) => {
                let token = self.answer(&access, now().as_secs() + LIFE_SECONDS);
                Response::new(200, token.to_string())
            }
            _ => refusal(),
        })
    }

    /// Returns the answer with a token (RFC 7519) that allows this and ends then.
    pub(crate) fn answer(&self, access: &[Value], ends: u64) -> Value {
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(pem(&self.certificate))]});
        let claims = json!({
            "iss": TOKEN_ISSUER, "sub": ACCOUNT.0, "aud": TOKEN_SERVICE, "exp": ends, "nbf": ends - 3600,
            "iat": ends - 3600, "jti": "1", "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        json!({"token": token, "access_token": token, "expires_in": LIFE_SECONDS})
    }
}

/// Returns what a PEM file holds.
fn pem(file: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(file).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("---")).collect::<String>()).unwrap()
}

/// Returns the time, as tokens have it.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Returns whether a request shows the password.
pub(crate) fn is_account(request: &Request) -> bool {
    let account = STANDARD.encode(format!("{}:{}", ACCOUNT.0, ACCOUNT.1));
    request.headers.get("authorization") == Some(&format!("Basic {account}"))
}

/// Returns the answer to strangers.
pub(crate) fn refusal() -> Response {
    Response::new(401, r#"{"details":"who are you?"}"#)
}

/// Returns what a query or form asks for: repositories, and what is to be done there.
pub(crate) fn access(question: &str) -> Vec<Value> {
    let question = question.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let scopes =
        question.split('&').filter_map(|part| part.strip_prefix("scope=")).flat_map(|list| list.split('+'));
    scopes
        .filter_map(|scope| scope.strip_prefix("repository:"))
        .map(|scope| {
            let (name, actions) = scope.rsplit_once(':').unwrap();
            json!({"type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
        })
        .collect()
}
