//! Images and archives under way: what a terminal shows of them, and archives of the web.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::busybox::archive_of;
use crate::support::http::{HttpServer, Response, plain_config};
use crate::support::served::{Served, mirror_config};
use crate::support::terminal::Terminal;
use crate::support::{TestSpace, peers, requires};

#[test]
fn a_pull_on_a_terminal_has_a_bar_for_a_layer_under_way_and_a_line_for_one_that_has_come() {
    requires!("setsid");
    let space = TestSpace::new();
    let mut served = Served::default();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}});
    served.add_archives("library/app:latest", config, &[archive_of("a", b"a"), archive_of("b", b"b")]);
    let held = served.blob_of("library/app:latest", 1);
    let (barrier, path) = (Arc::new(Barrier::new(2)), format!("/v2/library/app/blobs/{held}"));
    let at_server = Arc::clone(&barrier);
    let server = HttpServer::start(move |request| {
        let mut response = served.answer(request);
        if request.path == path {
            response.held_at = Some((response.body.len() / 2, Arc::clone(&at_server)));
        }
        response
    });
    space.config(&mirror_config(&server.host()));
    let mut terminal = Terminal::start(space.kiln(["pull", "app"]));
    terminal.shows("Using default tag: latest");
    terminal.shows("latest: Pulling from library/app");
    let short = &held["sha256:".len()..][..12];
    terminal.shows(&format!("> {short} [#########"));
    terminal.shows("..........]");
    barrier.wait();
    terminal.shows(&format!("{short}: Pull complete"));
    terminal.shows("Status: Downloaded newer image for app:latest");
    terminal.shows("docker.io/library/app:latest");
    let (status, screen) = terminal.end();
    assert!(status.success() && !screen.contains("Pulling fs layer"), "{screen}");
}

#[test]
fn an_archive_of_the_web_is_imported_and_the_history_says_from_where() {
    let space = TestSpace::new();
    let archive = archive_of("etc/name", b"web\n");
    let whole = archive.clone();
    let server = HttpServer::start(move |request| match request.path.as_str() {
        "/root.tar" => Response::new(200, whole.clone()),
        _ => Response::new(404, "not here"),
    });
    let url = format!("{}/root.tar", server.url());
    let id = space.kiln(["import", &url, "web:1"]).run().success().text();
    let same = space.kiln(["import", "-m", &format!("Imported from {url}"), "-", "same:1"]);
    assert_eq!(same.stdin(archive).run().success().text(), id, "the road does not show in the image");
    let history = space.kiln(["history", "--no-trunc", "web:1"]).run().success().text();
    assert!(history.contains(&format!("Imported from {url}")), "{history}");
    let missing = format!("{}/missing.tar", server.url());
    space.kiln(["import", &missing]).run().fails_with(1).says(&["missing.tar", "404"]);
    let leftovers = peers::run("find", [space.store().join("scratch")]);
    assert!(!leftovers.contains("archive"), "{leftovers}");
}

