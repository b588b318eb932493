//! One edit of a project, as somebody at work would make it.

use super::chance::Chance;
use super::project::{NAMES, Node, Project, earlier, instruction, value};

const IGNORED: [&str; 5] = ["**/*.log", "lib", "src/deep", "!src/deep/c", "b.txt"];
const FLAGS: [&str; 8] = [
    "--target=left",
    "--compression=zstd",
    "--compression=none",
    "--label=a=b",
    "--timestamp=86400",
    "--network=none",
    "--compat=buildkit",
    "--args=referenced",
];
const PRAGMAS: [&str; 3] = ["# kiln: cache=off", "# kiln: cache=ttl:1h", "# a remark"];

/// Changes something, and returns what.
pub(super) fn edit(project: &mut Project, chance: &mut Chance) -> String {
    match chance.below(18) {
        0..=2 => content(project, chance),
        3 => mode(project, chance),
        4 => rename(project, chance),
        5 => delete(project, chance),
        6 => link(project, chance),
        7 => ignore(project, chance),
        8 => argument(project, chance),
        9 => flag(project, chance),
        10 => base(project, chance),
        11..=12 => replace(project, chance),
        13 => insert(project, chance),
        14 => remove(project, chance),
        15 => swap(project, chance),
        16 => hard(project, chance),
        _ => around(project, chance),
    }
}

fn content(project: &mut Project, chance: &mut Chance) -> String {
    let (name, text) = (chance.one(&NAMES), value(chance));
    if chance.once_in(6) {
        project.nodes.insert("bundle.tar".to_owned(), Node::Archive(text.clone()));
        return format!("what bundle.tar holds is {text:?}");
    }
    project.nodes.insert(name.to_owned(), Node::File(text.clone(), 0o644));
    format!("{name} is {text:?}")
}

/// Returns one of the names that are there.
fn name(project: &Project, chance: &mut Chance) -> Option<String> {
    let names: Vec<&String> = project.nodes.keys().filter(|name| *name != "bundle.tar").collect();
    (!names.is_empty()).then(|| names[chance.below(names.len())].clone())
}

fn mode(project: &mut Project, chance: &mut Chance) -> String {
    let Some(name) = name(project, chance) else { return "nothing".to_owned() };
    if let Some(Node::File(_, mode)) = project.nodes.get_mut(&name) {
        *mode = if *mode == 0o644 { 0o755 } else { 0o644 };
    }
    format!("another mode of {name}")
}

fn rename(project: &mut Project, chance: &mut Chance) -> String {
    let (Some(from), to) = (name(project, chance), chance.one(&NAMES)) else { return "nothing".to_owned() };
    let node = project.nodes.remove(&from).unwrap();
    project.nodes.insert(to.to_owned(), node);
    format!("{from} is called {to}")
}

fn delete(project: &mut Project, chance: &mut Chance) -> String {
    let Some(name) = name(project, chance) else { return "nothing".to_owned() };
    project.nodes.remove(&name);
    format!("{name} is gone")
}

fn link(project: &mut Project, chance: &mut Chance) -> String {
    let target = chance.one(&["a", "deep", "../b.txt", "/nowhere"]);
    project.nodes.insert("src/link".to_owned(), Node::Link(target.to_owned()));
    format!("src/link leads to {target}")
}

fn hard(project: &mut Project, chance: &mut Chance) -> String {
    let target = if chance.once_in(2) { "a" } else { "src/a" };
    project.nodes.insert("src/same".to_owned(), Node::Hard(target));
    format!("src/same is {target}, too")
}

/// Changes what stands outside of context and Dockerfile.
fn around(project: &mut Project, chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => project.which = if project.which == "base" { "tools" } else { "base" },
        1 => project.side = if project.side == "." { "src" } else { "." },
        _ => project.secret = value(chance),
    }
    format!("$WHICH is {}, side is {}, the secret is {:?}", project.which, project.side, project.secret)
}

fn ignore(project: &mut Project, chance: &mut Chance) -> String {
    let pattern = chance.one(&IGNORED);
    if project.ignored.contains(&pattern) {
        project.ignored.retain(|other| *other != pattern);
    } else {
        project.ignored.push(pattern);
    }
    format!("the ignore file is {:?}", project.ignored)
}

fn argument(project: &mut Project, chance: &mut Chance) -> String {
    let (name, text) = (chance.one(&["NAME", "OTHER", "UNUSED"]), value(chance));
    if project.arguments.remove(name).is_none() || chance.once_in(2) {
        project.arguments.insert(name, text);
    }
    format!("the arguments are {:?}", project.arguments)
}

fn flag(project: &mut Project, chance: &mut Chance) -> String {
    let flag = chance.one(&FLAGS);
    let option = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    let had = project.flags.contains(&flag);
    project.flags.retain(|other| option(other) != option(flag));
    if !had {
        project.flags.push(flag);
    }
    format!("the flags are {:?}", project.flags)
}

fn base(project: &mut Project, chance: &mut Chance) -> String {
    let number = chance.below(project.stages.len());
    project.stages[number].base = match number > 0 && chance.once_in(3) {
        true => "$WHICH".to_owned(),
        false => earlier(chance, number).to_owned(),
    };
    format!("stage {number} stands on {}", project.stages[number].base)
}

/// Returns a stage, and one of its instructions.
fn place(project: &Project, chance: &mut Chance) -> Option<(usize, usize)> {
    let number = chance.below(project.stages.len());
    let count = project.stages[number].instructions.len();
    (count > 0).then(|| (number, chance.below(count)))
}

fn replace(project: &mut Project, chance: &mut Chance) -> String {
    let Some((number, index)) = place(project, chance) else { return "nothing".to_owned() };
    let new = instruction(chance, number);
    let old = std::mem::replace(&mut project.stages[number].instructions[index], new.clone());
    format!("stage {number}: `{old}` became `{new}`")
}

fn insert(project: &mut Project, chance: &mut Chance) -> String {
    let number = chance.below(project.stages.len());
    let new = match chance.once_in(3) {
        true => chance.one(&PRAGMAS).to_owned(),
        false => instruction(chance, number),
    };
    let instructions = &mut project.stages[number].instructions;
    instructions.insert(chance.below(instructions.len() + 1), new.clone());
    format!("stage {number} has `{new}`, too")
}

fn remove(project: &mut Project, chance: &mut Chance) -> String {
    let Some((number, index)) = place(project, chance) else { return "nothing".to_owned() };
    let old = project.stages[number].instructions.remove(index);
    format!("stage {number} has no `{old}`")
}

fn swap(project: &mut Project, chance: &mut Chance) -> String {
    let Some((number, index)) = place(project, chance) else { return "nothing".to_owned() };
    let instructions = &mut project.stages[number].instructions;
    let other = (index + 1) % instructions.len();
    instructions.swap(index, other);
    format!("stage {number}: instructions {index} and {other} change places")
}
