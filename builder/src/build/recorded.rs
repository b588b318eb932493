//! A build that meets what its ids cannot express, and goes on with owners recorded: all over again, but what was done is in the cache.

use std::sync::Arc;

use kiln_layer::MissingId;

use super::BuildError;
use super::mending::{can_repeat, causes, told};
use crate::progress::{Progress, ProgressEvent};
use crate::recording::Lack;
use crate::request::BuildRequest;
use crate::workshop::Workshop;

/// Returns the workshop in which a build that failed can go on, and says so; `None` when it failed for another reason.
pub(super) fn recording(
    workshop: &Workshop,
    request: &BuildRequest,
    error: &BuildError,
    progress: &Arc<dyn Progress>,
) -> Option<Arc<Workshop>> {
    // No result is handed on before all steps are done.
    let is_before = matches!(error, BuildError::Step { .. } | BuildError::Lack(_));
    let lack = lack_of(error).filter(|_| is_before || can_repeat(request))?;
    let recording = workshop.recording()?;
    let message =
        format!("{lack}, so owners and devices are recorded and steps are slower ({})", cure(&lack));
    progress.on(&ProgressEvent::Warning { message: &message });
    Some(Arc::new(recording))
}

fn lack_of(error: &BuildError) -> Option<Lack> {
    causes(told(error)).into_iter().find_map(|cause| {
        let of_step = || cause.downcast_ref().and_then(Lack::of_step);
        let missing = || cause.downcast_ref().cloned().map(|missing: MissingId| Lack::Id(missing));
        cause.downcast_ref().cloned().or_else(missing).or_else(of_step)
    })
}

fn cure(lack: &Lack) -> &'static str {
    match lack {
        Lack::Id(_) => "a longer range in /etc/subuid and /etc/subgid helps",
        Lack::Devices => "docs/rootless.md",
    }
}
