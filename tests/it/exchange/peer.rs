//! The programs that kiln exchanges images with.

use std::fs;
use std::path::{Path, PathBuf};

use super::transport::Transport;
use super::{FOREIGN, Form, NATIVE, context, digest_of, native};
use crate::support::engine::Engine;
use crate::support::image::json_file;
use crate::support::layer::{self, Kind};
use crate::support::requires::has_program;
use crate::support::{TestSpace, peers, sha256};

/// A program with images of its own.
pub(super) enum Peer {
    /// skopeo, which makes none: these are layouts of kiln's, gzip and zstd; and where it pulls to.
    Skopeo { layouts: [PathBuf; 2], pulled: PathBuf },
    /// A builder, which has made `gzip`, `zstd` and the list `both`; and where it pulls to.
    Engine { maker: Engine, pulled: PathBuf },
}

/// What a program says of an image that it has pulled.
pub(super) struct Seen {
    /// The digests of its manifest, and of the list in which it came where the program knows that.
    pub(super) digests: Vec<String>,
    /// The digest of its configuration.
    pub(super) id: String,
    /// What its file holds.
    pub(super) content: String,
}

impl Peer {
    /// Prepares those that are here, each with its images.
    pub(super) fn all(space: &TestSpace) -> Vec<Self> {
        let engines = ["buildah", "podman"].into_iter().filter(|program| has_program(program));
        let engines = engines.map(|program| Self::engine(space, program));
        [Self::skopeo(space)].into_iter().chain(engines).collect()
    }

    fn skopeo(space: &TestSpace) -> Self {
        let context = context(space, "skopeo");
        let platforms = format!("linux/{NATIVE},linux/{FOREIGN}");
        let layouts = ["gzip", "zstd"].map(|file| {
            let words = ["--platform", &platforms, "--build-arg", &format!("FILE={file}")];
            space.build_layout(Path::new(&context), &format!("layout-{file}"), &words).0
        });
        let pulled = space.path("skopeo");
        fs::create_dir(&pulled).unwrap();
        Self::Skopeo { layouts, pulled }
    }

    fn engine(space: &TestSpace, program: &'static str) -> Self {
        let pulled = space.path(program);
        let maker = Engine::new(program, &pulled.join("made"));
        let context = context(space, program);
        let build = |file: &str, words: &[&str]| {
            let file = format!("FILE={file}");
            let always = ["build", "--quiet", "--isolation=chroot", "--layers=false", "--build-arg", &file];
            maker.run(always.iter().chain(words).chain(&[context.as_str()]));
        };
        build("gzip", &["--tag=gzip", "--manifest=both"]);
        build("gzip", &["--manifest=both", &format!("--platform=linux/{FOREIGN}")]);
        build("zstd", &["--tag=zstd"]);
        Self::Engine { maker, pulled }
    }

    /// Returns its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Skopeo { .. } => "skopeo",
            Self::Engine { maker, .. } => maker.program(),
        }
    }

    /// Lets it push its image of a form.
    pub(super) fn push(&self, form: &Form, name: &str, transport: &Transport) {
        let to = format!("docker://{name}");
        let format = if form.is_docker { "--format=v2s2" } else { "--format=oci" };
        match self {
            Self::Skopeo { layouts, .. } => {
                let mut words = vec![format];
                words.extend(form.is_list.then_some("--all"));
                words.extend(form.is_zstd.then_some("--dest-compress-format=zstd"));
                let layout = &layouts[usize::from(form.is_zstd)];
                skopeo_copy("dest", transport, &words, &format!("oci:{}", layout.display()), &to);
            }
            Self::Engine { maker, .. } => {
                let mut words = if form.is_list { vec!["manifest", "push", "--all"] } else { vec!["push"] };
                words.extend(["--quiet", format]);
                words.extend(form.is_zstd.then_some("--compression-format=zstd"));
                words.extend(transport.flags.iter().map(String::as_str));
                words.extend([if form.is_list { "both" } else { form.file() }, &to]);
                maker.run(words);
            }
        }
    }

    /// Lets it pull an image, for this machine or whole, and look into it.
    pub(super) fn pull(&self, form: &Form, name: &str, transport: &Transport) -> Seen {
        let place = format!("{}-{}", transport.name, form.name);
        let from = format!("docker://{name}");
        match self {
            Self::Skopeo { pulled, .. } => {
                let place = pulled.join(place);
                let to = format!("dir:{}", place.display());
                skopeo_copy("src", transport, &["--all", "--preserve-digests"], &from, &to);
                read_directory(&place)
            }
            // Each into a storage without images: one that is there with another manifest would get this one instead.
            Self::Engine { maker, pulled } => {
                let engine = Engine::new(maker.program(), &pulled.join(place));
                let flags = transport.flags.iter().map(String::as_str);
                let get =
                    |words: &[&str]| engine.run(words.iter().copied().chain(flags).chain([from.as_str()]));
                if engine.program() == "buildah" {
                    let container = get(&["from"]);
                    let root = engine.run(["mount", &container]);
                    let format = "--format={{.FromImageID}} {{.FromImageDigest}}";
                    return Seen::new(&engine.run(["inspect", format, &container]), Path::new(&root));
                }
                let id = get(&["pull", "--quiet"]);
                let root = engine.run(["image", "mount", &id]);
                let format = "--format={{.Id}}{{range .RepoDigests}} {{.}}{{end}}";
                Seen::new(&engine.run(["image", "inspect", format, &id]), Path::new(&root))
            }
        }
    }
}

impl Seen {
    /// Makes it of an id and digests, perhaps behind a name, and of where the files are.
    fn new(told: &str, root: &Path) -> Self {
        let (id, digests) = told.split_once(' ').unwrap();
        let digests = digests.split(' ').map(|digest| digest.rsplit('@').next().unwrap().to_owned());
        Self {
            digests: digests.collect(),
            id: format!("sha256:{id}"),
            content: fs::read_to_string(root.join("content")).unwrap(),
        }
    }
}

/// Copies by skopeo, which has each flag twice.
fn skopeo_copy(side: &str, transport: &Transport, words: &[&str], from: &str, to: &str) {
    let flags = transport.flags.iter().map(|flag| flag.replacen("--", &format!("--{side}-"), 1));
    let words = words.iter().map(|word| (*word).to_owned());
    let always = ["--insecure-policy", "copy", "--quiet"].map(str::to_owned);
    let names = [from, to].map(str::to_owned);
    peers::run("skopeo", always.into_iter().chain(flags).chain(words).chain(names));
}

/// Reads an image of one layer from a directory as skopeo writes it: files that are called by their digests, and the manifest or list.
fn read_directory(place: &Path) -> Seen {
    let path = place.join("manifest.json");
    let mut digests = vec![format!("sha256:{}", sha256::of_file(&path))];
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let mut manifest = json_file(&path);
    if let Some(digest) = native(&manifest).map(digest_of) {
        manifest = json_file(&place.join(format!("{}.manifest.json", hex(&digest))));
        digests.push(digest);
    }
    let layer = layer::read(&place.join(hex(&digest_of(&manifest["layers"][0]))));
    let file = layer.entries.into_iter().find(|entry| entry.path == b"content").unwrap();
    let Kind::File(_, _, Some(content)) = file.kind else { panic!("no file") };
    Seen { digests, id: digest_of(&manifest["config"]), content: String::from_utf8(content).unwrap() }
}
