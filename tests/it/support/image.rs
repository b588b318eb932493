//! Reads an image from an OCI layout directory, and checks the layout while doing so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::flatten::Flat;
use super::layer::{self, Layer};
use super::sha256;

/// One image: its documents and its layers.
pub(crate) struct Image {
    /// The digest of the manifest, `sha256:…`.
    pub(crate) digest: String,
    /// The manifest.
    pub(crate) manifest: Value,
    /// The configuration.
    pub(crate) config: Value,
    /// The layers, base first.
    pub(crate) layers: Vec<Rc<Layer>>,
}

/// Layers read before, by blob digest: many images share their base.
pub(crate) type LayerCache = std::collections::BTreeMap<String, Rc<Layer>>;

impl Image {
    /// Returns the diff ids that the configuration names.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        let ids = self.config["rootfs"]["diff_ids"].as_array().map_or(&[][..], Vec::as_slice);
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// Returns the platform as `os/architecture[/variant]`.
    pub(crate) fn platform(&self) -> String {
        let part =
            |name: &str| self.config[name].as_str().filter(|value| !value.is_empty()).map(str::to_owned);
        [part("os"), part("architecture"), part("variant")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Returns the filesystem that the layers make.
    pub(crate) fn flatten(&self) -> Flat {
        let mut flat = Flat::new();
        for layer in &self.layers {
            flat.apply(&layer.entries);
        }
        flat
    }
}

/// Reads the only image of a layout.
#[track_caller]
pub(crate) fn read_one(layout: &Path) -> Image {
    let mut images = read_all(layout, &mut LayerCache::new());
    assert_eq!(images.len(), 1, "one image expected in {}", layout.display());
    images.remove(0)
}

/// Reads every image that a layout's index leads to, in order.
#[track_caller]
pub(crate) fn read_all(layout: &Path, cache: &mut LayerCache) -> Vec<Image> {
    let marker = json_file(&layout.join("oci-layout"));
    assert_eq!(marker["imageLayoutVersion"], "1.0.0");
    let index = json_file(&layout.join("index.json"));
    let mut images = Vec::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        collect(layout, descriptor, cache, &mut images);
    }
    images
}

fn collect(layout: &Path, descriptor: &Value, cache: &mut LayerCache, images: &mut Vec<Image>) {
    let document = document(layout, descriptor);
    if let Some(children) = document["manifests"].as_array() {
        return children.iter().for_each(|child| collect(layout, child, cache, images));
    }
    images.push(read(layout, descriptor, cache));
}

/// Reads the image whose manifest a descriptor names.
#[track_caller]
pub(crate) fn read(layout: &Path, descriptor: &Value, cache: &mut LayerCache) -> Image {
    let manifest = document(layout, descriptor);
    let config = document(layout, &manifest["config"]);
    let layers: Vec<Rc<Layer>> =
        manifest["layers"].as_array().unwrap().iter().map(|blob| read_layer(layout, blob, cache)).collect();
    let image = Image { digest: descriptor["digest"].as_str().unwrap().to_owned(), manifest, config, layers };
    let found: Vec<String> = image.layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
    assert_eq!(found, image.diff_ids(), "the configuration's diff ids are those of the layers");
    image
}

fn read_layer(layout: &Path, descriptor: &Value, cache: &mut LayerCache) -> Rc<Layer> {
    let path = blob(layout, descriptor);
    let key = descriptor["digest"].as_str().unwrap();
    Rc::clone(cache.entry(key.to_owned()).or_insert_with(|| Rc::new(layer::read(&path))))
}

fn document(layout: &Path, descriptor: &Value) -> Value {
    json_file(&blob(layout, descriptor))
}

/// Reads a JSON document; panics with its path.
#[track_caller]
pub(crate) fn json_file(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("cannot parse {}: {error}", path.display()))
}

/// Returns the path of a blob whose size and digest are as its descriptor says.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    let size = fs::metadata(&path).unwrap_or_else(|error| panic!("blob {}: {error}", path.display())).len();
    assert_eq!(Some(size), descriptor["size"].as_u64(), "size of {digest}");
    assert_eq!(sha256::of_file(&path), digest, "digest of a blob");
    path
}

/// Asserts that every blob of a layout (a store is one, too) has the content its name says. A prune behind a build may take one
/// meanwhile.
#[track_caller]
pub(crate) fn check_blobs(layout: &Path) {
    let Ok(names) = fs::read_dir(layout.join("blobs/sha256")) else { return };
    for entry in names {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut blob = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            blob => blob.unwrap(),
        };
        assert_eq!(sha256::of_reader(&mut blob), name, "a blob whose content is not what its name says");
    }
}
