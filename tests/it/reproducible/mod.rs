//! Same request, same bytes: one digest whatever the machine, the user, the place, the clock, the cache, and whoever kills it.
//!
//! [`requests`] says what is built, [`rows`] in which ways; every row is applied to every request. Where a digest differs, the
//! failure names the layer and the entry.

mod damage;
mod difference;
mod requests;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::http::HttpServer;
use crate::support::image::{self, Image};
use crate::support::requires::{is_met, skip};
use crate::support::{Invocation, TestSpace, busybox, requires};
use requests::Request;
use rows::{Row, Way};

/// One request, built once as usual; what it is compared with.
pub(crate) struct Stage<'a> {
    request: &'a Request,
    space: TestSpace,
    _server: Option<HttpServer>,
    context: PathBuf,
    expected: Image,
}

#[test]
fn copies_have_one_digest() {
    requires!("mkfifo");
    every_row(&requests::COPY);
}

#[test]
fn copies_from_stages_have_one_digest() {
    requires!("mkfifo");
    every_row(&requests::COPY_FROM);
}

#[test]
fn archives_have_one_digest() {
    requires!("mkfifo");
    every_row(&requests::ADD);
}

#[test]
fn steps_have_one_digest() {
    requires!("root", "busybox", "mkfifo");
    every_row(&requests::RUN);
}

fn every_row(request: &Request) {
    let stage = Stage::new(request);
    let mut differences = Vec::new();
    for row in rows::ALL {
        if let Some(need) = row.needs.iter().find(|need| !is_met(need)) {
            skip(&format!("{}, {}: needs {need}", request.name, row.name));
            continue;
        }
        differences.extend(stage.apply(row));
    }
    differences.extend(damage::every_damage(&stage));
    differences.extend(stage.killed_and_resumed());
    assert!(differences.is_empty(), "{}: {}", request.name, differences.join("\n"));
}

impl<'a> Stage<'a> {
    fn new(request: &'a Request) -> Self {
        let space = TestSpace::in_memory();
        let server = (request.name == requests::RUN.name).then(|| busybox::serve(&space));
        let context = space.path("context");
        request.lay_out(&context, false);
        let (layout, _) = space.build_layout(&context, "expected", &["-t", "app"]);
        let expected = image::read_one(&layout);
        Self { request, space, _server: server, context, expected }
    }

    /// Prepares a build of a context with a store, into the layout of a name.
    fn call(&self, context: &Path, store: &Path, name: &str) -> Invocation {
        let output = format!("type=oci,tar=false,dest={}", self.layout(name).display());
        self.space.build(context).store(store).args(["-o", &output])
    }

    fn layout(&self, name: &str) -> PathBuf {
        self.space.path(&format!("layouts/{}", name.replace(' ', "-")))
    }

    /// Runs a prepared build, and says what is different.
    fn compare(&self, name: &str, call: Invocation) -> Option<String> {
        // Another build may have written there; a layout keeps what it has.
        if self.layout(name).exists() {
            fs::remove_dir_all(self.layout(name)).unwrap();
        }
        let outcome = call.run().success();
        let found = image::read_one(&self.layout(name));
        assert_eq!(outcome.digest(), found.digest, "{name}: what is printed is what is written");
        let differs = found.digest != self.expected.digest;
        differs.then(|| format!("{name}: {}", difference::between(&self.expected, &found)))
    }

    fn apply(&self, row: &Row) -> Option<String> {
        let own = self.space.path(&format!("rows/{}", row.name.replace(' ', "-")));
        fs::create_dir_all(&own).unwrap();
        let (context, store) = (own.join("context"), own.join("store"));
        match row.way {
            Way::Call(change) => self.compare(row.name, change(self.call(&self.context, &store, row.name))),
            Way::Warm(change) => {
                let cold = self.compare(row.name, self.call(&self.context, &store, row.name));
                cold.or_else(|| self.compare(row.name, change(self.call(&self.context, &store, row.name))))
            }
            Way::Context(lay_out) => {
                let kept = lay_out(self.request, &context);
                let found = self.compare(row.name, self.call(&context, &store, row.name));
                drop(kept);
                found
            }
            Way::Store(prepare) => {
                let kept = prepare(&own.join("disk"));
                let found =
                    self.compare(row.name, self.call(&self.context, &kept.path.join("store"), row.name));
                drop(kept);
                found
            }
            Way::User(user) => {
                let user = user(&self.space);
                let context = user.path("context");
                self.request.lay_out(&context, false);
                user.own(&context);
                let layouts = self.space.path("layouts");
                fs::set_permissions(layouts, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
                self.compare(row.name, self.call(&context, &user.path("store"), row.name).user(&user))
            }
        }
    }

    /// Kills builds in one store at moments spread over the time that a whole one takes, then lets one end.
    fn killed_and_resumed(&self) -> Option<String> {
        const KILLS: u32 = 6;
        let name = "killed and resumed";
        let started = Instant::now();
        let mut difference = self.compare(name, self.call(&self.context, &self.space.path("whole"), name));
        let whole = started.elapsed();
        let store = self.space.path("killed");
        for kill in 1..=KILLS {
            let mut running = self.call(&self.context, &store, name).start();
            std::thread::sleep(whole * kill / (KILLS + 1));
            // One that has ended already was a build like any other.
            running.child.kill().unwrap();
            running.wait();
        }
        difference = difference.or_else(|| self.compare(name, self.call(&self.context, &store, name)));
        difference
    }
}
