//! What a build would do.

use std::sync::Arc;

use super::BuildError;
use super::ready::{Order, Ready, make_ready};
use crate::interrupt::Interrupt;
use crate::lower::Source;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::request::BuildRequest;
use crate::solve::{Forecast, look_ahead};
use crate::workshop::Workshop;

/// What a build would do.
#[derive(Debug)]
pub struct Outlook {
    /// The Dockerfile.
    pub source: Source,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// Which steps would run, and what they would fetch.
    pub forecast: Forecast,
}

/// Finds out what a build would do, without doing it: names are resolved, contexts read and servers asked as by a build, so that
/// what these say is remembered. Files of the web that are new are part of that, since keys have their content. No step runs and no
/// layer is fetched.
///
/// # Errors
/// [`BuildError`], as far as a build would fail before its first step.
pub async fn outlook(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<Outlook, BuildError> {
    make_ready(Order { workshop, request, progress, interrupt }).await?.outlook().await
}

impl Ready {
    /// Finds out which steps would run.
    ///
    /// # Errors
    /// A step that would fail for what it selects.
    pub(super) async fn outlook(&self) -> Result<Outlook, BuildError> {
        let forecast = look_ahead(&self.bench, &self.plan, &self.keys, &self.wanted()).await;
        let forecast = forecast.map_err(|error| BuildError::solve(error, &self.plan, &self.source))?;
        Ok(Outlook { source: self.source.clone(), plan: Arc::clone(&self.plan), forecast })
    }
}
