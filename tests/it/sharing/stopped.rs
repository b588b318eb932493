//! Writers that are stopped in the middle: nothing that a reader believes is half told, and nothing of others is lost.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::places::Place;
use super::{build_in, project, ran, with_each_place};
use crate::faults::noise;
use crate::support::TestSpace;
use crate::support::http::{HttpServer, Request, Response};
use crate::support::program::Running;
use crate::support::waiting::PATIENCE;

/// How often a writer is stopped in each place; more rounds find rarer moments.
fn rounds() -> u64 {
    std::env::var("KILN_SHARING_STOPS").map_or(2, |rounds| rounds.parse().unwrap())
}

fn signal(running: &Running, name: &str) {
    let status = Command::new("kill").args(["-s", name, &running.child.id().to_string()]).status().unwrap();
    // One that has ended and was not waited for is there, too.
    assert!(status.success(), "{status}");
}

#[test]
fn a_writer_that_is_stopped_leaves_no_entry_that_is_not_whole_and_takes_none_of_others() {
    with_each_place(|space, place| stop(space, &place));
}

fn stop(space: &TestSpace, place: &Place) {
    let other = project(space, "other");
    place.filling(build_in(space, &other, "others")).run().success();
    let context = project(space, "project");
    // Layers of some size, so that it is hit while it writes them.
    space.file("project/lib", noise(4_000_000));
    let expected = build_in(space, &context, "first").run().success().digest();
    for round in 0..rounds() {
        let running = place.filling(build_in(space, &context, "first")).start();
        thread::sleep(Duration::from_millis(20 + 17 * round));
        signal(&running, if round % 2 == 0 { "KILL" } else { "INT" });
        running.wait();
        let reader = place.asking(build_in(space, &context, &format!("reader-{round}")));
        let outcome = reader.run().success().never_says(&["warning"]);
        assert_eq!(outcome.digest(), expected);
    }
    place.filling(build_in(space, &context, "first")).run().success();
    for context in [&context, &other] {
        let last = place.asking(build_in(space, context, "last")).run().success();
        assert_eq!(ran(&last), Vec::<String>::new(), "{last}");
    }
}

/// An object store that answers to no part before its upload is given up.
fn patient_store() -> HttpServer {
    let state = Arc::new((Mutex::new(false), Condvar::new()));
    HttpServer::start(move |request: &Request| {
        let (is_given_up, changed) = &*state;
        match request.method.as_str() {
            "GET" | "HEAD" => Response::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
            "POST" => Response::new(200, "<UploadId>upload-1</UploadId>"),
            "PUT" => {
                let wait = PATIENCE;
                let flag = is_given_up.lock().unwrap();
                drop(changed.wait_timeout_while(flag, wait, |is_given_up| !*is_given_up).unwrap());
                Response::new(200, "").header("ETag", "\"tag\"")
            }
            _ => {
                *is_given_up.lock().unwrap() = true;
                changed.notify_all();
                Response::new(204, "")
            }
        }
    })
}

#[test]
fn a_writer_that_is_interrupted_gives_up_the_parts_that_it_sent_to_a_bucket() {
    let space = TestSpace::new();
    let store = patient_store();
    let files = [("Dockerfile", "FROM scratch\nCOPY large /\n")];
    let context = space.context("context", &files);
    // More than one part.
    fs::write(context.join("large"), vec![7; 65 << 20]).unwrap();
    let to = format!("--cache-to=type=s3,bucket=b,region=r,endpoint_url={},use_path_style=true", store.url());
    let mut running = build_in(&space, &context, "first").args(["--compression", "none", &to]).start();
    let has_part = || {
        let asked = store.asked();
        let upload = asked.iter().find_map(|line| line.strip_prefix("POST "));
        upload.is_some_and(|path| asked.contains(&format!("PUT {path}")))
    };
    while !has_part() {
        assert!(running.child.try_wait().unwrap().is_none(), "it ended before it sent a part");
        thread::sleep(Duration::from_millis(5));
    }
    signal(&running, "INT");
    running.wait().fails_with(130);
    let asked = store.asked();
    // A part that was all but sent may be noted after the request that gives it up; no request makes an object of the parts.
    let count = |method: &str| asked.iter().filter(|line| line.starts_with(method)).count();
    assert_eq!((count("POST "), count("DELETE ")), (1, 1), "{asked:#?}");
}
