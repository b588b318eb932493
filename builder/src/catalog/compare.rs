//! What differs between two images: configuration, manifest, layers, and files with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_oci::{DiffId, Digest, ImageConfig, Manifest, Platform};
use serde_json::Value;

use super::CatalogError;
use super::find::{choose, locate};
use crate::blobs;
use crate::difference::FileDifference;
use crate::export::{document, layers_of};
use crate::lanes::blocking;
use crate::layers::{known_listing, tree};
use crate::progress::Progress;
use crate::rootfs::Layer;
use crate::source::image::ImageError;
use crate::workshop::Workshop;

/// The list of variables, which is compared by their names.
const ENVIRONMENT: &str = "config.Env";

/// What differs between two images.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The first image.
    pub before: Compared,
    /// The second image.
    pub after: Compared,
    /// Fields of the configuration, in their order. What follows from the layers is not among them.
    pub config: Vec<FieldDifference>,
    /// Fields of the manifest, in their order: what says how the image is kept, not what it is. Blobs of layers that only one image
    /// has are not among them.
    pub manifest: Vec<FieldDifference>,
    /// How many layers, from the lowest on, are the same.
    pub common_layers: usize,
    /// Names at which the file systems differ, in their order.
    pub files: Vec<FileDifference>,
}

/// One of two images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Digest of its configuration.
    pub id: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its platform.
    pub platform: Platform,
    /// Its layers, base first.
    pub layers: Vec<LayerRow>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Identity of its tar.
    pub diff_id: DiffId,
    /// Digest of its blob.
    pub blob: Digest,
    /// Size of its blob.
    pub size_bytes: u64,
    /// The instruction that made it, if the history names one.
    pub created_by: String,
}

/// A field of a document that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDifference {
    /// Its path, as the document has it: `config.Env.PATH`, `history[2].created_by`.
    pub field: String,
    /// What it was; `None` where it was not there.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// Compares two images of this store. Layers that were never read are fetched first, where they are not here.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::Ambiguous`], [`CatalogError::Platform`], or what is wrong with a layer.
pub async fn compare(
    workshop: &Arc<Workshop>,
    [before, after]: [&str; 2],
    platform: Option<&Platform>,
    progress: &Arc<dyn Progress>,
) -> Result<Comparison, CatalogError> {
    let find = |text: &str| {
        let (own, text, platform) = (Arc::clone(workshop), text.to_owned(), platform.cloned());
        blocking(move || Found::new(&own, &text, platform.as_ref()))
    };
    let (before, after) = (find(before).await?, find(after).await?);
    let pairs = before.layers.iter().zip(&after.layers);
    let common_layers = pairs.take_while(|(old, new)| old.diff_id == new.diff_id).count();
    let differ = before.layers.len().max(after.layers.len()) > common_layers;
    if differ {
        let mut seen = BTreeSet::new();
        let all = before.layers.iter().chain(&after.layers);
        let is_unread =
            |layer: &&Layer| seen.insert(layer.diff_id) && known_listing(workshop, &layer.diff_id).is_none();
        let unread: Vec<Layer> = all.filter(is_unread).cloned().collect();
        blobs::fetch_layers(workshop, &unread, progress).await.map_err(ImageError::from)?;
    }
    let own = Arc::clone(workshop);
    blocking(move || {
        let files = match differ {
            true => {
                let (old, new) = (tree(&own, &before.layers)?, tree(&own, &after.layers)?);
                old.differences(&new).iter().map(FileDifference::of).collect()
            }
            false => Vec::new(),
        };
        let config = differences(&of_itself(&before.config), &of_itself(&after.config));
        let kept = |found: &Found| as_kept(&found.manifest, common_layers);
        let manifest = differences(&kept(&before), &kept(&after));
        Ok(Comparison { before: before.row, after: after.row, config, manifest, common_layers, files })
    })
    .await
}

struct Found {
    row: Compared,
    layers: Vec<Layer>,
    config: Value,
    manifest: Value,
}

impl Found {
    fn new(workshop: &Workshop, text: &str, platform: Option<&Platform>) -> Result<Self, CatalogError> {
        let store = &workshop.store;
        let chosen = choose(store, text, &locate(store, text)?.descriptor, platform)?;
        let layers = layers_of(store, &chosen.image)?;
        let (id, manifest) = (chosen.image.manifest.config.digest, chosen.image.descriptor.digest);
        let value =
            |bytes: &[u8]| serde_json::from_slice(bytes).expect("the document was read as JSON before");
        let config = value(document::<ImageConfig>(store, &id)?.bytes());
        let kept = value(document::<Manifest>(store, &manifest)?.bytes());
        let history = chosen.config.history.iter().filter(|line| !line.empty_layer);
        let mut created_by = history.map(|line| line.created_by.clone().unwrap_or_default());
        let row = |layer: &Layer| LayerRow {
            diff_id: layer.diff_id,
            blob: layer.blob.digest,
            size_bytes: layer.blob.size,
            created_by: created_by.next().unwrap_or_default(),
        };
        let rows = layers.iter().map(row).collect();
        let row = Compared { id, manifest, platform: chosen.platform(), layers: rows };
        Ok(Self { row, layers, config, manifest: kept })
    }
}

