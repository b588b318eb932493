//! Builds one case with the program and says what differs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::bases::Base;
use super::case::{Build, Case, NamedContext, Secret, Verdict};
use super::compare::{Aspect, Comparison, Deliberate, Difference};
use super::place::Place;
use crate::support::image::{self, Image, LayerCache};
use crate::support::{Invocation, Outcome, TestSpace, users};

/// What every case of a run shares.
pub(crate) struct Shared<'a> {
    /// The base images.
    pub(crate) bases: &'a BTreeMap<String, Base>,
    /// Configuration that makes their server the mirror of docker.io.
    pub(crate) config: &'a str,
    /// Every deliberate difference.
    pub(crate) deliberate: &'a [Deliberate],
    /// Who builds.
    pub(crate) builder: Builder,
}

/// Who builds the cases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// Whoever runs the tests.
    Root,
    /// A user with subordinate ids.
    OrdinaryUser,
}

/// The most time one build may take before it counts as hanging.
const SECONDS_MAX: &str = "120";

/// Builds a case and returns what is not as expected. `space` keeps the worker's store.
pub(crate) fn check(
    case: &Case,
    shared: &Shared<'_>,
    space: &TestSpace,
    cache: &mut LayerCache,
) -> Vec<Difference> {
    let place = Place::new(case);
    let fresh = needs_own_store(case).then(TestSpace::shared);
    let space = fresh.as_ref().unwrap_or(space);
    space.config(shared.config);
    let deliberate: Vec<Deliberate> =
        shared.deliberate.iter().filter(|deliberate| deliberate.case == case.id).cloned().collect();
    let comparison =
        Comparison { expected: &case.expected, place: &place, bases: shared.bases, deliberate: &deliberate };
    let mut earlier = None;
    for (index, build) in case.recipe.before.iter().enumerate() {
        let layout = place.path(&format!("before{index}"));
        let outcome = run(case, build, &place, (space, shared.builder), &layout);
        if !outcome.status.success() {
            return vec![Difference {
                aspect: Aspect::Image,
                at: "build before".to_owned(),
                text: outcome.to_string(),
            }];
        }
        earlier = Some(image::read_all(&layout, cache));
    }
    let layout = place.path("result");
    let outcome = run(case, &case.recipe.build, &place, (space, shared.builder), &layout);
    let mut found =
        judge(case, &comparison, &outcome, || image::read_all(&layout, cache), earlier.as_deref());
    excuse(&deliberate, &mut found);
    found
}

/// Returns whether a case looks at the cache, or at cache mounts, that other cases must not have filled.
fn needs_own_store(case: &Case) -> bool {
    let mentions = |build: &Build| {
        let file = build.dockerfile.as_ref().and_then(|name| fs::read(case.directory.join(name)).ok());
        file.is_some_and(|bytes| bytes.windows(10).any(|window| window == b"type=cache"))
    };
    case.recipe.use_cache || mentions(&case.recipe.build)
}

/// Returns whether all cases of a worker share one cache. They have to come out the same with and without.
fn shared_cache() -> bool {
    std::env::var_os("CONFORMANCE_CACHE").is_some()
}

fn judge(
    case: &Case,
    comparison: &Comparison<'_>,
    outcome: &Outcome,
    images: impl FnOnce() -> Vec<Image>,
    earlier: Option<&[Image]>,
) -> Vec<Difference> {
    let expected = &case.expected;
    let wrong = |text: &str| {
        vec![Difference {
            aspect: Aspect::Image,
            at: "result".to_owned(),
            text: format!("{text}: {outcome}"),
        }]
    };
    if outcome.crashed() {
        return wrong("the program crashed");
    }
    let message = |mentions: &[Vec<String>]| mentions_missing(mentions, &outcome.stderr);
    match (expected.result, outcome.status.success()) {
        (Verdict::Builds, true) => {
            let images = images();
            let mut found = comparison.images(&images);
            found.extend(reuse(case, comparison.bases, &images, earlier));
            found
        }
        (Verdict::Fails, true) => wrong("builds, and should not"),
        (Verdict::Fails, false) => message(&expected.message_mentions)
            .map(|text| Difference { aspect: Aspect::Message, at: "message".to_owned(), text })
            .into_iter()
            .collect(),
        (Verdict::Builds, false) => match &expected.may_fail_mentioning {
            Some(mentions) => message(mentions).map_or_else(Vec::new, |text| wrong(&text)),
            None => wrong("does not build"),
        },
    }
}

/// Returns which text a message lacks.
fn mentions_missing(mentions: &[Vec<String>], message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let missing = mentions.iter().find(|any| !any.iter().any(|text| lower.contains(&text.to_lowercase())))?;
    Some(format!("the message mentions none of {missing:?}:\n{message}"))
}

