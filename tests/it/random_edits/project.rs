//! A small project: files, an ignore file, a Dockerfile of several stages, and the flags it is built with.
//!
//! All values come from small sets, so that edits often lead back to what was built before: what a cache gets wrong shows
//! where something that is known is wanted again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::chance::Chance;
use crate::support::sketch;

/// Texts of files, and values of variables.
pub(super) const VALUES: [&str; 4] = ["one", "two", "three\n", ""];
/// Names of files in the context.
pub(super) const NAMES: [&str; 9] =
    ["a", "b.txt", "c.log", "src/a", "src/b.txt", "src/deep/c", "src/deep/d.log", "lib/x", "lib/with space"];
const PLACES: [&str; 6] = ["/app/", "/app/src/", "/out/", "/", "/app/sub/", "file"];
const STAGE_NAMES: [&str; 4] = ["base", "left", "right", "last"];

/// A name in the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A file: its text, and its mode.
    File(String, u32),
    /// A symlink.
    Link(String),
    /// An archive that holds a file with this text.
    Archive(String),
    /// Another name of this one, if that is a file; else a file of its own.
    Hard(&'static str),
}

/// A stage of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// The name of an earlier stage, or `scratch`.
    pub(super) base: String,
    /// The instructions, each of one line or more.
    pub(super) instructions: Vec<String>,
}

/// All that decides an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) ignored: Vec<&'static str>,
    pub(super) stages: Vec<Stage>,
    pub(super) arguments: BTreeMap<&'static str, String>,
    pub(super) flags: Vec<&'static str>,
    /// What `$WHICH` means where it stands in FROM.
    pub(super) which: &'static str,
    /// The directory that the context `side` is.
    pub(super) side: &'static str,
    /// The value of a secret, of which nothing may depend.
    pub(super) secret: String,
}

impl Project {
    /// Returns a project with a few of everything.
    pub(super) fn new(chance: &mut Chance) -> Self {
        let mut project = Self {
            nodes: BTreeMap::new(),
            ignored: Vec::new(),
            stages: Vec::new(),
            arguments: BTreeMap::new(),
            flags: Vec::new(),
            which: "base",
            side: ".",
            secret: value(chance),
        };
        for name in NAMES {
            if !chance.once_in(4) {
                project.nodes.insert(name.to_owned(), Node::File(value(chance), 0o644));
            }
        }
        project.nodes.insert("src/link".to_owned(), Node::Link("a".to_owned()));
        project.nodes.insert("bundle.tar".to_owned(), Node::Archive(value(chance)));
        for number in 0..STAGE_NAMES.len() {
            let base = if number == 0 { "tools" } else { STAGE_NAMES[chance.below(number)] };
            let count = 2 + chance.below(4);
            let instructions = (0..count).map(|_| instruction(chance, number)).collect();
            project.stages.push(Stage { base: base.to_owned(), instructions });
        }
        project
    }

    /// Writes the context: what is as in `before` is left alone, and a file that has another text stays the same file.
    pub(super) fn write(&self, directory: &Path, before: Option<&Self>) {
        if before.is_none() {
            drop(fs::remove_dir_all(directory));
            fs::create_dir(directory).unwrap();
            fs::copy("/bin/busybox", directory.join("busybox")).unwrap();
        }
        let nothing = BTreeMap::new();
        let had = before.map_or(&nothing, |before| &before.nodes);
        for (name, node) in had {
            let stays = matches!((node, self.nodes.get(name)), (Node::File(..), Some(Node::File(..))));
            if !stays && self.nodes.get(name) != Some(node) {
                fs::remove_file(directory.join(name)).unwrap();
            }
        }
        for (name, node) in self.nodes.iter().filter(|(name, node)| had.get(*name) != Some(*node)) {
            write_node(&directory.join(name), node);
        }
        for (name, node) in &self.nodes {
            if let Node::Hard(target) = node {
                let path = directory.join(name);
                drop(fs::remove_file(&path));
                match self.nodes.get(*target) {
                    Some(Node::File(..)) => fs::hard_link(directory.join(target), path).unwrap(),
                    _ => fs::write(path, "alone").unwrap(),
                }
            }
        }
        fs::write(directory.join("Dockerfile"), self.dockerfile()).unwrap();
        fs::write(directory.join(".dockerignore"), self.ignored.join("\n")).unwrap();
        fs::write(secret_of(directory), &self.secret).unwrap();
    }

