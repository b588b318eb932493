//! Runs the conformance cases: small Dockerfiles with what has to come out, recorded from another builder.
//!
//! The cases are not part of this repository: they are found at `$KILN_CONFORMANCE`, else at `../shared/conformance`
//! beside it. `CONFORMANCE=category/name,…` runs those whose name starts so and prints every difference;
//! `CONFORMANCE_UPDATE=1` writes the list of known failures anew; `CONFORMANCE_CACHE=1` leaves the cache on throughout.

mod bases;
mod build;
mod case;
mod compare;
mod known;
mod normal;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::image::LayerCache;
use crate::support::requires::skip;
use crate::support::served::mirror_config;
use crate::support::space::{kept, repository};
use crate::support::{TestSpace, requires};
use build::{Builder, Shared, check};
use case::Case;
use compare::{Aspect, Deliberate, Difference};
use known::{Known, key, show};

type Failures = BTreeMap<String, Vec<Difference>>;

#[test]
fn recorded_cases_come_out_as_expected_or_are_listed_with_a_reason() {
    let folder = folder();
    if !folder.join("index.json").is_file() {
        return skip(&format!("the conformance cases are not at {}", folder.display()));
    }
    requires!("root", "tar", "git", "busybox");
    let filter = std::env::var("CONFORMANCE").unwrap_or_default();
    let chosen = |id: &str| filter.is_empty() || filter.split(',').any(|start| id.starts_with(start));
    let all = case::read_all(&folder, &case::read::<Vec<case::LostLink>>(&list("links.json")));
    let cases: Vec<Case> = all.into_iter().filter(|case| chosen(&case.id)).collect();
    let deliberate: Vec<Deliberate> = case::read(&list("deliberate.json"));
    let failures = run(&folder, &cases, &deliberate, Builder::Root);
    if !filter.is_empty() {
        failures.iter().for_each(|(key, differences)| eprintln!("{key}\n{}", show(differences)));
    }
    report(&cases, &failures);
    let (path, known) = (list("known-failures.txt"), Known::read(&list("known-failures.txt")));
    if std::env::var_os("CONFORMANCE_UPDATE").is_some() && filter.is_empty() {
        return known.write(&path, &failures);
    }
    let wrong = known.check(&failures, |id| cases.iter().any(|case| case.id == id));
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// Categories of cases about RUN: what it sees, mounts and may do.
const ABOUT_RUN: [&str; 4] = ["run/", "mounts/", "heredoc/", "variables/"];

#[test]
fn cases_about_run_come_out_the_same_for_an_ordinary_user() {
    let folder = folder();
    if !folder.join("index.json").is_file() {
        return skip(&format!("the conformance cases are not at {}", folder.display()));
    }
    requires!("root", "tar", "git", "busybox", "setpriv", "newuidmap");
    let all = case::read_all(&folder, &case::read::<Vec<case::LostLink>>(&list("links.json")));
    let is_about_run = |case: &Case| ABOUT_RUN.iter().any(|category| case.id.starts_with(category));
    let cases: Vec<Case> = all.into_iter().filter(is_about_run).collect();
    assert!(cases.len() > 100);
    let failures =
        run(&folder, &cases, &case::read::<Vec<Deliberate>>(&list("deliberate.json")), Builder::OrdinaryUser);
    let known = Known::read(&list("known-failures-of-users.txt"));
    let wrong = known.check(&failures, |id| cases.iter().any(|case| case.id == id));
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

fn folder() -> PathBuf {
    std::env::var_os("KILN_CONFORMANCE")
        .map_or_else(|| repository().join("../shared/conformance"), PathBuf::from)
}

fn list(name: &str) -> PathBuf {
    repository().join("tests/conformance").join(name)
}

/// Runs the cases on as many workers as there are cores, each with a store of its own.
fn run(folder: &std::path::Path, cases: &[Case], deliberate: &[Deliberate], builder: Builder) -> Failures {
    let (bases, served) = bases::prepare(folder);
    let server = served.start();
    let config = mirror_config(&server.host());
    let shared = Shared { bases: &bases, config: &config, deliberate, builder };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Failures::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let (space, mut cache) = (TestSpace::shared(), LayerCache::new());
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = check_safely(case, &shared, &space, &mut cache);
                    let mut failures = failures.lock().unwrap();
                    for difference in found {
                        failures.entry(key(&case.id, difference.aspect)).or_default().push(difference);
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// A result that cannot be read is the case's failure, not the run's.
fn check_safely(
    case: &Case,
    shared: &Shared<'_>,
    space: &TestSpace,
    cache: &mut LayerCache,
) -> Vec<Difference> {
    let outcome = catch_unwind(AssertUnwindSafe(|| check(case, shared, space, cache)));
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "no message".to_owned());
        vec![Difference { aspect: Aspect::Image, at: "reading the result".to_owned(), text }]
    })
}

/// Prints the score per category and aspect, and writes everything to a file below `target/`.
fn report(cases: &[Case], failures: &Failures) {
    let mut totals: BTreeMap<&str, (usize, [usize; 4])> = BTreeMap::new();
    for case in cases {
        let category = case.id.split('/').next().unwrap_or_default();
        for name in [category, "~ all"] {
            let (count, passed) = totals.entry(name).or_default();
            *count += 1;
            for (aspect, passed) in Aspect::ALL.into_iter().zip(passed) {
                *passed += usize::from(!failures.contains_key(&key(&case.id, aspect)));
            }
        }
    }
    let mut table = format!(
        "{:14}{:>7}{:>9}{:>9}{:>9}{:>9}\n",
        "category", "cases", "image", "message", "history", "layers"
    );
    for (category, (count, [image, message, history, layers])) in totals {
        table.push_str(&format!("{category:14}{count:>7}{image:>9}{message:>9}{history:>9}{layers:>9}\n"));
    }
    let full: String =
        failures.iter().map(|(key, differences)| format!("{key}\n{}", show(differences))).collect();
    let path = kept("conformance").join("report.txt");
    fs::write(&path, format!("{table}\n{full}")).unwrap();
    eprintln!("{table}every difference: {}", path.display());
}
