//! A registry that wants tokens, as those of most clouds do: a front before one that is open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use crate::support::http::{HttpServer, Request, Response};
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
            return forward(&behind, host, request);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="tests""#);
        Response::new(401, "{}").header("WWW-Authenticate", &challenge)
    });
    own.set(server.host()).unwrap();
    server
}

/// Asks the registry behind, as if it were the front.
fn forward(behind: &str, host: &str, request: &Request) -> Response {
    let mut stream = TcpStream::connect(behind).unwrap();
    let target = format!("{}?{}", request.path, request.query);
    let mut head = format!("{} {target} HTTP/1.0\r\nHost: {host}\r\n", request.method);
    for (name, value) in &request.headers {
        if !["host", "connection", "content-length", "transfer-encoding", "authorization"]
            .contains(&name.as_str())
        {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head += &format!("Content-Length: {}\r\n\r\n", request.body.len());
    stream.write_all(&[head.as_bytes(), &request.body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut response = Response::new(head[9..12].parse().unwrap(), &answer[end + 4..]);
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    response
}