/// Returns a configuration without the diff ids: whoever compares layers tells them.
fn of_itself(config: &Value) -> Value {
    let mut config = config.clone();
    if let Value::Object(fields) = &mut config {
        fields.remove("rootfs");
    }
    config
}

/// Returns a manifest without what says which configuration it has and what its layers from `common` on are.
fn as_kept(manifest: &Value, common: usize) -> Value {
    let mut manifest = manifest.clone();
    if let Some(Value::Array(layers)) = manifest.get_mut("layers") {
        layers.truncate(common);
    }
    if let Some(Value::Object(config)) = manifest.get_mut("config") {
        config.retain(|name, _| name != "digest" && name != "size");
    }
    manifest
}

/// Returns where two documents differ.
fn differences(before: &Value, after: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    compare_values("", Some(before), Some(after), &mut found);
    found
}

fn compare_values(
    field: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<FieldDifference>,
) {
    if before == after {
        return;
    }
    let members = |value: Option<&Value>| value.and_then(|value| members(field, value));
    let (Some(old), Some(new)) = (members(before), members(after)) else {
        let field = field.to_owned();
        found.push(FieldDifference { field, before: before.cloned(), after: after.cloned() });
        return;
    };
    let found_before = found.len();
    // Of parts with one name, which only the environment may have, the first counts.
    let by_name =
        |of: &'_ [(String, Value)]| -> BTreeMap<String, Value> { of.iter().rev().cloned().collect() };
    let (old_values, new_values) = (by_name(&old), by_name(&new));
    let mut seen = BTreeSet::new();
    for (name, _) in old.iter().chain(&new).filter(|(name, _)| seen.insert(name)) {
        compare_values(&format!("{field}{name}"), old_values.get(name), new_values.get(name), found);
    }
    if found.len() == found_before {
        // The same parts in another order.
        let field = field.to_owned();
        found.push(FieldDifference { field, before: before.cloned(), after: after.cloned() });
    }
}

/// Returns what a value is made of, where it is compared part by part: objects, lists of objects, and the environment.
fn members(field: &str, value: &Value) -> Option<Vec<(String, Value)>> {
    let below = |name: &str| if field.is_empty() { name.to_owned() } else { format!(".{name}") };
    match value {
        Value::Object(fields) => {
            Some(fields.iter().map(|(name, value)| (below(name), value.clone())).collect())
        }
        Value::Array(items) if field == ENVIRONMENT => {
            let variable = |item: &Value| {
                let (name, value) = item.as_str()?.split_once('=')?;
                Some((below(name), Value::from(value)))
            };
            items.iter().map(variable).collect()
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            Some(items.iter().enumerate().map(|(index, item)| (format!("[{index}]"), item.clone())).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_compared_field_by_field() {
        let before = json!({
            "architecture": "amd64",
            "config": { "Env": ["A=1", "B=2"], "Cmd": ["sh"], "Labels": { "a.b": "x" } },
            "history": [{ "created_by": "one" }, { "created_by": "two" }],
            "rootfs": { "diff_ids": ["a"] },
        });
        let after = json!({
            "architecture": "amd64",
            "config": { "Env": ["B=3", "A=1", "C="], "Cmd": ["sh", "-c"], "User": "7" },
            "history": [{ "created_by": "one" }, { "created_by": "2" }, { "empty_layer": true }],
            "rootfs": { "diff_ids": ["b"] },
        });
        let said: Vec<String> = differences(&of_itself(&before), &of_itself(&after))
            .iter()
            .map(|one| {
                let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
                format!("{} {} {}", one.field, value(&one.before), value(&one.after))
            })
            .collect();
        assert_eq!(
            said,
            [
                r#"config.Cmd ["sh"] ["sh","-c"]"#,
                r#"config.Env.B "2" "3""#,
                r#"config.Env.C - """#,
                r#"config.Labels {"a.b":"x"} -"#,
                r#"config.User - "7""#,
                r#"history[1].created_by "two" "2""#,
                r#"history[2] - {"empty_layer":true}"#,
            ]
        );
        assert_eq!(differences(&before, &before), []);
        let list = |list: &[&str]| json!({ "config": { "Env": list } });
        for (before, after, expected) in [
            (list(&["A=1", "B=2"]), list(&["B=2", "A=1"]), "config.Env"),
            (list(&["A=1", "A=1"]), list(&["A=2", "A=2"]), "config.Env.A"),
        ] {
            let found = differences(&before, &after);
            assert_eq!(found.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_manifest_is_compared_without_what_configuration_and_layers_tell() {
        let manifest = |config: &str, layers: &[&str]| {
            let layers: Vec<Value> = layers.iter().map(|digest| json!({ "digest": digest })).collect();
            json!({ "config": { "digest": config, "mediaType": "c" }, "layers": layers })
        };
        let (before, after) = (manifest("a", &["gzip", "x"]), manifest("b", &["zstd", "y", "z"]));
        let fields = |common| -> Vec<String> {
            let found = differences(&as_kept(&before, common), &as_kept(&after, common));
            found.into_iter().map(|one| one.field).collect()
        };
        assert_eq!(fields(1), ["layers[0].digest"]);
        assert_eq!(fields(0), Vec::<String>::new());
    }
}
