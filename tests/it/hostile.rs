//! Archives made to do harm, on every way in: each is refused with a reason that names the member, or becomes a safe tree. Nothing
//! outside changes, memory and time stay bounded, and the store is sound afterwards.
//!
//! `tests/hostile/make_archives.py` makes the archives and says what must become of each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::image::{check_blobs, read_one};
use crate::support::layer::Kind;
use crate::support::space::{kept, repository};
use crate::support::{Invocation, Outcome, TestSpace, busybox, peers, requires, sha256, users, validator};

/// Memory that a case may need, in MiB, where it does not say otherwise. Much of it is the program's own, which is not optimised.
const PEAK_MIB_MAX: u64 = 160;
/// Seconds that a case may need, on a machine with much else to do; what is not bounded needs more than anybody has.
const SECONDS_MAX: &str = "300";
/// Bytes of what a refusal says, progress included.
const MESSAGE_BYTES_MAX: usize = 20_000;
/// What only a disk refuses, only the layers below say, or only a step meets.
const UNSEEN_BY_LOAD: [&str; 3] = ["too long", "does not exist", "`/bin/busybox`: no such file"];
/// An ordinary user, and the ways in that do not unpack, prove themselves on one in so many cases.
const SAMPLE: usize = 5;

/// What must become of an archive.
enum Expected {
    /// It does not apply.
    Nothing,
    /// An error that has this in it.
    Error(String),
    /// These entries, in order.
    Tree(Vec<String>),
}

