//! The surroundings of one case: its context on disk, its servers, and the words that stand for their addresses.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::case::{Build, Case, Recipe};
use crate::support::git::{self, GitServer};
use crate::support::http::{HttpServer, Response};
use crate::support::users::User;

/// The time of everything in a context that is given as a directory.
const CONTEXT_TIME: Duration = Duration::from_secs(1_577_934_245);

/// What stands around the builds of one case.
pub(crate) struct Place {
    root: tempfile::TempDir,
    words: Vec<(String, String)>,
    _http: Option<HttpServer>,
    _git: Option<GitServer>,
}

impl Place {
    /// Makes the place of a case and starts its servers.
    pub(crate) fn new(case: &Case) -> Self {
        let root = tempfile::Builder::new().prefix("kiln-case-").tempdir().unwrap();
        let nonce = format!(
            "nonce{:016x}",
            u64::from_str_radix(
                &crate::support::sha256::of(root.path().as_os_str().as_encoded_bytes())[..16],
                16
            )
            .unwrap()
        );
        let mut words = vec![("@NONCE@".to_owned(), nonce)];
        let http = (!case.recipe.http.is_empty()).then(|| serve(case));
        // The recorded server had each case below the case's name, and one case takes a file name from there.
        let base = |server: &HttpServer| format!("{}{}", server.url(), base_path(case));
        words.extend(http.iter().map(|server| ("@HTTP@".to_owned(), base(server))));
        let git = (!case.recipe.git.is_empty()).then(|| serve_git(case, root.path()));
        if let Some(server) = &git {
            words.push(("@GIT@".to_owned(), server.url()));
            words.extend(
                server
                    .commits
                    .iter()
                    .enumerate()
                    .map(|(index, id)| (format!("@SHA{}@", index + 1), id.clone())),
            );
        }
        Self { root, words, _http: http, _git: git }
    }

    /// Returns a path inside the place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Gives everything in the place to a user.
    pub(crate) fn give_to(&self, user: &User) {
        fs::set_permissions(self.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        user.own(self.root.path());
    }

    /// Replaces placeholders by what they stand for here.
    pub(crate) fn fill(&self, text: &[u8]) -> Vec<u8> {
        self.words
            .iter()
            .fold(text.to_vec(), |text, (word, value)| replace(&text, word.as_bytes(), value.as_bytes()))
    }

    /// Replaces placeholders in text.
    pub(crate) fn fill_text(&self, text: &str) -> String {
        String::from_utf8(self.fill(text.as_bytes())).unwrap()
    }

    /// Turns what the placeholders stood for back into them.
    pub(crate) fn clear(&self, text: &[u8]) -> Vec<u8> {
        self.words
            .iter()
            .fold(text.to_vec(), |text, (word, value)| replace(&text, value.as_bytes(), word.as_bytes()))
    }

    /// As [`Self::clear`], for the content of a file that is compared by its hash: the recorded commits had the same ids, which
    /// are in the recorded hashes as they are.
    pub(crate) fn clear_file(&self, content: &[u8]) -> Vec<u8> {
        let words = self.words.iter().filter(|(word, _)| !word.starts_with("@SHA"));
        words.fold(content.to_vec(), |text, (word, value)| replace(&text, value.as_bytes(), word.as_bytes()))
    }

    /// Lays out the context of one build; returns its directory and the Dockerfile's path.
    pub(crate) fn lay_out(&self, case: &Case, build: &Build) -> (PathBuf, PathBuf) {
        let context = self.path("context");
        empty(&context);
        if let Some(name) = &build.context_dir {
            copy_plain(&case.directory.join(name), &context);
            case.links.iter().for_each(|link| restore_link(&context.join(link)));
        }
        if let Some(name) = &build.context_tar {
            unpack(&case.directory.join(name), &context);
        }
        for socket in &build.sockets {
            drop(UnixListener::bind(context.join(socket)).unwrap());
        }
        let outside = self.path("elsewhere");
        let dockerfile =
            if build.dockerfile_outside_context { &outside } else { &context }.join(&build.dockerfile_path);
        if let Some(name) = &build.dockerfile {
            let parent = dockerfile.parent().unwrap();
            let times = fs::metadata(parent).ok().map(|metadata| metadata.modified().unwrap());
            fs::create_dir_all(parent).unwrap();
            fs::write(&dockerfile, self.fill(&fs::read(case.directory.join(name)).unwrap())).unwrap();
            set_time(&dockerfile, SystemTime::UNIX_EPOCH + CONTEXT_TIME);
            set_time(parent, times.unwrap_or(SystemTime::UNIX_EPOCH + CONTEXT_TIME));
        }
        (context, dockerfile)
    }

    /// Lays out a named context.
    pub(crate) fn lay_out_named(
        &self,
        case: &Case,
        index: usize,
        directory: Option<&str>,
        tar: Option<&str>,
    ) -> PathBuf {
        let path = self.path(&format!("named{index}"));
        empty(&path);
        if let Some(name) = directory {
            copy_plain(&case.directory.join(name), &path);
        }
        if let Some(name) = tar {
            unpack(&case.directory.join(name), &path);
        }
        path
    }
}

/// Returns the path below which a case's files are served.
fn base_path(case: &Case) -> String {
    let name = case.id.rsplit('/').next().unwrap_or_default();
    format!("/{name}")
}

fn serve(case: &Case) -> HttpServer {
    let Recipe { http, .. } = &case.recipe;
    let read = |file: &str| fs::read(case.directory.join(file)).unwrap();
    let base = base_path(case);
    let answers: Vec<_> = http
        .iter()
        .map(|(path, answer)| {
            (format!("{base}/{path}"), answer.status, answer.headers.clone(), read(&answer.file))
        })
        .collect();
    HttpServer::start(move |request| {
        let path = decode(&request.path);
        let Some((_, status, headers, body)) = answers.iter().find(|(known, ..)| *known == path) else {
            return Response::new(404, "not here");
        };
        let host = request.headers.get("host").map_or("", String::as_str);
        let own = format!("http://{host}{base}");
        headers.iter().fold(Response::new(*status, body.clone()), |response, (name, value)| {
            response.header(name, &value.replace("@SELF@", &own))
        })
    })
}

/// Undoes `%20` and the like.
fn decode(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| {
                std::str::from_utf8(tail.get(..2)?).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            })
            .flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn serve_git(case: &Case, root: &Path) -> GitServer {
    let place = root.join("git");
    fs::create_dir(&place).unwrap();
    let files: Vec<PathBuf> =
        case.recipe.git.iter().map(|commit| case.directory.join(&commit.files)).collect();
    let commits: Vec<_> = case
        .recipe
        .git
        .iter()
        .zip(&files)
        .map(|(commit, files)| git::Commit {
            files,
            branch: commit.branch.as_deref(),
            tag: commit.tag.as_deref(),
        })
        .collect();
    GitServer::start(&place, &commits)
}

/// Makes `path` an empty directory with the mode and time of a context.
fn empty(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).unwrap();
    }
    fs::create_dir_all(path).unwrap();
    finish_directory(path);
}

