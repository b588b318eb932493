//! Images and a real registry: push, pull, names, archives, accounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::image::{check_blobs, json_file, read_one};
use crate::support::program::SEARCH_PATH;
use crate::support::registry::{ACCOUNT, Registry};
use crate::support::{TestSpace, busybox, requires};

/// Builds a small image under a name and returns its digest.
fn build(space: &TestSpace, name: &str) -> String {
    let context =
        space.context("context", &[("Dockerfile", "FROM scratch\nCOPY a /\nLABEL l=1\n"), ("a", "alpha\n")]);
    space.build(&context).args(["-t", name]).run().success().digest()
}

#[test]
fn a_pushed_base_is_found_by_from_and_through_the_mirror() {
    requires!("root", "docker-registry", "busybox");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    space.config(&registry.config());
    let tarball = space.file("busybox.tar", busybox::rootfs());
    let name = format!("{}/library/busybox:latest", registry.host());
    space.kiln(["import", "-c", "CMD [\"sh\"]"]).arg(&tarball).arg(&name).run().success();
    space.kiln(["push", &name]).run().success();
    space.kiln(["rmi", &name]).run().success();
    let other = space.path("other-store");
    for from in ["busybox", &name] {
        let dockerfile = format!("FROM {from}\nRUN echo built > /built\n");
        let context = space.context("context", &[("Dockerfile", &dockerfile)]);
        space.build(&context).store(&other).run().success();
    }
    // A local name wins no more once it is removed, and what is left is sound.
    check_blobs(&space.store());
}

#[test]
fn an_account_is_asked_for_stored_and_used() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start_with_password(&space.path("registry"));
    space.config(&registry.config());
    let (host, (user, password)) = (registry.host(), ACCOUNT);
    let name = format!("{host}/team/app:1");
    build(&space, &name);
    space.kiln(["push", &name]).run().fails_with(1).says(&[&host, "login"]);
    let login = ["login", "--username", user, "--password-stdin", &host];
    space.kiln(login).stdin("wrong").run().fails_with(1).never_says(&["wrong"]);
    space.kiln(login).stdin(password).run().success().never_says(&[password]);
    let file = json_file(&space.path("home/.docker/config.json"));
    assert!(file["auths"][&host]["auth"].is_string(), "{file}");
    space.kiln(["push", &name]).run().success();
    space.kiln(["pull", &name]).store(&space.path("other-store")).run().success();
}

/// A credential helper that keeps what it is given in a file beside it.
fn helper(space: &TestSpace) -> PathBuf {
    let kept = space.path("bin/kept");
    let script = format!(
        "#!/bin/sh\nread -r line\ncase $1 in\nstore) printf '%s' \"$line\" > {kept} ;;\n\
         erase) rm {kept} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\n\
         get) cat {kept} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nesac\n",
        kept = kept.display()
    );
    let program = space.file("bin/docker-credential-test", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    kept
}

#[test]
fn a_helper_keeps_a_login_and_forgets_it_in_docker_s_words() {
    requires!("docker-registry", "setsid");
    let space = TestSpace::new();
    let registry = Registry::start_with_password(&space.path("registry"));
    space.config(&registry.config());
    let (host, (user, password)) = (registry.host(), ACCOUNT);
    let kept = helper(&space);
    let path = format!("{}:{SEARCH_PATH}", space.path("bin").display());
    let call = |words: &[&str]| space.kiln(words).env("PATH", &path);
    let auths = json!({"other.example": {"auth": "eDp5"}});
    for settings in [
        json!({"auths": auths, "credsStore": "test"}),
        json!({"auths": auths, "credHelpers": {&host: "test"}}),
    ] {
        let file = space.file("home/.docker/config.json", settings.to_string());
        assert_eq!(call(&["logout", &host]).run().success().text(), format!("Not logged in to {host}\n"));
        let login = call(&["login", "-u", user, "--password-stdin", &host]).stdin(password);
        assert_eq!(login.run().success().never_says(&[password, "unencrypted"]).text(), "Login Succeeded\n");
        assert_eq!(json_file(&kept), json!({"ServerURL": host, "Username": user, "Secret": password}));
        assert_eq!(json_file(&file), settings, "the file has nothing of it");
        let again = call(&["login", &host]).run().success();
        assert_eq!(again.text(), "Login Succeeded\n");
        again.says(&["Authenticating with existing credentials..."]);
        let out = call(&["logout", &host]).run().success().text();
        assert_eq!(out, format!("Removing login credentials for {host}\n"));
        assert!(!kept.exists());
    }
    // Without a terminal nobody can be asked.
    let wrong = json!({"ServerURL": host, "Username": user, "Secret": "wrong"});
    space.file("bin/kept", wrong.to_string());
    let refused = call(&["login", &host]).under(["setsid", "-w"]).run().fails_with(2);
    refused.says(&["Stored credentials invalid or expired", "there is no terminal"]);
}

#[test]
fn a_blob_damaged_in_the_registry_is_refused() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    space.config(&registry.config());
    let name = format!("{}/team/app:1", registry.host());
    build(&space, &name);
    space.kiln(["push", &name]).run().success();
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    space.build(&space.path("context")).args(["-o", &output]).run().success();
    let layer = read_one(&layout).manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = registry.blob(&layer);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let other = space.path("other-store");
    space.kiln(["pull", &name]).store(&other).run().fails_with(1).says(&[&layer]);
    check_blobs(&other);
}

#[test]
fn names_are_listed_given_and_taken() {
    let space = TestSpace::new();
    let digest = build(&space, "example.com/app:1");
    space.kiln(["tag", "example.com/app:1", "other:2"]).run().success();
    let listed = space.kiln(["images"]).run().success().text();
    for name in ["example.com/app", "other"] {
        assert!(listed.contains(name), "{listed}");
    }
    let inspected: Value =
        serde_json::from_str(&space.kiln(["inspect", "other:2"]).run().success().text()).unwrap();
    assert_eq!(inspected[0]["Config"]["Labels"]["l"], "1");
    let history = space.kiln(["history", "other:2"]).run().success().text();
    assert!(history.contains("COPY") && history.contains("LABEL"), "{history}");
    space.kiln(["rmi", "example.com/app:1"]).run().success();
    space.kiln(["inspect", "example.com/app:1"]).run().fails_with(1).says(&["example.com/app:1"]);
    space.kiln(["inspect", "other:2"]).run().success();
    let archive = space.path("saved.tar");
    space.kiln(["save", "-o"]).arg(&archive).arg("other:2").run().success();
    let fresh = space.path("fresh-store");
    space.kiln(["load", "-i"]).arg(&archive).store(&fresh).run().success();
    let loaded: Value =
        serde_json::from_str(&space.kiln(["inspect", "other:2"]).store(&fresh).run().success().text())
            .unwrap();
    assert_eq!(loaded[0]["Id"], inspected[0]["Id"], "{digest}");
}

#[test]
fn a_cached_build_downloads_nothing() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context = space.context("context", &[("Dockerfile", "FROM busybox\nRUN echo 1 > /1\n")]);
    let downloads = || {
        server.asked().iter().filter(|asked| asked.starts_with("GET") && asked.contains("/blobs/")).count()
    };
    let expected = space.build(&context).run().success().digest();
    let before = downloads();
    assert!(before > 0, "the base came from the server");
    assert_eq!(space.build(&context).run().success().digest(), expected);
    assert_eq!(downloads(), before, "{:?}", server.asked());
}
