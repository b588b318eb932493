//! One reading of the file for one platform: stages in the order in which they are needed, instructions in their own.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};
use kiln_frontend::suggest;
use kiln_frontend::variables::{declared_names, read_globals};
use kiln_oci::Platform;

use super::bases::Base;
use super::planner::{PlanOptions, Planner};
use super::scope::{Expander, VariableList, automatic_arguments, unused_arguments};
use super::stages::{ImageRequest, ResolvedImage, StageNames, StageState};
use crate::plan::{Origin, Output, Plan};
use crate::request::Compat;

/// Most stages a Dockerfile may stack on one another.
const STAGE_DEPTH_MAX: usize = 500;

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
    pub(super) source: &'a Source,
    pub(super) file: &'a Dockerfile,
    pub(super) known: &'a BTreeMap<ImageRequest, ResolvedImage>,
    pub(super) wants: BTreeSet<ImageRequest>,
    pub(super) target: Platform,
    pub(super) stages: BTreeMap<usize, Option<StageState>>,
    pub(super) depth: usize,
    pub(super) epoch: Option<i64>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        planner: &'a Planner<'_>,
        target: Platform,
        plan: Plan,
        declared: BTreeSet<String>,
    ) -> Self {
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
    pub(super) fn output(&mut self) {
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

    pub(super) fn target_stage(&mut self) -> Option<usize> {
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

    pub(super) fn read_globals(&mut self, target: usize) {
        let name = self.file.stages[target].name().unwrap_or("default");
        let automatic =
            automatic_arguments(&self.options.build_platform, &self.target, name, &self.options.build_args);
        let mut expand = |word: &Word, variables: &VariableList| self.expander.expansion(word, variables);
        let globals = read_globals(self.file, &automatic, &self.options.build_args, &mut expand);
        self.globals = globals.list;
        if let Some(epoch) = globals.arguments.iter().rfind(|argument| argument.name == "SOURCE_DATE_EPOCH") {
            self.read_epoch(epoch.declared);
        }
        self.declared.extend(globals.arguments.into_iter().map(|argument| argument.name));
    }

    pub(super) fn read_epoch(&mut self, span: Span) {
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

    pub(super) fn warn_unused(&mut self) {
        // Only a complete reading knows all that is declared.
        if !self.wants.is_empty() {
            return;
        }
        let unused = unused_arguments(&self.options.build_args, &self.declared, &self.globals);
        let declared = declared_names(self.file);
        let unused: Vec<_> =
            unused.into_iter().filter(|name| !declared.contains(name)).map(str::to_owned).collect();
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
    pub(super) fn stage(&mut self, index: usize) -> Option<StageState> {
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
    pub(super) fn look_ahead(&mut self, index: usize) {
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
                            self.mount_from(&from.text, from.span, index);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn instructions(
        &mut self,
        index: usize,
        mut state: StageState,
        triggers: &[String],
    ) -> StageState {
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

    pub(super) fn instruction(&mut self, state: &mut StageState, instruction: &Instruction, index: usize) {
        match &instruction.operation {
            Operation::Run(run) => self.run(state, instruction, run, index),
            Operation::Copy(copy) => self.copy(state, instruction, copy, index),
            Operation::Add(add) => self.add(state, instruction, add),
            Operation::Workdir(word) => self.workdir(state, instruction, word),
            _ => self.metadata(state, instruction),
        }
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

    pub(super) fn place(&self, span: Span) -> Origin {
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
