//! The variables that an instruction sees: where ARG and ENV put them, and what an ARG is worth. Used by whoever evaluates a
//! file: the linter, the outline, the planner. Which words are expanded is not known here.
//!
//! As in BuildKit, ENV and ARG write into one list: whichever comes later wins.
//!
//! | ARG | Its value, the first that there is |
//! |---|---|
//! | before the first FROM | the build argument, the default, what an earlier ARG or an automatic argument says |
//! | in a stage | the build argument, the default, the value of the global argument |

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ast::{ArgDeclaration, Dockerfile, Operation};
use crate::expand::{Expansion, Variables};
use crate::source::{Span, Word};

/// Arguments that mean something to the builder itself and are never variables of a process.
pub const CONTROL_ARGUMENTS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The value of `PATH` where a base image has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most lists that one look-up passes; a longer chain of stages is copied into one.
const CHAIN_MAX: usize = 16;

/// A list of so few is copied rather than continued, so that short ones make no long chain.
const COPIED_MAX: usize = 32;

/// Variables in the order in which they were first set. A list may continue another without copying it, so that many stages
/// can share a long one.
#[derive(Debug, Clone, Default)]
pub struct VariableList {
    inherited: Option<Arc<Self>>,
    /// How many lists are inherited.
    depth: usize,
    own: Vec<(String, Arc<str>)>,
    places: BTreeMap<String, usize>,
}

impl VariableList {
    /// Makes a list that begins with all that another one holds.
    pub fn inherit(list: &Arc<Self>) -> Self {
        if list.own.len() <= COPIED_MAX {
            return Self::clone(list);
        }
        if list.depth < CHAIN_MAX {
            return Self { inherited: Some(Arc::clone(list)), depth: list.depth + 1, ..Self::default() };
        }
        let mut copy = Self::default();
        for (name, value) in list.ordered() {
            copy.put(name, value);
        }
        copy
    }

    /// Sets a variable: in its place if it is there, else at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        self.put(name, Arc::from(value));
    }

    fn put(&mut self, name: &str, value: Arc<str>) {
        match self.places.get(name) {
            Some(place) => self.own[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.own.len());
                self.own.push((name.to_owned(), value));
            }
        }
    }

    /// Returns the value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.chain().find_map(|list| list.places.get(name).map(|place| &*list.own[*place].1))
    }

    /// Returns the variables in order.
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.ordered().into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
    }

    /// Returns the names, for suggestions; some may come twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.chain().flat_map(|list| list.own.iter().map(|(name, _)| name.as_str()))
    }

    /// Returns this list and those it continues, nearest first.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |list| list.inherited.as_deref())
    }

    fn ordered(&self) -> Vec<(&str, Arc<str>)> {
        let mut latest: BTreeMap<&str, &Arc<str>> = BTreeMap::new();
        for (name, value) in self.chain().flat_map(|list| &list.own) {
            latest.entry(name).or_insert(value);
        }
        let lists: Vec<&Self> = self.chain().collect();
        let names = lists.iter().rev().flat_map(|list| &list.own).map(|(name, _)| name.as_str());
        names.filter_map(|name| Some((name, Arc::clone(latest.remove(name)?)))).collect()
    }
}

impl PartialEq for VariableList {
    fn eq(&self, other: &Self) -> bool {
        self.ordered() == other.ordered()
    }
}

impl Eq for VariableList {}

impl Variables for VariableList {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(name).map(Cow::Borrowed)
    }
}

/// Expands a word with variables; what is wrong with it, it keeps to itself and gives an empty expansion.
pub type Expand<'a> = dyn FnMut(&Word, &VariableList) -> Expansion + 'a;

/// What is known before the first FROM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globals {
    /// The values: automatic arguments and those of ARG.
    pub list: VariableList,
    /// The declarations, in order.
    pub arguments: Vec<Argument>,
}

/// A declaration of ARG, evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub declared: Span,
    /// Its value; `None` where nothing gives one.
    pub value: Option<String>,
    /// Who gave the value.
    pub origin: ArgumentOrigin,
    /// What became of the default, where it counts.
    pub expansion: Expansion,
}

/// Who gave the value of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentOrigin {
    /// A build argument.
    Given,
    /// Its default.
    Default,
    /// The global argument of this name.
    Global,
    /// Nobody.
    Nobody,
}

/// Evaluates the ARGs before the first FROM; `automatic` are the arguments that are there before all.
pub fn read_globals(
    file: &Dockerfile,
    automatic: &VariableList,
    build_arguments: &BTreeMap<String, String>,
    expand: &mut Expand<'_>,
) -> Globals {
    let mut globals = Globals { list: automatic.clone(), arguments: Vec::new() };
    let declarations =
        file.global_arguments.iter().flat_map(|instruction| &instruction.operation.declarations);
    for declaration in declarations {
        let argument = evaluate(declaration, build_arguments, &globals.list, expand);
        if let Some(value) = &argument.value {
            globals.list.set(&argument.name, value);
        }
        globals.arguments.push(argument);
    }
    globals
}

/// Where the value of a stage's ARG may come from, beside its default.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentSources<'a> {
    /// The global arguments.
    pub globals: &'a VariableList,
    /// `--build-arg`
    pub build_arguments: &'a BTreeMap<String, String>,
}

