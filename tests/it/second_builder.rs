//! COPY and ADD by kiln and by buildah, the builder that distributions have: generated instructions, the same files.
//!
//! BuildKit decides what is right, so the generator keeps to what both builders mean alike: no wildcard that may match nothing,
//! no `--chmod` that makes directories, which buildah makes 0755. What else buildah does otherwise stands in [`IGNORED_BITS`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::engine::Engine;
use crate::support::flatten::Node;
use crate::support::image::{LayerCache, read_all};
use crate::support::layer::Kind;
use crate::support::{TestSpace, requires};

/// How many instructions are compared: some in each of a few builds, each below a directory of its own.
const BATCHES: u64 = 2;
const INSTRUCTIONS: usize = 30;

/// Bits of modes that are not compared, and why.
const IGNORED_BITS: [(u32, &str); 1] =
    [(0o6000, "buildah drops the set-user-id and set-group-id bits of what it copies, BuildKit does not")];

#[test]
fn copies_come_out_as_another_builder_makes_them() {
    requires!("root", "buildah");
    let mut differences = Vec::new();
    for seed in 1..=BATCHES {
        let space = TestSpace::new();
        let mut dice = Dice(seed);
        let context = space.path("context");
        let names = Names::make(&context, &mut dice);
        let instructions: Vec<String> =
            (0..INSTRUCTIONS).map(|number| names.instruction(number, &mut dice)).collect();
        let dockerfile = format!("FROM scratch\nWORKDIR /w\n{}", instructions.concat());
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let (layout, _) = space.build_layout(&context, "by-kiln", &[]);
        let (ours, theirs) = (described(&layout), described(&build_with_buildah(&space, &context)));
        for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
            let (ours, theirs) = (ours.get(path), theirs.get(path));
            if ours != theirs {
                let number = path.trim_start_matches("w/").split('/').next().unwrap().parse::<usize>();
                let by = number.map_or("the base", |number| instructions[number].trim_end());
                differences
                    .push(format!("batch {seed}, {path:?}: kiln {ours:?}, buildah {theirs:?}, by {by}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// What lies in a context, by kind; paths relative to it.
#[derive(Default)]
struct Names {
    directories: Vec<String>,
    files: Vec<String>,
}

// A name is always of one kind, so that nothing is in the way of anything.
const FILE_NAMES: [&str; 7] = ["a", "b.c", "x y", "q{z}", "é", ".hidden", "-o"];
const DIRECTORY_NAMES: [&str; 4] = ["d", "e f", "$v", "g"];
const LINK_NAMES: [&str; 4] = ["l", "m", "n", "o"];
const FILE_MODES: [u32; 5] = [0o644, 0o600, 0o755, 0o4755, 0o2711];
const DIRECTORY_MODES: [u32; 4] = [0o755, 0o700, 0o1777, 0o2750];

impl Names {
    /// Makes a context: a few levels of directories, files with hard links, good and dangling symlinks.
    fn make(context: &Path, dice: &mut Dice) -> Self {
        fs::create_dir(context).unwrap();
        let mut names = Self { directories: vec![String::new()], ..Self::default() };
        for _ in 0..50 {
            let parent = dice.pick(&names.directories).clone();
            let kind = dice.roll(8);
            let name = *dice.pick(if kind < 3 { &DIRECTORY_NAMES[..] } else { &FILE_NAMES });
            let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
            let place = context.join(&path);
            if place.exists() {
                continue;
            }
            match kind {
                0..3 => {
                    fs::create_dir(&place).unwrap();
                    names.directories.push(path);
                }
                3 if !names.files.is_empty() => {
                    fs::hard_link(context.join(dice.pick(&names.files)), &place).unwrap();
                }
                _ => {
                    fs::write(&place, &path).unwrap();
                    fs::set_permissions(&place, Permissions::from_mode(*dice.pick(&FILE_MODES))).unwrap();
                    names.files.push(path);
                }
            }
        }
        // Where no wildcard looks, because what dangles is no source.
        fs::create_dir(context.join("links")).unwrap();
        for name in LINK_NAMES {
            symlink(dice.pick(&["a", "../a", "gone", "/w", "."]), context.join("links").join(name)).unwrap();
        }
        names.directories.push("links".to_owned());
        names.directories.remove(0);
        for directory in &names.directories {
            let mode = Permissions::from_mode(*dice.pick(&DIRECTORY_MODES));
            fs::set_permissions(context.join(directory), mode).unwrap();
        }
        names
    }

    /// Writes one instruction, or two onto the same place, that copy below the directory `number`.
    fn instruction(&self, number: usize, dice: &mut Dice) -> String {
        if dice.roll(5) == 0 {
            let words = [dice.pick(&self.files).replace('$', "\\$"), format!("/w/{number}")];
            return format!("COPY --chmod=0750 {}\n", serde_json::to_string(&words).unwrap());
        }
        let mut text = String::new();
        for _ in 0..=dice.roll(2) {
            let mut words: Vec<String> = (0..=dice.roll(3)).map(|_| self.source(dice)).collect();
            let place = dice.pick(&["", "in/", "in/deep/"]);
            let base = dice.pick(&["/w/", ""]);
            words.push(format!("{base}{number}/{place}"));
            let flag = dice.pick(&["", "", "--chown=1:2 ", "--chown=7 "]);
            let keyword = dice.pick(&["COPY", "COPY", "ADD"]);
            text.push_str(&format!("{keyword} {flag}{}\n", serde_json::to_string(&words).unwrap()));
        }
        text
    }

    fn source(&self, dice: &mut Dice) -> String {
        let is_directory = dice.roll(3) == 0 && !self.directories.is_empty();
        let path = dice.pick(if is_directory { &self.directories } else { &self.files });
        // A `$` would begin a variable.
        let literal = path.replace('$', "\\$");
        match (dice.roll(5), literal.rsplit_once('/')) {
            (0, Some((parent, _))) => format!("{parent}/*"),
            (1, _) => format!("/{literal}"),
            (2, _) => format!("./{literal}"),
            (3, _) if is_directory => format!("{literal}/"),
            _ => literal,
        }
    }
}

/// Builds with buildah into an OCI layout of its own.
fn build_with_buildah(space: &TestSpace, context: &Path) -> PathBuf {
    let buildah = Engine::new("buildah", &space.path("buildah"));
    let build = ["build", "--quiet", "--isolation=chroot", "--layers=false", "--tag=result"].map(OsStr::new);
    buildah.run(build.into_iter().chain([context.as_os_str()]));
    let layout = space.path("by-buildah");
    buildah.run(["push", "--quiet", "result", &format!("oci:{}:result", layout.display())]);
    layout
}

/// Returns every path of an image with what counts: time does not, nor the mode of a symlink, which Linux does not have.
pub(crate) fn described(layout: &Path) -> BTreeMap<String, String> {
    let ignored: u32 = IGNORED_BITS.iter().map(|(bits, _)| bits).sum();
    let flat = read_all(layout, &mut LayerCache::new())[0].flatten();
    flat.iter()
        .map(|(path, Node { kind, mode, uid, gid, .. }, group)| {
            let mode = mode & !ignored;
            let what = match kind {
                Kind::File(size, digest, _) => format!("file of {size} bytes {} {mode:o}", &digest[..8]),
                Kind::Symlink(target) => format!("symlink to {}", String::from_utf8_lossy(target)),
                _ => format!("directory {mode:o}"),
            };
            let link = group.map(|first| format!(" linked to {}", String::from_utf8_lossy(first)));
            let text = format!("{what} {uid}:{gid}{}", link.unwrap_or_default());
            (String::from_utf8_lossy(path).into_owned(), text)
        })
        .collect()
}
