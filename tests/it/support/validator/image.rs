//! Images as the OCI specifications have them: from `index.json` down to the last byte of each layer.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;

use super::files::{Files, blob};
use super::layer::Times;
use super::{archive, foreign, layer};
use crate::support::sha256::Hashing;

const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIG: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const DEPTH_MAX: u32 = 4;

/// What is asked of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Whether layers may be missing that a registry has: those of a base are fetched when they are needed.
    pub(crate) may_be_elsewhere: bool,
    /// Which times its own layers may have.
    pub(crate) times: Times,
}

/// What was found out about a layer, by the digest of its blob: it costs the most, and images share them.
struct Known {
    compression: &'static str,
    diff_id: String,
    findings: Vec<String>,
}

static LAYERS: LazyLock<Mutex<HashMap<String, Arc<Known>>>> = LazyLock::new(Mutex::default);

/// Checks a layout: its marker, its index, and everything the index leads to.
pub(crate) fn check_layout(files: &Files, asked: Asked, wrong: &mut Vec<String>) {
    let marker = files.read("oci-layout").map(|bytes| parse(&bytes));
    if marker.as_ref().is_ok_and(|marker| marker["imageLayoutVersion"] != "1.0.0") || marker.is_err() {
        wrong.push(format!("oci-layout: {marker:?}"));
    }
    let index = match files.read("index.json") {
        Ok(bytes) => parse(&bytes),
        Err(error) => return wrong.push(error),
    };
    if index["schemaVersion"] != 2 || !(index["mediaType"].is_null() || index["mediaType"] == INDEX[0]) {
        wrong.push(format!("index.json: {index}"));
    }
    let mut names = BTreeSet::new();
    for entry in list(&index["manifests"]) {
        let name = |key: &str| entry["annotations"][key].as_str().map(str::to_owned);
        let full = name("io.containerd.image.name").or_else(|| name(REF_NAME));
        if full.as_ref().is_some_and(|full| !names.insert(full.clone())) {
            wrong.push(format!("index.json: the name {full:?} is given twice"));
        }
        if name(REF_NAME).is_some_and(|name| !is_ref_name(&name)) {
            wrong.push(format!("index.json: {entry} has a name that the specification does not allow"));
        }
        check_descriptor(files, entry, asked, 0, wrong);
    }
}

/// The grammar of `org.opencontainers.image.ref.name`.
fn is_ref_name(name: &str) -> bool {
    let is_component = |component: &str| {
        !component.is_empty()
            && component.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && component.ends_with(|letter: char| letter.is_ascii_alphanumeric())
            && component.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._:@+".contains(letter))
    };
    name.split('/').all(is_component)
}

/// Checks the manifest or index that a descriptor leads to, and everything below.
pub(crate) fn check_descriptor(
    files: &Files,
    descriptor: &Value,
    asked: Asked,
    depth: u32,
    wrong: &mut Vec<String>,
) {
    let Some(bytes) = document(files, descriptor, wrong) else { return };
    let (document, digest) = (parse(&bytes), text(&descriptor["digest"]));
    let mut say = |text: &str| wrong.push(format!("{digest}: {text}"));
    let media_type = text(&descriptor["mediaType"]);
    if document["schemaVersion"] != 2 {
        say("schemaVersion is not 2");
    }
    if !document["mediaType"].is_null() && document["mediaType"] != descriptor["mediaType"] {
        say("its media type is not the one of its descriptor");
    }
    if INDEX.contains(&media_type.as_str()) {
        if depth == DEPTH_MAX {
            return say("indexes are nested too deep");
        }
        for entry in list(&document["manifests"]) {
            // An index from a registry names platforms that nobody fetched.
            if asked.may_be_elsewhere
                && size_of(files, entry).is_none()
                && foreign::has(&text(&entry["digest"]))
            {
                continue;
            }
            check_descriptor(files, entry, asked, depth + 1, wrong);
            check_platform(files, entry, wrong);
        }
    } else if let Some(family) = MANIFEST.iter().position(|known| *known == media_type) {
        check_manifest(files, &document, family, asked, &digest, wrong);
    } else {
        say(&format!("neither manifest nor index: {media_type}"));
    }
}

