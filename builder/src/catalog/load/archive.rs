//! One pass over an archive: contents become blobs of the store.

use std::io::{self, BufRead, BufReader, Read, Write};

use kiln_layer::ArchivePath;
use kiln_layer::compress::{Detected, decompress, detect};
use kiln_layer::tar::read::{Limits, TarReader};
use kiln_oci::{Descriptor, MediaType, Reference};
use kiln_store::Store;

use super::{Candidate, parse_name};
use crate::catalog::CatalogError;
use crate::export::gather_present;
use crate::source::image_archive::{
    Contents, Entry, ImageArchiveError, SeenFile, digest_of_path, docker_manifest, read_contents,
};

const BUFFER_BYTES: usize = 256 * 1024;

/// Reads an archive to its end.
pub(super) fn read(
    store: &Store,
    file: impl Read + Send,
    failed: &dyn Fn(io::Error) -> CatalogError,
) -> Result<Contents<SeenFile>, CatalogError> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let how = detect(file.fill_buf().map_err(failed)?);
    let mut tar = TarReader::new(decompress(file, how).map_err(failed)?, Limits::default());
    let mut buffer = vec![0; BUFFER_BYTES];
    let contents =
        read_contents(&mut tar, |here| store_file(store, here.path, here.tar, &mut buffer, failed))?;
    tar.drain().map_err(ImageArchiveError::from)?;
    Ok(contents)
}

fn store_file<R: Read>(
    store: &Store,
    path: &ArchivePath,
    tar: &mut TarReader<R>,
    buffer: &mut [u8],
    failed: &dyn Fn(io::Error) -> CatalogError,
) -> Result<SeenFile, CatalogError> {
    let mut content = tar.content();
    let mut writer = store.blobs().writer();
    let mut compression = None;
    loop {
        let count = match content.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        compression.get_or_insert_with(|| detect(&buffer[..count]));
        let store_failed = |source| CatalogError::Read { what: format!("`{path}` into the store"), source };
        writer.write_all(&buffer[..count]).map_err(store_failed)?;
    }
    // The name is checked before anyone can see the blob.
    let expected = digest_of_path(path);
    let committed = writer.commit(expected.as_ref());
    let (digest, size) = match committed {
        Err(kiln_store::StoreError::WrongDigest { actual, .. }) => {
            return Err(ImageArchiveError::WrongDigest { path: path.to_string(), actual }.into());
        }
        committed => committed?,
    };
    Ok(SeenFile { digest, size, compression: compression.unwrap_or(Detected::Plain) })
}

/// Returns the names that the list of `docker save` has for an image, known by its configuration.
pub(super) fn names_of(
    store: &Store,
    descriptor: &Descriptor,
    entries: &[Entry],
) -> Result<Vec<Reference>, CatalogError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let whole = gather_present(store, descriptor)?;
    let is_of_image = |entry: &&Entry| whole.configs.keys().any(|digest| entry.is_of(digest));
    let names = entries.iter().filter(is_of_image).flat_map(Entry::tags);
    names.map(|name| parse_name(name)).collect()
}

/// Returns the images of a list without a layout, after writing manifests for them.
pub(super) fn candidates(
    store: &Store,
    contents: &Contents<SeenFile>,
    entries: &[Entry],
) -> Result<Vec<Candidate>, CatalogError> {
    let candidate = |entry: &Entry| {
        let manifest = docker_manifest(entry, |path| Ok::<_, CatalogError>(contents.file(path)))?;
        store.blobs().put_bytes(manifest.bytes())?;
        let names = entry.tags().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Candidate { descriptor: manifest.descriptor(MediaType::OCI_MANIFEST), names })
    };
    entries.iter().map(candidate).collect()
}
