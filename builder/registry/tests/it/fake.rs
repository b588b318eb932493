//! A server for answers that a real registry will not give: each request is shown to a function that says what bytes
//! go back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// An answer, and whether the connection ends after it.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    is_last: bool,
}

/// An answer with `Content-Length`.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    Reply { bytes: [head.as_bytes(), b"\r\n", body].concat(), is_last: false }
}

impl Reply {
    /// Leaves out the last `count` bytes and cuts the connection.
    pub(crate) fn without_last(mut self, count: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - count);
        self.is_last = true;
        self
    }
}

/// Cuts the connection without an answer.
pub(crate) fn cut() -> Reply {
    Reply { bytes: Vec::new(), is_last: true }
}

/// The server. It ends with the test's process.
pub(crate) struct Fake {
    /// Host and port.
    pub(crate) address: String,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts a server that answers `/v2/` with success and all else as `answer` says. It is told how many requests
    /// like this one (same method and path) came before.
    pub(crate) fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_raw(move |seen, before| match seen.path.as_str() {
            "/v2/" => reply(200, &[], b"{}"),
            _ => answer(seen, before),
        })
    }

    /// Starts a server that answers everything as `answer` says.
    #[expect(clippy::disallowed_methods, reason = "a test's server is not work of the builder")]
    pub(crate) fn start_raw(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (answer, shared) = (Arc::new(answer), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { address, log }
    }

    /// Returns what came, without the first look at `/v2/`.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().iter().filter(|seen| seen.path != "/v2/").cloned().collect()
    }

    /// Returns how often `/v2/` was looked at.
    pub(crate) fn looks(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|seen| seen.path == "/v2/").count()
    }

    /// Returns what came as `METHOD path` lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Seen>>, answer: &dyn Fn(&Seen, usize) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(seen) = read_request(&mut reader) {
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|old| old.is(&seen.method, &seen.path)).count();
            log.push(seen.clone());
            before
        };
        let reply = answer(&seen, before);
        if writer.write_all(&reply.bytes).is_err() || reply.is_last {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { method, path, headers, body })
}
