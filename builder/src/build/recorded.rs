//! A build that meets what its ids cannot express, and goes on with owners recorded: all over again, but what was done is in the cache.

use std::sync::Arc;

use super::BuildError;
use super::mending::{can_repeat, told};
use crate::progress::{Progress, ProgressEvent};
use crate::recording::{Lack, lack_of};
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
    let lack = lack_of(told(error)).filter(|_| is_before || can_repeat(request))?;
    let recording = workshop.recording()?;
    let message =
        format!("{lack}, so owners and devices are recorded and steps are slower ({})", cure(&lack));
    progress.on(&ProgressEvent::Warning { message: &message });
    Some(Arc::new(recording))
}

fn cure(lack: &Lack) -> &'static str {
    match lack {
        Lack::Id(_) => "a longer range in /etc/subuid and /etc/subgid helps",
        Lack::Devices => "docs/rootless.md",
    }
}
