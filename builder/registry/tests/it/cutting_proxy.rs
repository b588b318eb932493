//! A proxy on loopback that breaks connections after so many bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes go each way, over all connections, before the one break of that way.
#[derive(Clone, Copy)]
pub(crate) struct Breaks {
    pub(crate) up_after: usize,
    pub(crate) down_after: usize,
}

/// Starts a proxy before `target` and returns its host and port. It ends with the test's process.
#[expect(clippy::disallowed_methods, reason = "a test's server is not work of the builder")]
pub(crate) fn start(target: &str, breaks: Breaks) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = target.to_owned();
    let (up, down) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&target).unwrap();
            for (from, to, passed, limit) in
                [(&client, &server, &up, breaks.up_after), (&server, &client, &down, breaks.down_after)]
            {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let passed = Arc::clone(passed);
                std::thread::spawn(move || pass(from, to, &passed, limit));
            }
        }
    });
    address
}

/// Passes bytes on until either side ends, or the limit is crossed.
fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, limit: usize) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let before = passed.fetch_add(length, Ordering::SeqCst);
        let is_break = before < limit && before + length >= limit;
        if is_break || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // The other direction may have ended it already.
        stream.shutdown(Shutdown::Both).ok();
    }
}
