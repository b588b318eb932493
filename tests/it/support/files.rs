//! A server of files that keeps to the rules of HTTP: `ETag`s and conditions, ranges, a password if one is set. It can be told
//! to break off, and it tells what it was asked and how much it sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::http::{HttpServer, Request, Response};

/// A file to be served.
#[derive(Clone, Default)]
pub(crate) struct File {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its `ETag`, quotes included.
    pub(crate) etag: Option<String>,
    /// Headers besides.
    pub(crate) headers: Vec<(String, String)>,
    /// The `Authorization` that it wants.
    pub(crate) authorization: Option<String>,
    /// The first answer breaks off after so many bytes.
    pub(crate) cut_once: Option<usize>,
}

impl File {
    /// Returns a file with an `ETag`.
    pub(crate) fn new(bytes: impl Into<Vec<u8>>, etag: &str) -> Self {
        Self { bytes: bytes.into(), etag: Some(format!("\"{etag}\"")), ..Self::default() }
    }

    /// Returns an answer that leads elsewhere.
    pub(crate) fn redirect(location: &str) -> Self {
        Self { headers: vec![("Location".to_owned(), location.to_owned())], ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    log: Vec<String>,
    authorizations: Vec<Option<String>>,
}

/// The server; it stops when dropped.
pub(crate) struct FileServer {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

impl FileServer {
    /// Starts a server without files.
    pub(crate) fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        Self { server: HttpServer::start(move |request| answer(&mut shared.lock().unwrap(), request)), state }
    }

    /// Serves a file at a path, in place of what was there.
    pub(crate) fn put(&self, path: &str, file: File) {
        self.state.lock().unwrap().files.insert(path.to_owned(), file);
    }

    /// Returns the address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// Returns what was asked since the last call: path, status, and number of bytes sent.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// Returns the `Authorization` of each request since the last call.
    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        std::mem::take(&mut self.state.lock().unwrap().authorizations)
    }
}

fn answer(state: &mut State, request: &Request) -> Response {
    let header = |name: &str| request.headers.get(name).cloned();
    state.authorizations.push(header("authorization"));
    let response = match state.files.get_mut(&request.path) {
        None => Response::new(404, "not here"),
        Some(file) if file.authorization.is_some() && file.authorization != header("authorization") => {
            Response::new(401, "who are you?")
        }
        Some(file) => {
            let mut response = serve(file, &header);
            response.cut_after = file.cut_once.take();
            response
        }
    };
    let sent = response.cut_after.unwrap_or(response.body.len()).min(response.body.len());
    state.log.push(format!("{} {} {sent}", request.path, response.status));
    response
}

fn serve(file: &File, header: &dyn Fn(&str) -> Option<String>) -> Response {
    let is_same = |name: &str| {
        let asked = header(name)?;
        Some(asked.split(", ").any(|etag| Some(etag) == file.etag.as_deref()))
    };
    let start =
        header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let response = match start {
        _ if file.headers.iter().any(|(name, _)| name == "Location") => Response::new(302, ""),
        _ if is_same("if-none-match") == Some(true) => Response::new(304, ""),
        Some(start) if is_same("if-range") != Some(false) => {
            let length = file.bytes.len();
            let range = format!("bytes {start}-{}/{length}", length - 1);
            Response::new(206, &file.bytes[start..]).header("Content-Range", &range)
        }
        _ => Response::new(200, file.bytes.clone()),
    };
    let response = file.etag.iter().fold(response, |response, etag| response.header("ETag", etag));
    file.headers.iter().fold(response, |response, (name, value)| response.header(name, value))
}
