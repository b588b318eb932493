//! A small HTTP server on loopback: one handler, one thread a connection, everything it was asked kept.
//!
//! It closes each connection after one answer, and can lie: declare another length, or stop in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;

/// Returns configuration that reaches a server without TLS, whatever it is.
pub(crate) fn plain_config(host: &str) -> String {
    format!("[registry.\"{host}\"]\nhttp = true\n")
}

/// What a client asked.
pub(crate) struct Request {
    /// `GET`, `HEAD`, …
    pub(crate) method: String,
    /// The path as sent, without the query.
    pub(crate) path: String,
    /// The query, without its question mark.
    pub(crate) query: String,
    /// The headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body, with chunks joined.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Asks another server the same, without the headers named (in lower case) and with this body.
    pub(crate) fn pass_on(&self, server: &str, hidden: &[&str], body: &[u8]) -> Response {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let mut head = format!("{} {}{query} HTTP/1.0\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            let is_of_connection =
                matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding");
            if !is_of_connection && !hidden.contains(&name.as_str()) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(server).unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let response = Response::new(head[9..12].parse().unwrap(), &answer[end + 4..]);
        head.lines().skip(1).fold(response, |response, line| {
            let (name, value) = line.split_once(": ").unwrap();
            response.header(name, value)
        })
    }
}

/// What the server answers.
#[derive(Clone)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// Headers besides the length.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Sends only so many bytes of the body and hangs up.
    pub(crate) cut_after: Option<usize>,
    /// Sends so many bytes of the body, and the others when somebody else waits there, too.
    pub(crate) held_at: Option<(usize, Arc<Barrier>)>,
}

impl Response {
    /// Returns an answer with a body.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut_after: None, held_at: None }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A running server; it stops when dropped.
pub(crate) struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts a server on a free port of loopback.
    pub(crate) fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let handler: Arc<Handler> = Arc::new(handler);
        let (stopped, log) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                // A client that goes away in the middle is its own affair.
                std::thread::spawn(move || {
                    stream.is_ok_and(|stream| serve(&stream, &*handler, &log).is_ok())
                });
            }
        });
        Self { address, stop, asked, thread: Some(thread) }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns `METHOD path` of every request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            thread.join().unwrap();
        }
    }
}

fn serve(stream: &TcpStream, handler: &Handler, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some(request) = read_request(&mut reader, stream)? else { return Ok(()) };
    log.lock().unwrap().push(format!("{} {}", request.method, request.path));
    let response = handler(&request);
    let mut head = format!("HTTP/1.1 {} answer\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
    }
    head.push_str("\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let length = response.body.len();
        let mut body = &response.body[..response.cut_after.unwrap_or(length).min(length)];
        if let Some((at, barrier)) = &response.held_at {
            let (first, rest) = body.split_at(*at);
            stream.write_all(first)?;
            barrier.wait();
            body = rest;
        }
        stream.write_all(body)?;
    }
    stream.flush()
}

fn read_request(
    reader: &mut BufReader<&TcpStream>,
    mut stream: &TcpStream,
) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if request.headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = read_body(reader, &request.headers)?;
    Ok(Some(request))
}

fn read_body(
    reader: &mut BufReader<&TcpStream>,
    headers: &BTreeMap<String, String>,
) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            let mut chunk = Vec::new();
            reader.take(size + 2).read_to_end(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..chunk.len().saturating_sub(2)]);
        }
    }
    let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}
