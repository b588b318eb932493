//! Git repositories with known commits, and `git http-backend` behind the small HTTP server.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::http::{HttpServer, Request, Response};
use super::program::SEARCH_PATH;

/// One commit to make.
pub(crate) struct Commit<'a> {
    /// A tar that is unpacked over the work tree.
    pub(crate) files: &'a Path,
    /// The branch it goes to; `main` otherwise.
    pub(crate) branch: Option<&'a str>,
    /// A tag to set on it.
    pub(crate) tag: Option<&'a str>,
}

/// A served repository.
pub(crate) struct GitServer {
    server: HttpServer,
    /// The ids of the commits, oldest first.
    pub(crate) commits: Vec<String>,
}

impl GitServer {
    /// Makes the commits below `place` and serves them at `/repo.git`.
    pub(crate) fn start(place: &Path, commits: &[Commit<'_>]) -> Self {
        let work = place.join("work");
        git(place, 0, &["init", "--quiet", "--initial-branch=main", "work"]);
        let ids = commits.iter().enumerate().map(|(index, commit)| make(&work, index, commit)).collect();
        git(place, 0, &["clone", "--quiet", "--bare", "work", "repo.git"]);
        let root = Arc::new(place.to_owned());
        let server = HttpServer::start(move |request| backend(&root, request));
        Self { server, commits: ids }
    }

    /// Serves the repositories below `root`, each at `/NAME.git`. `gate` may answer a request itself.
    pub(crate) fn serve(
        root: &Path,
        gate: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let root = Arc::new(root.to_owned());
        let server =
            HttpServer::start(move |request| gate(request).unwrap_or_else(|| backend(&root, request)));
        Self { server, commits: Vec::new() }
    }

    /// Returns the address, without a final slash.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the host with its port.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    /// Returns `METHOD path` of every request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.server.asked()
    }
}

/// A repository that a test fills, in `PLACE/NAME`; `PLACE/NAME.git` is what a server shows of it.
pub(crate) struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes an empty one.
    pub(crate) fn new(place: &Path, name: &str) -> Self {
        git(place, 0, &["init", "--quiet", "--initial-branch=main", name]);
        std::os::unix::fs::symlink(format!("{name}/.git"), place.join(format!("{name}.git"))).unwrap();
        Self { path: place.join(name) }
    }

    /// Returns a path in its work tree.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: &str) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Commits everything and returns the id.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in it and returns what it prints.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, 0, arguments).trim().to_owned()
    }
}

fn make(work: &Path, index: usize, commit: &Commit<'_>) -> String {
    if let Some(branch) = commit.branch {
        git(work, index, &["checkout", "--quiet", "-b", branch]);
    }
    let unpacked = Command::new("tar").arg("-xf").arg(commit.files).arg("-C").arg(work).status().unwrap();
    assert!(unpacked.success(), "cannot unpack {}", commit.files.display());
    git(work, index, &["add", "--all"]);
    git(work, index, &["commit", "--quiet", "--message", &format!("commit {}\n", index + 1)]);
    if let Some(tag) = commit.tag {
        git(work, index, &["tag", tag]);
    }
    let id = git(work, index, &["rev-parse", "HEAD"]).trim().to_owned();
    if commit.branch.is_some() {
        git(work, index, &["checkout", "--quiet", "main"]);
    }
    id
}

fn git(directory: &Path, index: usize, arguments: &[&str]) -> String {
    let date = format!("{} +0000", 1_577_934_245 + 60 * index);
    let mut command = Command::new("git");
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("HOME", directory);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "A")
            .env(format!("GIT_{role}_EMAIL"), "a@example.com")
            .env(format!("GIT_{role}_DATE"), &date);
    }
    let output = command.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Answers one request by the gateway program that git brings.
fn backend(root: &PathBuf, request: &Request) -> Response {
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("HOME", root);
    command.env("GIT_PROJECT_ROOT", root).env("PATH_INFO", &request.path).env("QUERY_STRING", &request.query);
    command
        .env("REQUEST_METHOD", &request.method)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("CONTENT_LENGTH", request.body.len().to_string());
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.headers.get(header) {
            command.env(variable, value);
        }
    }
    // Repositories of another owner are refused otherwise.
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let sent = child.stdin.take().unwrap().write_all(&request.body).is_ok();
    let mut answer = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    child.wait().unwrap();
    // As for any server of programs, what it wrote counts: of what went wrong it says there.
    if sent && !answer.is_empty() { parse(&answer) } else { Response::new(500, answer) }
}

/// Parses the gateway's answer: headers, an empty line, the body.
fn parse(answer: &[u8]) -> Response {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let mut response = Response::new(200, answer.get(end + 4..).unwrap_or_default());
    for line in String::from_utf8_lossy(&answer[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", value)) => response.status = value[..3].parse().unwrap(),
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    response
}
