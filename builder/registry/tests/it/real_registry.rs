//! Debian's `docker-registry` on a free port of the loopback interface.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running registry. It ends with this value.
pub(crate) struct RealRegistry {
    /// Host and port.
    pub(crate) address: String,
    child: Child,
    _directory: tempfile::TempDir,
}

/// User `kiln`, password `canary-password`, for `auth: htpasswd`.
const HTPASSWD: &str = "kiln:$2b$04$abcdefghijklmnopqrstuuag0.YlF7tv7WKWN7rgqJ5KkJ9XU2wny\n";

/// How the registry is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Open,
    Password,
    Tls,
    /// Nothing can be removed.
    Kept,
}

impl RealRegistry {
    /// Starts one and waits until it listens. `None`, with a message, where it is not installed; on CI that is an error.
    #[expect(
        clippy::disallowed_methods,
        reason = "the log must be read for as long as the registry writes it"
    )]
    pub(crate) fn start(setup: Setup) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let mut settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {root}/data}}\n  delete: {{enabled: {}}}\n\
             http:\n  addr: 127.0.0.1:0\n",
            setup != Setup::Kept
        );
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
        match setup {
            Setup::Open | Setup::Kept => {}
            Setup::Tls => {
                settings += &format!("  tls: {{certificate: {tls}/server.pem, key: {tls}/server.key}}\n");
            }
            Setup::Password => {
                std::fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
                settings += &format!("auth:\n  htpasswd: {{realm: test, path: {root}/htpasswd}}\n");
            }
        }
        let file = directory.path().join("config.yml");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                assert!(option_env!("CI").is_none(), "docker-registry cannot be run: {error}");
                eprintln!("skipped: docker-registry cannot be run: {error}");
                return None;
            }
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the registry ended: {said}")).unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', '"', ',']).next().unwrap().to_owned();
            }
            said += &line;
        };
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self { address, child, _directory: directory })
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