    /// Returns the text of the Dockerfile.
    pub(super) fn dockerfile(&self) -> String {
        let mut text = "ARG WHICH=base\nFROM scratch AS tools\nCOPY busybox /bin/busybox\n\
            RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n"
            .to_owned();
        for (stage, name) in self.stages.iter().zip(STAGE_NAMES) {
            text += &format!("\nFROM {} AS {name}\n", stage.base);
            stage.instructions.iter().for_each(|instruction| text += &format!("{instruction}\n"));
        }
        text
    }

    /// Returns the flags it is built with.
    pub(super) fn flags(&self, directory: &Path) -> Vec<String> {
        let more = [
            format!("--build-arg=WHICH={}", self.which),
            format!("--build-context=side={}", directory.join(self.side).display()),
            format!("--secret=id=token,src={}", secret_of(directory).display()),
        ];
        let arguments = self
            .arguments
            .iter()
            .flat_map(|(name, value)| ["--build-arg".to_owned(), format!("{name}={}", value.trim_end())]);
        self.flags.iter().map(|flag| (*flag).to_owned()).chain(arguments).chain(more).collect()
    }
}

/// Where the secret is, outside of the context.
fn secret_of(directory: &Path) -> PathBuf {
    directory.with_extension("secret")
}

fn write_node(path: &Path, node: &Node) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match node {
        Node::File(text, mode) => {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Node::Link(target) => symlink(target, path).unwrap(),
        Node::Archive(text) => {
            let lines = format!("packed/\npacked/file: {}\n", text.trim_end());
            fs::write(path, sketch::archive(&sketch::parse(&lines))).unwrap();
        }
        Node::Hard(_) => {}
    }
}

/// Returns one of the names that a stage can stand on or copy from.
pub(super) fn earlier(chance: &mut Chance, number: usize) -> &'static str {
    match chance.below(number + 1) {
        0 => "tools",
        other => STAGE_NAMES[other - 1],
    }
}

/// Returns one of [`VALUES`].
pub(super) fn value(chance: &mut Chance) -> String {
    chance.one(&VALUES).to_owned()
}

/// Returns an instruction for the stage of this number.
pub(super) fn instruction(chance: &mut Chance, number: usize) -> String {
    match chance.below(10) {
        0..=2 => copy(chance, number),
        3 => add(chance),
        4..=6 => run(chance, number),
        _ => setting(chance),
    }
}

fn copy(chance: &mut Chance, number: usize) -> String {
    let place = chance.one(&PLACES);
    let flags = [
        "",
        "",
        "",
        "--chmod=600 ",
        "--chmod=u+x,go-r ",
        "--chown=7:8 ",
        "--link ",
        "--exclude=**/*.log ",
        "--parents ",
        "--link --chown=5 ",
    ];
    let flag = chance.one(&flags);
    match chance.below(7) {
        6 => format!("COPY {flag}--from=side . /side/"),
        0 => format!("COPY {flag}. {place}"),
        1 => format!("COPY {flag}src {place}"),
        2 => format!("COPY {flag}*.txt src/*.txt {}", if place == "file" { "/out/" } else { place }),
        3 => format!("COPY {flag}src/deep/ lib {}", if place == "file" { "/out/" } else { place }),
        4 => {
            let text = value(chance);
            format!("COPY <<EOF {place}inline\n{}\nEOF", text.trim_end())
        }
        _ => {
            let from = earlier(chance, number);
            let what = chance.one(&["/bin/busybox", "/bin/busy*", "/app*", "/ma[d]e*"]);
            format!("COPY --from={from} {what} {place}")
        }
    }
}

