//! From one place to another: manifests and indexes as they stand, blobs streamed, nothing kept here.
//!
//! Documents go after what they name, the name last: a copy that is interrupted leaves blobs and perhaps manifests without a name, and
//! the next goes on from there; of an archive it leaves nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::{Descriptor, Digest, Platform, Reference};
use kiln_registry::Client;

use super::images::documents_of;
use super::origin::Origin;
use super::to_files::{Files, copy_to_files};
use super::to_registry::{Copier, copy_to_registry};
use super::{Fate, ImageFilesPlace, ImagePlace, RemoteError};
use crate::progress::{Progress, ProgressEvent};

/// What is to be copied.
#[derive(Debug, Clone)]
pub struct CopyImage {
    /// The image.
    pub from: ImagePlace,
    /// Where it goes. Without a tag or name there, it has that which it has.
    pub to: ImagePlace,
    /// The only platform wanted.
    pub platform: Option<Platform>,
    /// Where an archive is unpacked that cannot be read where it lies.
    pub scratch: PathBuf,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedImage {
    /// The manifest or index that was copied.
    pub image: Descriptor,
    /// Where it is now.
    pub place: ImagePlace,
    /// What became of the blobs that were looked at.
    pub blobs: BTreeMap<Digest, Fate>,
}

/// Copies an image from one place to another.
///
/// # Errors
/// [`RemoteError`]: what registries and files say, or that there is no image for the platform.
pub async fn copy(
    client: &Client,
    request: &CopyImage,
    progress: &Arc<dyn Progress>,
) -> Result<CopiedImage, RemoteError> {
    let CopyImage { from, to, platform, scratch } = request;
    let origin = Origin::find(client, from, scratch).await?;
    let top = origin.top().await?;
    let mut platform = platform.clone();
    let is_docker = matches!(to, ImagePlace::Files(ImageFilesPlace::DockerArchive { .. }));
    if is_docker && platform.is_none() && top.descriptor.media_type.is_index() {
        let host = Platform::host();
        let message =
            format!("only {host} of `{origin}` is copied: an archive for `docker load` holds one platform");
        progress.on(&ProgressEvent::Warning { message: &message });
        platform = Some(host);
    }
    let documents = documents_of(&origin, top, platform.as_ref()).await?;
    let Some(top) = documents.last() else { unreachable!("the image's own document is the last") };
    let top = top.descriptor.clone();
    match to {
        ImagePlace::Registry(to) => {
            let to = with_name_of(&origin, to, platform.is_none())?;
            if to.digest().is_some_and(|digest| digest != top.digest) {
                let from = from.to_string();
                return Err(RemoteError::OtherDigest { from, to: Box::new(to) });
            }
            let copier = Copier { client, from: &origin, to: &to, progress };
            let blobs = copy_to_registry(&copier, &documents, &top).await?;
            Ok(CopiedImage { image: top, place: ImagePlace::Registry(to.or_latest()), blobs })
        }
        ImagePlace::Files(to) => {
            let files = Files { origin: &origin, place: to, progress };
            let (place, blobs) = copy_to_files(files, documents, &top).await?;
            Ok(CopiedImage { image: top, place: ImagePlace::Files(place), blobs })
        }
    }
}

/// Returns a name with the tag of the image, where it has none of its own; else with its digest, if it was asked for by that.
fn with_name_of(origin: &Origin, to: &Reference, is_whole: bool) -> Result<Reference, RemoteError> {
    if to.tag().is_some() || to.digest().is_some() {
        return Ok(to.clone());
    }
    if let Some(name) = origin.name()
        && let Some(tag) = name.tag()
    {
        return to.with_tag(tag).map_err(|source| RemoteError::Name { name: tag.to_owned(), source });
    }
    let digest = origin.digest().filter(|_| is_whole);
    Ok(digest.map_or_else(|| to.clone(), |digest| to.with_digest(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_without_a_tag_has_that_of_the_image() {
        let digest = Digest::of(b"m");
        let client = Client::new(kiln_registry::ClientConfig::default());
        for (from, to, expected) in [
            ("a.example/x:1", "b.example/y", "b.example/y:1"),
            ("a.example/x:1", "b.example/y:2", "b.example/y:2"),
            ("a.example/x", "b.example/y", "b.example/y:latest"),
            (&format!("a.example/x@{digest}"), "b.example/y", &format!("b.example/y@{digest}")),
        ] {
            let origin = Origin::Registry { client: client.clone(), name: from.parse().unwrap() };
            let named = with_name_of(&origin, &to.parse().unwrap(), true).unwrap();
            assert_eq!(named.to_string(), expected);
        }
    }
}