/// Bytes that no compression makes fewer.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_push_on_a_terminal_has_a_bar_for_a_layer_under_way_and_docker_s_words_for_the_others() {
    requires!("setsid");
    let space = TestSpace::new();
    space.file("context/small", noise(300 << 10));
    space.file("context/large", noise(8 << 20));
    let dockerfile = "FROM scratch\nCOPY small /\nCOPY large /\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    space.build(&context).args(["-t", "app"]).run().success();
    let mut blobs: Vec<(u64, String)> = fs::read_dir(space.store().join("blobs/sha256"))
        .unwrap()
        .map(Result::unwrap)
        .map(|entry| (entry.metadata().unwrap().len(), entry.file_name().into_string().unwrap()))
        .collect();
    blobs.sort();
    let [.., (_, small), (_, large)] = blobs.as_slice() else { panic!("{blobs:?}") };
    let (barrier, parts, there) = (Arc::new(Barrier::new(2)), AtomicUsize::new(0), small.clone());
    let at_server = Arc::clone(&barrier);
    let server = HttpServer::start(move |request| {
        let upload = |response: Response| response.header("Location", "/v2/team/app/blobs/uploads/1");
        match request.method.as_str() {
            "HEAD" if request.path.ends_with(&there) => Response::new(200, ""),
            "HEAD" => Response::new(404, ""),
            "POST" => upload(Response::new(202, "")),
            "PATCH" => match parts.fetch_add(1, Ordering::SeqCst) {
                // So the next ones are a quarter of it.
                0 => Response::new(413, ""),
                number => {
                    if number == 2 {
                        at_server.wait();
                    }
                    upload(Response::new(202, "")).header("Range", &request.headers["content-range"])
                }
            },
            "PUT" => Response::new(201, ""),
            _ => Response::new(200, "{}"),
        }
    });
    space.config(&plain_config(&server.host()));
    let name = format!("{}/team/app:1", server.host());
    space.kiln(["tag", "app", &name]).run().success();
    let mut terminal = Terminal::start(space.kiln(["push", &name]));
    terminal.shows(&format!("The push refers to repository [{}/team/app]", server.host()));
    terminal.shows(&format!("{}: Layer already exists", &small[..12]));
    terminal.shows(&format!("> {} [####", &large[..12]));
    terminal.shows("....]");
    barrier.wait();
    terminal.shows(&format!("{}: Pushed", &large[..12]));
    terminal.shows("1: digest: sha256:");
    let (status, screen) = terminal.end();
    assert!(status.success() && !screen.contains("Preparing"), "{screen}");
}

/// Returns an archive of an image named `app:1`, of some megabytes.
fn saved(space: &TestSpace) -> Vec<u8> {
    let other = space.path("other-store");
    let import = space.kiln(["import", "-", "app:1"]).store(&other);
    import.stdin(archive_of("big", &noise(4 << 20))).run().success();
    space.kiln(["save", "app:1"]).store(&other).run().success().stdout
}

#[test]
fn a_load_says_what_it_reads_and_checks_where_it_is_asked_to() {
    let space = TestSpace::new();
    let archive = space.path("app.tar");
    fs::write(&archive, saved(&space)).unwrap();
    for (flags, progress, is_shown) in [("-i", "", false), ("-i", "plain", true), ("-qi", "plain", false)] {
        let load = space.kiln(["load", flags]).arg(&archive);
        let load = if progress.is_empty() { load } else { load.env("BUILDKIT_PROGRESS", progress) };
        let loaded = load.run().success();
        assert_eq!(loaded.text(), "Loaded image: app:1\n");
        if is_shown {
            loaded.says(&["read `", "app.tar`", "check app:1", "DONE"]);
        } else {
            assert_eq!(loaded.stderr, "", "{flags}");
        }
    }
}

#[test]
fn a_load_from_a_pipe_that_stalls_shows_how_far_it_is_and_ends_at_the_first_interruption() {
    requires!("setsid", "mkfifo");
    let space = TestSpace::new();
    let archive = saved(&space);
    let pipe = space.path("pipe");
    peers::run("mkfifo", [&pipe]);
    // Open for both, so that neither side waits for the other to open it.
    let mut writer = File::options().read(true).write(true).open(&pipe).unwrap();
    let keeps_open = writer.try_clone().unwrap();
    let half = archive[..archive.len() / 2].to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&half).unwrap());
    let mut terminal = Terminal::start(space.kiln(["load", "-i"]).arg(&pipe));
    terminal.shows("> read `");
    terminal.shows("MB ");
    writing.join().unwrap();
    terminal.keys("\x03");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(130), "{screen}");
    assert!(screen.contains("interrupted"), "{screen}");
    assert_eq!(space.kiln(["images", "-q"]).run().success().text(), "");
    drop(keeps_open);
}

#[test]
fn the_first_interruption_ends_an_import_from_a_server_that_stalls() {
    let space = TestSpace::new();
    let archive = archive_of("etc/name", b"web\n");
    let never = Arc::new(Barrier::new(2));
    let server = HttpServer::start(move |_| {
        let mut response = Response::new(200, archive.clone());
        response.held_at = Some((512, Arc::clone(&never)));
        response
    });
    let url = format!("{}/root.tar", server.url());
    let running = space.kiln(["import", &url, "web:1"]).start();
    while server.asked().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    running.wait().fails_with(130).says(&["interrupted"]);
    assert_eq!(space.kiln(["images", "-q"]).run().success().text(), "");
}
