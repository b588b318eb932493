//! Damage in the store, and layers that a cache which builders share does not give as it said: found when they are read, moved away
//! or no longer relied on, and made good by building once more.

use std::error::Error;
use std::sync::Arc;

use kiln_oci::VerifyError;
use kiln_store::{StoreError, fsck};

use super::BuildError;
use crate::blobs::FetchError;
use crate::cache::told as tell;
use crate::causes::causes;
use crate::export::ExportError;
use crate::lanes::blocking;
use crate::layers::LayerError;
use crate::progress::{Progress, ProgressEvent};
use crate::request::{BuildRequest, Destination, OutputSpec};
use crate::source::image::ImageError;
use crate::workshop::Workshop;

/// How often a build begins again. Once is enough unless what was made anew needs more that is damaged.
pub(super) const MENDS_MAX: usize = 4;

/// Moves away what is damaged of the blobs this build uses, if its error may come from there; layers that a cache did not give as
/// it said are not expected from it any more. Returns whether there was any.
pub(super) async fn mended(
    workshop: &Arc<Workshop>,
    error: &BuildError,
    progress: &Arc<dyn Progress>,
) -> Result<bool, BuildError> {
    let causes = causes(told(error));
    workshop.doubts.begin_again();
    if tell_not_given(&causes, progress) {
        return Ok(true);
    }
    if causes.iter().any(|cause| matches!(cause.downcast_ref(), Some(StoreError::DocumentDamaged { .. }))) {
        return mend_list(workshop, progress).await;
    }
    if !causes.iter().any(|cause| may_be_damage(*cause)) {
        return Ok(false);
    }
    // A small document is read without being held, and its error names it.
    let named = causes.iter().filter_map(|cause| match cause.downcast_ref() {
        Some(StoreError::WrongDigest { expected, .. }) => Some(*expected),
        _ => None,
    });
    let (store, named) = (workshop.store.clone(), named.collect::<Vec<_>>());
    let damaged = blocking(move || fsck::mend_held(&store, &named)).await?;
    for digest in &damaged {
        let message = format!("blob `{digest}` of the store was damaged; it is now in `damaged`");
        progress.on(&ProgressEvent::Warning { message: &message });
    }
    Ok(!damaged.is_empty())
}

/// Moves a list of images away that cannot be read, but for the entries that can.
async fn mend_list(workshop: &Arc<Workshop>, progress: &Arc<dyn Progress>) -> Result<bool, BuildError> {
    let store = workshop.store.clone();
    let is_mended = blocking(move || fsck::mend_index(&store)).await?;
    if is_mended {
        let message = "the list of images was damaged, and names may be lost; it is now in `damaged`";
        progress.on(&ProgressEvent::Warning { message });
    }
    Ok(is_mended)
}

/// Tells of layers that a cache said it had, and does not give: nothing relies on them any more.
fn tell_not_given(causes: &[&(dyn Error + 'static)], progress: &Arc<dyn Progress>) -> bool {
    let is_missing =
        |cause: &&&(dyn Error + 'static)| matches!(cause.downcast_ref(), Some(FetchError::Far { .. }));
    for error in causes.iter().filter(is_missing) {
        let message = format!("{}; what needs it is made again", tell(*error));
        progress.on(&ProgressEvent::Warning { message: &message });
    }
    causes.iter().any(|cause| is_missing(&cause))
}

/// Whether nothing went where it cannot be taken back.
pub(super) fn can_repeat(request: &BuildRequest) -> bool {
    let streams = |output: &OutputSpec| match output {
        OutputSpec::Oci { destination, .. }
        | OutputSpec::Docker { destination, .. }
        | OutputSpec::Tar { destination } => *destination == Destination::Stdout,
        _ => false,
    };
    !request.outputs.iter().any(streams)
}

fn may_be_damage(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<VerifyError>()
        || cause.is::<LayerError>()
        || matches!(cause.downcast_ref(), Some(StoreError::WrongDigest { .. }))
        || matches!(cause.downcast_ref(), Some(ExportError::ReadBlob { .. }))
}

/// The error that others show as their own, which hides it from those who ask for the source.
pub(super) fn told(error: &BuildError) -> &(dyn Error + 'static) {
    match error {
        BuildError::Step { error, .. } => error.told(),
        BuildError::Image { error, .. } => match &**error {
            ImageError::Store(error) | ImageError::Fetch(FetchError::Store(error)) => error,
            other => other,
        },
        BuildError::Export(error) => match error {
            ExportError::Layer(error) => error,
            ExportError::Fetch(error) => &**error,
            other => other,
        },
        BuildError::Lack(error) => error,
        BuildError::Store(error) => error,
        other => other,
    }
}
