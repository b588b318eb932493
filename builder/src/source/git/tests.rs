use std::time::Duration;

use kiln_registry::ClientConfig;
use tokio::net::TcpListener;

use super::*;
use crate::git_reference::Standing;
use crate::progress::Silent;
use crate::workshop::WorkshopOptions;

/// A store with the usual places of programs.
fn sources(folder: &std::path::Path) -> GitSources {
    let git = GitSurroundings {
        search_path: "/usr/local/bin:/usr/bin:/bin".into(),
        // Longer than git needs to start on a machine with much else to do.
        silence_max: Duration::from_secs(3),
        ..GitSurroundings::default()
    };
    let options = WorkshopOptions {
        store: folder.join("store"),
        registry: ClientConfig::default(),
        identity: Err("not needed".to_owned()),
        resolv_conf: None,
        git,
        roots: Default::default(),
        jobs: 1,
        started_ns: 0,
    };
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    GitSources::new(
        &Arc::new(Workshop::open(options).unwrap()),
        &Secrets::default(),
        &Agents::default(),
        &silent,
    )
}

fn reference(text: &str) -> GitReference {
    GitReference::parse(text, Standing::Source).unwrap().unwrap()
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let references = ["git", "http"].map(|scheme| reference(&format!("{scheme}://{address}/a.git")));
    let outcomes = tokio::select! {
        outcomes = futures_util::future::join_all(references.iter().map(|one| sources.resolve(one))) => outcomes,
        () = stay_silent(&listener) => unreachable!("it listens for ever"),
    };
    for outcome in outcomes {
        assert!(matches!(outcome, Err(GitError::Silent { action: "ask", .. })), "{outcome:?}");
    }
}

/// Takes connections and says nothing.
async fn stay_silent(listener: &TcpListener) {
    let mut connections = Vec::new();
    while let Ok(connection) = listener.accept().await {
        connections.push(connection);
    }
}

#[tokio::test]
async fn a_commit_and_one_that_is_trusted_ask_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(folder.path());
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for (text, name) in [
        (format!("https://192.0.2.1/a.git#{commit}"), None),
        (format!("https://192.0.2.1/a.git?fetch-by-commit&checksum={commit}#main"), Some("refs/heads/main")),
        (format!("https://192.0.2.1/a.git?fetch-by-commit&checksum={commit}"), None),
    ] {
        let resolved = sources.resolve(&reference(&text)).await.unwrap();
        assert_eq!((resolved.commit(), resolved.name.as_deref()), (commit, name), "{text}");
    }
    let other = reference(&format!("https://192.0.2.1/a.git?checksum=ff#{commit}"));
    assert!(matches!(sources.resolve(&other).await, Err(GitError::Checksum { .. })));
}

#[test]
fn identities_differ_by_what_decides_the_files() {
    let resolved = |object: &str, peeled: Option<&str>, name: Option<&str>| Resolved {
        object: object.to_owned(),
        peeled: peeled.map(str::to_owned),
        name: name.map(str::to_owned),
    };
    let (plain, kept) = (reference("https://h/a.git"), reference("https://h/a.git?keep-git-dir=1"));
    let elsewhere = reference("https://other/a.git");
    let commit = resolved("c", None, Some("refs/heads/main")).identity(&plain);
    assert_eq!(commit, resolved("c", None, None).identity(&elsewhere));
    assert_eq!(commit, resolved("t", Some("c"), Some("refs/tags/v1")).identity(&plain));
    assert_ne!(commit, resolved("d", None, None).identity(&plain));
    let main = resolved("c", None, Some("refs/heads/main")).identity(&kept);
    assert_ne!(main, resolved("c", None, Some("refs/heads/other")).identity(&kept));
    assert_ne!(main, resolved("t", Some("c"), Some("refs/heads/main")).identity(&kept));
}

#[test]
fn versions_are_read() {
    for (text, expected) in [
        ("git version 2.39.5", Some((2, 39))),
        ("git version 2.47.3 (Apple Git-1)", Some((2, 47))),
        ("git version 3.0", Some((3, 0))),
        ("something else", None),
    ] {
        assert_eq!(version_of(text), expected, "{text}");
    }
}
