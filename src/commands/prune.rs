//! `kiln prune`: what nobody needs goes, and of the rest what was unused longest.

use std::io::{self, BufRead, Write};
use std::time::{Duration, SystemTime};

use kiln_builder::upkeep::{
    Bytes, Fate, Item, Kind as ItemKind, Policy, Report, Verdict, keep_within, prune,
};
use serde_json::{Value, json};

use super::{Context, print};
use crate::cli::{Format, PruneArgs};
use crate::failure::{Failure, Kind, is_broken_pipe};
use crate::request;
use crate::settings::now_seconds;
use crate::ui::{heading, human, short, show_failure, stderr_style, table};

/// Removes what nobody needs.
pub(super) fn run(args: &PruneArgs, context: Context) -> Result<(), Failure> {
    if let Some(bytes) = args.in_background {
        return in_background(&context, bytes, args.used_since.unwrap_or_default());
    }
    let now = now_seconds();
    let policy = request::upkeep::policy(args, now)?;
    let (workshop, settings) = context.open(1)?;
    if !args.force && !args.dry_run && !is_confirmed(&policy)? {
        return Err(not_confirmed("`--force` removes without asking, `--dry-run` says what would go"));
    }
    let report = prune(&workshop.store, &policy).map_err(|error| Failure::of(Kind::Failed, &error))?;
    print(&match args.format {
        Some(Format::Json) => {
            report.verdicts.iter().filter(|verdict| args.explain || verdict.fate.goes()).map(line).collect()
        }
        _ => text(&report, args, now),
    })?;
    let style = stderr_style(&settings);
    let mut failures = report.kept.iter().map(|error| Failure::of(Kind::Failed, error));
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|failure| show_failure(&failure, style));
    Err(first)
}

/// Keeps the store within its bound. Nobody listens, and the next build comes back to what could not be done.
fn in_background(context: &Context, bytes: u64, used_since_ns: u64) -> Result<(), Failure> {
    // Whoever works on this machine goes first; where that is refused, it is only less polite.
    rustix::process::nice(19).ok();
    let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(used_since_ns);
    let kept = keep_within(&context.settings.store, bytes, began);
    kept.map(drop).map_err(|error| Failure::of(Kind::Failed, &error))
}

/// Asks as Docker asks.
fn is_confirmed(policy: &Policy) -> Result<bool, Failure> {
    let kinds: Vec<String> = policy.kinds.iter().filter_map(|kind| described(*kind)).collect();
    let mut question = "WARNING! This will remove:\n".to_owned();
    kinds.iter().for_each(|kind| question.push_str(&format!("  - {kind}\n")));
    question.push_str("  - whatever nothing refers to\n\nAre you sure you want to continue? [y/N] ");
    confirmed(&question)
}

