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
