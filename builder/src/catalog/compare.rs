//! What differs between two images: configuration, layers, and files with the reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_oci::{DiffId, Digest, ImageConfig, Platform};
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

/// A field of the configuration that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDifference {
    /// Its path: `config.Env.PATH`, `history[2].created_by`.
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
        let config = field_differences(&before.config, &after.config);
        Ok(Comparison { before: before.row, after: after.row, config, common_layers, files })
    })
    .await
}

struct Found {
    row: Compared,
    layers: Vec<Layer>,
    config: Value,
}

impl Found {
    fn new(workshop: &Workshop, text: &str, platform: Option<&Platform>) -> Result<Self, CatalogError> {
        let store = &workshop.store;
        let chosen = choose(store, text, &locate(store, text)?.descriptor, platform)?;
        let layers = layers_of(store, &chosen.image)?;
        let id = chosen.image.manifest.config.digest;
        let raw = document::<ImageConfig>(store, &id)?;
        let config = serde_json::from_slice(raw.bytes()).expect("the document was read as JSON before");
        let history = chosen.config.history.iter().filter(|line| !line.empty_layer);
        let mut created_by = history.map(|line| line.created_by.clone().unwrap_or_default());
        let row = |layer: &Layer| LayerRow {
            diff_id: layer.diff_id,
            blob: layer.blob.digest,
            size_bytes: layer.blob.size,
            created_by: created_by.next().unwrap_or_default(),
        };
        let rows = layers.iter().map(row).collect();
        Ok(Self { row: Compared { id, platform: chosen.platform(), layers: rows }, layers, config })
    }
}

/// Returns where two configurations differ. The diff ids are not looked at: whoever compares layers tells them.
fn field_differences(before: &Value, after: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    let without_layers = |config: &Value| match config {
        Value::Object(fields) => {
            Value::Object(fields.clone().into_iter().filter(|(name, _)| name != "rootfs").collect())
        }
        other => other.clone(),
    };
    compare_values("", Some(&without_layers(before)), Some(&without_layers(after)), &mut found);
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
    let added = new.iter().filter(|(name, _)| !old.iter().any(|(other, _)| other == name));
    for (name, _) in old.iter().chain(added) {
        let value = |of: &[(String, Value)]| {
            of.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        compare_values(&format!("{field}{name}"), value(&old).as_ref(), value(&new).as_ref(), found);
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
        let said: Vec<String> = field_differences(&before, &after)
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
        assert_eq!(field_differences(&before, &before), []);
        let ordered = |list: [&str; 2]| json!({ "config": { "Env": list } });
        let found = field_differences(&ordered(["A=1", "B=2"]), &ordered(["B=2", "A=1"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].field, "config.Env");
    }
}
