//! Everything that must be true of an image, written from the specification.
//!
//! Digests and sizes of all blobs, media types, the configuration's diff ids against the layers' uncompressed content, the
//! number of history entries against the number of layers. Unaware of where blobs are: it reads what `open` gives it.

use std::io::{self, Read};

use crate::{
    Descriptor, Digest, Document, DocumentError, Hasher, ImageConfig, Index, LayerCompression, Manifest,
    MediaType, VerifyingReader,
};

/// Largest manifest, index or configuration that is read, in bytes.
pub const DOCUMENT_SIZE_MAX: u64 = 8 << 20;
/// Deepest nesting of indexes that is followed.
pub const INDEX_DEPTH_MAX: u32 = 4;

/// A statement about an image that is not true.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// A blob could not be read, or is not what its descriptor says.
    #[error("blob `{digest}`: {source}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What happened.
        source: io::Error,
    },
    /// A document does not parse.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A rule of the specification is broken.
    #[error("image `{digest}`: {rule}")]
    Rule {
        /// The document that breaks it.
        digest: Digest,
        /// The rule, as a statement of what is wrong.
        rule: String,
    },
}

/// Opens blobs.
pub trait Open {
    /// Opens a blob's bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// Opens blobs and undoes their compression.
pub trait Blobs: Open {
    /// Wraps compressed bytes in a reader of the plain ones.
    ///
    /// # Errors
    /// Whatever the decompressor says about the first bytes.
    fn decompress<'a>(
        &self,
        kind: LayerCompression,
        compressed: Box<dyn Read + Send + 'a>,
    ) -> io::Result<Box<dyn Read + Send + 'a>>;
}

/// Checks the image or index that `descriptor` points to, and everything below it.
///
/// Returns the number of images that were checked.
///
/// # Errors
/// The first [`ValidationError`] found.
pub fn validate(descriptor: &Descriptor, blobs: &dyn Blobs) -> Result<u32, ValidationError> {
    validate_at(descriptor, blobs, Some(blobs), 0)
}

/// Checks the documents that `descriptor` leads to as [`validate`] does, without opening any layer: for those who have just
/// written them, and hashed their layers while doing so.
///
/// # Errors
/// The first [`ValidationError`] found.
pub fn validate_documents(descriptor: &Descriptor, documents: &dyn Open) -> Result<u32, ValidationError> {
    validate_at(descriptor, documents, None, 0)
}

fn validate_at(
    descriptor: &Descriptor,
    documents: &dyn Open,
    layers: Option<&dyn Blobs>,
    depth: u32,
) -> Result<u32, ValidationError> {
    let broken = |rule: String| ValidationError::Rule { digest: descriptor.digest, rule };
    if descriptor.media_type.is_manifest() {
        return validate_manifest(descriptor, documents, layers).map(|()| 1);
    }
    if !descriptor.media_type.is_index() {
        return Err(broken(format!("media type `{}` is neither manifest nor index", descriptor.media_type)));
    }
    if depth >= INDEX_DEPTH_MAX {
        return Err(broken(format!("indexes are nested more than {INDEX_DEPTH_MAX} deep")));
    }
    let index = Document::<Index>::parse(read_document(descriptor, documents)?)?;
    check_own_type(index.value().media_type.as_ref(), descriptor)?;
    let mut count = 0;
    for entry in &index.value().manifests {
        count += validate_at(entry, documents, layers, depth + 1)?;
    }
    Ok(count)
}

fn validate_manifest(
    descriptor: &Descriptor,
    documents: &dyn Open,
    layers: Option<&dyn Blobs>,
) -> Result<(), ValidationError> {
    let broken = |rule: String| ValidationError::Rule { digest: descriptor.digest, rule };
    let manifest = Document::<Manifest>::parse(read_document(descriptor, documents)?)?.into_value();
    check_own_type(manifest.media_type.as_ref(), descriptor)?;
    if manifest.schema_version != 2 {
        return Err(broken(format!("schemaVersion is {}, not 2", manifest.schema_version)));
    }
    if !manifest.config.media_type.is_config() {
        return Err(broken(format!(
            "`{}` is not the type of an image configuration",
            manifest.config.media_type
        )));
    }
    let config = Document::<ImageConfig>::parse(read_document(&manifest.config, documents)?)?.into_value();
    check_config(&config, &manifest).map_err(broken)?;
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let compression = compression_of(layer)?;
        let Some(blobs) = layers else { continue };
        let actual = layer_diff_id(layer, compression, blobs)?;
        if actual.is_some_and(|actual| actual != diff_id.0) {
            return Err(broken(format!("layer `{}` does not have the diff id `{diff_id}`", layer.digest)));
        }
    }
    Ok(())
}

fn check_own_type(own: Option<&MediaType>, descriptor: &Descriptor) -> Result<(), ValidationError> {
    match own {
        Some(own) if *own != descriptor.media_type => Err(ValidationError::Rule {
            digest: descriptor.digest,
            rule: format!("it says it is `{own}`, its descriptor says `{}`", descriptor.media_type),
        }),
        _ => Ok(()),
    }
}

fn check_config(config: &ImageConfig, manifest: &Manifest) -> Result<(), String> {
    if config.os.is_empty() || config.architecture.is_empty() {
        return Err("the configuration names no platform".to_owned());
    }
    if config.rootfs.kind != "layers" {
        return Err(format!("rootfs type is `{}`, not `layers`", config.rootfs.kind));
    }
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(format!("{layers} layers, but {diff_ids} diff ids"));
    }
    let entries = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && entries != layers {
        return Err(format!("{layers} layers, but {entries} history entries that are not empty"));
    }
    Ok(())
}

/// Returns what a layer's media type says of its compression; `None` for foreign layers.
fn compression_of(layer: &Descriptor) -> Result<Option<LayerCompression>, ValidationError> {
    if layer.media_type.is_foreign() {
        return Ok(None);
    }
    layer.media_type.layer_compression().map(Some).ok_or_else(|| ValidationError::Rule {
        digest: layer.digest,
        rule: format!("`{}` is not the type of a layer", layer.media_type),
    })
}

/// Returns the digest of the uncompressed layer, or `None` for foreign layers, which need not be there.
fn layer_diff_id(
    layer: &Descriptor,
    compression: Option<LayerCompression>,
    blobs: &dyn Blobs,
) -> Result<Option<Digest>, ValidationError> {
    let Some(compression) = compression else { return Ok(None) };
    let failed = |source| ValidationError::Blob { digest: layer.digest, source };
    let blob = blobs.open(&layer.digest).map_err(failed)?;
    let mut verified = VerifyingReader::new(blob, layer.digest, layer.size);
    let mut hasher = Hasher::new();
    {
        let mut plain = blobs.decompress(compression, Box::new(&mut verified)).map_err(failed)?;
        io::copy(&mut plain, &mut hasher).map_err(failed)?;
    }
    io::copy(&mut verified, &mut io::sink()).map_err(failed)?;
    Ok(Some(hasher.finish()))
}

fn read_document(descriptor: &Descriptor, documents: &dyn Open) -> Result<Vec<u8>, ValidationError> {
    let failed = |source| ValidationError::Blob { digest: descriptor.digest, source };
    if descriptor.size > DOCUMENT_SIZE_MAX {
        return Err(failed(io::Error::other(format!(
            "{} bytes are more than the {DOCUMENT_SIZE_MAX} allowed for a document",
            descriptor.size
        ))));
    }
    let blob = documents.open(&descriptor.digest).map_err(failed)?;
    let mut bytes = Vec::new();
    VerifyingReader::new(blob, descriptor.digest, descriptor.size).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
