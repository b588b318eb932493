//! Golden digests: whole builds whose every byte is known, kept in `tests/golden/<case>/`.
//!
//! | File | Holds |
//! |---|---|
//! | `Dockerfile` | the request |
//! | `context.txt` | its context, as a [`sketch`]; `== archive NAME` and `== base` begin what becomes an archive or a layer of `FROM base` |
//! | `variants.txt` | further flags, a line each; one line without flags otherwise. `$OUT` is a place for results |
//! | `expect.txt` | format numbers, digests, and beside them the readable form, so that a change shows what changed |
//!
//! `SNAPSHOTS=overwrite` writes `expect.txt` anew. It refuses to give a layer of the same request other bytes while the format
//! number stays; whoever means that takes the file away first.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::http::HttpServer;
use crate::support::served::{Served, mirror_config};
use crate::support::space::repository;
use crate::support::validator::archive::{self, Member};
use crate::support::validator::foreign;
use crate::support::{TestSpace, busybox, image, peers, requires, sha256, sketch};

/// A case that is laid out and can be built.
pub(crate) struct Golden {
    /// Its name.
    pub(crate) name: String,
    folder: PathBuf,
    space: TestSpace,
    _server: HttpServer,
}

#[test]
fn images_have_the_bytes_they_always_had() {
    check(&|name| !name.starts_with("run-"));
}

#[test]
fn layers_of_steps_have_the_bytes_they_always_had() {
    requires!("root", "busybox");
    check(&|name| name.starts_with("run-"));
}

fn check(chosen: &dyn Fn(&str) -> bool) {
    let mut differences = Vec::new();
    for golden in all().filter(|golden| chosen(&golden.name)) {
        let path = golden.folder.join("expect.txt");
        let (found, expected) = (golden.describe(), fs::read_to_string(&path).unwrap_or_default());
        if found == expected {
            continue;
        }
        if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
            may_replace(&golden.name, &expected, &found);
            fs::write(&path, &found).unwrap();
        } else {
            let actual = golden.space.file("found.txt", &found);
            let shown = peers::output("diff", ["-u".as_ref(), path.as_os_str(), actual.as_os_str()]);
            differences.push(format!("{}:\n{}", golden.name, String::from_utf8_lossy(&shown.stdout)));
        }
    }
    let advice = "if that is meant: raise the format number, and run with SNAPSHOTS=overwrite";
    assert!(differences.is_empty(), "{}\n{advice}", differences.join("\n"));
}

/// Asserts that what is written in another way has another number.
fn may_replace(name: &str, before: &str, after: &str) {
    let lines = |text: &str, word: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect()
    };
    let numbers = (lines(before, "formats "), lines(after, "formats "));
    let same = |word: &str| lines(before, word) == lines(after, word);
    let is_same_request = !before.is_empty() && same("request ");
    assert!(
        !is_same_request || numbers.0 != numbers.1 || same("layer "),
        "{name}: the same request makes other layers, and the format numbers are still {:?}",
        numbers.1
    );
}

/// Lays out every case, one after the other.
pub(crate) fn all() -> impl Iterator<Item = Golden> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(repository().join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.into_iter().map(Golden::lay_out)
}

impl Golden {
    fn lay_out(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let space = TestSpace::new();
        let context = space.context("context", &[]);
        let mut served = if name.starts_with("run-") { busybox::images() } else { Served::default() };
        let mut base = Vec::new();
        for (heading, nodes) in sections(&folder) {
            match heading.split_once(' ').unwrap_or((&heading, "")) {
                ("", _) => sketch::put(&nodes, &context),
                ("archive", file) => {
                    fs::write(context.join(file), sketch::compressed(file, &sketch::archive(&nodes)))
                        .unwrap();
                }
                ("base", _) => base.push(sketch::archive(&nodes)),
                _ => panic!("{name}: a heading that means nothing: {heading}"),
            }
        }
        let dockerfile = context.join("Dockerfile");
        fs::copy(folder.join("Dockerfile"), &dockerfile).unwrap();
        fs::set_permissions(dockerfile, fs::Permissions::from_mode(0o644)).unwrap();
        add_base(&mut served, base);
        let server = served.start();
        space.config(&mirror_config(&server.host()));
        Self { name, folder, space, _server: server }
    }

