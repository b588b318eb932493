//! Where copied and mounted files come from: contexts, stages, images.

use kiln_frontend::ast::Word;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Span;
use kiln_frontend::suggest;
use kiln_oci::Platform;

use super::attempt::Attempt;
use super::names::named_context;
use super::planner::MAIN_CONTEXT;
use super::scope::VariableList;
use super::stages::{ImageRequest, ImageSource, ResolvedImage};
use crate::plan::{ContextOp, ImageOp, Op, Origin, StepId};
use crate::request::NamedContext;

impl Attempt<'_> {
    /// Returns the main context's step.
    pub(super) fn context(&mut self) -> StepId {
        let op = ContextOp { name: MAIN_CONTEXT.to_owned() };
        let origin = Origin { text: "load build context".to_owned(), ..Origin::default() };
        self.plan.push(Op::Context(op), origin)
    }

    pub(super) fn named_step(&mut self, key: &str) -> StepId {
        let origin = Origin { text: format!("load context {key}"), ..Origin::default() };
        self.plan.push(Op::Context(ContextOp { name: format!("named:{key}") }), origin)
    }

    /// Returns the step whose files `COPY --from` names.
    pub(super) fn copy_from(&mut self, from: &Word, stage: usize) -> Option<StepId> {
        if self.expander.word(from, &VariableList::default()) != from.text {
            self.expander.push(
                Diagnostic::error("copy-from", from.span, "variable expansion is not supported for --from")
                    .with_help(
                        "define a new stage with FROM using an ARG from global scope, and name that stage",
                    ),
            );
            return None;
        }
        let numbered = from.text.parse::<usize>().is_ok();
        match self.names.named_or_numbered(&from.text) {
            Some(index) => self.files_of_stage(&from.text, from.span, index, stage),
            None if numbered => {
                let message =
                    format!("invalid stage index {}: there are {} stages", from.text, self.file.stages.len());
                self.expander.error("stage-index", from.span, message);
                None
            }
            None => self.files_of_image(&from.text, from.span),
        }
    }

    /// Returns the step whose files a mount's `from=` names.
    pub(super) fn mount_from(&mut self, from: &str, span: Span, stage: usize) -> Option<StepId> {
        // A number is no stage here, as in BuildKit.
        match self.names.last(from) {
            Some(index) => self.files_of_stage(from, span, index, stage),
            None => self.files_of_image(from, span),
        }
    }

    pub(super) fn files_of_stage(
        &mut self,
        name: &str,
        span: Span,
        index: usize,
        current: usize,
    ) -> Option<StepId> {
        // Of several stages of one name, the last one above counts where there is one.
        let index = if index >= current { self.names.before(name, current).unwrap_or(index) } else { index };
        if index == current {
            self.expander.error(
                "circular-stage",
                span,
                format!("circular dependency detected on stage: `{name}` copies from itself"),
            );
            return None;
        }
        if index > current {
            self.expander.error(
                "later-stage",
                span,
                format!("cannot copy from stage `{name}`, it needs to be defined before the current stage"),
            );
            return None;
        }
        self.stage(index).map(|state| state.root)
    }

    pub(super) fn files_of_image(&mut self, name: &str, span: Span) -> Option<StepId> {
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
        let source = match name.parse::<kiln_oci::Reference>() {
            Ok(reference) => ImageSource::Named(reference.or_latest()),
            Err(error) => {
                self.expander.push(
                    Diagnostic::error(
                        "undefined-stage",
                        span,
                        format!("no stage, context or image is named so: {error}"),
                    )
                    .with_suggestion(suggest::nearest_in_case(name, self.names.names())),
                );
                return None;
            }
        };
        let any_platform = self.options.platforms.is_empty();
        let image = self.image(ImageRequest { source, platform, any_platform })?;
        Some(self.image_step(&image, span))
    }

    pub(super) fn image_named(&mut self, name: &str, span: Span) -> Option<ImageSource> {
        match name.parse::<kiln_oci::Reference>() {
            Ok(reference) => Some(ImageSource::Named(reference.or_latest())),
            Err(error) => {
                let meant = suggest::nearest_in_case(name, self.names.names());
                self.expander.push(
                    Diagnostic::error("image-name", span, format!("failed to parse stage name: {error}"))
                        .with_suggestion(meant),
                );
                None
            }
        }
    }

    pub(super) fn context_image(&self, context: NamedContext, platform: &Platform) -> Option<ImageRequest> {
        let source = match context {
            NamedContext::Image(reference) => ImageSource::Named(reference.or_latest()),
            NamedContext::OciLayout { path, name } => ImageSource::Layout { path, name },
            NamedContext::Directory(_) | NamedContext::Archive(_) => return None,
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