/// Evaluates one declaration of an ARG in a stage, and sets the variable. A declaration sees those before it in the same ARG.
pub fn read_argument(
    declaration: &ArgDeclaration,
    sources: ArgumentSources<'_>,
    variables: &mut VariableList,
    expand: &mut Expand<'_>,
) -> Argument {
    let mut argument = evaluate(declaration, sources.build_arguments, variables, expand);
    if argument.origin == ArgumentOrigin::Nobody
        && let Some(value) = sources.globals.value(&argument.name)
    {
        argument.value = Some(value.to_owned());
        argument.origin = ArgumentOrigin::Global;
    }
    if let Some(value) = &argument.value
        && !CONTROL_ARGUMENTS.contains(&argument.name.as_str())
    {
        variables.set(&argument.name, value);
    }
    argument
}

fn evaluate(
    declaration: &ArgDeclaration,
    build_arguments: &BTreeMap<String, String>,
    variables: &VariableList,
    expand: &mut Expand<'_>,
) -> Argument {
    let name = declaration.name.text.clone();
    let mut expansion = Expansion::default();
    let (value, origin) = match (build_arguments.get(&name), &declaration.default) {
        (Some(given), _) => (Some(given.clone()), ArgumentOrigin::Given),
        (None, Some(default)) => {
            expansion = expand(default, variables);
            (Some(expansion.text.clone()), ArgumentOrigin::Default)
        }
        (None, None) => (None, ArgumentOrigin::Nobody),
    };
    Argument { name, declared: declaration.name.span, value, origin, expansion }
}

/// Returns the names that some ARG of the file declares, global or in a stage.
pub fn declared_names(file: &Dockerfile) -> BTreeSet<&str> {
    let in_stages =
        file.stages.iter().flat_map(|stage| &stage.instructions).filter_map(|instruction| match &instruction
            .operation
        {
            Operation::Arg(arg) => Some(arg),
            _ => None,
        });
    let global = file.global_arguments.iter().map(|instruction| &instruction.operation);
    global.chain(in_stages).flat_map(|arg| &arg.declarations).map(|one| one.name.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expand::Lexer;
    use crate::source::Source;

    fn list(pairs: &[(&str, &str)]) -> VariableList {
        let mut list = VariableList::default();
        for (name, value) in pairs {
            list.set(name, value);
        }
        list
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn later_settings_replace_earlier_ones_in_place() {
        assert_eq!(list(&[("A", "1"), ("B", "2"), ("A", "3")]).pairs(), owned(&[("A", "3"), ("B", "2")]));
    }

    #[test]
    fn an_inherited_list_keeps_its_order_and_is_not_changed() {
        let first = Arc::new(list(&[("A", "1"), ("B", "2")]));
        let mut second = VariableList::inherit(&first);
        second.set("C", "3");
        second.set("A", "4");
        assert_eq!(second.pairs(), owned(&[("A", "4"), ("B", "2"), ("C", "3")]));
        assert_eq!(first.pairs(), owned(&[("A", "1"), ("B", "2")]));
        assert_eq!(second, list(&[("A", "4"), ("B", "2"), ("C", "3")]));
    }

    #[test]
    fn a_long_chain_says_the_same_as_one_list() {
        let mut chained = VariableList::default();
        let mut plain = VariableList::default();
        let mut deepest = 0;
        for index in 0..2000 {
            let (name, value) = (format!("V{}", index % 900), index.to_string());
            chained.set(&name, &value);
            plain.set(&name, &value);
            // Stages of different lengths.
            if index % 50 == 0 || index % 7 == 0 {
                chained = VariableList::inherit(&Arc::new(chained));
            }
            deepest = deepest.max(chained.depth);
        }
        assert_eq!(deepest, CHAIN_MAX);
        assert_eq!(chained, plain);
        assert_eq!(chained.value("V3"), Some("1803"));
        assert_eq!(chained.value("V900"), None);
    }

    #[test]
    fn an_argument_is_worth_what_the_first_source_says() {
        use ArgumentOrigin::{Default, Given, Global, Nobody};
        let cases = [
            ("ARG A=1\nFROM scratch\nARG A", &[][..], Some("1"), Global),
            ("ARG A=1\nFROM scratch\nARG A=2", &[], Some("2"), Default),
            ("ARG A=1\nFROM scratch\nARG A=2", &[("A", "3")], Some("3"), Given),
            ("FROM scratch\nARG A", &[("A", "3")], Some("3"), Given),
            ("FROM scratch\nARG A", &[], None, Nobody),
            ("ARG B=1\nARG A=$B$OS\nFROM scratch\nARG A", &[("B", "2")], Some("2linux"), Global),
            ("ARG A=1\nARG A\nFROM scratch\nARG A", &[], Some("1"), Global),
            ("FROM scratch\nARG B=1 A=$B", &[], Some("1"), Default),
            ("FROM scratch\nARG OS=none A=$OS", &[], Some("none"), Default),
        ];
        for (text, given, value, origin) in cases {
            let source = Source::new("Dockerfile", text);
            let file = crate::parse(&source).file;
            let given: BTreeMap<String, String> = owned(given).into_iter().collect();
            let mut expand = |word: &Word, variables: &VariableList| {
                Lexer::new('\\').expand(&word.text, variables).unwrap_or_default()
            };
            let globals = read_globals(&file, &list(&[("OS", "linux")]), &given, &mut expand);
            let sources = ArgumentSources { globals: &globals.list, build_arguments: &given };
            let mut variables = VariableList::default();
            let mut last = None;
            let crate::ast::Operation::Arg(arg) = &file.stages[0].instructions[0].operation else {
                panic!("{text}")
            };
            for declaration in &arg.declarations {
                last = Some(read_argument(declaration, sources, &mut variables, &mut expand));
            }
            let last = last.unwrap();
            assert_eq!((last.value.as_deref(), last.origin), (value, origin), "{text}");
            assert_eq!(variables.value("A"), value, "{text}");
        }
    }
}
