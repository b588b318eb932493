//! The planner: asks for images until it knows enough, then gives the plan.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};
use kiln_frontend::suggest;
use kiln_oci::{ImageConfig, Platform};

use super::meta::set_env;
use super::names::{clean, named_context};
use super::scope::{Expander, VariableList, automatic_arguments, unused_arguments};
use super::stages::{ImageRequest, ImageSource, ResolvedImage, StageNames, StageState};
use crate::plan::{
    ContextOp, CopyOp, CopySource, HistoryLine, ImageOp, Network, Op, Origin, Output, Plan, StepId, Ulimit,
    Unpack,
};
use crate::request::{Compat, NamedContext};

/// `PATH` of an image whose base has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Name of the main context in a plan.
pub const MAIN_CONTEXT: &str = "context";
/// Most stages a Dockerfile may stack on one another.
const STAGE_DEPTH_MAX: usize = 500;

/// What of a request matters to the planner.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Stage to build; the last one when absent.
    pub target: Option<String>,
    /// Platforms asked for; empty means `build_platform`, and what a base image has instead.
    pub platforms: Vec<Platform>,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// Values for ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Labels of the result.
    pub labels: BTreeMap<String, String>,
    /// Contexts by name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Network of RUN steps that do not say.
    pub network: Network,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN steps.
    pub shm_size_bytes: Option<u64>,
    /// `SOURCE_DATE_EPOCH` of RUN steps; `None` leaves it out.
    pub epoch: Option<i64>,
    /// Whose texts the history has.
    pub compat: Compat,
}

/// A plan and what was noticed on the way.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
    /// `SOURCE_DATE_EPOCH` as the Dockerfile's global ARG has it, where it has one.
    pub epoch: Option<i64>,
}

/// Turns a Dockerfile into a plan, asking for the images it needs to know.
#[derive(Debug)]
pub struct Planner<'a> {
    source: &'a Source,
    file: &'a Dockerfile,
    options: PlanOptions,
    known: BTreeMap<ImageRequest, ResolvedImage>,
    wants: Vec<ImageRequest>,
    lowered: Option<Lowered>,
}

impl<'a> Planner<'a> {
    /// Reads the file as far as it goes without images.
    ///
    /// # Errors
    /// Everything that is wrong with the file so far.
    pub fn new(
        source: &'a Source,
        file: &'a Dockerfile,
        options: PlanOptions,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut planner =
            Self { source, file, options, known: BTreeMap::new(), wants: Vec::new(), lowered: None };
        planner.attempt()?;
        Ok(planner)
    }

    /// Returns the images it must know to go on; empty when it knows enough.
    pub fn wants(&self) -> &[ImageRequest] {
        &self.wants
    }

    /// Tells it images.
    ///
    /// # Errors
    /// Everything that is wrong with the file, now that more of it can be read.
    pub fn provide(&mut self, images: Vec<ResolvedImage>) -> Result<(), Vec<Diagnostic>> {
        self.known.extend(images.into_iter().map(|image| (image.request.clone(), image)));
        self.attempt()
    }

    /// Returns the plan.
    ///
    /// # Panics
    /// When it still wants images: the caller did not ask.
    pub fn finish(self) -> Lowered {
        self.lowered.expect("`finish` is called when nothing is wanted any more")
    }

    fn attempt(&mut self) -> Result<(), Vec<Diagnostic>> {
        let mut plan = Plan::default();
        let mut declared = BTreeSet::new();
        let (mut wants, mut warnings, mut epoch) = (BTreeSet::new(), Vec::new(), None);
        let platforms = match self.options.platforms.as_slice() {
            [] => vec![self.options.build_platform.clone()],
            platforms => platforms.to_vec(),
        };
        for target in platforms {
            let mut attempt = Attempt::new(self, target, plan, declared);
            attempt.output();
            let (errors, more): (Vec<_>, Vec<_>) =
                attempt.expander.diagnostics.into_iter().partition(Diagnostic::is_error);
            if !errors.is_empty() {
                return Err(errors);
            }
            warnings.extend(more);
            wants.extend(attempt.wants);
            epoch = attempt.epoch;
            (plan, declared) = (attempt.plan, attempt.declared);
        }
        warnings.dedup();
        self.wants = wants.into_iter().collect();
        self.lowered = self.wants.is_empty().then_some(Lowered { plan, warnings, epoch });
        Ok(())
    }
}

