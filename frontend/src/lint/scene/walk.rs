//! The walk through the stages, in the order of the file: a stage on a stage goes on with what that one ended with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::words::Words;
use super::{Expanded, Links, Role, Scene, StageScene, Step, TriggerPlace};
use crate::ast::{
    AddInstruction, ArgDeclaration, CopyInstruction, InlineFile, Instruction, Operation, Transfer, Word,
};
use crate::expand::{Expansion, Misread};
use crate::instruction::mount::parse_mount;
use crate::lint::{LintRequest, PlatformWords};
use crate::source::Span;
use crate::stage::Base;
use crate::variables::{ArgumentSources, DEFAULT_PATH, VariableList, read_argument};

/// The most triggers that are evaluated in one file: many stages may share long lists of them.
const TRIGGERS_MAX: usize = 10_000;

impl<'a> Scene<'a> {
    /// Evaluates the stages that are reached.
    pub(crate) fn new(request: &'a LintRequest<'a>, links: &'a Links<'a>) -> Self {
        let mut walk = Walk {
            request,
            links,
            words: Words::new(request.file.escape),
            triggers_left: TRIGGERS_MAX,
            ends: Vec::new(),
        };
        let stages = (0..request.file.stages.len()).map(|index| walk.stage(index)).collect();
        let declared = links.globals.arguments.iter().map(|argument| argument.name.as_str());
        let global_names: BTreeSet<&str> = declared.chain(links.globals.list.names()).collect();
        Self { request, globals: &links.globals, global_names, stages }
    }
}

struct Walk<'a> {
    request: &'a LintRequest<'a>,
    links: &'a Links<'a>,
    words: Words,
    /// How many triggers may still be evaluated.
    triggers_left: usize,
    /// What the stages so far ended with.
    ends: Vec<State<'a>>,
}

/// What is in force between two instructions.
#[derive(Clone)]
struct State<'a> {
    variables: Arc<VariableList>,
    /// Those of the image: without ARG.
    environment: Arc<VariableList>,
    /// Names in the environment that an ARG of this stage gave another value.
    overridden: BTreeSet<String>,
    /// Names that ARG declares in this stage or below, with or without a value.
    declared: Arc<VariableList>,
    has_shell: bool,
    shell: Option<&'a [Word]>,
    has_working_directory: bool,
    platform: Option<PlatformWords>,
    unknown_image: Option<&'a str>,
}

impl State<'_> {
    fn set_env(&mut self, name: &str, value: &str) {
        own(&mut self.variables).set(name, value);
        own(&mut self.environment).set(name, value);
        self.overridden.remove(name);
    }

    /// Ends a stage. In those on it, what its image says counts again, whatever ARG made of it here: as in BuildKit.
    fn hand_on(&mut self) {
        for name in std::mem::take(&mut self.overridden) {
            if let Some(value) = self.environment.value(&name) {
                own(&mut self.variables).set(&name, value);
            }
        }
    }
}

