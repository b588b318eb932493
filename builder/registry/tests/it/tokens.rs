//! Bearer tokens, from a token server in this process.

use std::sync::{Arc, Mutex};

use kiln_oci::Digest;
use kiln_registry::{Client, Credential, Error, Login, Secret, Upload};

use crate::fake::{Fake, Reply, Seen, reply};
use crate::support::{config, content, layer, manifest, opener, read, reference};

/// A token server that gives `token-1`, `token-2`, … to whoever asks.
fn token_server() -> Arc<Fake> {
    let count = Mutex::new(0);
    Arc::new(Fake::start(move |_, _| {
        let mut count = count.lock().unwrap();
        *count += 1;
        reply(200, &[], format!(r#"{{"token":"canary-token-{count}","expires_in":300}}"#).as_bytes())
    }))
}

fn challenge(tokens: &str, scope: &str) -> Reply {
    let text = format!(r#"Bearer realm="http://{tokens}/token",service="test",scope="{scope}""#);
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    reply(401, &[("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", &text)], body)
}

/// A registry that wants the token `wanted` says at each request.
fn registry(
    tokens: &Fake,
    wanted: impl Fn(&Seen) -> &'static str + Send + Sync + 'static,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> Fake {
    let tokens = tokens.address.clone();
    Fake::start_raw(move |seen, _| {
        let expected = format!("Bearer canary-token-{}", wanted(seen));
        match seen.header("authorization") {
            Some(token) if token == expected => answer(seen),
            _ => challenge(&tokens, "repository:a:pull"),
        }
    })
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_and_used_for_everything_of_its_scope() {
    let tokens = token_server();
    let (config_bytes, bytes) = (content(10), content(1000));
    let (document, blob) = (manifest(&config_bytes, &bytes), bytes.clone());
    let fake = registry(
        &tokens,
        |_| "1",
        move |seen| match seen.path.contains("/manifests/") {
            true => reply(200, &[], &document),
            false => reply(200, &[], &blob),
        },
    );
    let client = Client::new(config());
    let name = reference(format!("{}/a:1", fake.address));
    client.resolve(&name).await.unwrap();
    assert_eq!(read(client.blob(&name, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    assert_eq!(tokens.lines(), ["GET /token?service=test&scope=repository%3Aa%3Apull"]);
    // The first look at the registry told how to ask, so nothing was asked in vain.
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_token_that_ran_out_is_replaced_in_the_middle() {
    let tokens = token_server();
    let bytes = content(1000);
    let whole = bytes.clone();
    // The second part of the blob wants a new token.
    let fake = registry(
        &tokens,
        |seen| if seen.header("range").is_some() { "2" } else { "1" },
        move |seen| match seen.header("range") {
            None => reply(200, &[], &whole).without_last(600),
            Some(_) => reply(206, &[("Content-Range", "bytes 400-999/1000")], &whole[400..]),
        },
    );
    let client = Client::new(config());
    let name = reference(format!("{}/a:1", fake.address));
    assert_eq!(read(client.blob(&name, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    assert_eq!(tokens.seen().len(), 2);
}

#[tokio::test]
async fn an_upload_whose_token_ran_out_is_continued_with_a_new_one() {
    let tokens = token_server();
    let bytes = content(2 << 20);
    let fake = registry(
        &tokens,
        |seen| if seen.method == "POST" { "1" } else { "2" },
        |seen| match seen.method.as_str() {
            "POST" | "PATCH" => reply(202, &[("Location", "/up/1"), ("Range", "0-2097151")], b""),
            "GET" => reply(204, &[("Location", "/up/1"), ("Range", "0-9")], b""),
            _ => reply(201, &[], b""),
        },
    );
    let to = reference(format!("{}/a", fake.address));
    let open = opener(bytes.clone());
    let blob = layer(&bytes);
    let upload = Upload::new(&to, &blob, &open);
    Client::new(config()).push_blob(upload).await.unwrap();
    let methods: Vec<_> = fake.seen().iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, ["POST", "PATCH", "GET", "PATCH", "PUT"]);
    assert_eq!(fake.seen()[3].body, bytes[10..]);
}

#[tokio::test]
async fn passwords_and_refresh_tokens_are_shown_to_the_token_server_only() {
    let document = manifest(b"{}", b"x");
    for (credential, line, proof) in [
        (
            Credential::password("me", "canary-password"),
            "GET /token?service=test&scope=repository%3Aa%3Apull&account=me",
            "Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk",
        ),
        (
            Credential::IdentityToken { username: "me".to_owned(), token: Secret::new("canary refresh") },
            "POST /token",
            "grant_type=refresh_token&refresh_token=canary+refresh&client_id=kiln&service=test&scope=repository%3Aa%3Apull",
        ),
    ] {
        let tokens = token_server();
        let document = document.clone();
        let fake = registry(&tokens, |_| "1", move |_| reply(200, &[], &document));
        let client = Client::new(config());
        client.assume(&fake.address, Some(credential));
        client.resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap();
        let seen = &tokens.seen()[0];
        assert_eq!(tokens.lines(), [line]);
        let shown = seen
            .header("authorization")
            .map_or_else(|| String::from_utf8_lossy(&seen.body).into(), str::to_owned);
        assert_eq!(shown, proof);
    }
}

#[tokio::test]
async fn a_login_keeps_the_identity_token_that_is_given_instead_of_the_password() {
    let identity = |token: &str| Credential::IdentityToken {
        username: "me".to_owned(),
        token: Secret::new(format!("canary-{token}")),
    };
    let password = || Credential::password("me", "canary-password");
    let asked = "GET /token?service=test&account=me&offline_token=true&client_id=kiln";
    let form = "grant_type=refresh_token&refresh_token=canary-old&client_id=kiln&service=test&scope=&access_type=offline";
    for (answer, credential, line, body, kept) in [
        (r#","refresh_token":"canary-new""#, password(), asked, "", identity("new")),
        ("", password(), asked, "", password()),
        (r#","refresh_token":"canary-new""#, identity("old"), "POST /token", form, identity("new")),
        ("", identity("old"), "POST /token", form, identity("old")),
    ] {
        let tokens =
            Fake::start(move |_, _| reply(200, &[], format!(r#"{{"token":"t"{answer}}}"#).as_bytes()));
        let address = tokens.address.clone();
        let fake = Fake::start_raw(move |seen, _| match seen.header("authorization") {
            Some("Bearer t") => reply(200, &[], b"{}"),
            _ => {
                let challenge = format!(r#"Bearer realm="http://{address}/token",service="test""#);
                reply(401, &[("WWW-Authenticate", &challenge)], b"")
            }
        });
        let checked = Client::new(config()).check_login(&fake.address, credential).await.unwrap();
        assert_eq!(checked, (Login::Accepted, kept));
        assert_eq!((tokens.lines(), &tokens.seen()[0].body[..]), (vec![line.to_owned()], body.as_bytes()));
    }
}

#[tokio::test]
async fn a_token_server_that_knows_no_get_is_sent_the_password_in_a_form() {
    let tokens = Fake::start(|seen, _| match seen.method.as_str() {
        "GET" => reply(405, &[], b""),
        _ => reply(200, &[], br#"{"access_token":"canary-token-1"}"#),
    });
    let document = manifest(b"{}", b"x");
    let fake = registry(&tokens, |_| "1", move |_| reply(200, &[], &document));
    let client = Client::new(config());
    client.assume(&fake.address, Some(Credential::password("me", "canary &password")));
    client.resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap();
    let form = "grant_type=password&username=me&password=canary+%26password&client_id=kiln&service=test&scope=repository%3Aa%3Apull";
    assert_eq!(tokens.seen()[1].body, form.as_bytes());
}

#[tokio::test]
async fn a_token_that_ran_out_before_it_arrived_is_replaced_again_within_bounds() {
    let document = manifest(b"{}", b"x");
    for (wanted, is_ok) in [("4", true), ("none", false)] {
        let (tokens, document) = (token_server(), document.clone());
        let address = tokens.address.clone();
        let fake = Fake::start_raw(move |seen, _| {
            let expected = format!("Bearer canary-token-{wanted}");
            if seen.header("authorization") == Some(&expected) {
                return reply(200, &[], &document);
            }
            let text = format!(r#"Bearer realm="http://{address}/token",error="invalid_token""#);
            reply(401, &[("WWW-Authenticate", &text)], b"")
        });
        let result = Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await;
        assert_eq!((result.is_ok(), tokens.seen().len()), (is_ok, if is_ok { 4 } else { 5 }), "{wanted}");
    }
}

#[tokio::test]
async fn a_long_upload_outlives_any_number_of_tokens() {
    let tokens = token_server();
    let bytes = content(12 << 20);
    let given = Arc::new(Mutex::new((0, 1)));
    // Each token is good for one part of what is left, and the registry takes a third of it.
    let address = tokens.address.clone();
    let fake = Fake::start_raw(move |seen, _| {
        let mut given = given.lock().unwrap();
        let expected = format!("Bearer canary-token-{}", given.1);
        if seen.header("authorization") != Some(&expected) {
            return challenge(&address, "repository:a:pull");
        }
        if seen.method == "PATCH" {
            let rest = seen.body.len();
            *given = (given.0 + if rest > 1000 { rest / 3 } else { rest }, given.1 + 1);
        }
        let range = format!("0-{}", given.0.max(1) - 1);
        let status = if seen.method == "PUT" { 201 } else { 202 };
        reply(status, &[("Location", "/up/1"), ("Range", &range)], b"")
    });
    let to = reference(format!("{}/a", fake.address));
    let (open, blob) = (opener(bytes.clone()), layer(&bytes));
    Client::new(config()).push_blob(Upload::new(&to, &blob, &open)).await.unwrap();
    assert!(tokens.seen().len() > 10, "{}", tokens.seen().len());
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let tokens = token_server();
    let fake = registry(&tokens, |_| "1", |_| reply(201, &[], b""));
    let to = reference(format!("{}/a", fake.address));
    assert!(Client::new(config()).mount(&to, &Digest::of(b"x"), "b").await.unwrap());
    let scopes = "scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull";
    assert_eq!(tokens.lines(), [format!("GET /token?service=test&{scopes}")]);
}

#[tokio::test]
async fn a_token_server_may_send_to_another_place_but_the_password_stays_with_its_host() {
    let elsewhere = token_server();
    let target = format!("http://{}/token?moved", elsewhere.address);
    // First to another path of the same host, then to another host; or for ever to itself.
    for (is_endless, hops) in [(false, 2), (true, 11)] {
        let target = target.clone();
        let tokens = Fake::start(move |seen, _| match seen.path.starts_with("/second") && !is_endless {
            false => reply(307, &[("Location", "/second")], b""),
            true => reply(302, &[("Location", &target)], b""),
        });
        let document = manifest(b"{}", b"x");
        let fake = registry(&tokens, |_| "1", move |_| reply(200, &[], &document));
        let client = Client::new(config());
        client.assume(&fake.address, Some(Credential::password("me", "canary-password")));
        let result = client.resolve(&reference(format!("{}/a:1", fake.address))).await;
        assert_eq!((result.is_err(), tokens.seen().len()), (is_endless, hops));
        assert!(tokens.seen().iter().all(|seen| seen.header("authorization").is_some()));
        let text = result.map(drop).map_err(|error| error.to_string()).err().unwrap_or_default();
        assert!(!is_endless || text.ends_with("it answered 307 Temporary Redirect"), "{text}");
    }
    assert_eq!(
        (elsewhere.lines(), elsewhere.seen()[0].header("authorization")),
        (vec!["GET /token?moved".to_owned()], None)
    );
}

#[tokio::test]
async fn no_token_follows_a_redirect_to_another_host() {
    let tokens = token_server();
    let bytes = content(1000);
    let whole = bytes.clone();
    let elsewhere = Fake::start_raw(move |_, _| reply(200, &[], &whole));
    let target = format!("http://{}/signed?key=canary", elsewhere.address);
    let fake = registry(&tokens, |_| "1", move |_| reply(307, &[("Location", &target)], b""));
    let client = Client::new(config());
    let name = reference(format!("{}/a:1", fake.address));
    assert_eq!(read(client.blob(&name, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    let seen = elsewhere.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/signed?key=canary"));
    assert_eq!(seen[0].header("authorization"), None);
}

#[tokio::test]
async fn content_is_sent_again_to_where_the_registry_says_without_what_proves_who_we_are() {
    let bytes = content(2 << 20);
    let elsewhere = Fake::start_raw(|seen, _| match seen.method.as_str() {
        "PATCH" => reply(202, &[("Location", "/kept/2?key=canary"), ("Range", "0-2097151")], b""),
        _ => reply(201, &[], b""),
    });
    for (status, is_followed) in [(307, true), (308, true), (302, false)] {
        let tokens = token_server();
        let (target, before) = (format!("http://{}/kept/1", elsewhere.address), elsewhere.seen().len());
        let fake = registry(
            &tokens,
            |_| "1",
            move |seen| match seen.method.as_str() {
                "POST" => reply(202, &[("Location", "/up/1")], b""),
                _ => reply(status, &[("Location", &target)], b""),
            },
        );
        let (to, open, blob) =
            (reference(format!("{}/a", fake.address)), opener(bytes.clone()), layer(&bytes));
        let result = Client::new(config()).push_blob(Upload::new(&to, &blob, &open)).await;
        let seen = elsewhere.seen().split_off(before);
        assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
        match is_followed {
            true => {
                result.unwrap();
                assert_eq!((seen.len(), &seen[0].body), (2, &bytes.to_vec()));
                assert!(seen[1].path.starts_with("/kept/2?key=canary&digest="), "{}", seen[1].path);
            }
            false => {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Redirect { .. }), "{error}");
                assert!(error.to_string().contains(&format!("to `http://{}`", elsewhere.address)), "{error}");
                assert_eq!(seen.len(), 0);
            }
        }
    }
}

#[tokio::test]
async fn refusals_name_the_cause_and_hold_no_secret() {
    let refusing = Fake::start(|_, _| reply(401, &[], br#"{"details":"incorrect username or password"}"#));
    let useless = Fake::start(|_, _| reply(200, &[], b"{}"));
    let failing = Fake::start(|_, _| reply(500, &[], b""));
    let giving = token_server();
    for (tokens, says, requests) in [
        (&refusing, "401 Unauthorized: incorrect username or password", 1),
        (&useless, "its answer holds no token", 1),
        (&failing, "500 Internal Server Error", 5),
        (&*giving, "it does not accept the credentials: UNAUTHORIZED: authentication required", 2),
    ] {
        let fake = registry(tokens, |_| "none", |_| reply(500, &[], b""));
        let client = Client::new(config());
        client.assume(&fake.address, Some(Credential::password("me", "canary-password")));
        let error = client.resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
        assert!(error.to_string().ends_with(says), "{error}");
        assert!(!format!("{error:?} {error} {client:?}").contains("canary"), "{error:?}");
        assert_eq!(tokens.seen().len(), requests, "{says}");
    }
}

#[tokio::test]
async fn an_unknown_way_of_authentication_is_named() {
    let fake = Fake::start_raw(|_, _| reply(401, &[("WWW-Authenticate", "Negotiate")], b""));
    let error = Client::new(config()).resolve(&reference(format!("{}/a:1", fake.address))).await.unwrap_err();
    assert!(matches!(&error, Error::Challenge { .. }), "{error}");
    assert!(error.to_string().ends_with("not supported: scheme `negotiate`"), "{error}");
}
