//! What a file offers to whoever builds it: its targets, and the arguments, secrets and ssh agents that one target takes.
//! Runs nothing and knows no image: variables that only a base image sets are not set here.
//!
//! What counts as taken, as in BuildKit:
//!
//! | Of | Listed |
//! |---|---|
//! | global ARG | when a FROM on the way expands it, a stage imports it (`ARG NAME`), or the default of a listed one uses it |
//! | ARG of a stage | always; one that only imports a global ARG stands for that one |
//! | automatic ARG, such as `TARGETARCH` | never |
//! | secret, ssh | once, at the first mount of each id |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ast::{ArgDeclaration, Dockerfile, Instruction, MountFlag, Operation, Stage, Word};
use crate::diagnostic::Diagnostic;
use crate::expand::{Expansion, Lexer};
use crate::instruction::mount::{Mount, MountKind, parse_mount};
use crate::source::Span;
use crate::stage::{Base, StageGraph};
use crate::variables::{self, ArgumentOrigin, ArgumentSources, VariableList};

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its name in lower case.
    pub name: Option<&'a str>,
    /// Whether it is what is built when no target is named.
    pub is_default: bool,
    /// What the comment above its FROM says of it.
    pub description: Option<&'a str>,
    /// What it starts from, as written.
    pub base: &'a str,
    /// Its `--platform`, as written.
    pub platform: Option<&'a str>,
    /// Its FROM.
    pub span: Span,
}

/// Returns the stages of a file, in order.
pub fn targets(file: &Dockerfile) -> Vec<Target<'_>> {
    let mut targets: Vec<Target<'_>> = file.stages.iter().map(target).collect();
    if let Some(last) = targets.last_mut() {
        last.is_default = true;
    }
    targets
}

fn target(stage: &Stage) -> Target<'_> {
    let from = &stage.from;
    Target {
        name: stage.name(),
        is_default: false,
        description: stage.name().and_then(|name| from.description(name)),
        base: &from.operation.base.text,
        platform: from.operation.platform.as_ref().map(|word| word.text.as_str()),
        span: from.span,
    }
}

/// What is to be outlined.
#[derive(Debug, Clone, Copy)]
pub struct OutlineRequest<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// The stage; the last one when absent.
    pub target: Option<&'a str>,
    /// What is there before any ARG: `TARGETPLATFORM` and the like.
    pub automatic_arguments: &'a VariableList,
    /// Values given for ARGs.
    pub build_args: &'a BTreeMap<String, String>,
}

/// What one target takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The name of the target in lower case.
    pub name: Option<String>,
    /// What the comment above its FROM says of it.
    pub description: Option<String>,
    /// Arguments, in the order of the file.
    pub arguments: Vec<Argument>,
    /// Secrets, in the order of the file.
    pub secrets: Vec<Credential>,
    /// Agents of ssh, in the order of the file.
    pub ssh: Vec<Credential>,
}

/// An argument that can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What the comment above its ARG says of it.
    pub description: Option<String>,
    /// The value it has: the one given, or the default after expansion.
    pub value: Option<String>,
    /// Its ARG; for one in a trigger, the FROM that runs it.
    pub span: Span,
}

/// A secret or an agent of ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub is_required: bool,
    /// The RUN that mounts it first; for one in a trigger, the FROM that runs it.
    pub span: Span,
}

/// Returns what a target takes. Words that cannot be expanded count as empty: what is wrong with them is for the planner.
///
/// # Errors
/// For a target that is no stage, and for stages that cannot be put in order.
pub fn outline(request: &OutlineRequest<'_>) -> Result<Outline, Vec<Diagnostic>> {
    let globals = Globals::read(request);
    let lexer = Lexer::new(request.file.escape);
    let mut expand = expander(lexer);
    let stages = request.file.stages.iter().map(|stage| &stage.from.operation);
    let bases: Vec<Expansion> = stages.map(|from| expand(&from.base, &globals.list)).collect();
    let names: Vec<String> = bases.iter().map(|base| base.text.clone()).collect();
    let graph = StageGraph::new(request.file, &names);
    let target = graph.target(request.target).map_err(|error| vec![error.diagnostic()])?;
    let needed = graph.needed(target);
    let errors: Vec<Diagnostic> = graph.errors().iter().cloned().chain(graph.errors_in(&needed)).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut reader = Reader { request, lexer, globals: &globals, graph: &graph, stages: BTreeMap::new() };
    for index in needed {
        let from = &request.file.stages[index].from.operation;
        let mut used = bases[index].used.clone();
        used.extend(from.platform.iter().flat_map(|word| expand(word, &globals.list).used));
        reader.read(index, used);
    }
    Ok(reader.collect(target))
}

