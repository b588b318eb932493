//! Debian's `docker-registry` on a free port of loopback.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::image::json_file;
use super::ports::Port;
use super::program::SEARCH_PATH;
use super::served::mirror_config;
use super::space::repository;
use super::validator::foreign;
use super::waiting::PATIENCE;

/// A running registry; it stops when dropped.
pub(crate) struct Registry {
    child: Child,
    port: Port,
    place: PathBuf,
}

/// The account of a registry that wants basic authentication: name, password.
pub(crate) const ACCOUNT: (&str, &str) = ("tester", "correct horse");
/// What a registry that wants tokens calls itself, and whom it believes.
pub(crate) const TOKEN_SERVICE: &str = "kiln-tests";
pub(crate) const TOKEN_ISSUER: &str = "kiln-tests-issuer";
/// `ACCOUNT`'s password, hashed by bcrypt, as a line of an htpasswd file.
const HTPASSWD: &str = "tester:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";

impl Registry {
    /// Starts an open registry whose content lies below `place`.
    pub(crate) fn start(place: &Path) -> Self {
        Self::start_with(place, "")
    }

    /// Starts a registry that wants `ACCOUNT`.
    pub(crate) fn start_with_password(place: &Path) -> Self {
        Self::start_with(place, &password(place))
    }

    /// Starts a registry that wants `ACCOUNT` and speaks TLS.
    pub(crate) fn start_with_password_and_tls(place: &Path) -> Self {
        Self::start_with(place, &(tls() + &password(place)))
    }

    /// Starts a registry that wants tokens of the server at `realm`, signed by the key of a certificate.
    pub(crate) fn start_with_tokens(place: &Path, realm: &str, certificate: &Path) -> Self {
        let (service, issuer, certificate) = (TOKEN_SERVICE, TOKEN_ISSUER, certificate.display());
        Self::start_with(
            place,
            &format!(
                "auth:\n  token:\n    realm: {realm}\n    service: {service}\n    issuer: {issuer}\n    rootcertbundle: {certificate}\n"
            ),
        )
    }

    /// Starts a registry that speaks TLS, with a certificate for loopback.
    pub(crate) fn start_with_tls(place: &Path) -> Self {
        Self::start_with(place, &tls())
    }

    fn start_with(place: &Path, more: &str) -> Self {
        fs::create_dir_all(place).unwrap();
        foreign::remember_registry(&place.join("data"));
        let port = Port::claim();
        let child = spawn(place, port.number, more);
        let mut registry = Self { child, port, place: place.to_owned() };
        let log = place.join("log");
        assert!(answers(&mut registry.child, &registry.port), "docker-registry does not start; see {log:?}");
        registry
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.port.host()
    }

    /// Returns configuration that reaches it, also as the mirror of docker.io.
    pub(crate) fn config(&self) -> String {
        mirror_config(&self.host())
    }

    /// Returns the digest and the document that a tag stands for, as they lie on the registry's disk.
    #[track_caller]
    pub(crate) fn tagged(&self, repository: &str, tag: &str) -> (String, Value) {
        let link =
            format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link");
        let digest =
            fs::read_to_string(self.place.join(&link)).unwrap_or_else(|error| panic!("{link}: {error}"));
        let document = json_file(&self.blob(&digest));
        (digest, document)
    }

    /// Returns the file of a blob, for tests that damage it.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.place.join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// Returns what it was asked so far, one line a request: `GET /v2/… HTTP/1.1`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.place.join("log")).unwrap();
        // The access log, in Apache's form.
        let requests = log.lines().filter(|line| line.contains("HTTP/1.1\" "));
        requests.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
    }
}

/// The authority that signed the certificate of registries that speak TLS.
pub(crate) fn authority() -> PathBuf {
    testdata().join("ca.pem")
}

fn testdata() -> PathBuf {
    repository().join("builder/registry/testdata/tls")
}

/// Settings below `http`.
fn tls() -> String {
    let place = testdata();
    let place = place.display();
    format!("  tls:\n    certificate: {place}/server.pem\n    key: {place}/server.key\n")
}

fn password(place: &Path) -> String {
    fs::create_dir_all(place).unwrap();
    let file = place.join("htpasswd");
    fs::write(&file, HTPASSWD).unwrap();
    format!("auth:\n  htpasswd:\n    realm: kiln-tests\n    path: {}\n", file.display())
}

/// Waits until a server's port is open; false when the process has ended, or is patience.
pub(crate) fn answers(server: &mut Child, port: &Port) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && server.try_wait().unwrap().is_none() {
        if TcpStream::connect(port.host()).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Killing a process that has ended already is no fault.
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}

fn spawn(place: &Path, port: u16, more: &str) -> Child {
    let storage = format!(
        "storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n",
        place.join("data").display()
    );
    let config =
        format!("version: 0.1\nlog:\n  level: warn\n{storage}http:\n  addr: 127.0.0.1:{port}\n{more}");
    let file = place.join("config.yml");
    fs::write(&file, config).unwrap();
    let log = fs::File::create(place.join("log")).unwrap();
    let mut command = Command::new("docker-registry");
    command
        .arg("serve")
        .arg(&file)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("HOME", place)
        .env("OTEL_TRACES_EXPORTER", "none");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

#[test]
fn an_open_registry_answers_and_a_closed_one_asks_for_the_account() {
    crate::support::requires!("docker-registry");
    use base64::Engine;
    use std::io::{Read, Write};
    let space = crate::support::TestSpace::new();
    let status = |registry: &Registry, headers: &str| {
        let mut stream = TcpStream::connect(registry.host()).unwrap();
        write!(stream, "GET /v2/ HTTP/1.0\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    let open = Registry::start(&space.path("open"));
    assert_eq!(status(&open, ""), "200");
    let closed = Registry::start_with_password(&space.path("closed"));
    let account = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", ACCOUNT.0, ACCOUNT.1));
    assert_eq!(status(&closed, ""), "401");
    assert_eq!(status(&closed, &format!("Authorization: Basic {account}\r\n")), "200");
}
