//! Compares one built image with what a case expects; every difference names its aspect.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::bases::Base;
use super::case::{Expected, ExpectedImage};
use super::normal::{escaped, normal_config, sorted};
use super::place::Place;
use crate::support::flatten::{Node, Whiteout, whiteout};
use crate::support::image::Image;
use crate::support::layer::{Kind, LayerEntry};
use crate::support::sha256;

/// What a difference is about. Each aspect has a score of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Aspect {
    /// Whether it builds, its files, its configuration, what was reused, its dates.
    Image,
    /// The message of a failure.
    Message,
    /// The texts of the history.
    History,
    /// What entries each layer has.
    Layers,
}

impl Aspect {
    /// Every aspect, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Image, Self::Message, Self::History, Self::Layers];

    /// Returns its name in lists and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Message => "message",
            Self::History => "history",
            Self::Layers => "layers",
        }
    }
}

/// One thing that is not as expected.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// What it is about.
    pub(crate) aspect: Aspect,
    /// The path or field.
    pub(crate) at: String,
    /// Expected and found.
    pub(crate) text: String,
}

impl Difference {
    /// Returns a difference between two values.
    pub(crate) fn new(aspect: Aspect, at: &str, expected: &Value, found: &Value) -> Self {
        Self { aspect, at: at.to_owned(), text: format!("expected {expected}, found {found}") }
    }
}

/// A difference that was decided for: these lines are taken out of a file before it is compared, or the file's
/// difference is expected.
#[derive(serde::Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deliberate {
    /// `category/name`.
    pub(crate) case: String,
    /// The aspect's name.
    pub(crate) aspect: String,
    /// The path or field; all of the aspect otherwise.
    pub(crate) at: Option<String>,
    /// Lines with this start are taken out of the file's content.
    pub(crate) drop_lines: Option<String>,
    /// Why.
    pub(crate) reason: String,
}

/// What one comparison needs.
pub(crate) struct Comparison<'a> {
    /// What the case expects.
    pub(crate) expected: &'a Expected,
    /// Turns addresses back into placeholders.
    pub(crate) place: &'a Place,
    /// The bases that images stand on.
    pub(crate) bases: &'a BTreeMap<String, Base>,
    /// The case's deliberate differences.
    pub(crate) deliberate: &'a [Deliberate],
}

