//! The document of an entry: what a record says, for other machines.
//!
//! ```json
//! {"format":1,"key":"sha256:…","kind":"definition",
//!  "layers":[{"diffId":"sha256:…","digest":"sha256:…","mediaType":"…","size":123}],"made":[true,false]}
//! ```
//!
//! A file system is told by what was made of it *since the base image*: the key covers the base image's layers, so whoever asks has
//! them in the plan, and no base image is stored again in a cache. Whatever is not as it should be is an error that the reader
//! takes for a miss.

use bytes::Bytes;
use kiln_layer::limits::ARCHIVE_BYTES_MAX;
use kiln_oci::{Descriptor, DiffId, Digest, MediaType, json};
use serde::{Deserialize, Serialize};

use crate::far::EntryKind;
use crate::plan::{KeyKind, StepKey};
use crate::rootfs::{Layer, Rootfs};

/// What these entries are to a far cache.
pub const ENTRIES: EntryKind =
    EntryKind { media_type: "application/vnd.kiln.cache.entry.v1+json", bytes_max: 8 << 20 };

/// Version of the document's form; another one is a miss.
const ENTRY_FORMAT: u32 = 1;
/// Most layers of an entry: more than the transforms of any Dockerfile that was seen.
const LAYERS_MAX: usize = 10_000;

/// Most bytes of a layer: twice of what an archive may have that is read here, which no compression comes to.
const LAYER_BYTES_MAX: u64 = 2 * ARCHIVE_BYTES_MAX;

/// What is known under a key, as it leaves for a far cache or comes from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: KeyKind,
    key: StepKey,
    layers: Vec<Layer>,
    made: Vec<bool>,
}

/// Why a document is no entry for a key.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is not JSON of the form above.
    #[error("it is malformed")]
    Malformed(#[source] serde_json::Error),
    /// It is of a later or earlier version.
    #[error("it has the format {0}, and this program writes {ENTRY_FORMAT}")]
    Format(u32),
    /// It was written for something else.
    #[error("it belongs to another key")]
    OtherKey,
    /// What it says about layers cannot be.
    #[error("{0}")]
    Layers(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    kind: String,
    key: Digest,
    layers: Vec<WrittenLayer>,
    made: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLayer {
    diff_id: DiffId,
    digest: Digest,
    size: u64,
    media_type: MediaType,
}

impl Entry {
    /// Returns the entry of a file system; what it has of its base image stays out.
    pub fn definition(key: StepKey, rootfs: &Rootfs) -> Self {
        let own = rootfs.made.iter().filter(|made| **made).count();
        let base = rootfs.layers.len() - own;
        Self {
            kind: KeyKind::Definition,
            key,
            layers: rootfs.layers[base..].to_vec(),
            made: rootfs.made.clone(),
        }
    }

    /// Returns the entry of what a step made: a layer, or nothing.
    pub fn content(key: StepKey, layer: Option<&Layer>) -> Self {
        Self { kind: KeyKind::Content, key, layers: layer.cloned().into_iter().collect(), made: Vec::new() }
    }

    /// Returns the name under which it lies.
    pub fn name(&self) -> String {
        entry_name(self.kind, self.key)
    }

    /// Returns the blobs that it names.
    pub fn blobs(&self) -> Vec<Descriptor> {
        self.layers.iter().map(|layer| layer.blob.clone()).collect()
    }

    /// Returns the layers that it names.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns its document.
    pub fn document(&self) -> Bytes {
        let layer = |layer: &Layer| WrittenLayer {
            diff_id: layer.diff_id,
            digest: layer.blob.digest,
            size: layer.blob.size,
            media_type: layer.blob.media_type.clone(),
        };
        let written = Written {
            format: ENTRY_FORMAT,
            kind: word(self.kind).to_owned(),
            key: self.key.0,
            layers: self.layers.iter().map(layer).collect(),
            made: self.made.clone(),
        };
        json::to_bytes(&written).into()
    }

    /// Reads a document that should be the entry of a key.
    ///
    /// # Errors
    /// [`EntryError`]: it cannot be used.
    pub fn parse(document: &[u8], kind: KeyKind, key: StepKey) -> Result<Self, EntryError> {
        let Format { format } = serde_json::from_slice(document).map_err(EntryError::Malformed)?;
        if format != ENTRY_FORMAT {
            return Err(EntryError::Format(format));
        }
        let written: Written = serde_json::from_slice(document).map_err(EntryError::Malformed)?;
        if written.kind != word(kind) || written.key != key.0 {
            return Err(EntryError::OtherKey);
        }
        if written.layers.len() > LAYERS_MAX || written.made.len() > LAYERS_MAX {
            return Err(EntryError::Layers("it names too many layers"));
        }
        if written.layers.iter().any(|layer| !is_layer(&layer.media_type)) {
            return Err(EntryError::Layers("it names something that is no layer"));
        }
        if written.layers.iter().any(|layer| layer.size > LAYER_BYTES_MAX) {
            return Err(EntryError::Layers("it names a layer of a size that none has"));
        }
        let made = written.made.iter().filter(|made| **made).count();
        let is_consistent = match kind {
            KeyKind::Definition => written.layers.len() == made,
            KeyKind::Content => written.layers.len() <= 1 && written.made.is_empty(),
        };
        if !is_consistent {
            return Err(EntryError::Layers("its layers are not as many as it says that were made"));
        }
        let layer = |layer: WrittenLayer| Layer {
            diff_id: layer.diff_id,
            blob: Descriptor::new(layer.media_type, layer.digest, layer.size),
        };
        Ok(Self { kind, key, layers: written.layers.into_iter().map(layer).collect(), made: written.made })
    }

    /// Returns the file system after `transforms` steps on the layers of a base image.
    ///
    /// # Errors
    /// When it was made by more or fewer steps.
    pub fn onto(self, base: &[Layer], transforms: usize) -> Result<Rootfs, EntryError> {
        if self.made.len() != transforms {
            return Err(EntryError::Layers("it was made by more or fewer steps"));
        }
        Ok(Rootfs { layers: [base, &self.layers].concat(), made: self.made })
    }

    /// Returns what a step made.
    pub fn into_layer(self) -> Option<Layer> {
        self.layers.into_iter().next()
    }
}

/// Returns the name of the entry of a key.
pub fn entry_name(kind: KeyKind, key: StepKey) -> String {
    let letter = match kind {
        KeyKind::Definition => 'd',
        KeyKind::Content => 'c',
    };
    format!("{letter}-{}", key.0.hex())
}

fn word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Definition => "definition",
        KeyKind::Content => "content",
    }
}

