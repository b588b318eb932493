//! Names: which image is called what, in `index.json`, the list of an OCI image layout.
//!
//! Other tools may write the file too: entries and fields this version does not understand are kept as they are. Changes
//! happen under a lock between kilns, and only when they change something. An entry of ours carries its full canonical
//! name twice, for OCI tools and for containerd; one without a full name is an image without a name, and stays.

use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Reference, layout};
use serde_json::{Map, Value, json};

use crate::blobs::Blobs;
use crate::disk::LockMode;
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::Session;
use crate::scratch::replace_file;

/// The largest `index.json` that is read.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;

/// The image names of a store.
#[derive(Debug, Clone)]
pub struct Names {
    session: Arc<Session>,
    blobs: Blobs,
}

/// An entry of `index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// Its full name, when it has one.
    pub reference: Option<Reference>,
    /// What another tool calls it, when that is no full name.
    pub foreign_name: Option<String>,
    /// The manifest or index, with platform and annotations but without the name annotations.
    pub descriptor: Descriptor,
}

impl Names {
    pub(crate) fn new(session: &Arc<Session>, blobs: &Blobs) -> Self {
        Self { session: Arc::clone(session), blobs: blobs.clone() }
    }

    /// Returns the image with this name.
    ///
    /// # Errors
    /// [`StoreError::DocumentDamaged`], or what the disk says.
    pub fn get(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let named = self.list()?.into_iter().find(|image| image.reference.as_ref() == Some(reference));
        Ok(named.map(|image| image.descriptor))
    }

    /// Returns all images, in the order of `index.json`; entries that are no descriptors are left out.
    ///
    /// # Errors
    /// [`StoreError::DocumentDamaged`], or what the disk says.
    pub fn list(&self) -> Result<Vec<NamedImage>> {
        Ok(self.read()?.list())
    }

