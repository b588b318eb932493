//! Registries that want to be spoken to in different ways.

use std::fs;
use std::path::PathBuf;

use crate::support::TestSpace;
use crate::support::http::{HttpServer, plain_config};
use crate::support::registry::{ACCOUNT, Registry, authority};
use crate::support::tokens::Signer;

/// A registry that kiln reaches, and how others do.
pub(super) struct Transport {
    /// Its name, and that of its places.
    pub(super) name: &'static str,
    /// The registry.
    pub(super) registry: Registry,
    /// What peers are told, as buildah and podman call it.
    pub(super) flags: Vec<String>,
    wants: &'static [Want],
}

/// What a registry may want.
#[derive(PartialEq)]
enum Want {
    /// That its certificate is believed.
    Trust,
    /// To know who asks, or to see a token of a server that does.
    Account,
}

impl Transport {
    fn new(space: &TestSpace, name: &'static str, registry: Registry, wants: &'static [Want]) -> Self {
        let mut flags = vec!["--tls-verify=false".to_owned()];
        if wants.contains(&Want::Trust) {
            flags = vec![format!("--cert-dir={}", certificates(space).display())];
        }
        if wants.contains(&Want::Account) {
            // What `kiln login` writes is what others log in by.
            flags.push(format!("--authfile={}", space.path("home/.docker/config.json").display()));
        }
        Self { name, registry, flags, wants }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(super) fn host(&self) -> String {
        self.registry.host()
    }

    /// Returns the store of what comes from this registry: in another it would find layers that it has.
    pub(super) fn store(&self, space: &TestSpace) -> PathBuf {
        space.path(&format!("store-{}", self.name))
    }

    fn config(&self) -> String {
        match self.wants.contains(&Want::Trust) {
            true => format!("[registry.\"{}\"]\nca = [\"{}\"]\n", self.host(), authority().display()),
            false => plain_config(&self.host()),
        }
    }
}

/// Returns the directory of authorities that peers believe.
fn certificates(space: &TestSpace) -> PathBuf {
    space.path("certificates")
}

/// Starts them all, and the server that gives tokens for the last; writes the configuration that reaches them, and logs in.
pub(super) fn start(space: &TestSpace) -> (Vec<Transport>, HttpServer) {
    fs::create_dir(certificates(space)).unwrap();
    fs::copy(authority(), certificates(space).join("ca.crt")).unwrap();
    let signer = Signer::new(&space.path("signer"));
    let certificate = signer.certificate.clone();
    let tokens = signer.start();
    let realm = format!("{}/token", tokens.url());
    let place = |name: &str| space.path(&format!("registry-{name}"));
    let transports = vec![
        Transport::new(space, "plain", Registry::start(&place("plain")), &[]),
        Transport::new(space, "tls", Registry::start_with_tls(&place("tls")), &[Want::Trust]),
        Transport::new(
            space,
            "password",
            Registry::start_with_password_and_tls(&place("password")),
            &[Want::Trust, Want::Account],
        ),
        Transport::new(
            space,
            "tokens",
            Registry::start_with_tokens(&place("tokens"), &realm, &certificate),
            &[Want::Account],
        ),
    ];
    space.config(&transports.iter().map(Transport::config).collect::<String>());
    for transport in transports.iter().filter(|transport| transport.wants.contains(&Want::Account)) {
        let login = ["login", "-u", ACCOUNT.0, "--password-stdin", &transport.host()];
        space.kiln(login).stdin(ACCOUNT.1).run().success();
    }
    (transports, tokens)
}