/// The arguments before the first FROM.
struct Globals {
    list: VariableList,
    declared: BTreeMap<String, Global>,
}

struct Global {
    argument: Argument,
    /// The arguments that its default uses.
    uses: BTreeSet<String>,
}

impl Globals {
    fn read(request: &OutlineRequest<'_>) -> Self {
        let OutlineRequest { file, automatic_arguments, build_args, .. } = *request;
        let mut expand = expander(Lexer::new(file.escape));
        let read = variables::read_globals(file, automatic_arguments, build_args, &mut expand);
        let mut globals = Self { list: read.list, declared: BTreeMap::new() };
        let instructions = file.global_arguments.iter().flat_map(|instruction| {
            instruction.operation.declarations.iter().map(move |declaration| (instruction, declaration))
        });
        for ((instruction, declaration), argument) in instructions.zip(read.arguments) {
            let description = instruction.description(&declaration.name.text).map(str::to_owned);
            globals.declare(argument, instruction.span, description);
        }
        globals
    }

    fn declare(&mut self, argument: variables::Argument, span: Span, description: Option<String>) {
        let variables::Argument { name, value, expansion, .. } = argument;
        let mut uses = expansion.used;
        // `ARG A=$A` uses what the earlier one used.
        if uses.remove(&name)
            && let Some(earlier) = self.declared.get(&name)
        {
            uses.extend(earlier.uses.iter().cloned());
        }
        let argument = Argument { name: name.clone(), description, value, span };
        self.declared.insert(name, Global { argument, uses });
    }
}

/// Returns what expands words. What cannot be expanded is empty here; the planner reports it.
fn expander(lexer: Lexer) -> impl FnMut(&Word, &VariableList) -> Expansion {
    move |word, variables| lexer.expand(&word.text, variables).unwrap_or_default()
}

/// Credentials by id.
type Credentials = BTreeMap<String, Credential>;

/// What one stage takes, and the variables it hands on.
#[derive(Default)]
struct Taken {
    /// Arguments that the stage declares itself.
    own: BTreeMap<String, Argument>,
    /// Names of arguments that it uses, those of its FROM among them.
    used: BTreeSet<String>,
    /// Names that the FROM uses, also those of the stages below.
    used_by_from: BTreeSet<String>,
    secrets: Credentials,
    ssh: Credentials,
    variables: Arc<VariableList>,
}

struct Reader<'a> {
    request: &'a OutlineRequest<'a>,
    lexer: Lexer,
    globals: &'a Globals,
    graph: &'a StageGraph,
    stages: BTreeMap<usize, Taken>,
}