    /// Gives an image a name and returns what had it before.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`] when the manifest is not in the store, or as for [`Names::list`].
    pub fn set(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Option<Descriptor>> {
        self.edit(|edit| Ok(edit.set(reference, descriptor)))
    }

    /// Takes a name away and returns what had it.
    ///
    /// # Errors
    /// As for [`Names::list`].
    pub fn remove(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        self.edit(|edit| Ok(edit.remove(reference)))
    }

    /// Keeps an image that has no name; "already listed" is success.
    ///
    /// # Errors
    /// As for [`Names::set`].
    pub fn add_untagged(&self, descriptor: &Descriptor) -> Result<()> {
        self.edit(|edit| {
            edit.add_untagged(descriptor);
            Ok(())
        })
    }

    /// Removes the entries of an image that have no full name; returns whether there were any.
    ///
    /// # Errors
    /// As for [`Names::list`].
    pub fn remove_untagged(&self, digest: &Digest) -> Result<bool> {
        self.edit(|edit| Ok(edit.remove_untagged(digest)))
    }

    /// Makes several changes at once: all of them appear, or, when `change` fails, none. Nobody else changes names while
    /// it runs, so it should be short.
    ///
    /// # Errors
    /// What `change` says, and as for [`Names::set`].
    pub fn edit<T>(&self, change: impl FnOnce(&mut NamesEdit) -> Result<T>) -> Result<T> {
        let _alone = self.session.lock("index", LockMode::Exclusive)?;
        let before = self.read()?;
        let mut edit = NamesEdit { document: before.document.clone(), added: Vec::new() };
        let answer = change(&mut edit)?;
        for digest in &edit.added {
            if !self.blobs.hold(digest)? {
                return Err(StoreError::BlobMissing { digest: *digest });
            }
            // It counts as young again; only its age in the eyes of gc depends on it.
            drop(self.session.disk().touch(&self.blobs.path(digest)));
        }
        if edit.document != before.document {
            self.blobs.sync_names()?;
            self.write(&edit.document)?;
        }
        Ok(answer)
    }

    /// Returns all entries that are descriptors, each with what it is called, by us or by others: for gc.
    pub(crate) fn entries(&self) -> Result<Vec<(Descriptor, Option<String>)>> {
        let image = |image: NamedImage| {
            let name = image.reference.map(|name| name.familiar()).or(image.foreign_name);
            (image.descriptor, name)
        };
        Ok(self.list()?.into_iter().map(image).collect())
    }

    fn read(&self) -> Result<NamesEdit> {
        let path = self.session.path(layout::INDEX_FILE);
        let file = optional(self.session.disk().open(&path)).on("open", &path)?;
        let Some(file) = file else {
            return Ok(NamesEdit { document: empty_document(), added: Vec::new() });
        };
        let damaged = |reason: String| StoreError::DocumentDamaged { path: path.clone(), reason };
        if file.metadata().on("inspect", &path)?.len() > INDEX_BYTES_MAX {
            return Err(damaged(format!("it is larger than {INDEX_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).on("read", &path)?;
        let document: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if !matches!(document.get("manifests"), None | Some(Value::Null | Value::Array(_))) {
            return Err(damaged("`manifests` is not a list".to_owned()));
        }
        Ok(NamesEdit { document, added: Vec::new() })
    }

    fn write(&self, document: &Map<String, Value>) -> Result<()> {
        let path = self.session.path(layout::INDEX_FILE);
        replace_file(&self.session, &path, &kiln_oci::json::to_bytes(document))
    }
}

/// The names, while they are being changed.
#[derive(Debug)]
pub struct NamesEdit {
    document: Map<String, Value>,
    /// Images that must be in the store when the change is written.
    added: Vec<Digest>,
}

impl NamesEdit {
    /// Returns all images as they are at this point of the change.
    pub fn list(&self) -> Vec<NamedImage> {
        self.entries().filter_map(named_image).collect()
    }

    /// Gives an image a name and returns what had it before.
    pub fn set(&mut self, reference: &Reference, descriptor: &Descriptor) -> Option<Descriptor> {
        let mut entry = without_names(descriptor.clone());
        let name = reference.to_string();
        entry.annotations.insert(layout::REF_NAME.to_owned(), name.clone());
        entry.annotations.insert(layout::CONTAINERD_NAME.to_owned(), name);
        self.added.push(descriptor.digest);
        let new = serde_json::to_value(&entry).expect("a descriptor is plain JSON");
        let is_named =
            |entry: &Value| named_image(entry).and_then(|image| image.reference).as_ref() == Some(reference);
        let entries = self.entries_mut();
        let place = entries.iter().position(is_named);
        let previous = place.and_then(|place| named_image(&entries[place]));
        match place {
            Some(place) => entries[place] = new,
            None => entries.push(new),
        }
        previous.map(|image| image.descriptor)
    }

    /// Takes a name away and returns what had it.
    pub fn remove(&mut self, reference: &Reference) -> Option<Descriptor> {
        let removed = self.remove_where(|image| image.reference.as_ref() == Some(reference));
        removed.into_iter().next().map(|image| image.descriptor)
    }

    /// Keeps an image that has no name; "already listed" is success.
    pub fn add_untagged(&mut self, descriptor: &Descriptor) {
        self.added.push(descriptor.digest);
        if self.list().iter().any(|image| image.descriptor.digest == descriptor.digest) {
            return;
        }
        let entry = without_names(descriptor.clone());
        self.entries_mut().push(serde_json::to_value(&entry).expect("a descriptor is plain JSON"));
    }

    /// Removes the entries of an image that have no full name; returns whether there were any.
    pub fn remove_untagged(&mut self, digest: &Digest) -> bool {
        !self.remove_where(|image| image.reference.is_none() && image.descriptor.digest == *digest).is_empty()
    }

    /// Removes the entries of an image that nobody gave any name: for gc.
    pub(crate) fn remove_nameless(&mut self, digest: &Digest) {
        self.remove_where(|image| {
            image.reference.is_none() && image.foreign_name.is_none() && image.descriptor.digest == *digest
        });
    }

    /// Removes every entry of an image, for fsck.
    pub(crate) fn remove_digest(&mut self, digest: &Digest) {
        self.remove_where(|image| image.descriptor.digest == *digest);
    }

    fn remove_where(&mut self, goes: impl Fn(&NamedImage) -> bool) -> Vec<NamedImage> {
        let mut removed = Vec::new();
        self.entries_mut().retain(|entry| match named_image(entry).filter(&goes) {
            Some(image) => {
                removed.push(image);
                false
            }
            None => true,
        });
        removed
    }

    fn entries(&self) -> impl Iterator<Item = &Value> {
        self.document.get("manifests").and_then(Value::as_array).into_iter().flatten()
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        let slot = self.document.entry("manifests").or_insert_with(|| json!([]));
        if !slot.is_array() {
            *slot = json!([]); // `null`: checked when the document was read.
        }
        slot.as_array_mut().expect("made an array above")
    }
}

/// Returns the document of a layout without images.
pub(crate) fn empty_document() -> Map<String, Value> {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": kiln_oci::MediaType::OCI_INDEX.as_str(),
        "manifests": [],
    });
    match document {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn named_image(entry: &Value) -> Option<NamedImage> {
    // An entry that is no descriptor of ours (say, another digest algorithm) is kept and not shown.
    let descriptor: Descriptor = serde_json::from_value(entry.clone()).ok()?;
    let full_name = descriptor.annotations.get(layout::CONTAINERD_NAME);
    let ref_name = descriptor.annotations.get(layout::REF_NAME);
    // A bare `latest`, as other tools write it, is a tag without a repository and names nothing here.
    let reference = full_name
        .or(ref_name.filter(|name| name.contains('/')))
        .and_then(|name| name.parse::<Reference>().ok());
    let foreign_name = if reference.is_some() { None } else { full_name.or(ref_name).cloned() };
    Some(NamedImage { reference, foreign_name, descriptor: without_names(descriptor) })
}

fn without_names(mut descriptor: Descriptor) -> Descriptor {
    descriptor.annotations.remove(layout::REF_NAME);
    descriptor.annotations.remove(layout::CONTAINERD_NAME);
    descriptor
}
