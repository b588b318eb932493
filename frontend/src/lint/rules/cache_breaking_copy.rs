//! COPY of the whole context above the installation of dependencies: any change of any file installs them again. kiln's own
//! rule.
//!
//! Left alone are stages in which dependencies of this language were installed above (the files that name them were copied
//! first), installations with a cache mount, and contexts of which an ignore file lets through only what it names.

use std::collections::BTreeSet;

use crate::ast::{Command, Operation, Script, Transfer, Word};
use crate::lint::installs::{Install, installs};
use crate::lint::report::Report;
use crate::lint::scene::{Role, Scene, Step};
use crate::lint::{Level, Rule, place};
use crate::source::Span;
use crate::stage::Base;

pub(super) const RULE: Rule = Rule {
    name: "CacheBreakingCopy",
    summary: "dependencies are installed before all files are copied",
    level: Level::On,
    page: "cache-breaking-copy.md",
    check,
};

/// What a stage has done so far.
#[derive(Clone, Default)]
struct Progress<'s> {
    /// The COPY of everything, and the word that says so.
    copied: Option<(&'s Step<'s>, Span)>,
    /// The languages whose dependencies are there.
    installed: BTreeSet<&'static str>,
}

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    if scene.request.ignore.is_some_and(names_what_it_lets_through) {
        return;
    }
    let mut ends: Vec<Progress<'_>> = Vec::new();
    for stage in &scene.stages {
        let mut progress = match stage.link {
            Base::Stage(base) => ends[*base].clone(),
            _ => Progress::default(),
        };
        for step in &stage.steps {
            if progress.copied.is_none() {
                progress.copied = everything(step).map(|place| (step, place));
            }
            let Some((script, installs)) = of_step(step) else { continue };
            for install in installs {
                let is_new = progress.installed.insert(install.language) && !keeps_cache(step);
                let Some((copy, place)) = progress.copied.filter(|_| is_new) else { continue };
                let escape = scene.request.file.escape;
                let repeated = place::of_part(&script, install.range.clone(), escape, scene.request.source);
                report_at(copy, place, &install, (step.trigger.is_none()).then_some(repeated), report);
            }
        }
        ends.push(progress);
    }
}

fn report_at(
    copy: &Step<'_>,
    place: Span,
    install: &Install,
    repeated: Option<Span>,
    report: &mut Report<'_>,
) {
    let message = format!("a change of any file repeats `{}`: all files are copied above it", install.shown);
    let help = format!("copy {} first, install, and copy the rest below", install.manifests);
    let mut found = report.warning(place, message).with_help(help);
    if let Some(repeated) = repeated {
        found = found.with_place(repeated, "this is repeated");
    }
    report.push(copy, found);
}

/// An ignore file that begins with everything and takes back some.
fn names_what_it_lets_through(ignore: &crate::dockerignore::Matcher) -> bool {
    let all: [&[u8]; 4] = [b"*", b"**", b"**/*", b"/*"];
    ignore.has_exceptions() && ignore.rules().iter().any(|pattern| all.contains(&pattern.text()))
}

/// Returns the source that is the whole context.
fn everything(step: &Step<'_>) -> Option<Span> {
    let of_context = |transfer: &Transfer| transfer.excludes.is_empty();
    match &step.instruction.operation {
        Operation::Copy(copy) if copy.from.is_none() && of_context(&copy.transfer) => {}
        Operation::Add(add) if of_context(&add.transfer) => {}
        _ => return None,
    }
    let is_all = |path: &str| {
        matches!(path.trim_start_matches("./").trim_end_matches('/'), "" | "." | "*") && !path.is_empty()
    };
    step.words_as(Role::Source).find(|word| is_all(&word.expansion.text)).map(|word| word.written.span)
}

/// Tells whether what a RUN fetches is kept for the next time.
fn keeps_cache(step: &Step<'_>) -> bool {
    match &step.instruction.operation {
        Operation::Run(run) => run.mounts.iter().any(|mount| mount.value.text.contains("type=cache")),
        _ => false,
    }
}

/// Returns the script of a RUN and the installs in it.
fn of_step(step: &Step<'_>) -> Option<(Word, Vec<Install>)> {
    let Operation::Run(run) = &step.instruction.operation else { return None };
    let script = match &run.command {
        Command::Shell(word) => {
            match (step.instruction.script(&word.text), step.instruction.heredocs.first()) {
                (Script::Body { .. }, Some(body)) => Word { text: body.content.clone(), span: body.span },
                _ => word.clone(),
            }
        }
        Command::Exec(words) => {
            let (first, last) = words.first().zip(words.last())?;
            let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            Word { text: text.join(" "), span: first.span.cover(last.span) }
        }
    };
    let found = installs(&script.text);
    Some((script, found))
}

#[cfg(test)]
mod tests {
    use crate::dockerignore::Matcher;
    use crate::lint::tests::{World, check};

    const FOUND: &str = "2 . | a change of any file repeats `npm ci`: all files are copied above it (copy `package.json` and \
                         `package-lock.json` first, install, and copy the rest below)";

    #[test]
    fn a_copy_of_everything_above_an_install_is_found() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nCOPY . .\nRUN npm ci", &[FOUND]),
            ("FROM a\nCOPY --chown=1 . /app/\nWORKDIR /app\nRUN npm ci && npm run build", &[FOUND]),
            (
                "FROM a\nADD [\".\", \"/app\"]\nRUN <<E\nset -e\nnpm ci\nE",
                &[&FOUND.replace("2 .", "2 \".\"")],
            ),
            ("FROM a\nCOPY . .\nRUN [\"npm\", \"ci\"]", &[FOUND]),
            ("FROM a AS b\nCOPY . .\nFROM b\nRUN npm ci\nFROM b\nRUN pwd", &[FOUND]),
            ("FROM a\nCOPY . .\nRUN npm ci\nRUN npm ci", &[FOUND]),
            ("FROM a\nCOPY ./ .\nRUN npm ci", &[&FOUND.replace("2 .", "2 ./")]),
        ];
        check("CacheBreakingCopy", &World::default(), cases);
    }

    #[test]
    fn good_orders_have_no_finding() {
        let cases = [
            "COPY package*.json ./\nRUN npm ci\nCOPY . .\nRUN npm run build && npm ci --omit=dev",
            "COPY package.json .\nRUN npm ci\nCOPY . .",
            "COPY src .\nRUN npm ci",
            "COPY --from=b . .\nRUN npm ci",
            "COPY --exclude=src . .\nRUN npm ci",
            "COPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci",
            "RUN --mount=type=bind,target=. npm ci\nCOPY . .\nRUN npm ci --omit=dev",
            "COPY . .\nRUN npm install -g x && pip install . && make",
            "COPY . .\nFROM a\nRUN npm ci",
            "COPY <<E .\nE\nRUN npm ci",
            "COPY . .\nRUN cat <<E >x\nnpm ci\nE",
        ];
        for text in cases {
            check(
                "CacheBreakingCopy",
                &World::default(),
                &[(&format!("FROM a AS b\nFROM a\n{text}\n"), &[])],
            );
        }
        let ignore = Matcher::parse(b"*\n!package*.json\n").ok();
        check(
            "CacheBreakingCopy",
            &World { ignore, ..World::default() },
            &[("FROM a\nCOPY . .\nRUN npm ci", &[])],
        );
    }
}
