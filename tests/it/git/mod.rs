//! Git repositories as sources and contexts, over servers on loopback.

mod contexts;
mod hostile;
mod kept;
mod private;
mod reuse;
mod robust;
mod sources;
mod submodules;
mod transports;

use std::path::Path;

use crate::support::flatten::Flat;
use crate::support::git::{GitServer, Repository};
use crate::support::image::read_one;
use crate::support::layer::Kind;
use crate::support::{Invocation, TestSpace};

/// A place with a repository and a server.
struct Scene {
    space: TestSpace,
    repository: Repository,
    server: GitServer,
}

impl Scene {
    /// Makes a place with a repository `repo` that has one commit: `README` and `sub/inner`.
    fn new() -> Self {
        let space = TestSpace::new();
        std::fs::create_dir(space.path("srv")).unwrap();
        let repository = Repository::new(&space.path("srv"), "repo");
        repository.write("README", "first\n").write("sub/inner", "inner\n").commit();
        let server = GitServer::serve(&space.path("srv"), |_| None);
        Self { space, repository, server }
    }

    /// Returns the address of the repository.
    fn url(&self) -> String {
        format!("{}/repo.git", self.server.url())
    }

    /// Prepares a build of a Dockerfile that adds `what`.
    fn add(&self, what: &str) -> Invocation {
        self.build(&format!("FROM scratch\nADD {what}\n"))
    }

    /// Prepares a build of a Dockerfile without a context; its result goes to `layout`.
    fn build(&self, dockerfile: &str) -> Invocation {
        let context = self.space.context("context", &[("Dockerfile", dockerfile)]);
        self.to_layout(self.space.build(&context))
    }

    /// Prepares a build of a context that is no directory.
    fn build_remote(&self, context: &str) -> Invocation {
        self.to_layout(self.space.build(Path::new(context)))
    }

    fn to_layout(&self, call: Invocation) -> Invocation {
        let layout = self.space.path("layout");
        if layout.exists() {
            std::fs::remove_dir_all(&layout).unwrap();
        }
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        call.args(["-o", &output])
    }

    /// Returns the files of the last result.
    fn files(&self) -> Flat {
        read_one(&self.space.path("layout")).flatten()
    }

    /// Returns names and contents of the last result's files and links.
    fn listing(&self) -> Vec<String> {
        let show = |name: &[u8], kind: &Kind| match kind {
            Kind::File(_, _, content) => {
                let content = content.as_deref().unwrap_or_default();
                Some(format!("{} {}", name.escape_ascii(), content.escape_ascii()))
            }
            Kind::Symlink(target) => Some(format!("{} -> {}", name.escape_ascii(), target.escape_ascii())),
            _ => None,
        };
        self.files().iter().filter_map(|(name, node, _)| show(name, &node.kind)).collect()
    }
}

/// Returns every file below a directory that has one of these bytes in its name or content.
fn files_with(root: &Path, canary: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let has = |bytes: &[u8]| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            let kind = entry.file_type().unwrap();
            if has(entry.file_name().as_encoded_bytes())
                || (kind.is_file() && has(&std::fs::read(entry.path()).unwrap()))
            {
                found.push(entry.path());
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}