/// An entry of an index says what the configuration says.
fn check_platform(files: &Files, entry: &Value, wrong: &mut Vec<String>) {
    if entry["platform"].is_null() || !MANIFEST.contains(&text(&entry["mediaType"]).as_str()) {
        return;
    }
    let read = |descriptor: &Value| {
        files.read(&blob(&hex(descriptor))).map(|bytes| parse(&bytes)).unwrap_or_default()
    };
    let config = read(&read(entry)["config"]);
    for part in ["os", "architecture", "variant"] {
        if text(&entry["platform"][part]) != text(&config[part]) {
            wrong.push(format!("{}: its {part} is another in the index", text(&entry["digest"])));
        }
    }
}

fn check_manifest(
    files: &Files,
    manifest: &Value,
    family: usize,
    asked: Asked,
    digest: &str,
    wrong: &mut Vec<String>,
) {
    let mut say = |text: String| wrong.push(format!("{digest}: {text}"));
    if text(&manifest["config"]["mediaType"]) != CONFIG[family] {
        say(format!("its configuration is of the type {}", manifest["config"]["mediaType"]));
    }
    let layers = list(&manifest["layers"]);
    let Some(bytes) = document(files, &manifest["config"], wrong) else { return };
    let config = parse(&bytes);
    check_config(&config, layers.len(), digest, wrong);
    let diff_ids = list(&config["rootfs"]["diff_ids"]);
    for (descriptor, diff_id) in layers.iter().zip(diff_ids) {
        if let Err(error) = check_layer(files, descriptor, &text(diff_id), family, asked) {
            wrong.push(format!("{digest}: layer {}: {error}", text(&descriptor["digest"])));
        }
    }
}

fn check_config(config: &Value, layers: usize, digest: &str, wrong: &mut Vec<String>) {
    let mut say = |text: &str| wrong.push(format!("{digest}: configuration: {text}"));
    for part in ["os", "architecture"] {
        if text(&config[part]).is_empty() {
            say(&format!("no {part}"));
        }
    }
    if config["rootfs"]["type"] != "layers" {
        say("rootfs is not of the type `layers`");
    }
    let diff_ids = list(&config["rootfs"]["diff_ids"]).len();
    if diff_ids != layers {
        say(&format!("{layers} layers, {diff_ids} diff ids"));
    }
    let history = list(&config["history"]);
    let full = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    if !history.is_empty() && full != layers {
        say(&format!("{layers} layers, {full} history entries that are not empty"));
    }
    for created in history.iter().map(|entry| &entry["created"]).chain([&config["created"]]) {
        if !created.is_null() && !is_instant(&text(created)) {
            say(&format!("{created} is no instant"));
        }
    }
    let inner = &config["config"];
    if list(&inner["Env"]).iter().any(|entry| text(entry).find('=').is_none_or(|at| at == 0)) {
        say("a variable without name or value");
    }
    for (key, of) in [("ExposedPorts", "port"), ("Volumes", "volume"), ("Labels", "label")] {
        let map = &inner[key];
        let empty =
            |value: &Value| key == "Labels" || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !map.is_null() && !map.as_object().is_some_and(|map| map.values().all(empty)) {
            say(&format!("a {of} that is none: {map}"));
        }
    }
}

/// RFC 3339, as far as documents use it.
fn is_instant(text: &str) -> bool {
    let shape: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let rest = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches('0'));
    matches!(rest, "Z" | "+00:00" | "-00:00")
}

/// Checks one layer: blob, media type, diff id, and what kiln promises of its own layers.
fn check_layer(
    files: &Files,
    descriptor: &Value,
    diff_id: &str,
    family: usize,
    asked: Asked,
) -> Result<(), String> {
    let digest = text(&descriptor["digest"]);
    let media_type = text(&descriptor["mediaType"]);
    let (compression, is_foreign) = layer_type(&media_type, family)?;
    let Some(size) = size_of(files, descriptor) else {
        return match is_foreign || (asked.may_be_elsewhere && foreign::has(&digest)) {
            true => Ok(()),
            false => Err("is not there".to_owned()),
        };
    };
    if descriptor["size"] != size {
        return Err(format!("has {size} bytes, not {}", descriptor["size"]));
    }
    let known = LAYERS.lock().unwrap().get(&digest).cloned();
    let known = match known {
        Some(known) => {
            files.verify_blob(&hex(descriptor))?;
            known
        }
        None => {
            let found =
                Arc::new(read_layer(files, &hex(descriptor), !foreign::is_foreign(&digest), asked.times)?);
            LAYERS.lock().unwrap().insert(digest, Arc::clone(&found));
            found
        }
    };
    if !known.findings.is_empty() {
        return Err(known.findings.join("\n  "));
    }
    if format!("sha256:{}", known.diff_id) != diff_id {
        return Err(format!("its diff id is sha256:{}, not {diff_id}", known.diff_id));
    }
    // Docker's type says gzip and is found on plain archives of old.
    if compression != known.compression && !foreign::is_foreign(&text(&descriptor["digest"])) {
        return Err(format!("is {}, and its type is {media_type}", known.compression));
    }
    Ok(())
}