    /// Returns the flags of each variant, as written.
    pub(crate) fn variants(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("variants.txt")).unwrap_or_else(|_| "\n".to_owned());
        text.lines().map(str::to_owned).collect()
    }

    /// Builds a variant into a layout, which is returned.
    pub(crate) fn build(&self, number: usize, flags: &str) -> PathBuf {
        let layout = self.space.path(&format!("layout{number}"));
        let out = self.space.path(&format!("out{number}"));
        fs::create_dir_all(&out).unwrap();
        let output = format!("type=oci,tar=false,name=golden:1,dest={}", layout.display());
        let flags = flags.replace("$OUT", &out.display().to_string());
        let call =
            self.space.build(&self.space.path("context")).args(["--platform=linux/amd64", "-o", &output]);
        call.args(flags.split_whitespace()).run().success();
        layout
    }

    fn describe(&self) -> String {
        let mut text = format!("formats {}\nrequest {}\n", formats(), self.request());
        let mut shown: Vec<String> = Vec::new();
        for (number, flags) in self.variants().iter().enumerate() {
            let layout = self.build(number, flags);
            writeln!(text, "\n## build {}", if flags.is_empty() { "without flags" } else { flags }).unwrap();
            self.describe_image(&layout, &mut shown, &mut text);
            describe_files(&self.space.path(&format!("out{number}")), &mut text);
        }
        text
    }

    /// The digest of everything that is asked for: when that changes, other layers are no surprise.
    fn request(&self) -> String {
        let read = |name: &str| fs::read(self.folder.join(name)).unwrap_or_default();
        sha256::of(&["Dockerfile", "context.txt", "variants.txt"].map(read).join(&b"\0"[..]))
    }

    fn describe_image(&self, layout: &Path, shown: &mut Vec<String>, text: &mut String) {
        let image = image::read_one(layout);
        // This machine's busybox decides about the documents of images that are made on it.
        let on_this_machine = self.name.starts_with("run-");
        if !on_this_machine {
            writeln!(text, "manifest {}\nconfig {}", image.digest, word(&image.manifest["config"]["digest"]))
                .unwrap();
        }
        let layers = image.manifest["layers"].as_array().unwrap();
        let mut readable = String::new();
        for (descriptor, diff_id) in layers.iter().zip(image.diff_ids()) {
            let digest = word(&descriptor["digest"]);
            if foreign::is_foreign(&digest) {
                continue;
            }
            let kind = word(&descriptor["mediaType"]).rsplit('.').next().unwrap().to_owned();
            writeln!(text, "layer {digest} {} bytes {kind}\n      of {diff_id}", descriptor["size"]).unwrap();
            if !shown.contains(&diff_id) {
                writeln!(readable, "\n# {diff_id}").unwrap();
                let blob = layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
                members_of(&blob).iter().for_each(|member| writeln!(readable, "{}", line(member)).unwrap());
                shown.push(diff_id);
            }
        }
        let config = serde_json::to_string_pretty(&image.config).unwrap();
        if !on_this_machine && !shown.contains(&config) {
            writeln!(readable, "\n# configuration\n{config}").unwrap();
            shown.push(config);
        }
        text.push_str(&readable);
    }
}

/// What an export wrote: digests of files, and the entries of flat archives.
fn describe_files(out: &Path, text: &mut String) {
    let mut names: Vec<_> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            let form = ["-type", "d", "-printf", "%P d %m\n", "-o", "-printf", "%P %y %m %s %l\n"];
            let words = ["-mindepth", "1"].into_iter().chain(form).map(OsStr::new);
            let listed = peers::run("find", [path.as_os_str()].into_iter().chain(words));
            let mut lines: Vec<&str> = listed.lines().collect();
            lines.sort_unstable();
            writeln!(text, "\n# {name}/\n{}", lines.join("\n")).unwrap();
        } else {
            writeln!(text, "file {name} sha256:{}", sha256::of_file(&path)).unwrap();
            let members = members_of(&path);
            members.iter().for_each(|member| writeln!(text, "  {}", line(member)).unwrap());
        }
    }
}

/// Reads the members of an archive, compressed or not.
pub(crate) fn members_of(path: &Path) -> Vec<Member> {
    let bytes = fs::read(path).unwrap();
    let read = |reader: &mut dyn std::io::Read| archive::read(reader).unwrap();
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => read(&mut flate2::read::GzDecoder::new(bytes.as_slice())),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => read(&mut zstd::Decoder::new(bytes.as_slice()).unwrap()),
        _ => read(&mut bytes.as_slice()),
    }
}

/// Every field of an entry's headers in one line.
fn line(member: &Member) -> String {
    let show = |bytes: &[u8]| archive::shown(bytes).replace(' ', "\\s");
    let Member { name, flag, mode, uid, gid, size, mtime, link, device, pax, content } = member;
    let mut line = format!("{} {mode:04o} {uid}:{gid} {size} {mtime} {}", char::from(*flag), show(name));
    if !link.is_empty() {
        write!(line, " -> {}", show(link)).unwrap();
    }
    if matches!(flag, b'3' | b'4') {
        write!(line, " {}:{}", device.0, device.1).unwrap();
    }
    if !content.is_empty() {
        write!(line, " {}", &content[..16]).unwrap();
    }
    for (key, value) in pax {
        // What stands in the line already need not stand there twice.
        let known = [b"path".as_slice(), b"linkpath"].contains(&key.as_slice());
        let value = if known { "…".to_owned() } else { show(value) };
        write!(line, " [{}={value}]", show(key)).unwrap();
    }
    line
}

/// The numbers of the forms that decide about a layer's bytes, from where they are declared.
fn formats() -> String {
    let number = |file: &str, name: &str| {
        let text = fs::read_to_string(repository().join("builder/layer/src").join(file)).unwrap();
        let start = format!("pub const {name}: u32 = ");
        let line =
            text.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(';').map(str::to_owned));
        line.unwrap_or_else(|| panic!("{file} declares {name}"))
    };
    format!(
        "tar {}, compression {}",
        number("tar/write.rs", "TAR_FORMAT"),
        number("compress.rs", "COMPRESS_FORMAT")
    )
}

/// The parts of `context.txt`, by heading.
fn sections(folder: &Path) -> Vec<(String, Vec<sketch::Node>)> {
    let text = fs::read_to_string(folder.join("context.txt")).unwrap_or_default();
    let parts = format!("\n{text}").replace("\n== ", "\u{0}");
    let mut parts = parts.split('\u{0}');
    let first = (String::new(), sketch::parse(parts.next().unwrap()));
    let rest = parts.map(|part| {
        let (heading, body) = part.split_once('\n').unwrap_or((part, ""));
        (heading.to_owned(), sketch::parse(body))
    });
    std::iter::once(first).chain(rest).collect()
}

/// Serves the layers of `FROM base`.
fn add_base(served: &mut Served, layers: Vec<Vec<u8>>) {
    // The times of a base are its own, and stay.
    let history: Vec<Value> =
        layers.iter().map(|_| json!({"created": "2020-01-02T03:04:05Z", "created_by": "base"})).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]}, "history": history});
    served.add_archives("library/base:latest", config, &layers);
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
