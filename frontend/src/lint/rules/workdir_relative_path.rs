//! The first WORKDIR of a stage is relative, so where it is depends on the base image.

use crate::lint::report::Report;
use crate::lint::scene::{Role, Scene};
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    summary: "the first WORKDIR is absolute, so that it does not depend on the base image",
    level: Level::On,
    page: "workdir-relative-path.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for stage in &scene.stages {
        let is_windows = stage.platform.as_ref().is_some_and(|platform| platform.os == "windows");
        for step in stage.steps.iter().filter(|step| !step.has_working_directory) {
            for word in step.words_as(Role::Directory) {
                let path = &word.expansion.text;
                if word.is_wrong || is_absolute(path, is_windows) {
                    continue;
                }
                let message = format!("`{path}` is relative to whatever directory the base image names");
                let found = report.warning(word.written.span, message);
                report.push(step, found.with_help("begin the first WORKDIR with `/`"));
            }
        }
    }
}

fn is_absolute(path: &str, is_windows: bool) -> bool {
    if !is_windows {
        return path.starts_with('/');
    }
    let without_drive = match path.as_bytes() {
        [b'c' | b'C', b':', ..] => &path[2..],
        _ => path,
    };
    without_drive.starts_with(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tests::{World, check};

    #[test]
    fn the_first_workdir_is_found_where_it_is_relative() {
        let found = |line: usize, place: &str, path: &str| {
            format!(
                "{line} {place} | `{path}` is relative to whatever directory the base image names (begin the first WORKDIR \
                 with `/`)"
            )
        };
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nWORKDIR b\nWORKDIR c", &[&found(2, "b", "b")]),
            ("FROM a\nWORKDIR /b\nWORKDIR c", &[]),
            ("FROM a\nENV X=b\nWORKDIR ${X}/c", &[&found(3, "${X}/c", "b/c")]),
            ("FROM a\nENV X=/b\nWORKDIR $X", &[]),
            ("FROM a AS s\nWORKDIR /b\nFROM s\nWORKDIR c", &[]),
            ("FROM a AS s\nWORKDIR /b\nFROM a\nWORKDIR c", &[&found(4, "c", "c")]),
            ("FROM a AS s\nONBUILD WORKDIR b\nFROM s\nWORKDIR c", &[&found(3, "FROM s", "b")]),
        ];
        check("WorkdirRelativePath", &World::default(), cases);
    }

    #[test]
    fn paths_of_windows_have_drives() {
        let cases = [
            ("/a", true, true),
            (r"C:\a", true, true),
            ("c:/a", true, true),
            ("c:a", true, false),
            (r"\a", true, true),
            (r"\a", false, false),
            ("a", true, false),
            ("", false, false),
        ];
        for (path, is_windows, expected) in cases {
            assert_eq!(is_absolute(path, is_windows), expected, "{path}");
        }
    }
}
