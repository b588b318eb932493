//! Which stage is based on which, which stages are reached, and which triggers run where. Made before the scene, which
//! borrows from it.

use std::collections::BTreeMap;

use super::words::Words;
use super::{Expanded, Role};
use crate::lint::{LintRequest, Reach};
use crate::stage::{Base, StageGraph};
use crate::variables::{Globals, VariableList, read_globals};

/// The most triggers of images that are looked at in one file.
const TRIGGERS_MAX: usize = 10_000;

/// The links between the stages of a file.
pub(crate) struct Links<'a> {
    pub(super) globals: Globals,
    /// One a stage.
    pub(super) bases: Vec<Expanded<'a>>,
    /// What they are where no build argument is given. One a stage.
    pub(super) default_bases: Vec<Option<String>>,
    /// One a stage.
    pub(super) platforms: Vec<Option<Expanded<'a>>>,
    pub(super) graph: StageGraph,
    /// One a stage.
    pub(super) is_reached: Vec<bool>,
}

impl<'a> Links<'a> {
    /// Evaluates the global arguments and the FROM lines.
    pub(crate) fn new(request: &'a LintRequest<'a>) -> Self {
        let file = request.file;
        let mut words = Words::new(file.escape);
        let mut expand = |word: &_, variables: &VariableList| words.expand(word, variables).0;
        let globals = read_globals(file, request.automatic_arguments, request.build_args, &mut expand);
        let stages = || file.stages.iter().map(|stage| &stage.from.operation);
        let mut read = |role, word| words.read(role, word, &globals.list);
        let bases: Vec<_> = stages().map(|from| read(Role::Base, &from.base)).collect();
        let platforms: Vec<_> =
            stages().map(|from| from.platform.as_ref().map(|word| read(Role::Platform, word))).collect();
        let names: Vec<String> = bases.iter().map(|base| base.expansion.text.clone()).collect();
        let default_bases = default_bases(request, &mut words);
        let graph = graph(request, &names);
        let is_reached = reached(request, &graph);
        Self { globals, bases, default_bases, platforms, graph, is_reached }
    }
}

/// Returns the base names where no build argument is given; `None` where a word cannot be expanded.
fn default_bases(request: &LintRequest<'_>, words: &mut Words) -> Vec<Option<String>> {
    let (file, mut is_wrong) = (request.file, false);
    let mut expand = |word: &_, variables: &VariableList| {
        let (expansion, is_wrong_too) = words.expand(word, variables);
        is_wrong |= is_wrong_too;
        expansion
    };
    let globals = read_globals(file, request.automatic_arguments, &BTreeMap::new(), &mut expand);
    let bases = file.stages.iter().map(|stage| &stage.from.operation.base);
    bases
        .map(|base| Some(words.expand(base, &globals.list)).filter(|(_, wrong)| !wrong && !is_wrong))
        .map(|found| Some(found?.0.text))
        .collect()
}

/// Links the stages; what cannot be is an error of whoever plans the file.
fn graph(request: &LintRequest<'_>, names: &[String]) -> StageGraph {
    let mut graph = StageGraph::new(request.file, names);
    let mut left = TRIGGERS_MAX;
    for (index, stage) in request.file.stages.iter().enumerate() {
        if stage.name().is_some_and(|name| request.contexts.contains(name)) {
            graph.replace_by_context(index);
        }
        let Base::Image(image) = &graph.stages()[index].base else { continue };
        let Some(facts) = request.images.get(image) else { continue };
        if !facts.onbuild.is_empty() && facts.onbuild.len() <= left {
            left -= facts.onbuild.len();
            graph.add_triggers(index, &facts.onbuild);
        }
    }
    graph
}

fn reached(request: &LintRequest<'_>, graph: &StageGraph) -> Vec<bool> {
    let count = graph.stages().len();
    let target = match request.reach {
        Reach::All => return vec![true; count],
        Reach::Last => None,
        Reach::Stage(name) => Some(name),
    };
    let Ok(target) = graph.target(target) else { return vec![true; count] };
    let mut reached = vec![false; count];
    graph.needed(target).into_iter().for_each(|index| reached[index] = true);
    reached
}