/// One reading of the file for one platform, with the images known so far.
pub(super) struct Attempt<'a> {
    pub(super) options: &'a PlanOptions,
    pub(super) escape: char,
    pub(super) expander: Expander,
    pub(super) plan: Plan,
    /// Global arguments, the automatic ones among them.
    pub(super) globals: VariableList,
    /// Names that some ARG declares.
    pub(super) declared: BTreeSet<String>,
    pub(super) names: StageNames,
    source: &'a Source,
    file: &'a Dockerfile,
    known: &'a BTreeMap<ImageRequest, ResolvedImage>,
    wants: BTreeSet<ImageRequest>,
    target: Platform,
    stages: BTreeMap<usize, Option<StageState>>,
    depth: usize,
    epoch: Option<i64>,
}

impl<'a> Attempt<'a> {
    fn new(planner: &'a Planner<'_>, target: Platform, plan: Plan, declared: BTreeSet<String>) -> Self {
        Self {
            options: &planner.options,
            escape: planner.file.escape,
            expander: Expander::new(planner.file.escape),
            plan,
            globals: VariableList::default(),
            declared,
            names: StageNames::new(&planner.file.stages),
            source: planner.source,
            file: planner.file,
            known: &planner.known,
            wants: BTreeSet::new(),
            target,
            stages: BTreeMap::new(),
            depth: 0,
            epoch: None,
        }
    }

    /// Lowers the target stage and what it needs, and adds it to the plan's outputs.
    fn output(&mut self) {
        let Some(index) = self.target_stage() else { return };
        self.read_globals(index);
        let state = self.stage(index);
        self.warn_unused();
        let Some(mut state) = state else { return };
        if !self.options.platforms.is_empty() {
            let target = &self.target;
            let same = state.config.os == target.os && state.config.architecture == target.architecture;
            if target.variant.is_some() || !same {
                state.config.variant.clone_from(&target.variant);
            }
            state.config.os.clone_from(&target.os);
            state.config.architecture.clone_from(&target.architecture);
        }
        let platform = state.config.platform();
        state.config.os.clone_from(&platform.os);
        state.config.architecture.clone_from(&platform.architecture);
        state.config.variant.clone_from(&platform.variant);
        state.config.config.labels.extend(self.options.labels.clone());
        self.plan.outputs.push(Output {
            root: state.root,
            platform,
            config: state.config,
            history: state.history,
        });
    }

    fn target_stage(&mut self) -> Option<usize> {
        let last = self.file.stages.len().checked_sub(1);
        let Some(wanted) = &self.options.target else { return last };
        let found = self.names.last(wanted);
        if found.is_none() {
            let span = self.file.stages.last().map_or(Span::new(0, 0), |stage| stage.from.span);
            let meant = suggest::nearest_in_case(wanted, self.names.names());
            self.expander.push(
                Diagnostic::error(
                    "undefined-target",
                    span,
                    format!("target stage `{wanted}` could not be found"),
                )
                .with_suggestion(meant),
            );
        }
        found
    }

