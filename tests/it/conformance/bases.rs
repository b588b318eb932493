//! The base images of the cases, put together from `bases/` and served as a mirror of docker.io.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::case::read;
use crate::support::served::{NewImage, Served};
use crate::support::sha256;

/// What has to be known of a base image to compare what was built on it.
pub(crate) struct Base {
    /// Its flattened filesystem.
    pub(crate) listing: BTreeMap<String, Value>,
    /// How many layers it has.
    pub(crate) layers: usize,
    /// How many history entries it has.
    pub(crate) history: usize,
}

#[derive(Deserialize)]
struct Description {
    r#ref: String,
    rootfs: BTreeMap<String, Value>,
    history: Vec<Value>,
    diff_ids: Vec<String>,
    #[serde(default)]
    images: Vec<Part>,
    #[serde(default)]
    media_types: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Part {
    architecture: String,
    variant: Option<String>,
    config: Value,
    history: Vec<Value>,
    layers: Vec<Tar>,
    parent: Option<String>,
}

#[derive(Deserialize)]
struct Tar {
    file: String,
    compression: String,
}

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Puts together every base image of a folder.
pub(crate) fn prepare(folder: &Path) -> (BTreeMap<String, Base>, Served) {
    let (mut bases, mut served) = (BTreeMap::new(), Served::default());
    let mut busybox = describe(folder, "busybox");
    let layer = busybox_layer(&mut busybox.rootfs);
    let image = NewImage {
        media_type: OCI_MANIFEST.to_owned(),
        config_type: OCI_CONFIG.to_owned(),
        config: json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "created": "0001-01-01T00:00:00Z",
            "history": [{"created": "0001-01-01T00:00:00Z"}]}),
        layers: vec![layer.clone()],
    };
    let descriptor = served.add(image);
    served.name(&name_of(&busybox), &descriptor);
    let program = busybox.rootfs["/bin/busybox"].clone();
    for name in names(folder) {
        let mut description = describe(folder, &name);
        if name != "busybox" {
            add(folder, &description, &layer, &mut served);
        }
        if let Some(entry) = description.rootfs.get_mut("/bin/busybox") {
            entry.clone_from(&program);
        }
        let Description { rootfs: listing, history, diff_ids, .. } = description;
        bases.insert(name, Base { listing, layers: diff_ids.len(), history: history.len() });
    }
    (bases, served)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("bases")).unwrap().map(|entry| entry.unwrap().path());
    let documents = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    documents.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn describe(folder: &Path, name: &str) -> Description {
    read(&folder.join("bases").join(format!("{name}.json")))
}

fn name_of(description: &Description) -> String {
    description.r#ref.strip_prefix("docker.io/").unwrap().to_owned()
}

fn add(folder: &Path, description: &Description, busybox: &(String, Vec<u8>, String), served: &mut Served) {
    let media_type = |kind: &str| description.media_types[kind].clone();
    let mut manifests = Vec::new();
    for part in &description.images {
        let tar = |tar: &Tar| {
            let bytes = fs::read(folder.join("bases").join(&tar.file)).unwrap();
            (media_type(&tar.compression), compress(&tar.compression, &bytes), sha256::of(&bytes))
        };
        let parent = part.parent.iter().map(|_| (media_type("gz"), busybox.1.clone(), busybox.2.clone()));
        let mut config = json!({"architecture": part.architecture, "os": "linux", "config": part.config, "history": part.history});
        let mut platform = json!({"architecture": part.architecture, "os": "linux"});
        if let Some(variant) = &part.variant {
            config["variant"] = variant.as_str().into();
            platform["variant"] = variant.as_str().into();
        }
        let layers = parent.chain(part.layers.iter().map(tar)).collect();
        let mut descriptor = served.add(NewImage {
            media_type: media_type("manifest"),
            config_type: media_type("config"),
            config,
            layers,
        });
        descriptor["platform"] = platform;
        manifests.push(descriptor);
    }
    let top = if manifests.len() == 1 {
        manifests.remove(0)
    } else {
        served.add_index(&media_type("index"), &manifests)
    };
    served.name(&name_of(description), &top);
}

fn compress(how: &str, bytes: &[u8]) -> Vec<u8> {
    match how {
        "none" => bytes.to_vec(),
        "zst" => zstd::encode_all(bytes, 3).unwrap(),
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        other => panic!("a compression that the cases did not have before: {other}"),
    }
}

/// Makes busybox's only layer after its listing, around the static busybox of this machine.
///
/// The listing's program is replaced by this machine's, so that another build of the same release does as well.
fn busybox_layer(listing: &mut BTreeMap<String, Value>) -> (String, Vec<u8>, String) {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, entry) in listing.iter_mut().filter(|(path, _)| *path != "/") {
        let content = content(path, entry);
        let mut header = tar::Header::new_ustar();
        let mode = entry["mode"].as_str().map_or(0o777, |mode| u32::from_str_radix(mode, 8).unwrap());
        header.set_mode(mode);
        header.set_uid(entry["uid"].as_u64().unwrap());
        header.set_gid(entry["gid"].as_u64().unwrap());
        header.set_mtime(entry["mtime"].as_u64().unwrap());
        header.set_size(content.len() as u64);
        header.set_path(&path[1..]).unwrap();
        header.set_entry_type(match entry["type"].as_str().unwrap() {
            "dir" => tar::EntryType::Directory,
            "symlink" => tar::EntryType::Symlink,
            _ => tar::EntryType::Regular,
        });
        if let Some(target) = entry["target"].as_str() {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    (OCI_GZIP.to_owned(), compress("gz", &bytes), sha256::of(&bytes))
}

fn content(path: &str, entry: &mut Value) -> Vec<u8> {
    if path != "/bin/busybox" {
        return entry["text"].as_str().unwrap_or_default().as_bytes().to_vec();
    }
    let bytes = fs::read(busybox_program()).unwrap();
    entry["size"] = bytes.len().into();
    entry["sha256"] = sha256::of(&bytes).into();
    bytes
}

/// Returns where Debian's busybox-static puts its program.
fn busybox_program() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .expect("package busybox-static")
}
