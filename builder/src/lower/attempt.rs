//! One reading of the file for one platform: stages in the order in which they are needed, instructions in their own.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::pragma::{self, CachePragma};
use kiln_frontend::source::{Source, Span};
use kiln_frontend::stage::{Base, StageGraph};
use kiln_frontend::suggest;
use kiln_frontend::variables::{declared_names, read_globals};
use kiln_oci::{ImageConfig, Platform};

use super::bases::Start;
use super::links::From;
use super::planner::{PlanOptions, Planner};
use super::scope::{Expander, VariableList, automatic_arguments, target_name, unused_arguments};
use super::stages::{ImageRequest, ResolvedImage, StageState};
use crate::plan::{Caching, Op, Origin, Output, Plan};
use crate::request::Compat;

/// The most variables, lines of history and ports that all stages may have together, those that they take over from one
/// another included: a file of a few thousand lines can ask for more than fits into memory.
const KEPT_MAX: usize = 1_000_000;

/// One reading of the file for one platform, with the images known so far.
pub(super) struct Attempt<'a> {
    pub(super) options: &'a PlanOptions,
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
    /// How many variables, lines and ports are kept so far.
    kept: usize,
    /// The file has errors elsewhere.
    pub(super) is_broken: bool,
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
            kept: 0,
            is_broken: planner.is_broken,
            epoch: None,
        }
    }

    /// Lowers the target stage and what it needs, and adds it to the plan's outputs.
    pub(super) fn output(&mut self) {
        if self.is_broken {
            self.expander.distrust(true);
        }
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
            if target.os_version.is_some() || !same {
                state.config.os_version.clone_from(&target.os_version);
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
                let found = error.diagnostic();
                self.expander.push(match error.near {
                    Some(_) => found,
                    None => found.with_help(stage_list(&self.graph)),
                });
                None
            }
        }
    }

    fn read_globals(&mut self) {
        let name = target_name(self.file, self.options.target.as_deref());
        let automatic =
            automatic_arguments(&self.options.build_platform, &self.target, name, &self.options.build_args);
        let mut expand = |word: &Word, variables: &VariableList| {
            let mark = self.expander.begin();
            let expansion = self.expander.expansion(word, variables);
            self.expander.settle(mark, &[]);
            expansion
        };
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
            let warning = Diagnostic::warning_at_large("unused-build-arg", message);
            let meant = meant.map(str::to_owned);
            self.expander.push(warning.with_suggestion(meant));
        }
    }

    /// Returns a stage with all its instructions applied, or `None` when something is missing or wrong.
    fn stage(&mut self, index: usize) -> Option<StageState> {
        if self.is_broken {
            self.sketch(index);
            return None;
        }
        match self.start(index) {
            Start::Replaced(state) => Some(*state),
            Start::Ready(state) => {
                let triggers = self.graph.stages()[index].triggers.list.len();
                let size = state.history.len() + state.config.config.env.len() + triggers;
                if !self.grow(size, self.file.stages[index].from.span) {
                    return None;
                }
                Some(self.instructions(index, *state))
            }
            Start::Missing => {
                if self.graph.stages()[index].base != Base::Context {
                    self.sketch(index);
                }
                None
            }
        }
    }

    /// Counts what is kept for a stage; returns whether that is still within bounds.
    pub(super) fn grow(&mut self, count: usize, span: Span) -> bool {
        let was_within = self.kept <= KEPT_MAX;
        self.kept = self.kept.saturating_add(count);
        if self.kept > KEPT_MAX && was_within {
            let message = "the configurations that this file asks for are too large, all together";
            self.expander.error("too-large", span, message);
        }
        self.kept <= KEPT_MAX
    }

    /// Reads the instructions of a stage whose base is not known, for the errors that are there whatever the base is and for
    /// the images that they name.
    fn sketch(&mut self, index: usize) {
        let stage = &self.file.stages[index];
        let root = self.plan.push(Op::Scratch, Origin::default());
        let config = ImageConfig::empty(&self.target);
        let mut state = self.begin(index, root, self.target.clone(), config, 0);
        state.variables = VariableList::default();
        self.expander.distrust(self.is_broken);
        for instruction in &stage.instructions {
            let sets: Vec<&str> = match &instruction.operation {
                Operation::Env(pairs) => pairs.iter().map(|pair| pair.key.text.as_str()).collect(),
                Operation::Arg(arg) => arg.declarations.iter().map(|one| one.name.text.as_str()).collect(),
                _ => Vec::new(),
            };
            let mark = self.expander.begin();
            self.instruction(&mut state, instruction);
            self.expander.settle(mark, &sets);
        }
        if !self.is_broken {
            self.expander.trust();
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
        let of_stage = pragma::cache(&stage.from.comments);
        self.expander.place = Some(stage.from.span);
        for instruction in &triggers {
            self.instruction_within(&mut state, instruction, of_stage);
        }
        self.expander.place = None;
        for instruction in &stage.instructions {
            let pragma = pragma::cache(&instruction.comments).or(of_stage);
            self.instruction_within(&mut state, instruction, pragma);
        }
        state
    }

    /// Applies an instruction whose step comes from the cache only as far as a pragma says.
    fn instruction_within(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        pragma: Option<CachePragma>,
    ) {
        let before = state.root;
        self.instruction(state, instruction);
        let has_step = state.root != before && !matches!(instruction.operation, Operation::Workdir(_));
        match pragma.filter(|_| has_step) {
            None => {}
            Some(CachePragma::Off) => self.plan.limit(state.root, Caching::Never),
            Some(CachePragma::Ttl(age)) => self.plan.limit(state.root, Caching::Within(age)),
        }
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
