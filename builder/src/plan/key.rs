//! What a step's key is made of.
//!
//! A key is the hash of a list of named fields, its *record*. [`describe`] is the only function that names them; the hasher
//! and the explanation of a miss read what it says.
//!
//! | Input | run | copy | make dir | image | Why, or why not |
//! |---|---|---|---|---|---|
//! | format numbers of tar, compression, keys | yes | yes | yes | – | a new format makes new bytes |
//! | time: the epoch, or `preserve` | yes | yes | yes | – | it is in every header |
//! | compression | yes | yes | yes | – | the blob's bytes |
//! | parent file system | yes | unless independent | yes | – | see `Inputs::parent` |
//! | selected files: path, kind, mode, owner, link, content | bind mounts | yes | – | – | what the step reads |
//! | command, environment, directory, user, host name | yes | – | user | – | |
//! | declared ARGs | yes | – | – | – | they are in the environment |
//! | undeclared proxy variables | no | – | – | – | they change how, not what |
//! | network, limits, size of `/dev/shm`, names of extra hosts | yes | – | – | – | the process can see them |
//! | addresses of extra hosts | no | – | – | – | they differ by machine |
//! | mounts: target, kind, options | yes | – | – | – | |
//! | contents of caches, values of secrets, agents | no | – | – | – | they must not decide what comes out |
//! | diff ids | – | – | – | yes | the name and the configuration do not count |
//! | mtimes, host paths, number of threads, user of the machine | no | no | no | no | same inputs, same bytes |
//!
//! Of a git repository the commit counts, the subdirectory, and which submodules and times are wanted. The ref and the address
//! count only with the git directory, since they are written into it.

use kiln_oci::{Digest, Hasher};

use super::op::{CopyOp, CopySource, GitOp, MountKind, Network, Op, RunMount, RunOp, Sharing, Unpack};
use crate::git_reference::Mtime;

/// Number of the way keys are made; a change makes every key another.
pub const KEY_FORMAT: u32 = 2;

/// The identity of a step with its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(pub Digest);

/// Which of a step's two keys is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// From the definitions of the inputs, without running anything.
    Definition,
    /// From what the inputs turned out to be.
    Content,
}

/// What the keys of all steps of a build share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBase {
    /// Time written in headers, in seconds since 1970; `None` keeps the files' own times.
    pub epoch: Option<i64>,
    /// Name and level of the compression.
    pub compression: String,
    /// Format numbers of tar and compression.
    pub formats: (u32, u32),
}

/// The identities of a step's inputs, in one of the two senses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The parent; `None` where the result cannot depend on it.
    pub parent: Option<Digest>,
    /// What it reads besides, in the order of [`Op::reads`].
    pub reads: Vec<Digest>,
}

/// Takes the fields of a key, in order.
pub trait KeySink {
    /// Takes one field.
    fn field(&mut self, name: &'static str, value: &[u8]);
}

/// The list of a key's fields, as it is stored for explanations.
pub type KeyRecord = Vec<(String, Vec<u8>)>;

impl KeySink for KeyRecord {
    fn field(&mut self, name: &'static str, value: &[u8]) {
        self.push((name.to_owned(), value.to_vec()));
    }
}

impl KeySink for Hasher {
    fn field(&mut self, name: &'static str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.update(&(part.len() as u64).to_le_bytes());
            self.update(part);
        }
    }
}

/// Returns the key of a step.
pub fn step_key(kind: KeyKind, base: &KeyBase, op: &Op, inputs: &Inputs) -> StepKey {
    let mut hasher = Hasher::new();
    describe(kind, base, op, inputs, &mut hasher);
    StepKey(hasher.finish())
}

/// Names every field of a step's key.
pub fn describe(kind: KeyKind, base: &KeyBase, op: &Op, inputs: &Inputs, sink: &mut dyn KeySink) {
    sink.field("format", &KEY_FORMAT.to_le_bytes());
    sink.field("key", if kind == KeyKind::Definition { b"definition" } else { b"content" });
    if op.parent().is_some() {
        sink.field("tar", &base.formats.0.to_le_bytes());
        sink.field("compressor", &base.formats.1.to_le_bytes());
        sink.field("compression", base.compression.as_bytes());
        match base.epoch {
            Some(epoch) => sink.field("epoch", &epoch.to_le_bytes()),
            None => sink.field("epoch", b"preserve"),
        }
        match &inputs.parent {
            Some(parent) => sink.field("parent", parent.as_bytes()),
            None => sink.field("parent", b"independent"),
        }
    }
    match op {
        Op::Scratch => sink.field("op", b"scratch"),
        Op::Image(image) => {
            sink.field("op", b"image");
            for layer in &image.layers {
                sink.field("diff id", layer.diff_id.0.as_bytes());
            }
        }
        Op::Context(context) => {
            sink.field("op", b"context");
            sink.field("name", context.name.as_bytes());
        }
        Op::Http(http) => {
            sink.field("op", b"http");
            sink.field("url", http.url.unshown().as_bytes());
            sink.field("checksum", http.checksum.as_ref().map_or(&[][..], |digest| &digest.as_bytes()[..]));
        }
        Op::Git(git) => describe_git(git, inputs, sink),
        Op::Run(run) => describe_run(run, inputs, sink),
        Op::Copy(copy) => describe_copy(copy, inputs, sink),
        Op::MakeDir(make) => {
            sink.field("op", b"make dir");
            sink.field("path", make.path.as_bytes());
            sink.field("user", make.user.as_bytes());
        }
    }
}

