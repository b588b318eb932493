//! A proxy on loopback that misbehaves: it cuts, delays, shortens, changes bytes, answers instead of the registry, sends elsewhere, and
//! lets tokens run out. What it does follows from a seed, and ends after so many times.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How much misbehaviour there is.
#[derive(Clone, Copy)]
pub(crate) struct Temper {
    pub(crate) seed: u64,
    /// Of a hundred requests so many go wrong.
    pub(crate) percent: u64,
    /// So often at most.
    pub(crate) faults_max: u64,
    /// So many of them at most cost what a body has brought.
    pub(crate) costly_max: u64,
    /// Whether it asks for tokens, each of which is soon forgotten.
    pub(crate) wants_tokens: bool,
}

/// A running proxy; it stops when dropped.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    target: String,
    temper: Mutex<Temper>,
    random: Mutex<u64>,
    /// The number of the token that is good, and how often it was shown.
    token: Mutex<(u64, u64)>,
    /// Bytes of bodies that came from the client, and that went to it.
    up: AtomicU64,
    down: AtomicU64,
    log: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Status(u16),
    Redirect,
    Delay,
    CutRequest,
    FlipRequest,
    CutAnswer,
    ShortenAnswer,
    FlipAnswer,
}

/// What can happen to requests without a body, and what to those with one.
const TO_QUESTIONS: [Fault; 8] = [
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Redirect,
    Fault::Delay,
    Fault::CutAnswer,
    Fault::ShortenAnswer,
    Fault::FlipAnswer,
];
const TO_BODIES: [Fault; 4] = [Fault::Delay, Fault::CutRequest, Fault::FlipRequest, Fault::CutAnswer];
/// Documents are not changed on their way up: it is the registry that would have to notice.
const FLIPPED_BYTES_MIN: u64 = 64 << 10;
/// So often a token can be shown.
const TOKEN_USES: u64 = 12;

impl Proxy {
    /// Starts a proxy before `target` (`127.0.0.1:PORT`).
    pub(crate) fn start(target: &str, temper: Temper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            temper: Mutex::new(temper),
            random: Mutex::new(temper.seed),
            token: Mutex::new((1, 0)),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            log: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if own.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&own);
                // Connections end in every way here.
                std::thread::spawn(move || client.is_ok_and(|client| serve(&client, &shared).is_ok()));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.address
    }

    /// Behaves from now on.
    pub(crate) fn calm(&self) {
        self.shared.temper.lock().unwrap().faults_max = 0;
    }

    /// Returns how many bytes of bodies came from the client and went to it since this was last asked.
    pub(crate) fn take_bytes(&self) -> (u64, u64) {
        (self.shared.up.swap(0, Ordering::SeqCst), self.shared.down.swap(0, Ordering::SeqCst))
    }

    /// Returns what went wrong since this was last asked.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.log.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(&self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    /// SplitMix64.
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.random.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound.max(1)
    }

    fn choose(&self, line: &str, length: u64) -> Option<Fault> {
        let (lot, which) = (self.below(100), self.below(1000));
        let mut temper = self.temper.lock().unwrap();
        if temper.faults_max == 0 || lot >= temper.percent {
            return None;
        }
        let faults = if length > 0 { &TO_BODIES[..] } else { &TO_QUESTIONS[..] };
        let fault = faults[usize::try_from(which).unwrap() % faults.len()];
        let is_costly = length > 0 && fault != Fault::Delay || fault == Fault::FlipAnswer;
        if (fault == Fault::FlipRequest && length < FLIPPED_BYTES_MIN)
            || (is_costly && temper.costly_max == 0)
        {
            return None;
        }
        temper.faults_max -= 1;
        temper.costly_max -= u64::from(is_costly);
        self.log.lock().unwrap().push(format!("{fault:?} {line}"));
        Some(fault)
    }

    /// Whether a request shows a token that is still good.
    fn is_let_in(&self, head: &[String]) -> bool {
        let mut token = self.token.lock().unwrap();
        let wanted = format!("Bearer token-{}", token.0);
        let is_good = header(head, "authorization") == Some(wanted.as_str());
        token.1 += u64::from(is_good);
        if token.1 > TOKEN_USES {
            *token = (token.0 + 1, 0);
        }
        is_good
    }
}

