//! Into files: the directory of an OCI layout, which takes several blobs at once and none that it has; or an archive, in which one
//! follows the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt};
use kiln_oci::{Descriptor, Digest, Document, Manifest, Reference};

use super::images::RemoteDocument;
use super::origin::{OpenOrigin, Origin};
use super::to_registry::COPIED_AT_ONCE;
use super::{Fate, ImageFilesPlace, RemoteError};
use crate::export::{
    BlobReader, ExportError, ImageName, LayoutDirectory, Leaving, OpenBlob, Whole, entries, write_docker,
    write_oci,
};
use crate::far::sink;
use crate::lanes::blocking;
use crate::progress::{Progress, Silent};
use crate::request::Destination;

/// What an image is copied from, and the files that it goes into.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) origin: &'a Origin,
    pub(super) place: &'a ImageFilesPlace,
    pub(super) progress: &'a Arc<dyn Progress>,
}

/// Writes an image into files. Returns where it is, with the name that it has there.
pub(super) async fn copy_to_files(
    files: Files<'_>,
    documents: Vec<RemoteDocument>,
    top: &Descriptor,
) -> Result<(ImageFilesPlace, BTreeMap<Digest, Fate>), RemoteError> {
    let name = match files.place.name() {
        Some(name) => Some(named(files.place, name)?),
        // A tag alone is no name in an archive for `docker load`.
        None => files.origin.name().filter(|name| {
            let is_docker = matches!(files.place, ImageFilesPlace::DockerArchive { .. });
            !is_docker || matches!(name, ImageName::Full(_))
        }),
    };
    let shown = name.as_ref().map(|name| shown(files.place, name));
    let source = Arc::new(Source::new(files, documents));
    let (whole, fates) = source.whole(top);
    let leaving = Leaving { whole, names: name.into_iter().collect() };
    let written = match files.place {
        ImageFilesPlace::Layout { path, .. } => {
            let path = path.clone();
            let layout = blocking(move || LayoutDirectory::open(&path)).await;
            match layout {
                Ok(layout) => fill(&source, Arc::new(layout), leaving, fates).await,
                Err(error) => Err(error),
            }
        }
        ImageFilesPlace::OciArchive { path, .. } => {
            archive(source, path, leaving, write_oci).await.map(|()| fates)
        }
        ImageFilesPlace::DockerArchive { path, .. } => {
            archive(source, path, leaving, write_docker).await.map(|()| fates)
        }
    };
    let failed = |source| RemoteError::Copy { from: files.origin.to_string(), source: Box::new(source) };
    Ok((files.place.with_name(shown), written.map_err(failed)?))
}

/// Returns the name that is asked for in files.
fn named(place: &ImageFilesPlace, name: &str) -> Result<ImageName, RemoteError> {
    match place {
        ImageFilesPlace::Layout { .. } | ImageFilesPlace::OciArchive { .. } => {
            Ok(ImageName::Tag(name.to_owned()))
        }
        ImageFilesPlace::DockerArchive { .. } => {
            let parsed = name.parse::<Reference>();
            let wrong = |source| RemoteError::Name { name: name.to_owned(), source };
            Ok(ImageName::Full(parsed.map_err(wrong)?.or_latest()))
        }
    }
}

/// Returns by which name an image is asked for in files.
fn shown(place: &ImageFilesPlace, name: &ImageName) -> String {
    match (place, name) {
        (ImageFilesPlace::DockerArchive { .. }, ImageName::Full(name)) => name.familiar(),
        (_, name) => name.tag().unwrap_or_default().to_owned(),
    }
}

type Fates = BTreeMap<Digest, Fate>;