/// Asks a question on standard error, and says whether the answer on standard input is yes.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    let mut out = io::stderr().lock();
    match out.write_all(question.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if !is_broken_pipe(&error) => return Err(Failure::of(Kind::Failed, &error)),
        Ok(()) | Err(_) => {}
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::of(Kind::Failed, &error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The failure of a removal to which nobody said yes.
pub(super) fn not_confirmed(hint: &str) -> Failure {
    Failure::new(Kind::Failed, "nothing was removed").with_hint(hint)
}

fn described(kind: ItemKind) -> Option<String> {
    let text = match kind {
        // Both are never asked for.
        ItemKind::Blob | ItemKind::Scratch => return None,
        ItemKind::Image => "images without a name",
        ItemKind::Record => "the build cache",
        ItemKind::Snapshot => "unpacked layers",
        ItemKind::Repository => "what was fetched of git repositories",
        ItemKind::CacheMount => "cache mounts",
        ItemKind::Log => "logs of builds",
        ItemKind::Partial => "partial downloads",
        ItemKind::Damaged => "what `kiln fsck` moved away",
        ItemKind::Container => "stopped containers",
    };
    Some(text.to_owned())
}

fn text(report: &Report, args: &PruneArgs, now: i64) -> String {
    let mut text = String::new();
    if args.explain {
        let header = ["FATE", "TYPE", "NAME", "SIZE", "LAST USED", "REASON"];
        let row = |verdict: &Verdict| {
            let (kind, name) = thing_name(&verdict.item);
            let fate = if verdict.fate.goes() { "goes" } else { "stays" };
            let size = human::size(verdict.bytes.allocated);
            let row = [fate, kind, &name, &size, &last_used(verdict, now), &fate_word(&verdict.fate)];
            row.map(str::to_owned).to_vec()
        };
        text += &table::render(&header, &report.verdicts.iter().map(row).collect::<Vec<_>>());
    } else {
        for kind in ItemKind::ALL {
            let gone = || report.gone().filter(|verdict| verdict.item.kind() == kind);
            let bytes: Bytes = gone().map(|verdict| verdict.bytes).sum();
            if gone().next().is_some() {
                text += &format!("{} {}: {}\n", gone().count(), plural(kind), human::size(bytes.allocated));
            }
        }
    }
    let word = if args.dry_run { "reclaimable" } else { "reclaimed" };
    text + &format!("Total {word} space: {}\n", human::size(report.bytes().allocated))
}

fn plural(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Blob => "blobs",
        ItemKind::Image => "images without a name",
        ItemKind::Record => "records",
        ItemKind::Snapshot => "unpacked layers",
        ItemKind::Repository => "git repositories",
        ItemKind::CacheMount => "cache mounts",
        ItemKind::Log => "logs of builds",
        ItemKind::Partial => "partial downloads",
        ItemKind::Scratch => "leftovers",
        ItemKind::Damaged => "damaged things",
        ItemKind::Container => "containers",
    }
}

/// Returns what a thing is called: its kind as `--filter type=` has it, and its name.
pub(super) fn thing_name(item: &Item) -> (&'static str, String) {
    let plain = |name: &std::ffi::OsString| heading(&name.to_string_lossy(), 80);
    match item {
        Item::Blob(digest) => ("blob", short(*digest)),
        Item::Image(digest) => ("image", short(*digest)),
        Item::Record { kind, key } => ("record", format!("{kind} {}", short(*key))),
        Item::Snapshot(diff_id) => ("snapshot", short(diff_id.0)),
        Item::Repository(name) => ("repository", short(*name)),
        Item::CacheMount { id, slot: 0 } => ("cachemount", heading(id, 80)),
        Item::CacheMount { id, slot } => ("cachemount", format!("{} ({slot})", heading(id, 80))),
        Item::Log(build) => ("log", heading(build, 80)),
        Item::Partial(name) => ("partial", plain(name)),
        Item::Scratch(name) => ("scratch", plain(name)),
        Item::Damaged(name) => ("damaged", plain(name)),
        Item::Container(id) => ("container", id.short()),
    }
}

/// Returns why a thing goes or stays.
pub(super) fn fate_word(fate: &Fate) -> String {
    match fate {
        Fate::Unneeded => "nothing refers to it",
        Fate::Useless => "it can never be used again: damaged, or its blobs are gone",
        Fate::Unused => "not in use",
        Fate::InUse => "in use by a running kiln",
        Fate::Image(Some(name)) => return format!("image {} needs it", heading(name, 200)),
        Fate::Image(None) => "an image without a name, or a container, needs it",
        Fate::Recorded => "records of the cache need it",
        Fate::Recent => "used lately",
        Fate::Fits => "there is room for it",
        Fate::NotAsked => "things of this kind were not asked for",
    }
    .to_owned()
}

/// Returns when a thing was last used, for people.
pub(super) fn last_used(verdict: &Verdict, now: i64) -> String {
    verdict.last_used.map(|then| human::ago(seconds(then), now)).unwrap_or_default()
}

fn seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

fn line(verdict: &Verdict) -> String {
    format!("{}\n", as_json(verdict))
}

/// One thing as JSON. The format is number 1; a new field is no new format.
pub(super) fn as_json(verdict: &Verdict) -> Value {
    let (kind, name) = match &verdict.item {
        Item::Blob(digest) => ("blob", digest.to_string()),
        Item::Image(digest) => ("untagged-image", digest.to_string()),
        Item::Record { kind, key } => ("record", format!("{kind}/{}", key.hex())),
        Item::Snapshot(diff_id) => ("snapshot", diff_id.0.to_string()),
        Item::Repository(name) => ("repository", name.hex()),
        Item::CacheMount { id, slot } => ("cachemount", format!("{slot} {id}")),
        Item::Log(build) => ("log", build.clone()),
        Item::Partial(name) => ("partial", name.to_string_lossy().into_owned()),
        Item::Scratch(name) => ("scratch", name.to_string_lossy().into_owned()),
        Item::Damaged(name) => ("damaged", name.to_string_lossy().into_owned()),
        Item::Container(id) => ("container", id.to_string()),
    };
    json!({
        "format": 1,
        "type": kind,
        "name": name,
        "size": { "allocated": verdict.bytes.allocated, "apparent": verdict.bytes.apparent },
        "last_used": verdict.last_used.map(|then| human::rfc3339(seconds(then))),
        "goes": verdict.fate.goes(),
        "reason": fate_word(&verdict.fate),
    })
}