impl Expected {
    fn applies(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

struct Case {
    name: String,
    tries: String,
    path: PathBuf,
    archive: Expected,
    context: Expected,
    layer: Expected,
    peak_mib: u64,
}

/// Makes the archives, once for every state of the scripts.
fn cases() -> Vec<Case> {
    let scripts = repository().join("tests/hostile");
    let source = ["make_archives.py", "raw.py"].map(|name| fs::read(scripts.join(name)).unwrap());
    let folder = kept("hostile").join(sha256::of(&source.concat()));
    if !folder.exists() {
        let fresh = tempfile::tempdir_in(kept("hostile")).unwrap();
        let script = scripts.join("make_archives.py");
        let call = Command::new("python3").arg("-B").arg(script).arg(fresh.path()).output().unwrap();
        assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
        peers::run("chmod", [Path::new("-R"), Path::new("a+rX"), fresh.path()]);
        // Another test may have been faster.
        if fs::rename(fresh.path(), &folder).is_err() {
            assert!(folder.exists());
        }
    }
    let list: Value = serde_json::from_slice(&fs::read(folder.join("cases.json")).unwrap()).unwrap();
    list.as_array().unwrap().iter().map(|case| read_case(&folder, case)).collect()
}

fn read_case(folder: &Path, case: &Value) -> Case {
    let name = case["name"].as_str().unwrap().to_owned();
    Case {
        path: folder.join(format!("{name}.tar")),
        name,
        tries: case["tries"].as_str().unwrap().to_owned(),
        archive: expected(&case["archive"]),
        context: expected(&case["context"]),
        layer: expected(&case["layer"]),
        peak_mib: case["peak"].as_u64().unwrap_or(PEAK_MIB_MAX),
    }
}

fn expected(value: &Value) -> Expected {
    match value {
        Value::Null => Expected::Nothing,
        Value::String(text) => Expected::Error(text.clone()),
        lines => {
            let lines = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
            Expected::Tree(lines.collect())
        }
    }
}

/// A place with things around it that nobody may touch.
struct Guarded {
    space: TestSpace,
    before: BTreeMap<PathBuf, String>,
    /// What went wrong so far: all of it is worth knowing at once.
    problems: RefCell<Vec<String>>,
}

impl Guarded {
    fn new() -> Self {
        let space = TestSpace::in_memory();
        // The place is small, and so is what a store may take of it; what is looked at here no prune beside the builds may take away.
        space.config("[store]\nmax = \"none\"\n");
        for directory in ["outside", "tmp/outside", "home/outside", "context/outside"] {
            space.file(&format!("{directory}/victim"), "safe");
            space.file(&format!("{directory}/dir/other"), "safe too");
        }
        let mut guarded = Self { space, before: BTreeMap::new(), problems: RefCell::default() };
        guarded.before = guarded.state();
        guarded
    }

    /// Everything in the place that is not the store, nor handed out by the tests.
    fn state(&self) -> BTreeMap<PathBuf, String> {
        let mut state = BTreeMap::new();
        for directory in ["outside", "tmp", "home", "context"] {
            add_state(&self.space.path(directory), &mut state);
        }
        state
    }

    /// Runs one case and returns how it ended, after looking at everything but the result.
    fn run(&self, case: &Case, call: Invocation) -> Outcome {
        let peak = self.space.path("peak");
        let measure = repository().join("tests/hostile/measure.py");
        let words =
            ["timeout".into(), SECONDS_MAX.into(), "python3".into(), "-B".into(), measure, peak.clone()];
        let outcome = call.under(words).run();
        if !matches!(outcome.status.code(), Some(0 | 1)) || outcome.crashed() {
            self.report(case, format!("neither refused nor contained: {outcome}"));
        }
        let mib = fs::read_to_string(&peak).unwrap_or_default().parse::<u64>().map_or(0, |kib| kib / 1024);
        if mib > case.peak_mib {
            self.report(case, format!("needed {mib} MiB"));
        }
        if self.state() != self.before {
            self.report(case, "something outside has changed".to_owned());
        }
        for escaped in ["/etc/kiln-hostile", "/outside", "/victim"] {
            if Path::new(escaped).exists() {
                self.report(case, format!("{escaped} is there"));
            }
        }
        outcome
    }

    fn report(&self, case: &Case, problem: String) {
        self.problems.borrow_mut().push(format!("{} ({})\n{problem}\n", case.name, case.tries));
    }

    /// Looks how a case ended, and what an image written to `layout` contains.
    fn check(&self, case: &Case, expected: &Expected, outcome: &Outcome, layout: Option<&Path>) {
        match expected {
            Expected::Nothing => {}
            Expected::Error(text) => {
                if outcome.status.code() != Some(1) || !outcome.stderr.contains(text) {
                    self.report(case, format!("should fail with {text:?}: {outcome}"));
                } else if outcome.stderr.len() > MESSAGE_BYTES_MAX {
                    self.report(case, format!("the message has {} bytes", outcome.stderr.len()));
                }
            }
            Expected::Tree(_) if !outcome.status.success() => {
                self.report(case, format!("should succeed: {outcome}"));
            }
            Expected::Tree(expected) => {
                let lines: BTreeSet<String> = layout.map(lines_of).into_iter().flatten().collect();
                let expected: BTreeSet<String> = expected.iter().cloned().collect();
                if layout.is_some() && lines != expected {
                    self.report(case, difference(&expected, &lines));
                }
            }
        }
    }

    /// Says what went wrong, and looks at a store after all cases: blobs are what their names say, nothing half-written is left, nothing is beside its place.
    fn finish(&self, store: &Path) {
        let problems = self.problems.borrow();
        assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
        check_blobs(store);
        let scratch = store.join("scratch");
        let left: Vec<_> = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
        let found = peers::run("find", [store.as_os_str(), "-name".as_ref(), "victim".as_ref()]);
        let astray: Vec<&str> = found.lines().filter(|path| !path.contains("/snapshots/")).collect();
        assert_eq!(astray, Vec::<&str>::new());
    }
}

fn add_state(path: &Path, state: &mut BTreeMap<PathBuf, String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let content = if metadata.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
    let known = (metadata.mode(), metadata.uid(), metadata.mtime(), metadata.mtime_nsec(), metadata.nlink());
    state.insert(path.to_owned(), format!("{known:?} {content}"));
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| add_state(&entry.unwrap().path(), state));
    }
}