impl<'a> Walk<'a> {
    fn stage(&mut self, index: usize) -> StageScene<'a> {
        let stage = &self.request.file.stages[index];
        let mut state = self.start(index);
        let (platform, unknown_image) = (state.platform.clone(), state.unknown_image);
        let from = stage.from.span;
        let node = &self.links.graph.stages()[index];
        let triggers = node.triggers.list.iter().take(self.triggers_left);
        self.triggers_left -= triggers.len();
        let triggers = triggers
            .map(|trigger| (&trigger.instruction, Some(TriggerPlace { from, written: trigger.written })));
        let own = stage.instructions.iter().map(|instruction| (instruction, None));
        let steps = match self.links.is_reached[index] {
            true => triggers.chain(own).map(|(one, trigger)| self.step(&mut state, one, trigger)).collect(),
            false => Vec::new(),
        };
        state.hand_on();
        self.ends.push(state);
        let link = &node.base;
        let facts = match link {
            Base::Image(name) => self.request.images.get(name),
            _ => None,
        };
        StageScene {
            stage,
            base: &self.links.bases[index],
            default_base: self.links.default_bases[index].clone(),
            platform_flag: self.links.platforms[index].as_ref(),
            is_reached: self.links.is_reached[index],
            link,
            platform,
            facts,
            unknown_image,
            steps,
        }
    }

    /// Returns what is in force above the first instruction of a stage.
    fn start(&self, index: usize) -> State<'a> {
        let link = &self.links.graph.stages()[index].base;
        if let Base::Stage(base) = link {
            return self.ends[*base].clone();
        }
        let platform = self.platform(index);
        let mut variables = VariableList::default();
        let mut state = State {
            variables: Arc::default(),
            environment: Arc::default(),
            overridden: BTreeSet::new(),
            declared: Arc::default(),
            has_shell: false,
            shell: None,
            has_working_directory: false,
            platform,
            unknown_image: None,
        };
        if let Base::Image(name) = link {
            match self.request.images.get(name) {
                Some(facts) => {
                    facts.env.iter().for_each(|(name, value)| variables.set(name, value));
                    state.has_shell = facts.has_shell;
                }
                None => state.unknown_image = Some(name),
            }
        }
        if variables.value("PATH").is_none() && !is_windows(state.platform.as_ref()) {
            variables.set("PATH", DEFAULT_PATH);
        }
        state.environment = Arc::new(variables);
        state.variables = Arc::clone(&state.environment);
        state
    }

    fn platform(&self, index: usize) -> Option<PlatformWords> {
        let flag = self.links.platforms[index].as_ref();
        let of_flag = |flag: &Expanded<'_>| (self.request.vocabulary.platform)(&flag.expansion.text);
        flag.map_or_else(|| self.request.target_platform.cloned(), of_flag)
    }

    fn step(
        &mut self,
        state: &mut State<'a>,
        instruction: &'a Instruction,
        trigger: Option<TriggerPlace>,
    ) -> Step<'a> {
        let State { has_shell, shell, has_working_directory, .. } = *state;
        let words = match &instruction.operation {
            Operation::Arg(arg) => self.arguments(state, &arg.declarations),
            Operation::Env(pairs) => {
                let words = self.words_of(state, instruction);
                // All words see the variables as they were before the instruction.
                for pair in words.chunks(2).take(pairs.len()) {
                    if let [key, value] = pair {
                        state.set_env(&key.expansion.text, &value.expansion.text);
                    }
                }
                words
            }
            Operation::Shell(words) => {
                (state.has_shell, state.shell) = (!words.is_empty(), Some(words.as_slice()));
                Vec::new()
            }
            Operation::Workdir(_) => {
                state.has_working_directory = true;
                self.words_of(state, instruction)
            }
            _ => self.words_of(state, instruction),
        };
        Step { instruction, trigger, words, has_shell, shell, has_working_directory }
    }

    fn arguments(&mut self, state: &mut State<'a>, declarations: &'a [ArgDeclaration]) -> Vec<Expanded<'a>> {
        let sources =
            ArgumentSources { globals: &self.links.globals.list, build_arguments: self.request.build_args };
        let mut words = Vec::new();
        for declaration in declarations {
            let declared = &state.declared;
            let mut expand = |word: &Word, variables: &VariableList| {
                let (expansion, is_wrong) = self.words.expand(word, variables);
                let undefined = self.words.undefined(&expansion, variables, declared);
                words.extend(declaration.default.as_ref().map(|word| Expanded {
                    role: Role::Other,
                    written: Cow::Borrowed(word),
                    expansion: expansion.clone(),
                    is_wrong,
                    undefined,
                }));
                expansion
            };
            let argument = read_argument(declaration, sources, own(&mut state.variables), &mut expand);
            if state.environment.value(&argument.name).is_some() {
                state.overridden.insert(argument.name);
            } else if state.variables.value(&argument.name).is_none() {
                own(&mut state.declared).set(&argument.name, "");
            }
        }
        words
    }

    /// Expands the words of an instruction that is no ARG. BuildKit expands exactly these, and in this order.
    fn words_of(&mut self, state: &State<'a>, instruction: &'a Instruction) -> Vec<Expanded<'a>> {
        let mut words = Vec::new();
        let mut add = |role, word: &'a Word| words.push(self.word(state, role, Cow::Borrowed(word)));
        match &instruction.operation {
            Operation::Env(pairs) | Operation::Label(pairs) => {
                for pair in pairs {
                    add(Role::Other, &pair.key);
                    add(Role::Other, &pair.value);
                }
            }
            Operation::Copy(copy) => add_transfer(&copy.transfer, None, &mut add),
            Operation::Add(one) => add_transfer(&one.transfer, one.checksum.as_ref(), &mut add),
            Operation::Expose(ports) => ports.iter().for_each(|word| add(Role::Port, word)),
            Operation::Volume(volumes) => volumes.iter().for_each(|word| add(Role::Other, word)),
            Operation::User(word) | Operation::StopSignal(word) => add(Role::Other, word),
            Operation::Workdir(word) => add(Role::Directory, word),
            Operation::Run(run) => {
                words.extend(run.mounts.iter().map(|mount| self.mount(state, &mount.value)));
            }
            _ => {}
        }
        if let Operation::Copy(CopyInstruction { transfer, .. })
        | Operation::Add(AddInstruction { transfer, .. }) = &instruction.operation
        {
            // Every file has its heredoc, in the same order.
            let bodies =
                transfer.files.iter().zip(&instruction.heredocs).filter(|(file, _)| file.is_expanded);
            words.extend(bodies.map(|(file, heredoc)| self.body(state, file, heredoc.span)));
        }
        words
    }

    fn word(&mut self, state: &State<'a>, role: Role, written: Cow<'a, Word>) -> Expanded<'a> {
        let (expansion, is_wrong) = self.words.expand(&written, &state.variables);
        // BuildKit looks for missing variables in all words but those of EXPOSE.
        let undefined = match role {
            Role::Port => Vec::new(),
            _ => self.words.undefined(&expansion, &state.variables, &state.declared),
        };
        Expanded { role, written, expansion, is_wrong, undefined }
    }

    fn body(&mut self, state: &State<'a>, file: &InlineFile, span: Span) -> Expanded<'a> {
        let written = Word { text: file.content.clone(), span };
        let (expansion, is_wrong) = self.words.expand_body(&written, &state.variables);
        let undefined = self.words.undefined(&expansion, &state.variables, &state.declared);
        Expanded { role: Role::Body, written: Cow::Owned(written), expansion, is_wrong, undefined }
    }

    /// Expands the values of a mount; what is wrong with the mount itself is an error of the plan.
    fn mount(&mut self, state: &State<'a>, written: &'a Word) -> Expanded<'a> {
        let mut all = Expansion::default();
        let mut expand = |value: &str| -> Result<String, Misread> {
            let word = Word { text: value.to_owned(), span: written.span };
            let expansion = self.words.expand(&word, &state.variables).0;
            all.undefined.extend(expansion.undefined);
            Ok(expansion.text)
        };
        let is_wrong = parse_mount(&written.text, &mut expand).is_err();
        let undefined = self.words.undefined(&all, &state.variables, &state.declared);
        Expanded { role: Role::Other, written: Cow::Borrowed(written), expansion: all, is_wrong, undefined }
    }
}

/// Adds the words of COPY and ADD.
fn add_transfer<'a>(
    transfer: &'a Transfer,
    checksum: Option<&'a Word>,
    add: &mut impl FnMut(Role, &'a Word),
) {
    let flags = [transfer.chown.as_ref(), transfer.chmod.as_ref(), checksum];
    flags.into_iter().flatten().for_each(|word| add(Role::Other, word));
    transfer.sources.iter().for_each(|word| add(Role::Source, word));
    add(Role::Other, &transfer.destination);
}

/// Returns a list that may be changed: another stage may go on with the one that was there.
fn own(list: &mut Arc<VariableList>) -> &mut VariableList {
    if Arc::get_mut(list).is_none() {
        *list = Arc::new(VariableList::inherit(list));
    }
    Arc::get_mut(list).expect("a list that was made here has one owner")
}

fn is_windows(platform: Option<&PlatformWords>) -> bool {
    platform.is_some_and(|platform| platform.os == "windows")
}
