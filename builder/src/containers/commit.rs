//! An image is made of a container: the image's layers, and one of what was changed. The layer has the bytes that a RUN would have
//! given it, and the image no time but that of builds, so the same changes give the same image.

use kiln_layer::{CommitOptions, Compression, LayerTime, WithTime};
use kiln_oci::{Descriptor, Digest, Document, HistoryEntry, ImageConfig, Manifest, MediaType, Reference};

use super::ContainerError;
use super::create::OpenContainer;
use super::root::{Needed, Volumes};
use crate::catalog::{CatalogError, assign};
use crate::export::document;
use crate::image::{oci_descriptor, repaired, rfc3339};
use crate::lanes::blocking;
use crate::layers::remember_listing;
use crate::lower::changed_config_of;
use crate::request::DEFAULT_EPOCH;
use crate::rootfs::Layer;

/// How an image is made of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// A name for the image.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// Remark of the history.
    pub message: Option<String>,
    /// Instructions that change the configuration.
    pub changes: Vec<String>,
    /// Time of files and documents, in seconds since 1970.
    pub epoch: Option<i64>,
    /// Whether a container is refused whose command runs, and may change files meanwhile.
    pub must_hold_still: bool,
}

/// Makes an image of a container and returns its id.
///
/// # Errors
/// [`ContainerError`]: what is wrong with a change, or cannot be read or written.
pub async fn commit(open: OpenContainer, request: CommitRequest) -> Result<Digest, ContainerError> {
    if let Some(name) = request.name.as_ref().filter(|name| name.digest().is_some()) {
        return Err(CatalogError::NamesDigest { reference: name.clone() }.into());
    }
    if request.must_hold_still && open.is_running() {
        return Err(ContainerError::Unpaused { name: open.record.name });
    }
    blocking(move || {
        let epoch = request.epoch.unwrap_or(DEFAULT_EPOCH);
        let record = &open.record;
        let changed = changed_config_of(&record.config, &request.changes, &record.platform)?;
        let layer = write_layer(&open, epoch)?;
        let mut config = document::<ImageConfig>(&open.workshop.store, &record.image_id)?.into_value();
        config.config = changed;
        config.created = Some(rfc3339(epoch));
        config.author = request.author.clone().or(config.author);
        config.history = repaired(config.history, open.layers.len());
        config.history.push(HistoryEntry {
            created: Some(rfc3339(epoch)),
            author: request.author.clone(),
            created_by: Some(record.argv.join(" ")),
            comment: request.message.clone(),
            empty_layer: layer.is_none(),
            ..HistoryEntry::default()
        });
        let layers: Vec<Layer> = open.layers.iter().cloned().chain(layer).collect();
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        write_image(&open, config, &layers, request.name.as_ref())
    })
    .await
}

/// Writes what was changed as a layer; nothing where nothing was.
fn write_layer(open: &OpenContainer, epoch: i64) -> Result<Option<Layer>, ContainerError> {
    let root = open.root()?;
    let mut changes = root.changes(WithTime::No, Volumes::LeftOut, Needed::All)?;
    if changes.is_empty() {
        return Ok(None);
    }
    changes.record_parents(&root.lower);
    let store = &open.workshop.store;
    let compression = Compression::default();
    let options = CommitOptions { time: LayerTime::Fixed(epoch), compression };
    let mut writer = store.blobs().writer_of_hashed();
    let committed =
        root.with_contents(|contents| kiln_layer::commit(&changes, contents, &options, &mut writer))?;
    writer.commit(&committed.digest)?;
    let blob = Descriptor::new(compression.media_type(), committed.digest, committed.size);
    let layer = Layer { diff_id: committed.diff_id, blob };
    remember_listing(&open.workshop, committed.listing)?;
    Ok(Some(layer))
}

fn write_image(
    open: &OpenContainer,
    config: ImageConfig,
    layers: &[Layer],
    name: Option<&Reference>,
) -> Result<Digest, ContainerError> {
    let config = Document::write(config);
    let blobs = layers.iter().map(|layer| oci_descriptor(&layer.blob)).collect();
    let manifest = Document::write(Manifest::oci(config.descriptor(MediaType::OCI_CONFIG), blobs));
    let store = &open.workshop.store;
    store.blobs().put_bytes(config.bytes())?;
    store.blobs().put_bytes(manifest.bytes())?;
    let descriptor = manifest.descriptor(MediaType::OCI_MANIFEST);
    match name {
        Some(name) => assign(store, &name.or_latest(), &descriptor).map(drop)?,
        None => store.names().add_untagged(&descriptor)?,
    }
    Ok(config.digest())
}
