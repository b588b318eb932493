//! Ports of loopback: for servers that have to be told one, and one at which nobody answers.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below those that the kernel gives to connections and to listeners at port 0 (32768 and more, `ip_local_port_range`), so that none
/// of these goes to somebody between its choice and its use.
const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;

/// A port that no other test gets as long as this is held.
pub(crate) struct Port {
    /// The port's number.
    pub(crate) number: u16,
    /// A name that one process has at a time, which leaves no file and goes with the process.
    _claim: UnixListener,
}

impl Port {
    /// Claims a port where nobody listens.
    pub(crate) fn claim() -> Self {
        // Tests are processes that start one after another: each begins elsewhere.
        let begin = std::process::id().wrapping_mul(16) % COUNT;
        let numbers = (0..COUNT).map(|step| (FIRST + (begin + step) % COUNT) as u16);
        numbers.into_iter().find_map(try_claim).expect("a port of ten thousand is free")
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

fn try_claim(number: u16) -> Option<Port> {
    let name = SocketAddr::from_abstract_name(format!("kiln-test-port-{number}")).unwrap();
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", number)).ok()?;
    Some(Port { number, _claim: claim })
}

#[test]
fn a_claimed_port_is_nobody_elses_until_it_is_given_back() {
    let port = Port::claim();
    assert!(try_claim(port.number).is_none());
    let listener = TcpListener::bind(port.host()).unwrap();
    let number = port.number;
    drop(port);
    assert!(try_claim(number).is_none(), "somebody listens there");
    drop(listener);
}