fn reuse(
    case: &Case,
    bases: &BTreeMap<String, Base>,
    images: &[Image],
    earlier: Option<&[Image]>,
) -> Vec<Difference> {
    let (Some([before]), [image]) = (earlier, images) else { return Vec::new() };
    let base = case.expected.images.values().next().and_then(|image| image.base.as_ref());
    let skipped = base.map_or(0, |name| bases[name].layers);
    let (old, new) = (before.diff_ids(), image.diff_ids());
    let own = new.iter().skip(skipped).map(|id| old.contains(id));
    let differs = |(index, (expected, found)): (usize, (&Option<bool>, bool))| {
        let expected = expected.filter(|expected| *expected != found)?;
        Some(Difference {
            aspect: Aspect::Image,
            at: format!("reuse of own layer {index}"),
            text: format!("expected {expected}, found {found}"),
        })
    };
    case.expected.reuse.iter().zip(own).enumerate().filter_map(differs).collect()
}

/// Takes deliberate differences out; one that does not show is a difference, too.
fn excuse(deliberate: &[Deliberate], found: &mut Vec<Difference>) {
    for entry in deliberate.iter().filter(|entry| entry.drop_lines.is_none()) {
        let is_meant = |difference: &Difference| {
            difference.aspect.name() == entry.aspect
                && entry.at.as_ref().is_none_or(|at| *at == difference.at)
        };
        let count = found.len();
        found.retain(|difference| !is_meant(difference));
        if found.len() == count {
            let text =
                format!("the deliberate difference does not show any more; take it out: {}", entry.reason);
            found.push(Difference {
                aspect: Aspect::Image,
                at: entry.at.clone().unwrap_or_else(|| entry.aspect.clone()),
                text,
            });
        }
    }
}

fn run(
    case: &Case,
    build: &Build,
    place: &Place,
    (space, builder): (&TestSpace, Builder),
    layout: &Path,
) -> Outcome {
    let (context, dockerfile) = place.lay_out(case, build);
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let mut call = space.kiln(["build", "--progress=plain", "--compat=buildkit", "-o", &output]).under([
        "timeout",
        "--kill-after=5",
        SECONDS_MAX,
    ]);
    if build.no_cache || !(case.recipe.use_cache || shared_cache()) {
        call = call.arg("--no-cache");
    }
    if !case.expected.check_mtime.is_empty() && !build.rewrite_timestamp {
        call = call.arg("--timestamp=preserve");
    }
    if build.dockerfile_outside_context || build.dockerfile_path != "Dockerfile" {
        call = call.arg("-f").arg(dockerfile);
    }
    call = flags(call, case, build, place).arg(context);
    if builder == Builder::OrdinaryUser {
        let user = users::with_subordinate_ids(space);
        place.give_to(&user);
        call = call.user(&user).store(&user.path("store"));
    }
    call.run()
}

fn flags(mut call: Invocation, case: &Case, build: &Build, place: &Place) -> Invocation {
    for (name, value) in &build.build_args {
        call = call.args(["--build-arg", &format!("{name}={}", place.fill_text(value))]);
    }
    for (name, value) in &build.labels {
        call = call.args(["--label", &format!("{name}={value}")]);
    }
    for (name, value) in
        [("--target", &build.target), ("--platform", &build.platform), ("--network", &build.network)]
    {
        call = call.args(value.iter().flat_map(|value| [name, value]));
    }
    for (host, address) in &build.hosts {
        call = call.args(["--add-host", &format!("{host}:{address}")]);
    }
    for (name, value) in &build.ulimits {
        call = call.args(["--ulimit", &format!("{name}={value}")]);
    }
    if let Some(size) = build.shm_size {
        call = call.args(["--shm-size", &size.to_string()]);
    }
    for (index, (name, context)) in build.named_contexts.iter().enumerate() {
        call = call.args(["--build-context", &format!("{name}={}", named(case, place, index, context))]);
    }
    secrets(call, build, place)
}

fn named(case: &Case, place: &Place, index: usize, context: &NamedContext) -> String {
    match context {
        NamedContext::ContextDir(name) => {
            place.lay_out_named(case, index, Some(name), None).display().to_string()
        }
        NamedContext::ContextTar(name) => {
            place.lay_out_named(case, index, None, Some(name)).display().to_string()
        }
        NamedContext::Image(name) => format!("docker-image://{name}"),
        NamedContext::OciLayoutOfBase(name) => panic!("no case had a base as a layout before: {name}"),
    }
}

fn secrets(mut call: Invocation, build: &Build, place: &Place) -> Invocation {
    for (index, (id, secret)) in build.secrets.iter().enumerate() {
        let bytes = match secret {
            Secret::Text(text) => text.clone().into_bytes(),
            Secret::Hex(hex) => (0..hex.len() / 2)
                .map(|byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).unwrap())
                .collect(),
        };
        let path = place.path(&format!("secret{index}"));
        fs::write(&path, bytes).unwrap();
        call = call.args(["--secret", &format!("id={id},src={}", path.display())]);
    }
    for (index, (id, value)) in build.secret_env.iter().enumerate() {
        let variable = format!("CASE_SECRET_{index}");
        call = call.args(["--secret", &format!("id={id},env={variable}")]).env(&variable, value);
    }
    call
}
