//! Debian's `docker-registry` with token authentication: a token server signs what it gives, and the registry alone decides whether
//! that is good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::build;
use crate::support::http::{HttpServer, Request, Response, plain_config};
use crate::support::image::{check_blobs, json_file};
use crate::support::program::Invocation;
use crate::support::registry::{ACCOUNT, Registry};
use crate::support::tokens::{LIFE_SECONDS, Signer, access, is_account, now, refusal};
use crate::support::{TestSpace, peers, requires};

/// For so long a registry takes a token after its end (`Leeway` of distribution's `registry/auth/token/token.go`).
const LEEWAY_SECONDS: u64 = 60;

/// Returns a whole second that is half a second away at least, and little more than one.
fn soon() -> u64 {
    (now() + Duration::from_millis(1500)).as_secs()
}

/// The ends of the tokens that were given for repositories.
type Given = Mutex<Vec<u64>>;

/// What a token server gives at a login, where it gives something.
const REFRESH_TOKEN: &str = "canary-refresh";

/// Answers a question for a token: nothing without the account or what it was given, and else what is asked for. The first for a
/// repository hardly lives. Whether a login is given something instead of its password, `gives_refresh` says.
fn give(signer: &Signer, request: &Request, given: &Given, gives_refresh: &AtomicBool) -> Response {
    let form = String::from_utf8_lossy(&request.body);
    let is_refresh = form.split('&').any(|part| part == format!("refresh_token={REFRESH_TOKEN}"));
    if !is_refresh && !is_account(request) {
        return refusal();
    }
    let question = if is_refresh { &*form } else { &request.query };
    let access = access(question);
    let mut given = given.lock().unwrap();
    let is_short = !access.is_empty() && given.is_empty();
    let ends = if is_short { soon() - LEEWAY_SECONDS } else { now().as_secs() + LIFE_SECONDS };
    if !access.is_empty() {
        given.push(ends);
    }
    let mut answer = signer.answer(&access, ends);
    if gives_refresh.load(Ordering::SeqCst) && question.contains("offline_token=true") {
        answer["refresh_token"] = REFRESH_TOKEN.into();
    }
    Response::new(200, answer.to_string())
}

/// Passes requests on to a registry. A large blob comes down only by half at first; what moves the rest of it, or moves one up, is
/// passed on when the first token has ended.
fn pass(target: &str, request: &Request, given: &Given) -> Response {
    let is_rest = request.headers.contains_key("range");
    let first = given.lock().unwrap().first().copied();
    let is_late = (is_rest || request.body.len() > 1 << 20) && given.lock().unwrap().len() == 1;
    if let Some(ends) = first.filter(|_| is_late) {
        let ends = Duration::from_secs(ends + LEEWAY_SECONDS) + Duration::from_millis(50);
        std::thread::sleep(ends.saturating_sub(now()));
    }
    // The registry must refuse what comes late, and does before it reads any of it.
    let body = if is_late { &[][..] } else { &request.body };
    let mut response = request.pass_on(target, &[], body);
    let is_large = response.status == 200 && response.body.len() > 1 << 20;
    response.cut_after = is_large.then_some(response.body.len() / 2);
    response
}

#[test]
fn a_registry_takes_the_tokens_of_its_server_and_new_ones_where_they_end_in_the_middle() {
    requires!("docker-registry", "openssl", "skopeo");
    let space = TestSpace::new();
    let signer = Signer::new(&space.path("signer"));
    let certificate = signer.certificate.clone();
    let given = Arc::<Given>::default();
    let gives_refresh = Arc::<AtomicBool>::default();
    let (own, refresh) = (Arc::clone(&given), Arc::clone(&gives_refresh));
    let tokens = HttpServer::start(move |request| give(&signer, request, &own, &refresh));
    let realm = format!("{}/token", tokens.url());
    let registry = Registry::start_with_tokens(&space.path("registry"), &realm, &certificate);
    let (target, own) = (registry.host(), Arc::clone(&given));
    let server = HttpServer::start(move |request| pass(&target, request, &own));
    let host = server.host();
    let name = format!("{host}/team/app:1");
    space.config(&plain_config(&host));
    build(&space, &name, &[2 << 20]);
    let push = || space.kiln(["push", &name]);
    push().run().fails_with(1).says(&["401 Unauthorized: who are you?", "kiln login"]);
    let login = ["login", "-u", ACCOUNT.0, "--password-stdin", &host];
    space.kiln(login).stdin("wrong").run().fails_with(1).says(&["401 Unauthorized: who are you?"]);
    space.kiln(login).stdin(ACCOUNT.1).run().success();
    let pull = || space.kiln(["pull", &name]).store(&space.path("other-store"));
    for call in [&push as &dyn Fn() -> Invocation, &pull] {
        call().run().success();
        let count = std::mem::take(&mut *given.lock().unwrap()).len();
        assert!(count >= 2, "the first token has ended on the way");
    }
    check_blobs(&space.path("other-store"));

    // From now on tokens live, and what is given instead of the password is good for kiln and others.
    given.lock().unwrap().push(0);
    gives_refresh.store(true, Ordering::SeqCst);
    space.kiln(login).stdin(ACCOUNT.1).run().success().never_says(&[REFRESH_TOKEN]);
    let file = space.path("home/.docker/config.json");
    let own = STANDARD.encode(format!("{}:", ACCOUNT.0));
    assert_eq!(json_file(&file)["auths"][&host], json!({"auth": own, "identitytoken": REFRESH_TOKEN}));
    let repository = format!("{host}/team/app");
    assert_eq!(space.kiln(["tags", "-q", &repository]).run().success().text(), "1\n");
    let list = ["list-tags", "--tls-verify=false", "--authfile", file.to_str().unwrap()];
    let listed = peers::run("skopeo", list.into_iter().chain([format!("docker://{repository}").as_str()]));
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()["Tags"], json!(["1"]));
}
