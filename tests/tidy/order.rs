//! The order of `mod` lines is the floor plan: a module uses only modules declared below it.

use std::collections::{BTreeMap, BTreeSet};

use super::expect_none;
use super::tree::{TextFile, rust};

const CRATES: [&str; 9] = [
    "src/main.rs",
    "frontend/src/lib.rs",
    "glob/src/lib.rs",
    "builder/src/lib.rs",
    "builder/oci/src/lib.rs",
    "builder/layer/src/lib.rs",
    "builder/store/src/lib.rs",
    "builder/registry/src/lib.rs",
    "builder/sandbox/src/lib.rs",
];

#[test]
fn modules_use_only_modules_declared_below_them() {
    let files = rust();
    let findings: Vec<String> = CRATES.iter().flat_map(|root| check(root, &files)).collect();
    expect_none(
        &findings,
        "move what both need into a module further down, or move the `mod` line if the reading order was wrong",
    );
}

fn check(root: &str, files: &[TextFile]) -> Vec<String> {
    let Some(root_file) = files.iter().find(|file| file.path == *root) else {
        return vec![format!("{root} is missing")];
    };
    let plan = Plan::of(root_file);
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path != *root) {
        let Some(inside) = file.path.strip_prefix(&format!("{folder}/")) else { continue };
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some(own) = plan.position(module) else { continue };
        let top_level = !inside.contains('/') || inside == format!("{module}/mod.rs");
        for (number, name) in references(file, top_level) {
            if let Some(other) = plan.position(&name).filter(|other| *other < own) {
                let other = &plan.modules[other];
                findings.push(format!("{}:{number}: `{module}` uses `{other}` (as `{name}`), which is declared above it in {root}", file.path));
            }
        }
    }
    findings
}

/// A crate's modules in order, and the names that it re-exports from each.
struct Plan {
    modules: Vec<String>,
    exported: BTreeMap<String, String>,
}

impl Plan {
    fn of(file: &TextFile) -> Self {
        let (mut modules, mut exported) = (Vec::new(), BTreeMap::new());
        let code: String = file.code().map(|(_, line)| format!("{}\n", line.trim())).collect();
        for statement in code.split_inclusive(';') {
            let statement = statement.trim().trim_end_matches(';');
            let words: Vec<&str> = statement.lines().last().unwrap_or_default().split_whitespace().collect();
            if let [.., "mod", name] = words.as_slice() {
                modules.push((*name).to_owned());
            }
            let Some(path) =
                statement.split("pub use ").nth(1).or_else(|| statement.split("pub(crate) use ").nth(1))
            else {
                continue;
            };
            let Some((module, names)) = path.split_once("::") else { continue };
            for name in names.trim_matches(['{', '}']).split(',') {
                let name = name.trim().rsplit([' ', ':']).next().unwrap_or_default();
                exported.insert(name.to_owned(), module.to_owned());
            }
        }
        Self { modules, exported }
    }

    fn position(&self, name: &str) -> Option<usize> {
        let of = |module: &str| self.modules.iter().position(|known| known == module);
        // A module and a function of another one may share a name; the module is meant where there is one.
        of(name).or_else(|| of(self.exported.get(name)?))
    }
}

/// Returns the names that a file takes from its crate's root, with the line of each.
fn references(file: &TextFile, top_level: bool) -> BTreeSet<(usize, String)> {
    let starts: &[&str] = if top_level { &["crate::", "super::"] } else { &["crate::"] };
    let lines: Vec<(usize, &str)> = file.code().collect();
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let mut found = BTreeSet::new();
    for start in starts {
        for (position, _) in text.match_indices(start) {
            let before = text[..position].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':' | '$')) {
                continue;
            }
            let number = lines[text[..position].matches('\n').count()].0;
            let names = first_names(&text[position + start.len()..]);
            found.extend(names.into_iter().map(|name| (number, name)));
        }
    }
    found
}

/// Returns the first name of a path, or of each path of a group in braces.
fn first_names(text: &str) -> Vec<String> {
    let identifier = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect::<String>()
    };
    let Some(group) = text.strip_prefix('{') else { return vec![identifier(text)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (position, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(identifier(&group[start..position]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(identifier(&group[start..position]));
                start = position + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn references_are_found_in_groups_and_single_paths() {
    let text = "use crate::{b::{C, D}, e};\nfn f(x: crate::g::H) {}\nuse other_crate::z;\nuse super::i;\n// crate::comment\n#[cfg(test)]\nuse crate::late;\n";
    let file = TextFile { path: "src/a.rs".to_owned(), text: text.to_owned() };
    let names: Vec<String> = references(&file, true).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["b", "e", "g", "i"]);
}

#[test]
fn a_module_that_looks_up_is_found() {
    let file = |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
    let root = file(
        "frontend/src/lib.rs",
        "//! Docs; with a semicolon.\nmod a;\npub use a::{Top, More as Other};\n#[expect(x)]\npub mod b;\n",
    );
    let files = [
        root,
        file("frontend/src/a.rs", "use crate::b::X;\n"),
        file("frontend/src/b/c.rs", "use crate::Other;\n"),
    ];
    let findings = check("frontend/src/lib.rs", &files);
    assert_eq!(
        findings,
        [
            "frontend/src/b/c.rs:1: `b` uses `a` (as `Other`), which is declared above it in frontend/src/lib.rs"
        ]
    );
}
