//! Pulling and pushing while connections break, servers lie and kilns are killed.

mod proxy;
mod tokens;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::{Proxy, Temper};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::http::{HttpServer, Request, Response, plain_config};
use crate::support::image::check_blobs;
use crate::support::program::{Invocation, Outcome};
use crate::support::registry::Registry;
use crate::support::{TestSpace, requires};

/// Bytes that no compression makes smaller.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// Builds an image of layers of these sizes and returns their sum.
fn build(space: &TestSpace, name: &str, sizes: &[usize]) -> u64 {
    let mut dockerfile = "FROM scratch\n".to_owned();
    for (number, size) in sizes.iter().enumerate() {
        space.file(&format!("context/{number}"), noise(*size, number as u64 + 7));
        dockerfile += &format!("COPY {number} /\n");
    }
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    space.build(&context).args(["-t", name]).run().success();
    sizes.iter().sum::<usize>() as u64
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Whether a call succeeded; where not, it says so once, and whom it spoke to.
fn ended_well(outcome: &Outcome, host: &str) -> bool {
    let errors = outcome.stderr.matches("error: ").count();
    match outcome.status.code() {
        Some(0) => true,
        Some(1) if errors == 1 && outcome.stderr.contains(host) => false,
        _ => panic!("neither success nor one clear error:\n{outcome}"),
    }
}

/// `KILN_FAULT_ROUNDS` and `KILN_FAULT_SEED` say how long and where this looks.
#[test]
fn transfers_through_a_proxy_that_misbehaves_end_well_or_with_one_clear_error() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    let size = build(&space, "app", &[700 << 10, 2 << 20, 2 << 20, 2 << 20]);
    let seed = number("KILN_FAULT_SEED", 1);
    for round in 0..number("KILN_FAULT_ROUNDS", 3) {
        let seed = seed.wrapping_add(round).wrapping_mul(0x2545_f491_4f6c_dd1d);
        // Each costly fault costs a layer at most, so that three of them are less than the image.
        let temper = Temper {
            seed,
            percent: 20 + 10 * (round % 3),
            faults_max: 8,
            costly_max: 3,
            wants_tokens: round % 2 == 1,
        };
        let proxy = Proxy::start(&registry.host(), temper);
        let name = format!("{}/round{round}/app:1", proxy.host());
        space.config(&plain_config(proxy.host()));
        space.kiln(["tag", "app", &name]).run().success();
        let pushed = space.kiln(["push", &name]).run();
        let (up, _) = proxy.take_bytes();
        let log = proxy.take_log();
        assert!(up <= size + size * 6 / 5, "{up} of {size} bytes were sent, seed {seed}: {log:#?}");
        if !ended_well(&pushed, proxy.host()) {
            proxy.calm();
            space.kiln(["push", &name]).run().success();
        }
        drop(proxy);

        let proxy = Proxy::start(&registry.host(), Temper { seed: !seed, ..temper });
        let own = format!("{}/round{round}/app:1", proxy.host());
        space.config(&plain_config(proxy.host()));
        let store = space.path(&format!("store{round}"));
        let pulled = space.kiln(["pull", &own]).store(&store).run();
        let (_, down) = proxy.take_bytes();
        let log = proxy.take_log();
        assert!(down <= size + size * 6 / 5, "{down} of {size} bytes came, seed {seed}: {log:#?}");
        let is_pulled = ended_well(&pulled, proxy.host());
        check_blobs(&store);
        if !is_pulled {
            proxy.calm();
            space.kiln(["pull", &own]).store(&store).run().success();
            check_blobs(&store);
        }
    }
}

/// Answers as a registry that has half of the first large blob when it falls silent.
struct Halting {
    kept: Mutex<Vec<u8>>,
    /// Whether it goes on.
    is_released: AtomicBool,
}

impl Halting {
    fn start(
        answer: impl Fn(&Self, &Request) -> Response + Send + Sync + 'static,
    ) -> (Arc<Self>, HttpServer) {
        let own = Arc::new(Self { kept: Mutex::default(), is_released: AtomicBool::new(false) });
        let shared = Arc::clone(&own);
        (own, HttpServer::start(move |request| answer(&shared, request)))
    }