impl Reader<'_> {
    /// Reads a stage; those that it needs were read before.
    fn read(&mut self, index: usize, used_by_from: BTreeSet<String>) {
        let node = &self.graph.stages()[index];
        let mut taken = Taken { used_by_from, ..Taken::default() };
        if let Base::Stage(base) = node.base
            && let Some(base) = self.stages.get(&base)
        {
            taken.variables = Arc::new(VariableList::inherit(&base.variables));
            taken.used_by_from.extend(base.used_by_from.iter().cloned());
        }
        taken.used.clone_from(&taken.used_by_from);
        for trigger in &node.triggers.list {
            self.instruction(&mut taken, &trigger.instruction, node.span);
        }
        for instruction in &self.request.file.stages[index].instructions {
            self.instruction(&mut taken, instruction, instruction.span);
        }
        self.stages.insert(index, taken);
    }

    fn instruction(&self, taken: &mut Taken, instruction: &Instruction, place: Span) {
        match &instruction.operation {
            Operation::Env(pairs) => {
                // All words see the variables as they were before the instruction.
                let mut expand = expander(self.lexer);
                let mut expand = |word| expand(word, &taken.variables).text;
                let pairs: Vec<_> =
                    pairs.iter().map(|pair| (expand(&pair.key), expand(&pair.value))).collect();
                let variables = Arc::make_mut(&mut taken.variables);
                pairs.iter().for_each(|(name, value)| variables.set(name, value));
            }
            Operation::Arg(arg) => {
                for declaration in &arg.declarations {
                    let description = instruction.description(&declaration.name.text);
                    self.declare(taken, declaration, description, place);
                }
            }
            Operation::Run(run) => {
                for mount in &run.mounts {
                    self.mount(taken, mount, place);
                }
            }
            _ => {}
        }
    }

    fn declare(
        &self,
        taken: &mut Taken,
        declaration: &ArgDeclaration,
        description: Option<&str>,
        place: Span,
    ) {
        let sources =
            ArgumentSources { globals: &self.globals.list, build_arguments: self.request.build_args };
        let variables = Arc::make_mut(&mut taken.variables);
        let argument = variables::read_argument(declaration, sources, variables, &mut expander(self.lexer));
        let variables::Argument { name, value, origin, .. } = argument;
        taken.used.insert(name.clone());
        if origin != ArgumentOrigin::Global {
            let description = description.map(str::to_owned);
            taken.own.insert(name.clone(), Argument { name, description, value, span: place });
        }
    }

    fn mount(&self, taken: &mut Taken, flag: &MountFlag, place: Span) {
        let mut expand =
            |text: &str| self.lexer.expand_located(text, &*taken.variables).map(|expansion| expansion.text);
        // What is wrong with a mount is for the planner.
        let Ok(mount) = parse_mount(&flag.value.text, &mut expand) else { return };
        let (list, id) = match mount.kind {
            MountKind::Secret => (&mut taken.secrets, secret_id(&mount)),
            MountKind::Ssh => (&mut taken.ssh, mount.id.unwrap_or_else(|| "default".to_owned())),
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => return,
        };
        let first = Credential { id: id.clone(), is_required: mount.is_required, span: place };
        list.entry(id).or_insert(first);
    }

    /// Puts together what the target takes: its own first, then what its base takes, then what it copies from.
    fn collect(&self, target: usize) -> Outline {
        let stage = &self.request.file.stages[target];
        let mut all = Taken::default();
        let (mut reached, mut open) = (BTreeSet::new(), vec![target]);
        while let Some(index) = open.pop() {
            let Some(taken) = self.stages.get(&index) else { continue };
            if !reached.insert(index) {
                continue;
            }
            self.add(&mut all, taken);
            open.extend(self.graph.suppliers_of_triggers(index).chain(self.graph.suppliers(index)));
            if let Base::Stage(base) = self.graph.stages()[index].base {
                open.push(base);
            }
        }
        let name = stage.name();
        let description = name.and_then(|name| stage.from.description(name));
        Outline {
            name: name.map(str::to_owned),
            description: description.map(str::to_owned),
            arguments: in_order(all.own, |argument| argument.span),
            secrets: in_order(all.secrets, |secret| secret.span),
            ssh: in_order(all.ssh, |agent| agent.span),
        }
    }

    /// Adds what one stage takes; of each name, what came first stays.
    fn add(&self, all: &mut Taken, taken: &Taken) {
        let mut open: Vec<&str> = taken.used.iter().map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            let own = taken.own.get(name);
            let global = self.globals.declared.get(name).filter(|_| own.is_none());
            if let Some(argument) = own.or_else(|| global.map(|global| &global.argument)) {
                all.own.entry(name.to_owned()).or_insert_with(|| argument.clone());
            }
            open.extend(global.iter().flat_map(|global| &global.uses).map(String::as_str));
        }
        for (list, more) in [(&mut all.secrets, &taken.secrets), (&mut all.ssh, &taken.ssh)] {
            for (id, credential) in more {
                list.entry(id.clone()).or_insert_with(|| credential.clone());
            }
        }
    }
}

/// Returns values in the order of the file; those of one instruction by name.
fn in_order<T>(values: BTreeMap<String, T>, place: impl Fn(&T) -> Span) -> Vec<T> {
    let mut values: Vec<T> = values.into_values().collect();
    values.sort_by_key(|value| place(value).start);
    values
}

/// Returns the id of a secret, which may be given by its source or be the last part of its target.
fn secret_id(mount: &Mount) -> String {
    let named = mount.source.clone().or_else(|| mount.id.clone());
    let base_name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    named.or_else(|| mount.target.as_ref().map(base_name)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