impl Comparison<'_> {
    /// Compares images with those expected.
    pub(crate) fn images(&self, images: &[Image]) -> Vec<Difference> {
        let expected = &self.expected.images;
        if images.len() != expected.len() {
            let platforms: Vec<String> = images.iter().map(Image::platform).collect();
            return vec![Difference::new(
                Aspect::Image,
                "platforms",
                &json!(expected.keys().collect::<Vec<_>>()),
                &json!(platforms),
            )];
        }
        let mut found = Vec::new();
        for (index, (platform, wanted)) in expected.iter().enumerate() {
            let image = if images.len() == 1 {
                Some(&images[index])
            } else {
                images.iter().find(|image| image.platform() == *platform)
            };
            match image {
                Some(image) => found.extend(self.image(wanted, image)),
                None => found.push(Difference {
                    aspect: Aspect::Image,
                    at: "platforms".to_owned(),
                    text: format!("no image for {platform}"),
                }),
            }
        }
        found
    }

    fn image(&self, wanted: &ExpectedImage, image: &Image) -> Vec<Difference> {
        let base = wanted.base.as_ref().map(|name| &self.bases[name]);
        let mut found = self.rootfs(wanted, base, image);
        found.extend(self.config(wanted, image));
        found.extend(self.history(wanted, base, image));
        found.extend(layers(wanted, base, image));
        found
    }

    fn rootfs(&self, wanted: &ExpectedImage, base: Option<&Base>, image: &Image) -> Vec<Difference> {
        let mut expected = base.map(|base| base.listing.clone()).unwrap_or_default();
        expected.retain(|path, _| !wanted.removed.contains(path));
        expected.extend(wanted.rootfs.clone());
        expected
            .entry("/".to_owned())
            .or_insert_with(|| json!({"type": "dir", "mode": "0755", "uid": 0, "gid": 0}));
        let flat = image.flatten();
        let found: BTreeMap<String, Value> =
            flat.iter().map(|(path, node, group)| (shown(path), self.entry(path, node, group))).collect();
        let paths: BTreeSet<&String> =
            expected.keys().chain(found.keys()).filter(|path| !self.expected.ignore.contains(path)).collect();
        let reduced = |side: &BTreeMap<String, Value>, path: &str| {
            side.get(path).map_or(Value::Null, |entry| self.reduce(path, entry))
        };
        let sides = paths.into_iter().map(|path| (path, reduced(&expected, path), reduced(&found, path)));
        sides
            .filter(|(_, expected, found)| expected != found)
            .map(|(path, expected, found)| {
                Difference::new(Aspect::Image, path, &expected, &self.with_text(path, found, &flat))
            })
            .collect()
    }

    /// Describes a node as the expectations do.
    fn entry(&self, path: &[u8], node: &Node, group: Option<&[u8]>) -> Value {
        let mut entry = json!({"uid": node.uid, "gid": node.gid, "mtime": node.mtime, "mode": format!("{:04o}", node.mode)});
        entry["type"] = type_name(&node.kind).into();
        match &node.kind {
            Kind::File(size, digest, content) => {
                let (size, digest) = self.content(path, *size, digest, content.as_deref());
                entry["size"] = size.into();
                entry["sha256"] = digest.into();
            }
            Kind::Symlink(target) => {
                entry["target"] = escaped(target).into();
                entry.as_object_mut().unwrap().remove("mode");
            }
            Kind::Char(major, minor) | Kind::Block(major, minor) => {
                entry["dev"] = format!("{major},{minor}").into()
            }
            Kind::Directory | Kind::Fifo | Kind::Hardlink(_) => {}
        }
        if let Some(group) = group {
            entry["hardlink_group"] = shown(group).into();
        }
        if let Some(capability) = &node.capability {
            entry["xattrs"] = json!({"security.capability": capability});
        }
        entry
    }

    /// Returns size and digest of a file after placeholders are back and deliberate lines are out.
    fn content(&self, path: &[u8], size: u64, digest: &str, content: Option<&[u8]>) -> (u64, String) {
        let Some(content) = content else { return (size, digest.to_owned()) };
        let mut clear = self.place.clear_file(content);
        let path = shown(path);
        for deliberate in self.deliberate.iter().filter(|deliberate| deliberate.at.as_ref() == Some(&path)) {
            if let Some(start) = &deliberate.drop_lines {
                clear = clear
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter(|line| !line.starts_with(start.as_bytes()))
                    .flatten()
                    .copied()
                    .collect();
            }
        }
        if clear == content { (size, digest.to_owned()) } else { (clear.len() as u64, sha256::of(&clear)) }
    }

    /// Keeps of an entry what counts in this case.
    fn reduce(&self, path: &str, entry: &Value) -> Value {
        let mut entry = entry.clone();
        let fields = entry.as_object_mut().unwrap();
        fields.remove("text");
        if !self.expected.check_mtime.iter().any(|checked| checked == path) {
            fields.remove("mtime");
        }
        if self.expected.ignore_content.iter().any(|ignored| ignored == path) {
            fields.remove("size");
            fields.remove("sha256");
        }
        sorted(&entry)
    }

    /// Adds a short file's content for the reader.
    fn with_text(&self, path: &str, mut found: Value, flat: &crate::support::flatten::Flat) -> Value {
        if let Some(Node { kind: Kind::File(size, _, Some(content)), .. }) =
            flat.get(path.trim_start_matches('/').as_bytes())
            && *size < 400
        {
            found["text"] = String::from_utf8_lossy(&self.place.clear(content)).into();
        }
        found
    }

    fn config(&self, wanted: &ExpectedImage, image: &Image) -> Vec<Difference> {
        let text = self.place.clear(&serde_json::to_vec(&image.config).unwrap());
        let document: Value = serde_json::from_slice(&text).unwrap();
        let (expected, found) =
            (normal_config(&wanted.config, &wanted.config), normal_config(&document["config"], &document));
        let fields: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
        let value = |side: &Map<String, Value>, field: &str| side.get(field).cloned().unwrap_or(Value::Null);
        let mut differences: Vec<Difference> = fields
            .into_iter()
            .map(|field| (format!("config.{field}"), value(&expected, field), value(&found, field)))
            .filter(|(_, expected, found)| expected != found)
            .map(|(field, expected, found)| Difference::new(Aspect::Image, &field, &expected, &found))
            .collect();
        if let Some(created) = &wanted.created
            && document["created"] != created.as_str()
        {
            differences.push(Difference::new(
                Aspect::Image,
                "created",
                &created.as_str().into(),
                &document["created"],
            ));
        }
        differences
    }

    fn history(&self, wanted: &ExpectedImage, base: Option<&Base>, image: &Image) -> Vec<Difference> {
        let text = self.place.clear(&serde_json::to_vec(&image.config["history"]).unwrap());
        let all: Vec<Value> = serde_json::from_slice::<Option<_>>(&text).unwrap().unwrap_or_default();
        let own = all.get(own_from(wanted.history.len(), all.len(), base.map_or(0, |base| base.history))..);
        let own = own.unwrap_or_default();
        let entry = |entry: &Value| json!({"created_by": entry["created_by"].as_str().unwrap_or_default(), "empty_layer": entry["empty_layer"].as_bool().unwrap_or(false)});
        let (expected, found): (Value, Value) =
            (wanted.history.iter().map(entry).collect(), own.iter().map(entry).collect());
        let mut differences = Vec::new();
        let full = all.iter().filter(|entry| entry["empty_layer"] != true).count();
        if full != image.layers.len() {
            differences.push(Difference::new(
                Aspect::Image,
                "layers told by the history",
                &image.layers.len().into(),
                &full.into(),
            ));
        }
        if expected != found {
            differences.push(Difference::new(Aspect::History, "history", &expected, &found));
        }
        if let Some(times) = &wanted.history_created {
            let found: Vec<&Value> = own.iter().map(|entry| &entry["created"]).collect();
            if json!(times) != json!(found) {
                differences.push(Difference::new(
                    Aspect::Image,
                    "history's dates",
                    &json!(times),
                    &json!(found),
                ));
            }
        }
        differences
    }
}

