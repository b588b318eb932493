//! Connections that drop, builds that are stopped, and several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use super::Scene;
use crate::support::git::GitServer;
use crate::support::http::Response;
use crate::support::{Invocation, requires};

/// Returns the processes that have a text in their arguments.
fn processes_with(text: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc").unwrap().map(Result::unwrap).filter_map(|entry| {
        // A process that ends meanwhile has none.
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains("git") && line.contains(text)).collect()
}

#[test]
fn a_connection_that_drops_is_tried_again_and_then_an_error() {
    requires!("git");
    let scene = Scene::new();
    let failures = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&failures);
    let server = GitServer::serve(&scene.space.path("srv"), move |_| {
        let fails =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok();
        fails.then(|| Response { cut_after: Some(3), ..Response::new(200, "half an answer") })
    });
    let add = format!("{}/repo.git /d", server.url());
    failures.store(1, Ordering::SeqCst);
    scene.add(&add).run().success().says(&["trying again"]);
    failures.store(1000, Ordering::SeqCst);
    scene.add(&add).arg("--no-cache").run().fails_with(1).says(&["cannot ask `http://"]);
}

/// A server that holds the first request for objects until it is told to go on.
fn holding(scene: &Scene) -> (GitServer, Arc<Barrier>, Arc<Mutex<bool>>) {
    let (reached, is_holding) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(true)));
    let (here, holds) = (Arc::clone(&reached), Arc::clone(&is_holding));
    let server = GitServer::serve(&scene.space.path("srv"), move |request| {
        let wants = String::from_utf8_lossy(&request.body).contains("want ");
        if wants && std::mem::replace(&mut *holds.lock().unwrap(), false) {
            here.wait();
            here.wait();
        }
        None
    });
    (server, reached, is_holding)
}

#[test]
fn a_build_that_is_interrupted_leaves_no_git_behind() {
    requires!("git");
    let scene = Scene::new();
    let (server, reached, _) = holding(&scene);
    let child = scene.add(&format!("{}/repo.git /d", server.url())).start();
    reached.wait();
    assert!(!processes_with(&server.host()).is_empty());
    let id = rustix::process::Pid::from_raw(child.child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    child.wait().fails_with(130);
    while !processes_with(&server.host()).is_empty() {
        std::thread::yield_now();
    }
    reached.wait();
    let left: Vec<_> = std::fs::read_dir(scene.space.path("store/scratch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_build_that_is_killed_in_the_middle_spoils_nothing() {
    requires!("git");
    let scene = Scene::new();
    let (server, reached, _) = holding(&scene);
    let add = format!("{}/repo.git /d", server.url());
    let mut child = scene.add(&add).start();
    reached.wait();
    child.child.kill().unwrap();
    child.wait();
    reached.wait();
    let outcome = scene.add(&add).run().success();
    assert_eq!(scene.listing(), ["d/README first\\n", "d/sub/inner inner\\n"], "{outcome}");
    let left: Vec<_> = std::fs::read_dir(scene.space.path("store/scratch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn builds_of_one_repository_at_once_share_it() {
    requires!("git");
    let scene = Scene::new();
    let (server, reached, _) = holding(&scene);
    let add = format!("{}/repo.git", server.url());
    let build = |name: &str, what: String| {
        let file = format!("FROM scratch\nADD {what} /d\n");
        let context = scene.space.context(name, &[("Dockerfile", &file)]);
        scene.space.build(&context)
    };
    let first = build("one", add.clone()).start();
    reached.wait();
    let calls: Vec<_> =
        (0..3).map(|index| build(&format!("c{index}"), format!("{add}?subdir=sub"))).collect();
    let children: Vec<_> = calls.into_iter().map(Invocation::start).collect();
    reached.wait();
    first.wait().success();
    let digests: Vec<String> = children.into_iter().map(|child| child.wait().success().digest()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let wants = server.asked().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(wants, 4 + 1, "four lists, and the objects once");
}
