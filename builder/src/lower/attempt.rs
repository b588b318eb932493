//! One reading of the file for one platform: stages in the order in which they are needed, instructions in their own.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::{Source, Span};
use kiln_frontend::stage::StageGraph;
use kiln_frontend::suggest;
use kiln_frontend::variables::{declared_names, read_globals};
use kiln_oci::Platform;

use super::bases::Start;
use super::links::From;
use super::planner::{PlanOptions, Planner};
use super::scope::{Expander, VariableList, automatic_arguments, unused_arguments};
use super::stages::{ImageRequest, ResolvedImage, StageState};
use crate::plan::{Origin, Output, Plan};
use crate::request::Compat;

/// The most lines of history and variables that stages may take over from one another, all together: a file of a few thousand
/// lines can ask for more than fits into memory.
const INHERITED_MAX: usize = 2_000_000;

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
    /// The FROM of every stage.
    pub(super) froms: Vec<From>,
    pub(super) graph: StageGraph,
    pub(super) source: &'a Source,
    pub(super) file: &'a Dockerfile,
    pub(super) known: &'a BTreeMap<ImageRequest, ResolvedImage>,
    pub(super) wants: BTreeSet<ImageRequest>,
    /// Images that stages are based on, by their expanded names.
    pub(super) bases: BTreeMap<String, ImageRequest>,
    /// Names of stages and bases that named contexts replace.
    pub(super) replaced: BTreeSet<String>,
    pub(super) target: Platform,
    /// The stages that are read, as far as their bases are known.
    pub(super) stages: BTreeMap<usize, StageState>,
    /// What stages took over so far.
    inherited: usize,
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
            froms: Vec::new(),
            graph: StageGraph::default(),
            source: planner.source,
            file: planner.file,
            known: &planner.known,
            wants: BTreeSet::new(),
            bases: BTreeMap::new(),
            replaced: BTreeSet::new(),
            target,
            stages: BTreeMap::new(),
            inherited: 0,
            epoch: None,
        }
    }

    /// Lowers the target stage and what it needs, and adds it to the plan's outputs.
    pub(super) fn output(&mut self) {
        self.read_globals();
        self.read_stages();
        let Some(target) = self.target_stage() else { return };
        for index in self.needed(target) {
            if let Some(state) = self.stage(index) {
                self.stages.insert(index, state);
            }
        }
        self.warn_unused();
        let Some(mut state) = self.stages.remove(&target) else { return };
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
        match self.graph.target(self.options.target.as_deref()) {
            Ok(target) => Some(target),
            Err(error) => {
                let mut diagnostic =
                    Diagnostic::error("undefined-target", Span::default(), error.to_string());
                diagnostic.labels.clear();
                diagnostic.help = Some(match &error.near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => stage_list(&self.graph),
                });
                self.expander.push(diagnostic);
                None
            }
        }
    }

    fn read_globals(&mut self) {
        let last = || self.file.stages.last().and_then(|stage| stage.name());
        let name = self.options.target.as_deref().or_else(last).unwrap_or("default");
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
    fn stage(&mut self, index: usize) -> Option<StageState> {
        match self.start(index) {
            Start::Replaced(state) => Some(*state),
            Start::Ready(state) => {
                self.inherited += state.history.len() + state.variables.pairs().len();
                if self.inherited > INHERITED_MAX {
                    let message = "the stages of this file take over too much from one another";
                    self.expander.error("too-large", self.file.stages[index].from.span, message);
                    return None;
                }
                Some(self.instructions(index, *state))
            }
            Start::Missing => {
                self.look_ahead(index);
                None
            }
        }
    }

    /// Asks for the images that a stage names besides its base, while the base is not known yet.
    fn look_ahead(&mut self, index: usize) {
        for instruction in &self.file.stages[index].instructions {
            match &instruction.operation {
                Operation::Copy(copy) => {
                    if let Some(from) = &copy.from {
                        self.copy_from(from);
                    }
                }
                Operation::Run(run) => {
                    for from in run.mounts.iter().filter_map(|mount| mount.from.as_ref()) {
                        self.mount_from(from);
                    }
                }
                _ => {}
            }
        }
    }

    fn instructions(&mut self, index: usize, mut state: StageState) -> StageState {
        let stage = &self.file.stages[index];
        let triggers = self.triggers(index);
        let makes_step = |instruction: &&Instruction| {
            use Operation::{Add, Copy, Run, Workdir};
            matches!(instruction.operation, Run(_) | Copy(_) | Add(_) | Workdir(_))
        };
        let count = triggers.iter().chain(&stage.instructions).filter(makes_step).count();
        state.progress = (state.progress.1, state.progress.1 + u32::try_from(count).unwrap_or(u32::MAX));
        self.expander.place = Some(stage.from.span);
        for instruction in &triggers {
            self.instruction(&mut state, instruction);
        }
        self.expander.place = None;
        for instruction in &stage.instructions {
            self.instruction(&mut state, instruction);
        }
        state
    }

    fn instruction(&mut self, state: &mut StageState, instruction: &Instruction) {
        match &instruction.operation {
            Operation::Run(run) => self.run(state, instruction, run),
            Operation::Copy(copy) => self.copy(state, instruction, copy),
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

/// Returns the names that could have been asked for.
fn stage_list(graph: &StageGraph) -> String {
    const SHOWN_MAX: usize = 10;
    let names: Vec<String> = graph.names().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "no stage of this file has a name".to_owned(),
        names => format!("the stages are {}", names.join(", ")),
    }
}
