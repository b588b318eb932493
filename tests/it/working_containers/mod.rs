//! Working containers: commands run in them, files go in and out, images are made of them, and nothing is lost or left over.

mod copies;
mod images;
mod lives;
mod moving;
mod peers;
mod signals;

use crate::support::http::HttpServer;
use crate::support::users::{self, User};
use crate::support::{Invocation, TestSpace, busybox, confined};

/// A place with a base image, and one way of running things there.
struct Scene {
    space: TestSpace,
    user: Option<User>,
    is_confined: bool,
    _server: HttpServer,
}

/// The ways in which steps, and so containers, run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Root, over overlays.
    Root,
    /// Root, in copies of all files.
    Copy,
    /// A user with subordinate ids.
    Subordinate,
    /// A user with a single id: owners are recorded.
    Single,
    /// Root that may neither make namespaces nor mount: by chroot.
    Chroot,
}

const WAYS: [Way; 5] = [Way::Root, Way::Copy, Way::Subordinate, Way::Single, Way::Chroot];
/// Those that have least in common.
const EXTREMES: [Way; 2] = [Way::Single, Way::Chroot];

impl Scene {
    fn new(way: Way) -> Self {
        let space = TestSpace::shared();
        let server = busybox::serve(&space);
        if way == Way::Copy {
            let config = std::fs::read_to_string(space.path("config.toml")).unwrap();
            space.config(&format!("{config}\n[build]\nroot = \"copy\"\n"));
        }
        let user = match way {
            Way::Subordinate => Some(users::with_subordinate_ids(&space)),
            Way::Single => Some(users::with_single_id(&space)),
            Way::Root | Way::Copy | Way::Chroot => None,
        };
        Self { space, user, is_confined: way == Way::Chroot, _server: server }
    }

    /// Prepares a call. Whatever program it runs under becomes kiln, so that the child process is kiln's in each way.
    fn kiln(&self, arguments: &[&str]) -> Invocation {
        let call = self.space.kiln(arguments).by(self.user.as_ref());
        if self.is_confined { call.under(confined::prefix(&[])) } else { call }
    }

    /// Calls, and returns what came out.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        self.kiln(arguments).run().success().text()
    }

    /// Builds an image.
    #[track_caller]
    fn build(&self, name: &str, dockerfile: &str) {
        let context = self.space.context(&format!("context-{name}"), &[("Dockerfile", dockerfile)]);
        if let Some(user) = &self.user {
            user.own(&context);
        }
        self.kiln(&["build", "--progress=plain", "-t", name]).arg(context).run().success();
    }

    /// Returns the identities of an image's layers.
    #[track_caller]
    fn layers(&self, image: &str) -> Vec<String> {
        let text = self.said(&["inspect", image]);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let layers = document[0]["RootFS"]["Layers"].as_array().unwrap().iter();
        layers.map(|layer| layer.as_str().unwrap().to_owned()).collect()
    }
}