    fn read_globals(&mut self, target: usize) {
        let name = match &self.options.target {
            Some(_) => self.file.stages[target].name().unwrap_or("default"),
            None => self.file.stages[target].name().unwrap_or("default"),
        };
        self.globals =
            automatic_arguments(&self.options.build_platform, &self.target, name, &self.options.build_args);
        for instruction in &self.file.global_arguments {
            for declaration in &instruction.operation.declarations {
                let name = &declaration.name.text;
                self.declared.insert(name.clone());
                let value = match (self.options.build_args.get(name), &declaration.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.expander.word(default, &self.globals)),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.globals.set(name, &value);
                }
                if name == "SOURCE_DATE_EPOCH" {
                    self.read_epoch(declaration.name.span);
                }
            }
        }
    }

    fn read_epoch(&mut self, span: Span) {
        let text = self.globals.value("SOURCE_DATE_EPOCH").unwrap_or_default().to_owned();
        if text.is_empty() {
            return;
        }
        match text.parse::<i64>() {
            Ok(seconds) => self.epoch = Some(seconds),
            Err(_) => self.expander.push(
                Diagnostic::error("source-date-epoch", span, format!("invalid SOURCE_DATE_EPOCH: `{text}`"))
                    .with_help("write whole seconds since 1970-01-01T00:00:00Z"),
            ),
        }
    }

    fn warn_unused(&mut self) {
        let unused = unused_arguments(&self.options.build_args, &self.declared, &self.globals);
        // Only a complete reading knows all that is declared.
        if !self.wants.is_empty() {
            return;
        }
        let declared_anywhere = |name: &str| {
            let in_stage = |operation: &Operation| match operation {
                Operation::Arg(arg) => {
                    arg.declarations.iter().any(|declaration| declaration.name.text == name)
                }
                _ => false,
            };
            self.file
                .stages
                .iter()
                .flat_map(|stage| &stage.instructions)
                .any(|other| in_stage(&other.operation))
        };
        let unused: Vec<_> =
            unused.into_iter().filter(|name| !declared_anywhere(name)).map(str::to_owned).collect();
        for name in unused {
            let meant = suggest::nearest(&name, self.declared.iter().map(String::as_str));
            let message = format!("build argument `{name}` is not used: no ARG declares it");
            let mut warning = Diagnostic::warning("unused-build-arg", Span::new(0, 0), message);
            warning.labels.clear();
            warning.help = meant.map(|meant| format!("did you mean `{meant}`?"));
            self.expander.push(warning);
        }
    }

    /// Returns a stage with all its instructions applied, or `None` when something is missing or wrong.
    fn stage(&mut self, index: usize) -> Option<StageState> {
        if let Some(done) = self.stages.get(&index) {
            return done.clone();
        }
        let stage = &self.file.stages[index];
        if self.depth > STAGE_DEPTH_MAX {
            let message = format!("stages are based on one another more than {STAGE_DEPTH_MAX} deep");
            self.expander.error("stage-depth", stage.from.span, message);
            return None;
        }
        self.depth += 1;
        let state = self.base(index);
        self.depth -= 1;
        let state = match state {
            Base::Replaced(state) => Some(*state),
            Base::Ready(state, triggers) => Some(self.instructions(index, *state, &triggers)),
            Base::Missing => {
                self.look_ahead(index);
                None
            }
        };
        self.stages.insert(index, state.clone());
        state
    }

    /// Asks for the images that a stage names besides its base, while the base is not known yet.
    fn look_ahead(&mut self, index: usize) {
        for instruction in &self.file.stages[index].instructions {
            match &instruction.operation {
                Operation::Copy(copy) => {
                    if let Some(from) = &copy.from {
                        self.copy_from(from, index);
                    }
                }
                Operation::Run(run) => {
                    for mount in &run.mounts {
                        if let Some(from) = &mount.from {
                            self.mount_from(from, mount.value.span, index);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn instructions(&mut self, index: usize, mut state: StageState, triggers: &[String]) -> StageState {
        let stage = &self.file.stages[index];
        let triggered = self.triggers(triggers, stage.from.span);
        let makes_step = |instruction: &&Instruction| {
            use Operation::{Add, Copy, Run, Workdir};
            matches!(instruction.operation, Run(_) | Copy(_) | Add(_) | Workdir(_))
        };
        let count = triggered.iter().chain(&stage.instructions).filter(makes_step).count();
        state.progress = (state.progress.1, state.progress.1 + u32::try_from(count).unwrap_or(u32::MAX));
        self.expander.place = Some(stage.from.span);
        for instruction in &triggered {
            self.instruction(&mut state, instruction, index);
        }
        self.expander.place = None;
        for instruction in &stage.instructions {
            self.instruction(&mut state, instruction, index);
        }
        state
    }

    fn instruction(&mut self, state: &mut StageState, instruction: &Instruction, index: usize) {
        match &instruction.operation {
            Operation::Run(run) => self.run(state, instruction, run, index),
            Operation::Copy(copy) => self.copy(state, instruction, copy, index),
            Operation::Add(add) => self.add(state, instruction, add),
            Operation::Workdir(word) => self.workdir(state, instruction, word),
            _ => self.metadata(state, instruction),
        }
    }

    fn base(&mut self, index: usize) -> Base {
        let from = &self.file.stages[index].from;
        let written = &from.operation.base;
        let expansion = self.expander.expansion(written, &self.globals.clone());
        let base = expansion.text;
        if base.is_empty() {
            let meant =
                expansion.undefined.iter().find_map(|name| suggest::nearest(name, self.globals.names()));
            let mut error = Diagnostic::error(
                "blank-base",
                written.span,
                format!("base name (`{}`) should not be blank", written.text),
            );
            error.help = Some(meant.map_or_else(
                || "set the ARG before the first FROM, or give `--build-arg`".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            ));
            self.expander.push(error);
            return Base::Missing;
        }
        let Ok(wanted) = self.stage_platform(from.operation.platform.as_ref()) else { return Base::Missing };
        let name = self.file.stages[index].name().unwrap_or_default().to_owned();
        let platform = wanted.clone().unwrap_or_else(|| self.target.clone());
        if !name.is_empty()
            && let Some((key, context)) = named_context(&self.options.named_contexts, &name, &platform)
        {
            return match self.context_base(index, key, context.clone(), &platform) {
                Some(state) => Base::Replaced(Box::new(state)),
                None => Base::Missing,
            };
        }
        if let Some(earlier) = self.names.before(&base, index) {
            let Some(mut state) = self.stage(earlier) else { return Base::Missing };
            state.config.config.on_build.clear();
            state.cmd_is_set = false;
            let triggers = std::mem::take(&mut state.triggers);
            self.name_stage(index, &mut state, 0);
            return Base::Ready(Box::new(state), triggers);
        }
        if base == "scratch" {
            let mut config = ImageConfig::empty(&self.target);
            config.config.working_dir = "/".to_owned();
            let root = self.plan.push(Op::Scratch, Origin::default());
            return Base::Ready(
                Box::new(self.start(index, root, self.target.clone(), config, 0)),
                Vec::new(),
            );
        }
        let state = match named_context(&self.options.named_contexts, &base, &platform) {
            Some((key, context)) => self.context_base(index, key, context.clone(), &platform),
            None => self.image_base(index, &base, written.span, platform, wanted.is_none()),
        };
        match state {
            Some(mut state) => {
                let triggers = std::mem::take(&mut state.config.config.on_build);
                Base::Ready(Box::new(state), triggers)
            }
            None => Base::Missing,
        }
    }

    fn stage_platform(&mut self, word: Option<&Word>) -> Result<Option<Platform>, ()> {
        let Some(word) = word else { return Ok(None) };
        let expansion = self.expander.expansion(word, &self.globals.clone());
        let result = match expansion.text.as_str() {
            "" => Err(format!("empty platform value from expression `{}`", word.text)),
            text => {
                text.parse().map_err(|error| format!("failed to parse platform `{}`: {error}", word.text))
            }
        };
        result.map(Some).map_err(|message| {
            let meant =
                expansion.undefined.iter().find_map(|name| suggest::nearest(name, self.globals.names()));
            let mut error = Diagnostic::error("platform", word.span, message);
            error.help = meant.map(|meant| format!("did you mean `{meant}`?"));
            self.expander.push(error);
        })
    }

    /// Returns a stage whose base is a named context.
    fn context_base(
        &mut self,
        index: usize,
        key: &str,
        context: NamedContext,
        platform: &Platform,
    ) -> Option<StageState> {
        let span = self.file.stages[index].from.operation.base.span;
        match self.context_image(context, platform) {
            Some(request) => {
                let image = self.image(request)?;
                let root = self.image_step(&image, span);
                Some(self.start(index, root, image.config.platform(), without_time(image.config), 1))
            }
            None => {
                let mut config = ImageConfig::empty(platform);
                config.config.working_dir = "/".to_owned();
                let root = self.plan.push(Op::Scratch, Origin::default());
                let mut state = self.start(index, root, platform.clone(), config, 1);
                let from = self.named_step(key);
                let source = CopySource::Path { from, pattern: "/".to_owned() };
                let op = CopyOp {
                    parent: root,
                    sources: vec![source],
                    destination: "/".to_owned(),
                    chown: None,
                    chmod: None,
                    link: false,
                    parents: false,
                    exclude: Vec::new(),
                    unpack: Unpack::Never,
                };
                let text = format!("FROM {key}");
                let origin = self.origin(&mut state, &text, span);
                state.root = self.plan.push(Op::Copy(Box::new(op)), origin);
                state.history.push(HistoryLine { created_by: text, step: Some(state.root) });
                Some(state)
            }
        }
    }

    fn image_base(
        &mut self,
        index: usize,
        base: &str,
        span: Span,
        platform: Platform,
        any_platform: bool,
    ) -> Option<StageState> {
        let source = self.image_named(base, span)?;
        let any_platform = any_platform && self.options.platforms.is_empty();
        let image = self.image(ImageRequest { source, platform: platform.clone(), any_platform })?;
        let root = self.image_step(&image, span);
        let platform = if any_platform { image.config.platform() } else { platform };
        Some(self.start(index, root, platform, without_time(image.config), 1))
    }

    fn image_named(&mut self, name: &str, span: Span) -> Option<ImageSource> {
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

    fn context_image(&self, context: NamedContext, platform: &Platform) -> Option<ImageRequest> {
        let source = match context {
            NamedContext::Image(reference) => ImageSource::Named(reference.or_latest()),
            NamedContext::OciLayout { path, name } => ImageSource::Layout { path, name },
            NamedContext::Directory(_) | NamedContext::Archive(_) => return None,
        };
        let any_platform = self.options.platforms.is_empty();
        Some(ImageRequest { source, platform: platform.clone(), any_platform })
    }

    /// Returns what is known of an image, or asks for it.
    fn image(&mut self, request: ImageRequest) -> Option<ResolvedImage> {
        let known = self.known.get(&request).cloned();
        if known.is_none() {
            self.wants.insert(request);
        }
        known
    }

    fn image_step(&mut self, image: &ResolvedImage, span: Span) -> StepId {
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

    /// Returns the main context's step.
    pub(super) fn context(&mut self) -> StepId {
        let op = ContextOp { name: MAIN_CONTEXT.to_owned() };
        let origin = Origin { text: "load build context".to_owned(), ..Origin::default() };
        self.plan.push(Op::Context(op), origin)
    }

    fn named_step(&mut self, key: &str) -> StepId {
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

    fn files_of_stage(&mut self, name: &str, span: Span, index: usize, current: usize) -> Option<StepId> {
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

    fn start(
        &mut self,
        index: usize,
        root: StepId,
        platform: Platform,
        mut config: ImageConfig,
        position: u32,
    ) -> StageState {
        if !config.config.env.iter().any(|variable| variable.starts_with("PATH=")) && platform.os != "windows"
        {
            set_env(&mut config.config.env, "PATH", DEFAULT_PATH);
        }
        if !config.config.working_dir.is_empty() {
            config.config.working_dir = clean(&config.config.working_dir);
        }
        config.rootfs = kiln_oci::config::RootFs::default();
        let mut variables = VariableList::default();
        for variable in &config.config.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            variables.set(name, value);
        }
        let mut state = StageState {
            root,
            platform,
            config,
            history: Vec::new(),
            variables,
            arguments: Vec::new(),
            cmd_is_set: false,
            triggers: Vec::new(),
            label: String::new(),
            name: String::new(),
            progress: (0, 0),
        };
        self.name_stage(index, &mut state, position);
        state
    }

    fn name_stage(&self, index: usize, state: &mut StageState, position: u32) {
        let name = self.file.stages[index].name();
        state.name = name.unwrap_or_default().to_owned();
        let shown = match name {
            Some(name) => name.to_owned(),
            None if self.file.stages.len() == 1 => String::new(),
            None => format!("stage-{index}"),
        };
        let platform = if self.options.platforms.len() > 1 { self.target.to_string() } else { String::new() };
        state.label =
            [platform, shown].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        state.progress = (position, position);
    }

    /// Returns the origin of the stage's next step.
    pub(super) fn origin(&mut self, state: &mut StageState, text: &str, span: Span) -> Origin {
        state.progress.0 += 1;
        Origin {
            stage: state.label.clone(),
            stage_name: state.name.clone(),
            position: state.progress.0,
            count: state.progress.1.max(state.progress.0),
            text: text.to_owned(),
            ..self.place(span)
        }
    }

    /// Returns the origin of a step that fetches a source.
    pub(super) fn origin_of_source(&self, text: &str, span: Span) -> Origin {
        Origin { text: text.to_owned(), ..self.place(span) }
    }

    fn place(&self, span: Span) -> Origin {
        let span = self.expander.place.unwrap_or(span);
        let line = u32::try_from(self.source.position(span.start).line).unwrap_or(u32::MAX);
        Origin { span: Some((span.start, span.end)), line, ..Origin::default() }
    }

    /// Returns a history text of an instruction with a step, with BuildKit's suffix where that is asked for.
    pub(super) fn with_suffix(&self, text: String) -> String {
        match self.options.compat {
            Compat::Kiln => text,
            Compat::BuildKit => format!("{text} # buildkit"),
        }
    }

    /// Collects the error that something is understood but not built yet.
    pub(super) fn unsupported(&mut self, span: Span, what: &str, instead: &str) {
        self.expander.push(
            Diagnostic::error("unsupported", span, format!("{what} is not supported yet")).with_help(instead),
        );
    }
}

/// What a stage begins with.
enum Base {
    /// A file system and configuration, and the triggers to run first.
    Ready(Box<StageState>, Vec<String>),
    /// A named context stands for the whole stage.
    Replaced(Box<StageState>),
    /// Something is not known yet, or wrong.
    Missing,
}

fn without_time(mut config: ImageConfig) -> ImageConfig {
    config.created = None;
    config
}
