//! Why two images have not one digest: the first document, layer, entry and field that differ.

use serde_json::Value;

use crate::support::image::Image;
use crate::support::layer::LayerEntry;

/// Returns what is different, in words.
pub(crate) fn between(expected: &Image, found: &Image) -> String {
    let layers = expected.layers.iter().zip(&found.layers).enumerate();
    let mut lines: Vec<String> = layers
        .filter(|(_, (left, right))| left.diff_id != right.diff_id)
        .map(|(number, (left, right))| format!("layer {number}: {}", entries(&left.entries, &right.entries)))
        .collect();
    let blobs = |image: &Image| image.manifest["layers"].clone();
    if lines.is_empty() && blobs(expected) != blobs(found) {
        lines.push(format!(
            "the same layers are compressed in another way: {} and {}",
            blobs(expected),
            blobs(found)
        ));
    }
    for (name, left, right) in [
        ("configuration", &expected.config, &found.config),
        ("manifest", &expected.manifest, &found.manifest),
    ] {
        lines.extend(value(name, left, right));
    }
    lines.join("\n  ")
}

fn entries(expected: &[LayerEntry], found: &[LayerEntry]) -> String {
    let pairs = expected.iter().zip(found);
    match pairs.clone().find(|(left, right)| left != right) {
        Some((left, right)) => format!("{left:?}\n    is {right:?}"),
        None if expected.len() != found.len() => format!("{} entries are {}", expected.len(), found.len()),
        None => "the same entries are written in another way".to_owned(),
    }
}

/// The first place where two documents differ.
fn value(place: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        _ if expected == found => None,
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys());
            let null = Value::Null;
            keys.map(|key| (key, left.get(key).unwrap_or(&null), right.get(key).unwrap_or(&null)))
                .find_map(|(key, left, right)| value(&format!("{place}.{key}"), left, right))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs.into_iter().find_map(|(at, (left, right))| value(&format!("{place}[{at}]"), left, right))
        }
        _ => Some(format!("{place}: {expected} is {found}")),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::json;

    use super::*;
    use crate::support::layer::{Kind, Layer};

    fn image(mode: u32, diff_id: &str, env: &str) -> Image {
        let entry = LayerEntry {
            path: b"a/b".to_vec(),
            kind: Kind::Directory,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            capability: None,
            xattrs: std::collections::BTreeMap::new(),
        };
        let layer = Rc::new(Layer { entries: vec![entry], diff_id: diff_id.to_owned() });
        let config = json!({"config": {"Env": ["A=1", env]}});
        Image { digest: String::new(), manifest: json!({"layers": [diff_id]}), config, layers: vec![layer] }
    }

    #[test]
    fn the_first_layer_entry_and_field_that_differ_are_named() {
        let text = between(&image(0o755, "one", "B=1"), &image(0o700, "two", "B=2"));
        for part in ["layer 0: ", "mode: 493", "mode: 448", "configuration.config.Env[1]: \"B=1\" is \"B=2\""]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
