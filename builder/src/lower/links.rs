//! Which stages are built, and what each begins with: the FROM of every stage, named contexts, and the triggers of images.
//!
//! What BuildKit checks in stages that nobody needs is checked here too, and no more: names and platforms of their FROM, the
//! form of image names, numbers and variables in `--from`, circles. Their instructions stay unread.

use std::collections::BTreeSet;

use kiln_frontend::ast::{Instruction, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Span;
use kiln_frontend::stage::{Base, StageGraph, Supplier};
use kiln_frontend::suggest;
use kiln_oci::{Platform, Reference};

use super::attempt::Attempt;
use super::names::named_context;
use super::planner::Extent;
use super::stages::{ImageRequest, ImageSource};

/// The FROM of a stage, expanded.
#[derive(Debug, Clone)]
pub(super) struct From {
    /// What the stage starts from; empty where that could not be found out.
    pub(super) base: String,
    /// The platform wanted.
    pub(super) platform: Platform,
    /// Whether somebody said so.
    pub(super) is_given: bool,
    /// The named context that stands for the whole stage.
    pub(super) context: Option<String>,
}

impl Attempt<'_> {
    /// Reads the FROM of every stage and links the stages.
    pub(super) fn read_stages(&mut self) {
        self.froms = (0..self.file.stages.len()).map(|index| self.read_from(index)).collect();
        let bases: Vec<String> = self.froms.iter().map(|from| from.base.clone()).collect();
        self.graph = StageGraph::new(self.file, &bases);
        self.expander.diagnostics.extend_from_slice(self.graph.errors());
        self.check_image_names();
        for index in 0..self.froms.len() {
            if self.froms[index].context.is_some() {
                self.graph.replace_by_context(index);
            }
        }
    }

    fn read_from(&mut self, index: usize) -> From {
        let stage = &self.file.stages[index];
        let mark = self.expander.begin();
        let base = self.base_name(&stage.from.operation.base);
        let wanted = self.stage_platform(stage.from.operation.platform.as_ref());
        let base = if self.expander.settle(mark, &[]) { base } else { String::new() };
        let is_given = stage.from.operation.platform.is_some();
        let base = if wanted.is_err() { String::new() } else { base };
        let platform = wanted.ok().flatten().unwrap_or_else(|| self.target.clone());
        let context = stage.name().and_then(|name| {
            named_context(&self.options.named_contexts, name, &platform).map(|(key, _)| key.to_owned())
        });
        From { base, platform, is_given, context }
    }

    fn base_name(&mut self, written: &Word) -> String {
        let failures = self.expander.diagnostics.len();
        let globals = self.globals.clone();
        let expansion = self.expander.expansion(written, &globals);
        if expansion.text.is_empty() && self.expander.diagnostics.len() == failures {
            let near = expansion.undefined.iter().find_map(|name| suggest::nearest(name, globals.names()));
            let message = format!("base name (`{}`) should not be blank", written.text);
            let help = near.map_or_else(
                || "set the ARG before the first FROM, or give `--build-arg`".to_owned(),
                |near| format!("did you mean the variable `{near}`?"),
            );
            self.expander.push(Diagnostic::error("blank-base", written.span, message).with_help(help));
        }
        expansion.text
    }

    fn stage_platform(&mut self, word: Option<&Word>) -> Result<Option<Platform>, ()> {
        let Some(word) = word else { return Ok(None) };
        let failures = self.expander.diagnostics.len();
        let globals = self.globals.clone();
        let expansion = self.expander.expansion(word, &globals);
        if self.expander.diagnostics.len() > failures {
            return Err(());
        }
        let message = match expansion.text.parse() {
            _ if expansion.text.is_empty() => format!("empty platform value from expression `{}`", word.text),
            Ok(platform) => return Ok(Some(platform)),
            Err(error) => format!("failed to parse platform `{}`: {error}", word.text),
        };
        let error = Diagnostic::error("platform", word.span, message);
        let near = expansion.undefined.iter().find_map(|name| suggest::nearest(name, globals.names()));
        self.expander.push(match near {
            Some(near) => error.with_help(format!("did you mean the variable `{near}`?")),
            None => error.with_suggestion(near_platform(&expansion.text)),
        });
        Err(())
    }

    /// Names that are no stages must have the form of image names, in all stages.
    fn check_image_names(&mut self) {
        let mut names: Vec<(String, Span)> = Vec::new();
        for (node, stage) in self.graph.stages().iter().zip(&self.file.stages) {
            if let Base::Image(name) = &node.base {
                names.push((name.clone(), stage.from.operation.base.span));
            }
            names.extend(node.needs.iter().filter_map(|need| match &need.supplier {
                Supplier::Image(name) if name != "scratch" => Some((name.clone(), need.span)),
                _ => None,
            }));
        }
        for (name, span) in names {
            self.image_named(&name, span);
        }
    }

    /// Returns the name of an image that is written at a place.
    pub(super) fn image_named(&mut self, name: &str, span: Span) -> Option<ImageSource> {
        match name.parse::<Reference>() {
            Ok(reference) => Some(ImageSource::Named(reference.or_latest())),
            Err(error) => {
                let near = self.graph.near(name);
                let message = format!("`{name}` is no stage and no name of an image: {error}");
                self.expander.push(Diagnostic::error("image-name", span, message).with_suggestion(near));
                None
            }
        }
    }

    /// Returns the stages to build, in order. What images bring by ONBUILD counts as soon as the images are known.
    pub(super) fn needed(&mut self, target: usize) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        loop {
            let needed = match self.options.extent {
                Extent::Needed => self.graph.needed(target),
                Extent::Whole => (0..self.file.stages.len()).collect(),
            };
            let mut is_complete = true;
            for index in &needed {
                if !seen.insert(*index) {
                    continue;
                }
                let image = self.base_request(*index).and_then(|request| self.image(request));
                let triggers = image.map(|image| image.config.config.on_build).unwrap_or_default();
                if !triggers.is_empty() {
                    self.graph.add_triggers(*index, &triggers);
                    is_complete = false;
                }
            }
            if is_complete {
                self.expander.diagnostics.extend(self.graph.errors_in(&needed));
                return needed;
            }
        }
    }

    /// Returns the image that a stage starts from, be it by its own name or that of a context in its place.
    fn base_request(&self, index: usize) -> Option<ImageRequest> {
        let from = &self.froms[index];
        let Base::Image(name) = &self.graph.stages()[index].base else { return None };
        if let Some((_, context)) = named_context(&self.options.named_contexts, name, &from.platform) {
            return self.context_image(context.clone(), &from.platform);
        }
        let source = ImageSource::Named(name.parse::<Reference>().ok()?.or_latest());
        let any_platform = !from.is_given && self.options.platforms.is_empty();
        Some(ImageRequest { source, platform: from.platform.clone(), any_platform })
    }

    /// Returns the triggers that run in a stage.
    pub(super) fn triggers(&self, index: usize) -> Vec<Instruction> {
        let triggers = &self.graph.stages()[index].triggers.list;
        triggers.iter().map(|trigger| trigger.instruction.clone()).collect()
    }
}

/// Returns a platform that may have been meant.
fn near_platform(text: &str) -> Option<String> {
    const USUAL: [&str; 11] = [
        "linux",
        "amd64",
        "arm64",
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
        "linux/386",
        "linux/ppc64le",
        "linux/s390x",
        "linux/riscv64",
        "windows/amd64",
    ];
    suggest::nearest(text, USUAL).map(str::to_owned)
}
