//! A server that speaks S3, on a free port of loopback: the npm package s3rver, which `tests/install-packages.sh` installs. It keeps
//! objects in files, and does not check signatures of version 4.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ports::Port;
use super::program::SEARCH_PATH;
use super::registry::answers;
use super::space::repository;
use super::validator::foreign;
use super::waiting::until;

/// The name and the secret of the only key.
pub(crate) const KEY: &str = "S3RVER";
/// The bucket that is there from the start.
pub(crate) const BUCKET: &str = "team-caches";

/// A running server; it stops when dropped.
pub(crate) struct ObjectStore {
    child: Child,
    port: Port,
    data: PathBuf,
    /// How many requests are the test's own.
    marks: AtomicUsize,
}

/// Returns the program, where it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    let path = repository().join("target/tools/node_modules/s3rver/bin/s3rver.js");
    path.is_file().then_some(path)
}

impl ObjectStore {
    /// Starts a server whose objects lie below `place`.
    pub(crate) fn start(place: &Path) -> Self {
        let data = place.join("data");
        fs::create_dir_all(&data).unwrap();
        let port = Port::claim();
        let log = fs::File::create(place.join("log")).unwrap();
        let mut command = Command::new("node");
        command.arg(program().unwrap()).args(["-a", "127.0.0.1", "-p", &port.number.to_string()]);
        command.arg("-d").arg(&data).args(["--configure-bucket", BUCKET]);
        command.env_clear().env("PATH", SEARCH_PATH).env("HOME", place);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut store = Self { child: command.spawn().unwrap(), port, data, marks: AtomicUsize::new(0) };
        let log = place.join("log");
        assert!(answers(&mut store.child, &store.port), "s3rver does not start; see {log:?}");
        store
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.port.host())
    }

    /// Returns the file of an object.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.data.join(BUCKET).join(format!("{key}._S3rver_object"))
    }

    /// Takes objects `<prefix><hex>` for blobs that images may name.
    pub(crate) fn keeps_blobs(&self, prefix: &str) {
        let (bucket, prefix) = (self.data.join(BUCKET), prefix.to_owned());
        foreign::remember_keeper(move |hex| bucket.join(format!("{prefix}{hex}._S3rver_object")));
    }

    /// Returns how many requests it was sent so far.
    pub(crate) fn asked(&self) -> usize {
        // It notes one after another what it has answered, a moment after it has: what came before this is there when this is.
        let mark = format!("mark-{}.", self.marks.fetch_add(1, Ordering::Relaxed));
        let mut stream = TcpStream::connect(self.port.host()).unwrap();
        write!(stream, "GET /{BUCKET}/{mark} HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let log = || fs::read_to_string(self.data.with_file_name("log")).unwrap();
        until("the server notes a request", || log().contains(&mark));
        log().lines().filter(|line| line.contains("X-Amz-Signature=")).count()
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        // Killing a process that has ended already is no fault.
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}
