//! Commands that ask registries, or look into images: `tags`, `search`, `copy`, `pull -a`, `push -a`, `manifest`, `ls`, `cat`.

mod all_tags;
mod copies;
mod lists;
mod looking;
mod places;
mod searching;
mod tags;

use crate::support::registry::{ACCOUNT, Registry};
use crate::support::{TestSpace, peers};

/// Builds an image of one small file under a name.
fn build(space: &TestSpace, name: &str, content: &str, more: &[&str]) -> String {
    let dockerfile = "FROM scratch\nCOPY content /content\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("content", content)]);
    space.build(&context).args(["-t", name]).args(more).run().success().digest()
}

/// Builds an image and sends it.
fn push(space: &TestSpace, name: &str, content: &str, more: &[&str]) -> String {
    let digest = build(space, name, content, more);
    space.kiln(["push", name]).run().success();
    digest
}

/// Starts a registry that this space's kiln reaches.
fn registry(space: &TestSpace) -> Registry {
    let registry = Registry::start(&space.path("registry"));
    space.config(&registry.config());
    registry
}

/// Starts a registry that wants an account, and logs in.
fn closed_registry(space: &TestSpace) -> Registry {
    let registry = Registry::start_with_password(&space.path("closed"));
    space.config(&registry.config());
    let (user, password) = ACCOUNT;
    let host = registry.host();
    space.kiln(["login", "-u", user, "--password-stdin", &host]).stdin(password).run().success();
    registry
}

/// Returns the manifest or index of a name as skopeo gets it.
fn raw(name: &str) -> String {
    peers::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")])
}