    fn wait(&self) {
        while !self.is_released.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a call, ends it when the server was asked `count` times for what begins so, and lets the server go on.
    fn end_at(&self, server: &HttpServer, (call, signal): (Invocation, Signal), what: &str, count: usize) {
        let mut running = call.start();
        while server.asked().iter().filter(|asked| asked.starts_with(what)).count() < count {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended: {:?}", server.asked());
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        let outcome = running.wait();
        if signal == Signal::INT {
            // The server still says nothing: nobody waits for it.
            outcome.fails_with(130).says(&["interrupted"]);
        } else {
            assert!(!outcome.status.success());
        }
        self.is_released.store(true, Ordering::SeqCst);
    }
}

/// A registry that takes half of an upload's first part and stalls at the second.
fn taking_half() -> (Arc<Halting>, HttpServer) {
    Halting::start(|halting, request| {
        let kept = || halting.kept.lock().unwrap();
        let place = |response: Response| response.header("Location", "/v2/team/app/blobs/uploads/1");
        let range = |length: usize| format!("0-{}", length - 1);
        match request.method.as_str() {
            "HEAD" => Response::new(404, ""),
            "POST" => place(Response::new(202, "")),
            "PATCH" if kept().is_empty() => {
                // It takes half, and wants to hear the rest again.
                let half = request.body.len() / 2;
                kept().extend_from_slice(&request.body[..half]);
                place(Response::new(202, "")).header("Range", &range(half))
            }
            "PATCH" if !halting.is_released.load(Ordering::SeqCst) => {
                halting.wait();
                Response::new(500, "")
            }
            "PATCH" => {
                assert_eq!(
                    request.headers["content-range"].split('-').next(),
                    Some(kept().len().to_string().as_str())
                );
                kept().extend_from_slice(&request.body);
                place(Response::new(202, "")).header("Range", &range(kept().len()))
            }
            "GET" if request.path.contains("/uploads/") => {
                place(Response::new(204, "")).header("Range", &range(kept().len()))
            }
            "PUT" => Response::new(201, ""),
            _ => Response::new(200, "{}"),
        }
    })
}

#[test]
fn an_upload_that_was_killed_or_interrupted_is_continued_by_the_next() {
    let space = TestSpace::new();
    for (signal, flags) in [(Signal::KILL, &[][..]), (Signal::INT, &[]), (Signal::INT, &["-a"])] {
        let (halting, server) = taking_half();
        let repository = format!("{}/team/app", server.host());
        let name = format!("{repository}:1");
        let call = || {
            let call = space.kiln(["push"]).args(flags);
            call.arg(if flags.is_empty() { &name } else { &repository })
        };
        space.config(&plain_config(&server.host()));
        build(&space, &name, &[3 << 20]);
        halting.end_at(&server, (call(), signal), "PATCH", 2);
        call().run().success();
        let asked = server.asked();
        let patches = asked.iter().filter(|asked| asked.starts_with("PATCH")).count();
        let posts = asked.iter().filter(|asked| asked.starts_with("POST")).count();
        assert_eq!(patches, 3, "one upload of the layer: {asked:?}");
        assert!(matches!(posts, 2 | 3), "the configuration's may have been under way, too: {asked:?}");
        assert_eq!(space.store().join("records/upload").read_dir().unwrap().count(), 0, "it is over");
    }
}

/// A server of these blobs that sends half of a large one and stalls when it is asked for the rest.
fn sending_half(data: PathBuf) -> (Arc<Halting>, HttpServer) {
    Halting::start(move |halting, request| {
        let hex = request.path.rsplit(':').next().unwrap_or_default().to_owned();
        let Some(folder) = hex.get(..2) else { return Response::new(200, "{}") };
        let Ok(bytes) = std::fs::read(data.join(folder).join(&hex).join("data")) else {
            return Response::new(200, "{}");
        };
        if request.path.contains("/manifests/") || bytes.len() < 1 << 20 {
            return Response::new(200, bytes);
        }
        let half = bytes.len() / 2;
        let Some(range) = request.headers.get("range") else {
            let mut response = Response::new(200, bytes);
            response.cut_after = Some(half);
            return response;
        };
        halting.wait();
        assert_eq!(*range, format!("bytes={half}-{}", bytes.len() - 1));
        let part = format!("bytes {half}-{}/{}", bytes.len() - 1, bytes.len());
        Response::new(206, &bytes[half..]).header("Content-Range", &part)
    })
}

#[test]
fn a_download_that_was_killed_or_interrupted_is_continued_by_the_next() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    let direct = format!("{}/team/app:1", registry.host());
    space.config(&registry.config());
    build(&space, &direct, &[3 << 20]);
    space.kiln(["push", &direct]).run().success();
    let data = space.path("registry/data/docker/registry/v2/blobs/sha256");
    let (digest, _) = registry.tagged("team/app", "1");
    for signal in [Signal::KILL, Signal::INT] {
        let (halting, server) = sending_half(data.clone());
        space.config(&plain_config(&server.host()));
        let name = format!("{}/team/app@{digest}", server.host());
        let store = space.path(&format!("store-{}", signal.as_raw()));
        let call = || space.kiln(["pull", &name]).store(&store);
        let is_layer = |asked: &String| asked.starts_with("GET") && asked.contains("/blobs/");
        halting.end_at(&server, (call(), signal), "GET /v2/team/app/blobs/", 3);
        let before = server.asked().iter().filter(|asked| is_layer(asked)).count();
        call().run().success();
        assert_eq!(
            server.asked().iter().filter(|asked| is_layer(asked)).count(),
            before + 1,
            "the rest, and nothing else"
        );
        check_blobs(&store);
    }
}