fn copy_plain(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source).unwrap();
        if metadata.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_plain(&source, &target);
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
            set_link_time(&target);
        } else {
            fs::copy(&source, &target).unwrap();
            let executable = metadata.permissions().mode() & 0o111 != 0;
            fs::set_permissions(&target, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))
                .unwrap();
            set_time(&target, SystemTime::UNIX_EPOCH + CONTEXT_TIME);
        }
    }
    finish_directory(to);
}

/// Turns a file that holds a link's target into that link; whoever has the link itself keeps it.
fn restore_link(path: &Path) {
    if path.is_symlink() {
        return;
    }
    let target = fs::read_to_string(path).unwrap();
    assert!(!target.ends_with('\n'), "{} holds more than a link's target", path.display());
    fs::remove_file(path).unwrap();
    symlink(target, path).unwrap();
    set_link_time(path);
    finish_directory(path.parent().unwrap());
}

fn finish_directory(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    set_time(path, SystemTime::UNIX_EPOCH + CONTEXT_TIME);
}

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
}

fn set_link_time(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: CONTEXT_TIME.as_secs().cast_signed(), tv_nsec: 0 };
    utimensat(
        CWD,
        path,
        &Timestamps { last_access: time, last_modification: time },
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
}

/// Unpacks a context with everything it says: owners, modes, times, special files, extended attributes.
fn unpack(tar: &Path, to: &Path) {
    let mut command = Command::new("tar");
    command.args([
        "--extract",
        "--same-permissions",
        "--same-owner",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--warning=no-timestamp",
    ]);
    let output = command.arg("--file").arg(tar).arg("--directory").arg(to).output().unwrap();
    assert!(
        output.status.success(),
        "cannot unpack {}: {}",
        tar.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Replaces every occurrence of `from`.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut result, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(position) = rest.windows(from.len()).position(|window| window == from) {
        result.extend_from_slice(&rest[..position]);
        result.extend_from_slice(to);
        rest = &rest[position + from.len()..];
    }
    result.extend_from_slice(rest);
    result
}
