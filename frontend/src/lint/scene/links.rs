//! Which stage is based on which, which stages are reached, and which triggers run where. Made before the scene, which
//! borrows from it.

use std::collections::BTreeMap;

use super::words::Words;
use super::{Expanded, Role};
use crate::ast::{Dockerfile, Instruction};
use crate::lint::{LintRequest, Reach};
use crate::parser::parse_onbuild;
use crate::source::Source;
use crate::stage::{Base, StageGraph};
use crate::variables::{Globals, VariableList, read_globals};

/// The most triggers that are looked at in one file.
const TRIGGERS_MAX: usize = 10_000;

/// The links between the stages of a file.
pub(crate) struct Links<'a> {
    pub(super) globals: Globals,
    /// One a stage.
    pub(super) bases: Vec<Expanded<'a>>,
    /// One a stage.
    pub(super) platforms: Vec<Option<Expanded<'a>>>,
    /// One a stage.
    pub(super) links: Vec<Base>,
    /// One a stage.
    pub(super) is_reached: Vec<bool>,
    /// One a stage.
    pub(super) triggers: Vec<Vec<Instruction>>,
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
        let links = links(file, &names);
        let is_reached = reached(request, &names);
        let triggers = triggers(request, &links);
        Self { globals, bases, platforms, links, is_reached, triggers }
    }
}

/// Returns what each stage is based on: the last stage of the name above, else an image.
fn links(file: &Dockerfile, bases: &[String]) -> Vec<Base> {
    let mut names = BTreeMap::new();
    let mut links = Vec::new();
    for (index, (stage, base)) in file.stages.iter().zip(bases).enumerate() {
        links.push(match names.get(base.as_str()) {
            Some(earlier) => Base::Stage(*earlier),
            None if base == "scratch" => Base::Scratch,
            None => Base::Image(base.clone()),
        });
        if let Some(name) = stage.name() {
            names.insert(name, index);
        }
    }
    links
}

fn reached(request: &LintRequest<'_>, bases: &[String]) -> Vec<bool> {
    let target = match request.reach {
        Reach::All => return vec![true; bases.len()],
        Reach::Last => None,
        Reach::Stage(name) => Some(name),
    };
    // Links that cannot be are errors of the file, reported by whoever plans it; then all stages are looked at.
    let graph = StageGraph::new(request.file, bases).ok();
    let needed = graph.and_then(|graph| graph.needed(graph.target(target).ok()?).ok());
    let Some(needed) = needed else { return vec![true; bases.len()] };
    let mut reached = vec![false; bases.len()];
    needed.into_iter().for_each(|index| reached[index] = true);
    reached
}

/// Returns the triggers that run at the start of each stage. What cannot be read is an error of the plan.
fn triggers(request: &LintRequest<'_>, links: &[Base]) -> Vec<Vec<Instruction>> {
    let mut left = TRIGGERS_MAX;
    let of_stage = |link: &Base| -> Vec<&str> {
        match link {
            Base::Stage(index) => {
                request.file.stages[*index].instructions.iter().filter_map(Instruction::trigger).collect()
            }
            Base::Image(name) => {
                let facts = request.images.get(name).into_iter();
                facts.flat_map(|facts| &facts.onbuild).map(String::as_str).collect()
            }
            Base::Scratch => Vec::new(),
        }
    };
    let parse = |text: &str| parse_onbuild(&Source::new("ONBUILD", text)).ok();
    let mut all = Vec::new();
    for link in links {
        let mut texts = of_stage(link);
        texts.truncate(left);
        left -= texts.len();
        all.push(texts.into_iter().filter_map(parse).collect());
    }
    all
}
