//! A registry that wants tokens, as those of most clouds do: a front before one that is open.

use std::sync::{Arc, OnceLock};

use crate::support::http::{HttpServer, Response};
use crate::support::registry::Registry;

/// The only token.
const TOKEN: &str = "canary-token";

/// Starts the front. It answers to nothing but requests with the token, which whoever asks gets.
pub(super) fn before(registry: &Registry) -> HttpServer {
    let behind = registry.host();
    let own: Arc<OnceLock<String>> = Arc::default();
    let host = Arc::clone(&own);
    let server = HttpServer::start(move |request| {
        let host = host.wait();
        if request.path == "/token" {
            return Response::new(200, format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#));
        }
        if request.headers.get("authorization").is_some_and(|token| *token == format!("Bearer {TOKEN}")) {
            return request.pass_on(&behind, &["authorization"], &request.body);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="tests""#);
        Response::new(401, "{}").header("WWW-Authenticate", &challenge)
    });
    own.set(server.host()).unwrap();
    server
}