fn difference(expected: &BTreeSet<String>, found: &BTreeSet<String>) -> String {
    let missing = expected.difference(found).map(|line| format!("missing: {line}\n"));
    missing.chain(found.difference(expected).map(|line| format!("too much: {line}\n"))).take(20).collect()
}

/// Returns the entries of an image, but for the shell that the tests bring.
fn lines_of(layout: &Path) -> Vec<String> {
    let flat = read_one(layout).flatten();
    let own = flat.iter().filter(|(name, _, _)| !name.is_empty() && !is_brought(name));
    own.map(|(name, node, first)| {
        let usual = if node.kind == Kind::Directory { 0o755 } else { 0o644 };
        let is_special =
            matches!(node.kind, Kind::Symlink(_) | Kind::Fifo | Kind::Char(..) | Kind::Block(..));
        let mode = match node.mode {
            mode if mode == usual || is_special => String::new(),
            mode => format!(" @{mode:o}"),
        };
        let shown = shown(name);
        match (&node.kind, first) {
            (_, Some(first)) if first != name => format!("{shown} == {}", self::shown(first)),
            (Kind::Directory, _) => format!("{shown}/{mode}"),
            (Kind::File(_, _, Some(content)), _) => format!("{shown} = {}{mode}", self::shown(content)),
            (Kind::File(size, _, None), _) => format!("{shown} : {size}{mode}"),
            (Kind::Symlink(target), _) => format!("{shown} -> {}", self::shown(target)),
            (Kind::Fifo, _) => format!("{shown} |"),
            (Kind::Char(..) | Kind::Block(..), _) => format!("{shown} %"),
            (Kind::Hardlink(_), _) => unreachable!("flattening resolves hard links"),
        }
    })
    .collect()
}

fn is_brought(name: &[u8]) -> bool {
    name == b"ran" || name == b"bin" || name.starts_with(b"bin/")
}

fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                control if control.is_control() => text.push_str(&format!("\\x{:02x}", control as u32)),
                other => text.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn to_layout(layout: &Path) -> String {
    format!("type=oci,tar=false,compression=uncompressed,dest={}", layout.display())
}

#[test]
fn hostile_archives_are_refused_or_contained_by_add() {
    requires!("python3");
    let guarded = Guarded::new();
    let space = &guarded.space;
    for case in cases().iter().filter(|case| case.archive.applies()) {
        let file = case.path.file_name().unwrap().to_string_lossy().into_owned();
        let dockerfile = space.file("Dockerfile.add", format!("FROM scratch\nADD {file} /\n"));
        let layout = space.path("layout");
        let call = space.build(case.path.parent().unwrap()).arg("-f").arg(dockerfile);
        let outcome = guarded.run(case, call.args(["-o", &to_layout(&layout)]));
        guarded.check(case, &case.archive, &outcome, Some(&layout));
        drop(fs::remove_dir_all(&layout));
    }
    guarded.finish(&space.store());
}

#[test]
fn hostile_archives_are_refused_or_contained_as_contexts() {
    requires!("python3");
    let guarded = Guarded::new();
    let space = &guarded.space;
    let beginning = beginning_of_context();
    for case in cases().iter().filter(|case| case.context.applies()) {
        let bytes = fs::read(&case.path).unwrap();
        if !is_plain(&bytes) {
            continue;
        }
        let call = space.kiln(["build", "--progress=plain", "-"]).stdin([&beginning[..], &bytes].concat());
        let outcome = guarded.run(case, call);
        // Owners, devices and links are not those of the archive, as in every context.
        guarded.check(case, &case.context, &outcome, None);
    }
    guarded.finish(&space.store());
}