/// Returns what a layer's media type says of its compression, and whether it need not be there.
fn layer_type(media_type: &str, family: usize) -> Result<(&'static str, bool), String> {
    let known: &[(&str, &str, bool)] = match family {
        0 => &[
            ("application/vnd.oci.image.layer.v1.tar", "plain", false),
            ("application/vnd.oci.image.layer.v1.tar+gzip", "gzip", false),
            ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd", false),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", "plain", true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip", true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd", true),
        ],
        _ => &[
            ("application/vnd.docker.image.rootfs.diff.tar", "plain", false),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip", false),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd", false),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip", true),
        ],
    };
    let found = known.iter().find(|(name, ..)| *name == media_type);
    found
        .map(|(_, how, foreign)| (*how, *foreign))
        .ok_or_else(|| format!("{media_type} is no type of a layer"))
}

/// Reads a layer once: the digest of the blob, of the archive in it, and its entries.
fn read_layer(files: &Files, hex: &str, is_own: bool, times: Times) -> Result<Known, String> {
    let mut blob = BufReader::with_capacity(1 << 16, Hashing::new(files.open(&blob(hex))?));
    let start = blob.fill_buf().map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| error.to_string();
    let (compression, (diff_id, findings)) = match start {
        // kiln writes one member, and nothing after it.
        [0x1f, 0x8b, ..] if is_own => {
            ("gzip", read_archive(&mut flate2::bufread::GzDecoder::new(&mut blob), is_own, times)?)
        }
        [0x1f, 0x8b, ..] => {
            ("gzip", read_archive(&mut flate2::bufread::MultiGzDecoder::new(&mut blob), is_own, times)?)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut plain = zstd::Decoder::with_buffer(&mut blob).map_err(failed)?;
            ("zstd", read_archive(&mut plain, is_own, times)?)
        }
        _ => ("plain", read_archive(&mut blob, is_own, times)?),
    };
    let rest = std::io::copy(&mut blob, &mut std::io::sink()).map_err(failed)?;
    if is_own && rest > 0 {
        return Err(format!("{rest} bytes follow its compressed stream"));
    }
    let found = blob.into_inner().finish();
    if found != hex {
        return Err(format!("its digest is {found}"));
    }
    files.remember_verified(&self::blob(hex));
    Ok(Known { compression, diff_id, findings })
}

fn read_archive(plain: &mut dyn Read, is_own: bool, times: Times) -> Result<(String, Vec<String>), String> {
    let mut plain = BufReader::with_capacity(1 << 16, Hashing::new(plain));
    let findings = match is_own {
        true => layer::findings(&archive::read(&mut plain)?, times),
        false => Vec::new(),
    };
    std::io::copy(&mut plain, &mut std::io::sink()).map_err(|error| error.to_string())?;
    Ok((plain.into_inner().finish(), findings))
}

/// Returns the bytes of a document that are as its descriptor says.
fn document(files: &Files, descriptor: &Value, wrong: &mut Vec<String>) -> Option<Vec<u8>> {
    let digest = text(&descriptor["digest"]);
    let is_hex = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
    if !digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(is_hex)) {
        wrong.push(format!("{descriptor}: not the digest of anything"));
        return None;
    }
    let checked = match size_of(files, descriptor) {
        None => Err("is not there".to_owned()),
        Some(size) if descriptor["size"] != size => {
            Err(format!("has {size} bytes, not {}", descriptor["size"]))
        }
        Some(_) => files.verify_blob(&hex(descriptor)).and_then(|()| files.read(&blob(&hex(descriptor)))),
    };
    checked.map_err(|error| wrong.push(format!("{digest}: {error}"))).ok()
}

fn size_of(files: &Files, descriptor: &Value) -> Option<u64> {
    files.size(&blob(&hex(descriptor)))
}

fn hex(descriptor: &Value) -> String {
    text(&descriptor["digest"]).trim_start_matches("sha256:").to_owned()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
