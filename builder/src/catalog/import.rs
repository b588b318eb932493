//! An archive of files becomes an image of one layer.
//!
//! Owners, modes, devices, links and attributes are the archive's; times are those of every layer kiln makes. No privilege is
//! needed, since nothing but contents is written to the disk. The same archive gives the same image, however it is compressed.

use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Changes, CommitOptions, Compression, DirectoryOrigin, LayerTime, NoLayers, check_length,
    extract_archive,
};
use kiln_oci::{
    Descriptor, Digest, Document, HistoryEntry, ImageConfig, Manifest, MediaType, Platform, Reference,
};

use super::input::Input;
use super::{ArchiveSource, CatalogError, assign};
use crate::image::rfc3339;
use crate::lanes::blocking;
use crate::layers::remember_listing;
use crate::lower::changed_config;
use crate::request::DEFAULT_EPOCH;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

/// Remark of the history where none is given: Docker's.
const MESSAGE: &str = "Imported from -";

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct ImportRequest<'a> {
    /// The archive: tar, perhaps compressed.
    pub source: ArchiveSource<'a>,
    /// A name for the image.
    pub name: Option<Reference>,
    /// Instructions that change the configuration.
    pub changes: Vec<String>,
    /// Remark of the history.
    pub message: Option<String>,
    /// What it runs on; this machine's platform when absent.
    pub platform: Option<Platform>,
    /// Time of files and documents, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// Makes an image of an archive and returns its id.
///
/// # Errors
/// [`CatalogError`]: what is wrong with the archive or a change, or cannot be written.
pub async fn import(workshop: &Arc<Workshop>, request: ImportRequest<'_>) -> Result<Digest, CatalogError> {
    if let Some(name) = request.name.as_ref().filter(|name| name.digest().is_some()) {
        return Err(CatalogError::NamesDigest { reference: name.clone() });
    }
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let epoch = request.epoch.unwrap_or(DEFAULT_EPOCH);
    let mut config = ImageConfig::empty(&platform);
    config.config = changed_config(&request.changes, &platform)?;
    config.created = Some(rfc3339(epoch));
    config.history = vec![HistoryEntry {
        created: Some(rfc3339(epoch)),
        comment: Some(request.message.clone().unwrap_or_else(|| MESSAGE.to_owned())),
        ..HistoryEntry::default()
    }];
    let (own, input) = (Arc::clone(workshop), Input::from(request.source));
    let name = request.name.as_ref().map(Reference::or_latest);
    blocking(move || {
        let layer = read_layer(&own, &input, epoch).map_err(|error| input.named("import", error))?;
        write_image(&own, config, &layer, name.as_ref())
    })
    .await
}

fn read_layer(workshop: &Workshop, input: &Input, epoch: i64) -> Result<Layer, CatalogError> {
    let store = &workshop.store;
    let scratch = store.scratch("import")?;
    let open = |source| CatalogError::Read { what: "the scratch directory".to_owned(), source };
    let origin = Arc::new(DirectoryOrigin::open(scratch.path()).map_err(open)?);
    let mut tree = extract_archive(input.open()?, &origin, Limits::default())?;
    if tree.is_empty() {
        return Err(CatalogError::Empty);
    }
    let paths: Vec<ArchivePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for path in &paths {
        check_length(path)?;
        tree.imply_parents(path);
    }
    let mut changes = Changes::new();
    changes.entries = tree;
    let compression = Compression::default();
    let options = CommitOptions { time: LayerTime::Fixed(epoch), compression };
    let mut writer = store.blobs().writer_of_hashed();
    let committed = kiln_layer::commit(&changes, &NoLayers, &options, &mut writer)?;
    writer.commit(&committed.digest)?;
    let blob = Descriptor::new(compression.media_type(), committed.digest, committed.size);
    let layer = Layer { diff_id: committed.diff_id, blob };
    remember_listing(workshop, committed.listing)?;
    scratch.close()?;
    Ok(layer)
}

fn write_image(
    workshop: &Workshop,
    mut config: ImageConfig,
    layer: &Layer,
    name: Option<&Reference>,
) -> Result<Digest, CatalogError> {
    config.rootfs.diff_ids = vec![layer.diff_id];
    let config = Document::write(config);
    let manifest =
        Document::write(Manifest::oci(config.descriptor(MediaType::OCI_CONFIG), vec![layer.blob.clone()]));
    let store = &workshop.store;
    store.blobs().put_bytes(config.bytes())?;
    store.blobs().put_bytes(manifest.bytes())?;
    let descriptor = manifest.descriptor(MediaType::OCI_MANIFEST);
    match name {
        Some(name) => assign(store, name, &descriptor).map(drop)?,
        None => store.names().add_untagged(&descriptor)?,
    }
    Ok(config.digest())
}
