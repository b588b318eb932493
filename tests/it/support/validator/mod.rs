//! A second opinion on everything that any test builds, written from the OCI specifications without kiln's crates.
//!
//! The harness calls [`check`] after every call of the program, so no test has to remember it: on the store, and on what `-o`
//! wrote. What was looked at once in a process, by digest, is not looked at again.

pub(crate) mod archive;
mod files;
pub(crate) mod foreign;
mod image;
mod layer;
mod store;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::program::Outcome;
use files::Files;
use image::Asked;
use layer::Times;

/// A call of the program, as far as it says where images are.
pub(crate) struct Call<'a> {
    /// Whether it is a build.
    pub(crate) is_build: bool,
    /// Its arguments.
    pub(crate) arguments: &'a [OsString],
    /// Its environment; a later value wins.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// Its working directory.
    pub(crate) directory: &'a Path,
    /// Whether the test has damaged the store.
    pub(crate) is_damaged: bool,
}

/// Asserts that everything is sound that a call left behind, whether it succeeded or not.
///
/// A program that a signal ended is the exception: what it leaves is judged after the next call.
#[track_caller]
pub(crate) fn check(call: &Call<'_>, outcome: &Outcome) {
    let Some(code) = outcome.status.code() else { return };
    let mut wrong = Vec::new();
    let store = call.store();
    if !call.is_damaged && store.join("oci-layout").exists() {
        store::check(&store, call.asked(true), call.is_build && code <= 1, &mut wrong);
    }
    if code == 0 {
        if call.is_build {
            check_result(call, &store, outcome, &mut wrong);
        }
        for output in call.outputs() {
            check_output(call, &output, outcome, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "not sound:\n  {}\n{outcome}", wrong.join("\n  "));
}

/// What was built is in the store, whether it has a name there or not.
fn check_result(call: &Call<'_>, store: &Path, outcome: &Outcome, wrong: &mut Vec<String>) {
    let text = outcome.text();
    let Some(hex) = text.lines().last().and_then(|line| line.trim().strip_prefix("sha256:")) else { return };
    let files = Files::Directory(store.to_owned());
    let Ok(bytes) = files.read(&files::blob(hex)) else { return };
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let descriptor = json!({
        "mediaType": document["mediaType"], "digest": format!("sha256:{hex}"), "size": bytes.len(),
    });
    image::check_descriptor(&files, &descriptor, call.asked(true), 0, wrong);
}

/// Where a call wrote an image, and how.
struct Output {
    kind: String,
    is_archive: bool,
    destination: String,
}

fn check_output(call: &Call<'_>, output: &Output, outcome: &Outcome, wrong: &mut Vec<String>) {
    let asked = call.asked(false);
    let (mut path, piped) =
        (call.directory.join(&output.destination), tempfile::NamedTempFile::new().unwrap());
    if output.destination == "-" {
        fs::write(piped.path(), &outcome.stdout).unwrap();
        path = piped.path().to_owned();
    }
    let mut found = Vec::new();
    match (output.kind.as_str(), output.is_archive) {
        ("oci", false) => image::check_layout(&Files::Directory(path), asked, &mut found),
        ("oci" | "docker", _) => {
            found.extend(read_archive(&path).err());
            match Files::of_archive(&path) {
                Ok(files) => {
                    image::check_layout(&files, asked, &mut found);
                    if output.kind == "docker" {
                        check_docker(&files, &mut found);
                    }
                }
                Err(error) => found.push(error),
            }
        }
        ("tar", _) => match read_archive(&path) {
            // The files of a base keep their times.
            Ok(members) => found.extend(layer::findings(&members, Times::Preserved)),
            Err(error) => found.push(error),
        },
        _ => {}
    }
    wrong.extend(found.iter().map(|finding| format!("{}: {finding}", output.destination)));
}

fn read_archive(path: &Path) -> Result<Vec<archive::Member>, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    archive::read(&mut std::io::BufReader::with_capacity(1 << 16, file))
}

/// `manifest.json` names files that are there, or blobs that others made and nobody distributes.
fn check_docker(files: &Files, wrong: &mut Vec<String>) {
    let manifest = files.read("manifest.json").and_then(|bytes| {
        serde_json::from_slice::<Vec<serde_json::Value>>(&bytes).map_err(|error| error.to_string())
    });
    let entries = match manifest {
        Ok(entries) => entries,
        Err(error) => return wrong.push(error),
    };
    for entry in &entries {
        let layers = entry["Layers"].as_array().map_or(&[][..], Vec::as_slice);
        for name in layers.iter().chain([&entry["Config"]]) {
            let is_there = |name: &str| {
                let digest = name.replace("blobs/sha256/", "sha256:");
                files.size(name).is_some() || foreign::is_foreign(&digest)
            };
            if !name.as_str().is_some_and(is_there) {
                wrong.push(format!("manifest.json names {name}, which is not there"));
            }
        }
    }
}

impl Call<'_> {
    fn asked(&self, may_be_elsewhere: bool) -> Asked {
        let preserves = self.values("--timestamp").iter().any(|value| value == "preserve");
        Asked { may_be_elsewhere, times: if preserves { Times::Preserved } else { Times::Fixed } }
    }

    fn store(&self) -> PathBuf {
        if let Some(store) = self.values("--store").pop() {
            return self.directory.join(store);
        }
        let home = self.environment.iter().rev().find(|(name, _)| name == "KILN_HOME");
        self.directory.join(home.map_or_else(OsString::new, |(_, path)| path.clone()))
    }

    /// Returns every value of a flag, `--flag value` or `--flag=value`.
    fn values(&self, flag: &str) -> Vec<String> {
        let words: Vec<_> = self.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        let apart = words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone().into_owned());
        let joined =
            words.iter().filter_map(|word| word.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned));
        apart.chain(joined).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        if self.arguments.iter().any(|argument| argument == "copy") {
            return self
                .arguments
                .last()
                .and_then(|place| copied_to(&place.to_string_lossy()))
                .into_iter()
                .collect();
        }
        let is_save = self.arguments.iter().any(|argument| argument == "save");
        if !self.is_build && !is_save {
            return Vec::new();
        }
        let format = self.values("--format").pop().unwrap_or_else(|| "docker".to_owned());
        let values = self.values("-o").into_iter().chain(self.values("--output"));
        let parsed = values.map(|value| match is_save {
            true => Output { kind: format.clone(), is_archive: true, destination: value },
            false => parse(&value),
        });
        parsed.filter(|output| !output.destination.is_empty()).collect()
    }
}

/// Reads `oci:DIR:TAG`, `oci-archive:FILE:TAG` or `docker-archive:FILE:NAME`; nothing for the name of an image.
fn copied_to(place: &str) -> Option<Output> {
    let mut words = place.splitn(3, ':');
    let (kind, path) = (words.next()?, words.next()?);
    let (kind, is_archive) = match kind {
        "oci" => ("oci", false),
        "oci-archive" => ("oci", true),
        "docker-archive" => ("docker", true),
        _ => return None,
    };
    Some(Output { kind: kind.to_owned(), is_archive, destination: path.to_owned() })
}

/// Reads `type=oci,dest=FILE,tar=false`.
fn parse(value: &str) -> Output {
    let field = |name: &str| {
        let mut values = value.split(',').filter_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        values.next_back().unwrap_or_default().to_owned()
    };
    Output { kind: field("type"), is_archive: field("tar") != "false", destination: field("dest") }
}