/// Whether a layer of this type is one that steps make.
fn is_layer(media_type: &MediaType) -> bool {
    media_type.layer_compression().is_some() && !media_type.is_foreign()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &[u8]) -> Layer {
        let blob = Descriptor::new(MediaType::OCI_LAYER_GZIP, Digest::of(text), 7);
        Layer { diff_id: DiffId(Digest::of(&[text, b" plain"].concat())), blob }
    }

    fn rootfs() -> Rootfs {
        let base = Rootfs { layers: vec![layer(b"base")], made: Vec::new() };
        base.with(Some(layer(b"one"))).with(None).with(Some(layer(b"two")))
    }

    const KEY: StepKey = StepKey(Digest::from_bytes([7; 32]));

    #[test]
    fn a_file_system_comes_back_on_its_base() {
        let entry = Entry::definition(KEY, &rootfs());
        assert_eq!(entry.blobs().len(), 2);
        let read = Entry::parse(&entry.document(), KeyKind::Definition, KEY).unwrap();
        assert_eq!(read.onto(&[layer(b"base")], 3).unwrap(), rootfs());
    }

    #[test]
    fn what_a_step_made_comes_back() {
        for made in [None, Some(layer(b"one"))] {
            let entry = Entry::content(KEY, made.as_ref());
            assert_eq!(entry.name(), format!("c-{}", "07".repeat(32)));
            let read = Entry::parse(&entry.document(), KeyKind::Content, KEY).unwrap();
            assert_eq!(read.into_layer(), made);
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_refused() {
        let text = String::from_utf8(Entry::definition(KEY, &rootfs()).document().to_vec()).unwrap();
        let other = Digest::of(b"other").to_string();
        let many = format!("[{}]", vec!["true"; LAYERS_MAX + 1].join(","));
        for (from, to, says) in [
            ("{", "[", "malformed"),
            ("\"format\":1", "\"format\":2", "format 2"),
            ("\"format\":1", "\"format\":1,\"new\":2", ""),
            ("\"kind\":\"definition\"", "\"kind\":\"content\"", "another key"),
            (KEY.0.to_string().as_str(), &other, "another key"),
            ("\"size\":7", "\"size\":-7", "malformed"),
            ("\"size\":7", "\"size\":9223372036854775808", "a size that none has"),
            ("\"size\":7", "\"size\":18446744073709551616", "malformed"),
            ("\"diffId\":\"sha256:", "\"diffId\":\"md5:", "malformed"),
            ("vnd.oci.image.layer.v1.tar+gzip", "vnd.oci.image.config.v1+json", "no layer"),
            ("image.layer.v1.tar+gzip", "image.layer.nondistributable.v1.tar+gzip", "no layer"),
            ("[true,false,true]", "[true,false]", "not as many"),
            ("[true,false,true]", &many, "too many"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let read = Entry::parse(changed.as_bytes(), KeyKind::Definition, KEY);
            let said = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(says) && said.is_empty() == says.is_empty(), "{from} → {to}: {said}");
        }
        let read = Entry::parse(text.as_bytes(), KeyKind::Definition, KEY).unwrap();
        assert!(read.onto(&[], 2).is_err());
    }
}
