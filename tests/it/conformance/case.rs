//! What a case's `case.json` and `expected.json` say, as types; an unknown field is an error, so nothing is overlooked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One case: how to build, and what has to come out.
pub(crate) struct Case {
    /// `category/name`.
    pub(crate) id: String,
    /// The case's directory.
    pub(crate) directory: PathBuf,
    /// How to build it.
    pub(crate) recipe: Recipe,
    /// What has to come out.
    pub(crate) expected: Expected,
    /// Files of the context that were links when the case was recorded, and hold the link's target.
    pub(crate) links: Vec<String>,
}

/// A line of `links.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LostLink {
    case: String,
    path: String,
    #[serde(rename = "reason")]
    _reason: String,
}

/// `case.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "category")]
    _category: String,
    #[serde(rename = "about", default)]
    _about: Option<String>,
    /// The build whose result is compared.
    pub(crate) build: Build,
    /// Builds to run first.
    #[serde(default)]
    pub(crate) before: Vec<Build>,
    /// Whether the cache must be on.
    #[serde(default)]
    pub(crate) use_cache: bool,
    /// What a server on loopback answers, by path.
    #[serde(default)]
    pub(crate) http: BTreeMap<String, Answer>,
    /// Commits of a served repository, oldest first.
    #[serde(default)]
    pub(crate) git: Vec<Commit>,
}

/// One answer of the HTTP server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// The body, relative to the case.
    pub(crate) file: String,
    /// The status code.
    pub(crate) status: u16,
    /// Further headers.
    pub(crate) headers: BTreeMap<String, String>,
}

/// One commit of the served repository.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    /// A tar, relative to the case.
    pub(crate) files: String,
    /// The branch it is made on.
    pub(crate) branch: Option<String>,
    /// The tag set on it.
    pub(crate) tag: Option<String>,
}

/// One build.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    /// The file that becomes the Dockerfile.
    pub(crate) dockerfile: Option<String>,
    /// Where it goes.
    pub(crate) dockerfile_path: String,
    /// Whether it lies outside the context.
    #[serde(default)]
    pub(crate) dockerfile_outside_context: bool,
    /// The context as a directory of plain things.
    pub(crate) context_dir: Option<String>,
    /// The context as a tar with everything that matters.
    pub(crate) context_tar: Option<String>,
    /// Sockets to be made in the context.
    #[serde(default)]
    pub(crate) sockets: Vec<String>,
    /// `--build-arg`.
    #[serde(default)]
    pub(crate) build_args: BTreeMap<String, String>,
    /// `--label`.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// `--target`.
    pub(crate) target: Option<String>,
    /// `--platform`.
    pub(crate) platform: Option<String>,
    /// `--network`.
    pub(crate) network: Option<String>,
    /// `--secret` from a file.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// `--secret` from a variable.
    #[serde(default)]
    pub(crate) secret_env: BTreeMap<String, String>,
    /// `--build-context`.
    #[serde(default)]
    pub(crate) named_contexts: BTreeMap<String, NamedContext>,
    /// `--add-host`.
    #[serde(default)]
    pub(crate) hosts: BTreeMap<String, String>,
    /// `--ulimit`.
    #[serde(default)]
    pub(crate) ulimits: BTreeMap<String, String>,
    /// `--shm-size`.
    pub(crate) shm_size: Option<u64>,
    /// Whether file times are rewritten to the epoch.
    #[serde(default)]
    pub(crate) rewrite_timestamp: bool,
    /// `--no-cache`.
    #[serde(default)]
    pub(crate) no_cache: bool,
}

/// A secret's value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Secret {
    /// As text.
    Text(String),
    /// As bytes in hex.
    Hex(String),
}

/// A named context.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum NamedContext {
    /// A directory of plain things.
    ContextDir(String),
    /// A directory that a tar describes.
    ContextTar(String),
    /// An image.
    Image(String),
    /// A base image as an OCI layout.
    OciLayoutOfBase(String),
}

/// `expected.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// Whether the build succeeds.
    pub(crate) result: Verdict,
    /// What a good message contains: one text of each list.
    #[serde(default)]
    pub(crate) message_mentions: Vec<Vec<String>>,
    /// Failing with such a message is accepted as well.
    pub(crate) may_fail_mentioning: Option<Vec<Vec<String>>>,
    /// The result, by platform.
    #[serde(default)]
    pub(crate) images: BTreeMap<String, ExpectedImage>,
    /// For each own layer, whether it is the one of the build before.
    #[serde(default)]
    pub(crate) reuse: Vec<Option<bool>>,
    /// Paths whose mtime counts.
    #[serde(default)]
    pub(crate) check_mtime: Vec<String>,
    /// Paths whose size and content do not count.
    #[serde(default)]
    pub(crate) ignore_content: Vec<String>,
    /// Paths that do not count.
    #[serde(default)]
    pub(crate) ignore: Vec<String>,
}

/// How a build ends.
#[derive(Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// With an image.
    Builds,
    /// With an error.
    Fails,
}

/// What one image has to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedImage {
    /// The base image, if there is one.
    pub(crate) base: Option<String>,
    /// Entries that the base has not, or has otherwise.
    pub(crate) rootfs: BTreeMap<String, Value>,
    /// Paths of the base that are gone.
    pub(crate) removed: Vec<String>,
    /// The fields of the configuration that count.
    pub(crate) config: Value,
    /// The history after the base's.
    pub(crate) history: Vec<Value>,
    /// The entries of each layer after the base's.
    pub(crate) layers: Vec<Vec<String>>,
    /// When the image was made.
    pub(crate) created: Option<String>,
    /// When each step was made.
    pub(crate) history_created: Option<Vec<String>>,
}

/// Reads every case of a folder.
pub(crate) fn read_all(folder: &Path, lost_links: &[LostLink]) -> Vec<Case> {
    let ids: Vec<String> = read(&folder.join("index.json"));
    let case = |id: String| {
        let directory = folder.join(&id);
        let (recipe, expected) = (read(&directory.join("case.json")), read(&directory.join("expected.json")));
        let links = lost_links.iter().filter(|link| link.case == id).map(|link| link.path.clone()).collect();
        Case { id, directory, recipe, expected, links }
    };
    ids.into_iter().map(case).collect()
}

/// Reads a JSON file; panics with its name.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