fn serve(client: &TcpStream, proxy: &Shared) -> io::Result<()> {
    let mut from_client = BufReader::new(client);
    let Some(head) = read_head(&mut from_client)? else { return Ok(()) };
    let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let temper = *proxy.temper.lock().unwrap();
    if path.starts_with("/token?") {
        let body = format!(r#"{{"token":"token-{}"}}"#, proxy.token.lock().unwrap().0);
        return answer(client, 200, "", &body);
    }
    if temper.wants_tokens && !proxy.is_let_in(&head) {
        let host = header(&head, "host").unwrap_or_default();
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",error=\"invalid_token\"\r\n");
        answer(client, 401, &challenge, "{}")?;
        return drain(&mut from_client, length);
    }
    let fault = proxy.choose(&head[0], length);
    match fault {
        Some(Fault::Status(status)) => return answer(client, status, "Retry-After: 0\r\n", "{}"),
        Some(Fault::Redirect) => return answer(client, 307, &format!("Location: {path}\r\n"), ""),
        Some(Fault::Delay) => std::thread::sleep(Duration::from_millis(proxy.below(200))),
        _ => {}
    }
    let server = TcpStream::connect(&proxy.target)?;
    let mut to_server = &server;
    write_head(&mut to_server, &head)?;
    let spot = proxy.below(length);
    let mut tampered = Tampered { fault: None, spot, passed: &proxy.up };
    match fault {
        Some(Fault::CutRequest) => {
            tampered.pass(&mut (&mut from_client).take(spot), &mut to_server)?;
            server.shutdown(Shutdown::Both)?;
            return client.shutdown(Shutdown::Both);
        }
        Some(Fault::FlipRequest) => tampered.fault = fault,
        _ => {}
    }
    tampered.pass(&mut (&mut from_client).take(length), &mut to_server)?;
    pass_answer(client, &server, proxy, fault, head[0].starts_with("HEAD "))
}

fn pass_answer(
    client: &TcpStream,
    server: &TcpStream,
    proxy: &Shared,
    fault: Option<Fault>,
    is_head: bool,
) -> io::Result<()> {
    let mut from_server = BufReader::new(server);
    let Some(mut head) = read_head(&mut from_server)? else { return Ok(()) };
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut to_client = client;
    let spot = if is_head { 0 } else { proxy.below(length) };
    if fault == Some(Fault::CutAnswer) && length == 0 {
        return client.shutdown(Shutdown::Both);
    }
    if fault == Some(Fault::ShortenAnswer) && spot > 0 {
        let own = |line: &String| line.to_ascii_lowercase().starts_with("content-length:");
        head.retain(|line| !own(line));
        head.push(format!("Content-Length: {spot}"));
    }
    write_head(&mut to_client, &head)?;
    if is_head {
        return Ok(());
    }
    let mut tampered = Tampered { fault, spot, passed: &proxy.down };
    if matches!(fault, Some(Fault::CutAnswer | Fault::ShortenAnswer)) {
        from_server.fill_buf()?;
        return tampered.pass(&mut from_server.take(spot), &mut to_client);
    }
    tampered.pass(&mut from_server, &mut to_client)
}

/// Bytes on their way, of which one may be changed.
struct Tampered<'a> {
    fault: Option<Fault>,
    spot: u64,
    passed: &'a AtomicU64,
}

impl Tampered<'_> {
    fn pass(&mut self, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        let mut offset = 0;
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return to.flush();
            }
            let end = offset + count as u64;
            if matches!(self.fault, Some(Fault::FlipRequest | Fault::FlipAnswer))
                && (offset..end).contains(&self.spot)
            {
                buffer[usize::try_from(self.spot - offset).unwrap()] ^= 0x20;
            }
            self.passed.fetch_add(count as u64, Ordering::SeqCst);
            to.write_all(&buffer[..count])?;
            offset = end;
        }
    }
}

/// Reads what a client still sends, so that it sees the answer. It counts for nothing: how many bodies are on their way when a token is
/// forgotten is a matter of chance.
fn drain(from: &mut dyn Read, length: u64) -> io::Result<()> {
    io::copy(&mut from.take(length), &mut io::sink()).map(drop)
}

fn answer(mut client: &TcpStream, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Reads the lines of a head, without their ends.
fn read_head(from: &mut dyn BufRead) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(Some(lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

/// Writes a head for a connection that ends with its answer.
fn write_head(to: &mut dyn Write, head: &[String]) -> io::Result<()> {
    let kept = head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let lines: String = kept.map(|line| format!("{line}\r\n")).collect();
    to.write_all(format!("{lines}Connection: close\r\n\r\n").as_bytes())
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    let mut pairs = head.iter().filter_map(|line| line.split_once(':'));
    pairs.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