/// Returns where what is an image's own begins. Some images name a base only because their files resemble it, and have all
/// that is expected as their own.
fn own_from(expected: usize, all: usize, base: usize) -> usize {
    if all == expected { 0 } else { base }
}

fn layers(wanted: &ExpectedImage, base: Option<&Base>, image: &Image) -> Option<Difference> {
    let own = own_from(wanted.layers.len(), image.layers.len(), base.map_or(0, |base| base.layers));
    let own = image.layers.get(own..).unwrap_or_default();
    let lines = |entries: &[LayerEntry]| {
        let mut lines: Vec<String> = entries.iter().map(layer_line).collect();
        lines.sort();
        lines
    };
    let found: Vec<Vec<String>> = own.iter().map(|layer| lines(&layer.entries)).collect();
    let expected: Vec<Vec<String>> = wanted
        .layers
        .iter()
        .cloned()
        .map(|mut lines| {
            lines.sort();
            lines
        })
        .collect();
    (expected != found).then(|| Difference::new(Aspect::Layers, "layers", &json!(expected), &json!(found)))
}

fn layer_line(entry: &LayerEntry) -> String {
    match whiteout(&entry.path) {
        Some(Whiteout::Opaque(path)) => format!("opaque {}", shown(&path)),
        Some(Whiteout::Path(path)) => format!("whiteout {}", shown(&path)),
        None => format!("{} {}", type_name(&entry.kind), shown(&entry.path)),
    }
}

fn type_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File(..) => "file",
        Kind::Directory => "dir",
        Kind::Symlink(_) => "symlink",
        Kind::Hardlink(_) => "hardlink",
        Kind::Fifo => "fifo",
        Kind::Char(..) => "char",
        Kind::Block(..) => "block",
    }
}

/// Returns a path as the expectations write it.
fn shown(path: &[u8]) -> String {
    format!("/{}", escaped(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_named_by_what_they_remove() {
        let line = |path: &str| {
            layer_line(&LayerEntry {
                path: path.into(),
                kind: Kind::File(0, String::new(), None),
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                capability: None,
                xattrs: BTreeMap::new(),
            })
        };
        assert_eq!(
            [line("d/.wh.x"), line(".wh.y"), line("d/.wh..wh..opq"), line("f")],
            ["whiteout /d/x", "whiteout /y", "opaque /d", "file /f"]
        );
    }
}