fn describe_git(git: &GitOp, inputs: &Inputs, sink: &mut dyn KeySink) {
    let reference = &git.reference;
    sink.field("op", b"git");
    for resolved in &inputs.reads {
        sink.field("commit", resolved.as_bytes());
    }
    sink.field("subdirectory", reference.subdirectory.as_bytes());
    sink.field("git directory", &[u8::from(reference.keeps_git_directory())]);
    sink.field("submodules", &[u8::from(reference.submodules)]);
    sink.field("commit times", &[u8::from(reference.mtime == Mtime::Commit)]);
}

fn describe_run(run: &RunOp, inputs: &Inputs, sink: &mut dyn KeySink) {
    sink.field("op", b"run");
    for word in &run.argv {
        sink.field("argument", word.as_bytes());
    }
    for (name, value) in &run.env {
        sink.field("variable", format!("{name}={value}").as_bytes());
    }
    sink.field("directory", run.cwd.as_bytes());
    sink.field("user", run.user.as_bytes());
    sink.field("host name", run.hostname.as_bytes());
    sink.field("platform", run.platform.to_string().as_bytes());
    sink.field("network", if run.network == Network::Host { b"host" } else { b"none" });
    for (name, _) in &run.extra_hosts {
        sink.field("extra host", name.as_bytes());
    }
    for limit in &run.ulimits {
        sink.field("limit", format!("{}={:?}:{:?}", limit.name, limit.soft, limit.hard).as_bytes());
    }
    sink.field("shm size", &run.shm_size_bytes.unwrap_or_default().to_le_bytes());
    if let Some(script) = &run.script {
        sink.field("script name", script.name.as_bytes());
        sink.field("script", script.text.as_bytes());
    }
    let mut reads = inputs.reads.iter();
    for mount in &run.mounts {
        let read = mount.kind.reads().and_then(|_| reads.next());
        describe_mount(mount, read, sink);
    }
}

fn describe_mount(mount: &RunMount, read: Option<&Digest>, sink: &mut dyn KeySink) {
    sink.field("mount", mount.target.as_bytes());
    match &mount.kind {
        MountKind::Bind { source, writable, .. } => {
            sink.field("mount kind", if *writable { b"bind rw" } else { b"bind ro" });
            sink.field("mount source", source.as_bytes());
            if let Some(read) = read {
                sink.field("mount content", read.as_bytes());
            }
        }
        MountKind::Cache { id, sharing, readonly, mode, uid, gid, .. } => {
            let sharing = match sharing {
                Sharing::Shared => "shared",
                Sharing::Private => "private",
                Sharing::Locked => "locked",
            };
            sink.field("mount kind", b"cache");
            sink.field("mount options", format!("{id} {sharing} {readonly} {mode:o} {uid} {gid}").as_bytes());
        }
        MountKind::Tmpfs { size_bytes } => {
            sink.field("mount kind", b"tmpfs");
            sink.field("mount options", format!("{size_bytes:?}").as_bytes());
        }
        MountKind::Secret { id, env, required, mode, uid, gid } => {
            sink.field("mount kind", b"secret");
            sink.field("mount options", format!("{id} {env:?} {required} {mode:o} {uid} {gid}").as_bytes());
        }
        MountKind::Agent { id, required, mode, uid, gid } => {
            sink.field("mount kind", b"ssh");
            sink.field("mount options", format!("{id} {required} {mode:o} {uid} {gid}").as_bytes());
        }
    }
}

fn describe_copy(copy: &CopyOp, inputs: &Inputs, sink: &mut dyn KeySink) {
    sink.field("op", b"copy");
    let mut reads = inputs.reads.iter();
    for source in &copy.sources {
        let (kind, text) = match source {
            CopySource::Path { pattern, .. } => ("source", pattern.as_bytes()),
            CopySource::Inline { name, .. } => ("inline", name.as_bytes()),
            CopySource::Remote { .. } => ("remote", &b""[..]),
        };
        sink.field(kind, text);
        if let CopySource::Inline { text, .. } = source {
            sink.field("text", text.as_bytes());
        }
        if let Some(read) = source.reads().and_then(|_| reads.next()) {
            sink.field("files", read.as_bytes());
        }
    }
    sink.field("destination", copy.destination.as_bytes());
    sink.field("owner", copy.chown.as_deref().unwrap_or_default().as_bytes());
    sink.field("mode", copy.chmod.as_deref().unwrap_or_default().as_bytes());
    sink.field("link", &[u8::from(copy.link)]);
    sink.field("parents", &[u8::from(copy.parents)]);
    for pattern in &copy.exclude {
        sink.field("exclude", pattern.as_bytes());
    }
    let unpack = match copy.unpack {
        Unpack::Never => "never",
        Unpack::Local => "local",
        Unpack::All => "all",
    };
    sink.field("unpack", unpack.as_bytes());
}
