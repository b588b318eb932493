//! Documents: short enough to be read, with links that lead somewhere.

use super::expect_none;
use super::tree::{TextFile, all, root};

const LINES_MAX: [(&str, usize); 2] = [("ARCHITECTURE.md", 290), ("STYLE.md", 120)];

#[test]
fn documents_are_there_and_short() {
    let files = all();
    let mut findings = Vec::new();
    for name in ["README.md", "CHANGELOG.md", "LICENSE"] {
        if !files.iter().any(|file| file.path == name) {
            findings.push(format!("{name} is missing"));
        }
    }
    for (name, max) in LINES_MAX {
        match files.iter().find(|file| file.path == name).map(|file| file.text.lines().count()) {
            Some(count) if count <= max => {}
            Some(count) => findings.push(format!("{name}: {count} lines of at most {max}")),
            None => findings.push(format!("{name} is missing")),
        }
    }
    expect_none(&findings, "write it, or take out what the code says itself");
}

#[test]
fn links_lead_somewhere() {
    let findings: Vec<String> =
        all().iter().filter(|file| file.path.ends_with(".md")).flat_map(broken).collect();
    expect_none(&findings, "mend the link: it is relative to the file it stands in");
}

fn broken(file: &TextFile) -> Vec<String> {
    let folder = root().join(&file.path).parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !path.is_empty() && !folder.join(path).exists() {
                findings.push(format!("{}:{}: {target}", file.path, number + 1));
            }
        }
    }
    findings
}

#[test]
fn examples_have_all_their_files() {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let is_example = path.is_dir() && path.file_name().is_none_or(|name| name != "bases");
        for name in ["Dockerfile", "README.md", "expect.txt"] {
            if is_example && !path.join(name).is_file() {
                findings.push(format!("{} has no {name}", path.display()));
            }
        }
    }
    expect_none(&findings, "an example is a Dockerfile, a README.md and an expect.txt with what it prints");
}