/// A Dockerfile, as the first member of an archive that goes on.
fn beginning_of_context() -> Vec<u8> {
    let dockerfile = b"FROM scratch\nCOPY . /\n";
    let mut header = tar::Header::new_ustar();
    header.set_path("Dockerfile").unwrap();
    header.set_mode(0o644);
    header.set_size(dockerfile.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(dockerfile);
    bytes.resize(1024, 0);
    bytes
}

fn is_plain(bytes: &[u8]) -> bool {
    !matches!(
        bytes,
        [0x1f, 0x8b, ..] | [b'B', b'Z', b'h', ..] | [0xfd, b'7', ..] | [0x28, 0xb5, ..] | [0x50, 0x2a, ..]
    )
}

#[test]
fn hostile_archives_are_refused_or_contained_by_import() {
    requires!("python3");
    let guarded = Guarded::new();
    for case in cases().iter().filter(|case| case.archive.applies()) {
        let outcome = guarded.run(case, guarded.space.kiln(["import"]).arg(&case.path));
        match &case.archive {
            // An archive of nothing but the root makes no image.
            Expected::Tree(lines) if lines.is_empty() => {
                assert_eq!(outcome.status.code(), Some(1), "{outcome}")
            }
            expected => guarded.check(case, expected, &outcome, None),
        }
    }
    guarded.finish(&guarded.space.store());
}

/// Writes an OCI layout of an image whose second layer is the archive.
fn write_layout(space: &TestSpace, case: &Case) -> PathBuf {
    let layout = space.path("base");
    drop(fs::remove_dir_all(&layout));
    let blob = |media_type: &str, bytes: &[u8]| {
        let hex = sha256::of(bytes);
        validator::foreign::remember(&format!("sha256:{hex}"));
        space.file(&format!("base/blobs/sha256/{hex}"), bytes);
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let (lower, upper) = (lower_layer(), fs::read(&case.path).unwrap());
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let layers = [blob(layer, &lower), blob(layer, &upper)];
    let diff_ids = [lower, plain(upper)].map(|bytes| format!("sha256:{}", sha256::of(&bytes)));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob(busybox::CONFIG_TYPE, &serde_json::to_vec(&config).unwrap());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": busybox::MANIFEST_TYPE, "config": config, "layers": layers,
    });
    let manifest = blob(busybox::MANIFEST_TYPE, &serde_json::to_vec(&manifest).unwrap());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    space.file("base/index.json", serde_json::to_vec(&index).unwrap());
    space.file("base/oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#);
    layout
}

/// The uncompressed form of a layer, or the bytes as they are where that does not exist: what is damaged has no diff id.
fn plain(bytes: Vec<u8>) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    let outcome = match bytes.as_slice() {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).take(1 << 20).read_to_end(&mut plain)
        }
        [0x28, 0xb5, ..] | [0x50, 0x2a, ..] => {
            zstd::Decoder::new(&bytes[..]).unwrap().take(1 << 20).read_to_end(&mut plain)
        }
        _ => return bytes,
    };
    if outcome.is_ok() { plain } else { bytes }
}

fn lower_layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, mode, content: &[u8], target: Option<&str>| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        if let Some(target) = target {
            header.set_link_name(target).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok());
    add("bin/busybox", tar::EntryType::Regular, 0o755, &program.unwrap_or_default(), None);
    add("lower/dir", tar::EntryType::Directory, 0o755, b"", None);
    add("lower/dir/inner", tar::EntryType::Regular, 0o644, b"inner", None);
    add("lower/file", tar::EntryType::Regular, 0o644, b"file", None);
    add("lower/link", tar::EntryType::Symlink, 0o777, b"", Some("dir"));
    builder.into_inner().unwrap()
}

/// Copies the base whole; what a RUN sees of it is listed in `/ran`.
const FROM_BASE: &str = "FROM base AS ran\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox find / -xdev -print0 > /ran\"]\n\
    FROM scratch\nCOPY --from=base / /\nCOPY --from=ran /ran /ran\n";

