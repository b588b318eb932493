//! The first half of the road, up to where steps would run: what both a build and a look at one do.

use std::sync::Arc;

use super::{BuildError, Inputs, Planned, keyed, lower as lower_all, report, unless_raised};
use crate::interrupt::Interrupt;
use crate::lanes::blocking;
use crate::lower::{self, Diagnostic, Extent, PlanOptions, Source};
use crate::plan::{Plan, StepId};
use crate::progress::Progress;
use crate::request::{BuildRequest, Timestamp};
use crate::solve::{Forecast, Keys, look_ahead};
use crate::transform::Bench;
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
    make_ready(workshop, request, progress, interrupt).await?.outlook().await
}

/// A build whose steps could begin.
pub(super) struct Ready {
    pub(super) source: Source,
    pub(super) plan: Arc<Plan>,
    pub(super) bench: Arc<Bench>,
    pub(super) keys: Arc<Keys>,
    pub(super) timestamp: Timestamp,
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads, plans, and computes keys.
pub(super) async fn make_ready(
    workshop: &Arc<Workshop>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
    interrupt: &Interrupt,
) -> Result<Ready, BuildError> {
    let store = workshop.store.clone();
    blocking(move || store.collect_dead_scratch()).await?;
    let inputs = unless_raised(interrupt, Inputs::open(workshop, request, progress)).await?;
    let parsed = lower::parse(&inputs.source, &request.build_args);
    if parsed.has_errors() {
        let options = PlanOptions::of(request, request.timestamp, Extent::Needed);
        let further = lower::further_errors(&inputs.source, &parsed, options);
        let mut diagnostics = parsed.diagnostics;
        diagnostics.extend(further);
        diagnostics.sort_by_key(Diagnostic::primary);
        return Err(BuildError::dockerfile(inputs.source, diagnostics));
    }
    let lowering = lower_all(workshop, request, &inputs, &parsed.file, progress);
    let (Planned { lowered, linted }, timestamp) = unless_raised(interrupt, lowering).await?;
    let mut warnings = parsed.diagnostics;
    warnings.extend(lowered.warnings);
    let warnings = report(&inputs.source, warnings, linted, progress)?;
    let plan = Arc::new(lowered.plan);
    let (bench, keys) = keyed(workshop, request, &inputs, &plan, timestamp, progress, interrupt).await?;
    Ok(Ready { source: inputs.source, plan, bench, keys, timestamp, warnings })
}

impl Ready {
    /// Returns the steps that give the images.
    pub(super) fn wanted(&self) -> Vec<StepId> {
        self.plan.outputs.iter().map(|output| output.root).collect()
    }

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
