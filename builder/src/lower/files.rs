//! Where copied and mounted files come from: contexts, stages, images.

use kiln_frontend::ast::Word;
use kiln_frontend::source::Span;
use kiln_frontend::stage::Supplier;
use kiln_oci::Platform;

use super::attempt::Attempt;
use super::names::named_context;
use super::planner::MAIN_CONTEXT;
use super::stages::{ImageRequest, ImageSource, ResolvedImage};
use crate::git_reference::GitReference;
use crate::plan::{ContextOp, GitOp, ImageOp, Op, Origin, StepId};
use crate::request::NamedContext;

impl Attempt<'_> {
    /// Returns the main context's step.
    pub(super) fn context(&mut self) -> StepId {
        let op = match &self.options.git_context {
            Some(reference) => Op::Git(Box::new(GitOp { reference: reference.clone() })),
            None => Op::Context(ContextOp { name: MAIN_CONTEXT.to_owned() }),
        };
        let origin = Origin { text: "load build context".to_owned(), ..Origin::default() };
        self.plan.push(op, origin)
    }

    pub(super) fn named_step(&mut self, key: &str) -> StepId {
        let origin = Origin { text: format!("load context {key}"), ..Origin::default() };
        let op = match self.options.named_contexts.get(key) {
            Some(NamedContext::Git(reference)) => {
                Op::Git(Box::new(GitOp { reference: GitReference::clone(reference) }))
            }
            _ => Op::Context(ContextOp { name: format!("named:{key}") }),
        };
        self.plan.push(op, origin)
    }

    /// Returns the step whose files `COPY --from` names. What is wrong with the name was said when stages were linked.
    pub(super) fn copy_from(&mut self, from: &Word) -> Option<StepId> {
        let supplier = self.graph.copy_source(from).ok()?;
        self.files_of(supplier, from.span)
    }

    /// Returns the step whose files a mount's `from=` names.
    pub(super) fn mount_from(&mut self, from: &Word) -> Option<StepId> {
        let supplier = self.graph.mount_source(&from.text);
        self.files_of(supplier, from.span)
    }

    fn files_of(&mut self, supplier: Supplier, span: Span) -> Option<StepId> {
        match supplier {
            Supplier::Stage(index) => self.stages.get(&index).map(|state| state.root),
            Supplier::Image(name) => self.files_of_image(&name, span),
        }
    }

    fn files_of_image(&mut self, name: &str, span: Span) -> Option<StepId> {
        if name == "scratch" {
            return Some(self.plan.push(Op::Scratch, Origin::default()));
        }
        let platform = self.target.clone();
        if let Some((key, context)) = named_context(&self.options.named_contexts, name, &platform) {
            let (key, context) = (key.to_owned(), context.clone());
            return match self.context_image(context, &platform) {
                Some(request) => self.image(request).map(|image| self.image_step(&image, span)),
                None => Some(self.named_step(&key)),
            };
        }
        let source = self.image_named(name, span)?;
        let any_platform = self.options.platforms.is_empty();
        let image = self.image(ImageRequest { source, platform, any_platform })?;
        Some(self.image_step(&image, span))
    }

    pub(super) fn context_image(&self, context: NamedContext, platform: &Platform) -> Option<ImageRequest> {
        let source = match context {
            NamedContext::Image(reference) => ImageSource::Named(reference.or_latest()),
            NamedContext::OciLayout { path, name } => ImageSource::Layout { path, name },
            NamedContext::Directory(_)
            | NamedContext::Archive(_)
            | NamedContext::Web(_)
            | NamedContext::Git(_) => return None,
        };
        let any_platform = self.options.platforms.is_empty();
        Some(ImageRequest { source, platform: platform.clone(), any_platform })
    }

    /// Returns what is known of an image, or asks for it.
    pub(super) fn image(&mut self, request: ImageRequest) -> Option<ResolvedImage> {
        let known = self.known.get(&request).cloned();
        if known.is_none() {
            self.wants.insert(request);
        }
        known
    }

    pub(super) fn image_step(&mut self, image: &ResolvedImage, span: Span) -> StepId {
        let reference = match &image.request.source {
            ImageSource::Named(reference) => reference.clone(),
            ImageSource::Layout { .. } => "localhost/layout"
                .parse::<kiln_oci::Reference>()
                .expect("a valid name")
                .with_digest(image.manifest),
        };
        let text = format!("FROM {reference}");
        let op = ImageOp {
            reference,
            manifest: image.manifest,
            platform: image.request.platform.clone(),
            layers: image.layers.clone(),
        };
        let origin = Origin { text, ..self.place(span) };
        self.plan.push(Op::Image(Box::new(op)), origin)
    }
}
