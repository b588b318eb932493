//! The images of a check: those that are here, those that a registry was asked for, and stand-ins for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_oci::{Digest, ImageConfig};

use super::ImageSources;
use crate::lower::{ImageRequest, ImageSource, Planner, ResolvedImage};
use crate::progress::{Progress, ProgressEvent};
use crate::source::image::{self, Freshness, ImageError, Wanted};
use crate::workshop::Workshop;

/// How long one image is asked for at its registry: a check is no build, and goes on without.
const ASK_TIME_MAX: Duration = Duration::from_secs(15);

/// The images of a check.
pub(super) struct Images<'a> {
    workshop: Option<&'a Arc<Workshop>>,
    sources: ImageSources,
    progress: &'a Arc<dyn Progress>,
    known: BTreeMap<ImageRequest, ResolvedImage>,
    /// Images that are not known, with the reason.
    unknown: BTreeMap<ImageRequest, String>,
    /// Those of them that a registry was asked for.
    asked: BTreeSet<ImageRequest>,
}

impl<'a> Images<'a> {
    pub(super) fn new(
        workshop: Option<&'a Arc<Workshop>>,
        sources: ImageSources,
        progress: &'a Arc<dyn Progress>,
    ) -> Self {
        let (known, unknown, asked) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { workshop, sources, progress, known, unknown, asked }
    }

    /// Returns an image that is here, or something that stands in for it.
    pub(super) async fn here(&mut self, request: &ImageRequest) -> ResolvedImage {
        if let Some(known) = self.known.get(request) {
            return known.clone();
        }
        if !self.unknown.contains_key(request) {
            match self.look(request).await {
                Ok(image) => {
                    self.known.insert(request.clone(), image.clone());
                    return image;
                }
                Err(reason) => drop(self.unknown.insert(request.clone(), reason)),
            }
        }
        stand_in(request)
    }

    async fn look(&self, request: &ImageRequest) -> Result<ResolvedImage, String> {
        let wanted = Wanted { platform: &request.platform, any: request.any_platform };
        let found = match (&request.source, self.workshop) {
            (ImageSource::Layout { path, name }, _) => image::look_into_layout(path, name.as_deref(), wanted),
            (ImageSource::Named(_), None) => return Err(NOT_HERE.to_owned()),
            (ImageSource::Named(reference), Some(workshop)) => {
                image::find(workshop, reference, wanted, Freshness::Offline, self.progress).await
            }
        };
        let found = found.map_err(|error| reason(&error))?;
        let (manifest, config) = (found.descriptor.digest, found.config.into_value());
        Ok(ResolvedImage { request: request.clone(), manifest, config, layers: Vec::new() })
    }

    /// Asks registries for images that are not known; tells whether one of them is known now.
    pub(super) async fn ask(&mut self, requests: BTreeSet<ImageRequest>) -> bool {
        let (Some(workshop), ImageSources::Registries) = (self.workshop, self.sources) else { return false };
        let mut is_any_known = false;
        for request in requests {
            if !self.unknown.contains_key(&request) || !self.asked.insert(request.clone()) {
                continue;
            }
            let task = format!("load metadata for {}", request.name());
            self.progress.on(&ProgressEvent::Began { task: &task });
            let started = Instant::now();
            // A check decides nothing about later builds.
            let question = image::resolve(workshop, &request, Freshness::Glance, self.progress);
            let answer = tokio::time::timeout(ASK_TIME_MAX, question).await;
            self.progress.on(&ProgressEvent::Finished { task: &task, took: started.elapsed(), detail: "" });
            match answer {
                Ok(Ok(image)) => {
                    self.unknown.remove(&request);
                    self.known.insert(request, image);
                    is_any_known = true;
                }
                Ok(Err(error)) => drop(self.unknown.insert(request, reason(&error))),
                Err(_) => drop(self.unknown.insert(request, TOO_LATE.to_owned())),
            }
        }
        is_any_known
    }

    /// Returns configurations by the names that FROM has, of those that are known.
    pub(super) fn configs(&self, planner: &Planner<'_>) -> BTreeMap<String, ImageConfig> {
        let known = |request| self.known.get(request).map(|image| image.config.clone());
        planner.bases().iter().filter_map(|(name, request)| Some((name.clone(), known(request)?))).collect()
    }

    /// Returns those of a file's base images that are not known, by the names that FROM has.
    pub(super) fn unknown_bases<'p>(
        &self,
        planner: &'p Planner<'_>,
    ) -> impl Iterator<Item = (&'p str, &'p ImageRequest)> {
        let is_unknown = |(_, request): &(&String, &ImageRequest)| self.unknown.contains_key(*request);
        planner.bases().iter().filter(is_unknown).map(|(name, request)| (name.as_str(), request))
    }

    /// Returns why an image is not known.
    pub(super) fn reason(&self, request: &ImageRequest) -> &str {
        self.unknown.get(request).map_or(NOT_HERE, String::as_str)
    }
}

const NOT_HERE: &str = "it is not in this store";
const TOO_LATE: &str = "its registry did not answer in time";

/// Returns what stands in for an image: nothing is set in it.
fn stand_in(request: &ImageRequest) -> ResolvedImage {
    ResolvedImage {
        request: request.clone(),
        manifest: Digest::of(b""),
        config: ImageConfig::empty(&request.platform),
        layers: Vec::new(),
    }
}

/// Returns an error with what is below it, in one line.
fn reason(error: &ImageError) -> String {
    match error {
        ImageError::Absent { .. } => NOT_HERE.to_owned(),
        error => {
            let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
            let mut said = String::new();
            for cause in causes.map(ToString::to_string) {
                // Some libraries repeat their source in their own message.
                if !said.ends_with(&cause) {
                    said = if said.is_empty() { cause } else { format!("{said}: {cause}") };
                }
            }
            said
        }
    }
}