fn add(chance: &mut Chance) -> String {
    let place = chance.one(&PLACES);
    match chance.below(3) {
        0 => "ADD bundle.tar /unpacked/".to_owned(),
        1 => format!("ADD --chown=3:4 src {place}"),
        _ => format!("ADD b.txt bundle.tar {}", if place == "file" { "/out/" } else { place }),
    }
}

/// Commands whose outcome follows from what they see. What a pipe writes to is there before or after `find` looks, as chance has it,
/// so it is not looked for.
const COMMANDS: [&str; 14] = [
    "find / -xdev ! -path '/etc/*' ! -path /made -type f -print0 | sort -z | xargs -0 md5sum > /made",
    "find /app /out ! -type d -print0 2>/dev/null | sort -z | xargs -r -0 stat -c '%n %a %u %g %s %Y' > /made; true",
    "find /app /out -type d -print0 2>/dev/null | sort -z | xargs -r -0 stat -c '%n %a %u %g %Y' >> /made; true",
    "mkdir -p /app/dir; echo \"$NAME $OTHER\" > /app/dir/variables",
    "env | sort > /made; pwd >> /made",
    "rm -rf /app/src; mkdir -p /app; echo gone > /app/gone",
    "mkdir -p /app; mv /app /moved; mkdir /app; cp -a /moved /app/",
    "mkdir -p /out; ln -sf ../made /out/link; echo x >> /made; ln -f /made /hard",
    "chmod -R go-w /app 2>/dev/null; true",
    "true",
    "rm -f /made /app/b.txt /out/a; echo few > /few",
    "cat /app/b.txt /app/src/b.txt 2>/dev/null | wc -l > /made; true",
    "test -L /out || { rm -rf /out; mkdir -p /real; ln -s real /out; }; true",
    "mkdir -p /a/b; mkfifo /a/b/pipe; chown 9:9 /a/b; touch /a/empty",
];

fn run(chance: &mut Chance, number: usize) -> String {
    match chance.below(11) {
        9 => "RUN --mount=type=secret,id=token,required test -e /run/secrets/token && echo secret > /made"
            .to_owned(),
        10 => "RUN --mount=type=bind,from=side,target=/from find /from -type f | sort | md5sum > /bound"
            .to_owned(),
        0 => format!(
            "RUN --mount=type=bind,target=/source,source={} find /source -type f -print0 | sort -z | xargs -r -0 md5sum > /bound",
            chance.one(&["src", "src/deep", "lib", ""])
        ),
        1 => {
            let from = earlier(chance, number);
            format!(
                "RUN --mount=type=bind,from={from},target=/from find /from -xdev | sort | md5sum > /bound"
            )
        }
        2 => "RUN --mount=type=cache,target=/cache echo x >> /cache/log; echo cached > /made".to_owned(),
        3 => "RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/log; echo tmpfs > /made".to_owned(),
        4 => {
            let text = value(chance);
            format!("RUN <<EOF\necho {}\necho $NAME > /heredoc\nEOF", text.trim_end())
        }
        _ => format!("RUN {}", chance.one(&COMMANDS)),
    }
}

fn setting(chance: &mut Chance) -> String {
    let (text, name) = (value(chance), chance.one(&["NAME", "OTHER"]));
    let text = text.trim_end();
    match chance.below(8) {
        0 => format!("ARG {name}"),
        1 => format!("ARG {name}={text}"),
        2 => format!("ENV {name}={text}"),
        3 => format!("ENV {name}=${{OTHER:-{text}}}"),
        4 => format!("WORKDIR {}", chance.one(&["/app", "sub", "/work/$NAME", "/"])),
        5 => format!("LABEL {name}=\"{text}\""),
        6 => format!("CMD [\"{text}\"]"),
        _ => "USER 0:0".to_owned(),
    }
}
