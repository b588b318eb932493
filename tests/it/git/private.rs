//! Repositories that ask who is there; what is secret stays where it belongs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Scene, files_with};
use crate::support::git::GitServer;
use crate::support::http::Response;
use crate::support::requires;

/// `x-access-token:canary` and `me:canary`, as in a header.
const TOKEN: &str = "basic eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5";
const PASSWORD: &str = "basic bWU6Y2FuYXJ5";

impl Scene {
    /// Makes a place whose server wants one of these headers.
    fn private(headers: &'static [&'static str]) -> Self {
        let scene = Self::new();
        let server = GitServer::serve(&scene.space.path("srv"), move |request| {
            let given = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
            let is_known = headers.iter().any(|header| header.eq_ignore_ascii_case(given));
            (!is_known).then(|| Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""))
        });
        Self { server, ..scene }
    }

    /// Nothing that a build leaves has the secret in it.
    fn assert_no_canary(&self) {
        for canary in ["canary", "eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5", "bWU6Y2FuYXJ5"] {
            for folder in ["store", "layout", "tmp"].map(|name| self.space.path(name)) {
                if folder.exists() {
                    assert_eq!(files_with(&folder, canary), Vec::<PathBuf>::new());
                }
            }
        }
    }
}

#[test]
fn secrets_of_the_build_open_a_repository_and_are_nowhere_afterwards() {
    requires!("git");
    let scene = Scene::private(&[TOKEN, "Bearer canary"]);
    let host = scene.server.host();
    let add = format!("{} /d", scene.url());
    let file = scene.space.file("home/token", "canary\n");
    for secret in [
        format!("id=GIT_AUTH_TOKEN,src={}", file.display()),
        "id=GIT_AUTH_TOKEN,env=TOKEN".to_owned(),
        format!("id=GIT_AUTH_TOKEN.{host},env=TOKEN"),
        "id=GIT_AUTH_HEADER,env=HEADER".to_owned(),
        format!("id=GIT_AUTH_HEADER.{host},env=HEADER"),
    ] {
        let call = scene.add(&add).env("TOKEN", "canary").env("HEADER", "Bearer canary");
        let outcome = call.args(["--no-cache", "--secret", &secret]).run().success();
        assert!(!outcome.stderr.contains("canary"), "{outcome}");
        assert_eq!(scene.listing(), ["d/README first\\n", "d/sub/inner inner\\n"]);
        scene.assert_no_canary();
        std::fs::remove_dir_all(scene.space.store().join("repositories")).unwrap();
    }
}

#[test]
fn user_and_password_of_an_address_are_used_and_never_shown() {
    requires!("git");
    let scene = Scene::private(&[PASSWORD]);
    let url = format!("http://me:canary@{}/repo.git", scene.server.host());
    for progress in ["plain", "json"] {
        let context =
            scene.space.context("context", &[("Dockerfile", &format!("FROM scratch\nADD {url} /d\n"))]);
        let call = scene.space.kiln(["build", "--no-cache", "--progress", progress]).arg(&context);
        let outcome = call.run().success();
        assert!(!outcome.stderr.contains("canary"), "{outcome}");
    }
    let wrong = scene.add(&format!("http://me:other-canary@{}/repo.git /d", scene.server.host()));
    let outcome = wrong.run().fails_with(1).says(&["help: a private repository needs a token"]);
    let shown = outcome.stderr.lines().filter(|line| line.contains("canary")).collect::<Vec<_>>();
    // The line of the Dockerfile is shown as it is written.
    assert!(shown.iter().all(|line| line.contains("2 | ADD")), "{shown:?}");
    scene.assert_no_canary();
}

#[test]
fn credential_helpers_and_netrc_of_the_user_are_asked() {
    requires!("git");
    let scene = Scene::private(&[PASSWORD]);
    let add = format!("{} /d", scene.url());
    scene.add(&add).run().fails_with(1).says(&["cannot ask", "GIT_AUTH_TOKEN"]);
    let helper = "[credential]\n\thelper = \"!f() { echo username=me; echo password=canary; }; f\"\n";
    scene.space.file("home/.gitconfig", helper);
    scene.add(&add).run().success();
    std::fs::remove_file(scene.space.path("home/.gitconfig")).unwrap();
    scene.space.file("home/.netrc", "machine 127.0.0.1 login me password canary\n");
    scene.add(&add).arg("--no-cache").run().success();
    scene.assert_no_canary();
}

#[test]
fn a_token_does_not_follow_to_where_a_server_sends() {
    requires!("git");
    let scene = Scene::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listening = Arc::clone(&heard);
    let thief = GitServer::serve(&scene.space.path("srv"), move |request| {
        listening.lock().unwrap().push(request.headers.get("authorization").cloned());
        None
    });
    let to = thief.url();
    let sender = GitServer::serve(&scene.space.path("srv"), move |request| {
        let place = format!("{to}{}?{}", request.path, request.query);
        Some(Response::new(302, "").header("Location", &place))
    });
    let add = format!("{}/repo.git /d", sender.url());
    scene.add(&add).run().success();
    heard.lock().unwrap().clear();
    let call = scene.add(&add).env("TOKEN", "canary").args([
        "--no-cache",
        "--secret",
        "id=GIT_AUTH_TOKEN,env=TOKEN",
    ]);
    call.run().fails_with(1).says(&["write the new address"]);
    assert_eq!(*heard.lock().unwrap(), Vec::new());
}

#[test]
fn values_are_in_no_argument_of_any_process() {
    requires!("git");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looking = Arc::clone(&seen);
    let scene = Scene::new();
    // The processes of other tests are seen, too, and may have any word of theirs in their arguments.
    let secret = format!("canary{}x", std::process::id());
    let server = GitServer::serve(&scene.space.path("srv"), move |_| {
        for entry in std::fs::read_dir("/proc").unwrap().map(Result::unwrap) {
            // A process that ends meanwhile has none.
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            looking.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
        None
    });
    let url = format!("http://me:{secret}@{}/repo.git", server.host());
    let add = scene.space.context("context", &[("Dockerfile", &format!("FROM scratch\nADD {url} /d\n"))]);
    let call =
        scene.space.build(&add).env("TOKEN", &secret).args(["--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"]);
    call.run().success();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().any(|line| line.contains("ls-remote") && line.contains(&server.host())));
    assert!(!seen.iter().any(|line| line.contains(&secret)));
}