fn build_on(space: &TestSpace, base: &Path, layout: &Path) -> Invocation {
    let context = space.context("dockerfiles", &[("Dockerfile", FROM_BASE)]);
    let named = format!("base=oci-layout://{}", base.display());
    space.build(&context).args(["--build-context", &named, "-o", &to_layout(layout)])
}

#[test]
fn hostile_layers_are_refused_or_contained_and_a_step_sees_what_they_are() {
    requires!("root", "busybox", "python3");
    let guarded = Guarded::new();
    let space = &guarded.space;
    for case in cases().iter().filter(|case| case.layer.applies()) {
        let (base, layout) = (write_layout(space, case), space.path("layout"));
        let outcome = guarded.run(case, build_on(space, &base, &layout));
        let is_built = outcome.status.success();
        guarded.check(case, &case.layer, &outcome, Some(&layout));
        if is_built && let Some(problem) = misseen(&layout) {
            guarded.report(case, problem);
        }
        drop(fs::remove_dir_all(&layout));
    }
    guarded.finish(&space.store());
}

/// Compares the names that a RUN saw with those that the image has, but for what every step has mounted.
fn misseen(layout: &Path) -> Option<String> {
    let flat = read_one(layout).flatten();
    let Kind::File(_, _, Some(seen)) = &flat.get(b"ran").unwrap().kind else { return None };
    let is_compared = |name: &String| {
        let first = name.split('/').next().unwrap_or_default();
        !matches!(first, "" | "proc" | "sys" | "dev" | "etc" | "ran")
    };
    let seen = seen.split(|byte| *byte == 0).map(|name| shown(name).trim_start_matches('/').to_owned());
    let names = flat.iter().map(|(name, _, _)| shown(name));
    let (seen, names) = (seen.filter(is_compared).collect(), names.filter(is_compared).collect());
    (seen != names).then(|| format!("in the eyes of a step:\n{}", difference(&names, &seen)))
}

#[test]
fn hostile_layers_are_refused_or_contained_when_they_are_loaded() {
    requires!("python3", "tar");
    let guarded = Guarded::new();
    let space = &guarded.space;
    let layers = cases().into_iter().filter(|case| case.layer.applies());
    for case in layers.step_by(SAMPLE) {
        let base = write_layout(space, &case);
        let archive = space.path("base.tar");
        peers::run("tar", [Path::new("-C"), &base, Path::new("-cf"), &archive, Path::new(".")]);
        for input in [&archive, &base] {
            let outcome = guarded.run(&case, space.kiln(["load", "-i"]).arg(input));
            match &case.layer {
                Expected::Error(text) if UNSEEN_BY_LOAD.contains(&text.as_str()) => {}
                expected => guarded.check(&case, expected, &outcome, None),
            }
        }
    }
    guarded.finish(&space.store());
}

#[test]
fn hostile_archives_and_layers_are_refused_or_contained_for_ordinary_users() {
    requires!("root", "setpriv", "busybox", "python3");
    let guarded = Guarded::new();
    let space = &guarded.space;
    for user in [users::with_subordinate_ids(space), users::with_single_id(space)] {
        let store = user.path("store");
        let dockerfiles = user.path("dockerfiles");
        fs::create_dir_all(&dockerfiles).unwrap();
        for case in cases().iter().filter(|case| case.layer.applies()).step_by(SAMPLE) {
            let (base, layout) = (write_layout(space, case), user.path("layout"));
            let call = build_on(space, &base, &layout).user(&user).store(&store);
            let outcome = guarded.run(case, call.directory(&user.home));
            guarded.check(case, &case.layer, &outcome, Some(&layout));
            drop(fs::remove_dir_all(&layout));
            let outcome = guarded.run(case, space.kiln(["import"]).arg(&case.path).user(&user).store(&store));
            guarded.check(case, &case.archive, &outcome, None);
        }
        guarded.finish(&store);
    }
}