async fn archive(
    source: Arc<Source>,
    path: &Path,
    leaving: Leaving,
    write: impl FnOnce(&[Leaving], &OpenBlob<'_>, &Destination) -> Result<(), ExportError> + Send + 'static,
) -> Result<(), ExportError> {
    let destination = Destination::Path(path.to_owned());
    let origin = source.origin.clone();
    origin.with_blobs(move |open| write(&[leaving], &|blob| source.open(blob, &open), &destination)).await
}

/// Writes what a layout does not have, then the name.
async fn fill(
    source: &Arc<Source>,
    layout: Arc<LayoutDirectory>,
    leaving: Leaving,
    mut fates: Fates,
) -> Result<Fates, ExportError> {
    let copies = futures_util::stream::iter(leaving.whole.blobs().into_values()).map(|blob| {
        let (source, layout) = (Arc::clone(source), Arc::clone(&layout));
        let origin = source.origin.clone();
        let write = move |open: OpenOrigin| {
            if layout.has(&blob) {
                return Ok::<_, ExportError>((blob.digest, Fate::There));
            }
            let write = || layout.write(&blob, source.open(&blob, &open)?);
            match write() {
                // They may have been changed on the way.
                Err(error) if is_wrong_on_the_way(&error) => write()?,
                outcome => outcome?,
            }
            Ok((blob.digest, Fate::Sent))
        };
        async move { origin.with_blobs(write).await }
    });
    let written: BTreeMap<Digest, Fate> = copies.buffer_unordered(COPIED_AT_ONCE).try_collect().await?;
    // Documents are not counted among blobs.
    for (digest, fate) in written {
        if let Some(known) = fates.get_mut(&digest) {
            *known = fate;
        }
    }
    blocking(move || layout.publish(entries(&[leaving]))).await?;
    Ok(fates)
}

fn is_wrong_on_the_way(error: &ExportError) -> bool {
    let ExportError::ReadBlob { source, .. } = error else { return false };
    let cause = source.get_ref().and_then(|cause| cause.downcast_ref::<RemoteError>());
    cause.is_some_and(RemoteError::is_wrong_content)
}

/// What the blobs of an image are read from.
struct Source {
    origin: Origin,
    documents: BTreeMap<Digest, RemoteDocument>,
    /// Where they go, for whoever waits.
    what: String,
    progress: Arc<dyn Progress>,
    /// Blobs that were opened: what is read twice is told once.
    told: Mutex<BTreeSet<Digest>>,
}

impl Source {
    fn new(files: Files<'_>, documents: Vec<RemoteDocument>) -> Self {
        let documents =
            documents.into_iter().map(|document| (document.descriptor.digest, document)).collect();
        let what = files.place.path().display().to_string();
        let progress = Arc::clone(files.progress);
        Self { origin: files.origin.clone(), documents, what, progress, told: Mutex::default() }
    }

    /// Returns what the image consists of, and what becomes of its blobs. What may not be distributed, and is not at hand, is left out.
    fn whole(&self, top: &Descriptor) -> (Whole, Fates) {
        let (mut whole, mut fates) = (Whole::new(top), Fates::new());
        for document in self.documents.values() {
            let manifest = Document::<Manifest>::parse(document.bytes.clone());
            match manifest.map(Document::into_value) {
                Ok(manifest) if !document.descriptor.media_type.is_index() => {
                    whole.add_manifest(&document.descriptor, manifest);
                }
                _ => whole.documents.push(document.descriptor.clone()),
            }
            for blob in &document.blobs {
                let fate = if self.origin.may_have(blob) { Fate::Sent } else { Fate::LeftOut };
                fates.insert(blob.digest, fate);
            }
        }
        whole.layers.retain(|digest, _| fates.get(digest) != Some(&Fate::LeftOut));
        (whole, fates)
    }

    fn open(&self, blob: &Descriptor, open: &OpenOrigin) -> Result<BlobReader, ExportError> {
        if let Some(document) = self.documents.get(&blob.digest) {
            return Ok(Box::new(Cursor::new(document.bytes.clone())));
        }
        let is_first = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
        let progress = if is_first { &self.progress } else { &(Arc::new(Silent) as Arc<dyn Progress>) };
        let progress = sink(&self.what, blob.digest, progress);
        let opened = open.open(blob, progress);
        opened.map_err(|source| ExportError::ReadBlob { digest: blob.digest, source })
    }
}
