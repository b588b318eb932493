//! The words of `kiln prune` → a policy; the bound of the store.

use std::time::Duration;

use kiln_builder::upkeep::{Bound, Kind, Policy};

use super::SpecError;
use super::limits::size;
use crate::cli::PruneArgs;
use crate::suggest::nearest;
use crate::ui::human::parse_rfc3339;

/// The words of `type=`: first ours, then BuildKit's.
const TYPES: &[(&str, &[Kind])] = &[
    ("image", &[Kind::Image]),
    ("record", &[Kind::Record]),
    ("snapshot", &[Kind::Snapshot]),
    ("repository", &[Kind::Repository]),
    ("cachemount", &[Kind::CacheMount]),
    ("log", &[Kind::Log]),
    ("partial", &[Kind::Partial]),
    ("damaged", &[Kind::Damaged]),
    ("container", &[Kind::Container]),
    ("regular", &[Kind::Record, Kind::Snapshot]),
    ("exec.cachemount", &[Kind::CacheMount]),
    ("source.git.checkout", &[Kind::Repository]),
];

/// What a time can be.
pub(super) const TIMES: &str = "a time is `90m`, `24h`, `7d`, or `2026-01-31T00:00:00Z`";

/// What costs nothing but time to make again.
const USUAL: [Kind; 5] = [Kind::Image, Kind::Record, Kind::Snapshot, Kind::Repository, Kind::Partial];

/// Returns what `kiln prune` is to remove; `now` is in seconds since 1970.
///
/// # Errors
/// [`SpecError`].
pub(crate) fn policy(args: &PruneArgs, now: i64) -> Result<Policy, SpecError> {
    let max = args.max.as_deref().map(|text| size("--max", text)).transpose()?;
    let mut policy = Policy { keep_bytes: max, is_dry_run: args.dry_run, ..Policy::default() };
    for spec in &args.filter {
        let error = |reason: &str| SpecError::new("--filter", spec, reason);
        let (key, value) = spec.split_once('=').ok_or_else(|| error("it is not of the form KEY=VALUE"))?;
        match key {
            "until" | "unused-for" => {
                let age = age(value, now).ok_or_else(|| error("it is no time").with_hint(TIMES))?;
                policy.unused_for_min = policy.unused_for_min.max(age);
            }
            "type" => {
                for word in value.split(',') {
                    policy.kinds.extend(kinds(word).ok_or_else(|| unknown_type(spec, word))?);
                }
            }
            _ => {
                return Err(error("there is no such filter")
                    .with_hint("the filters are `until=TIME`, `unused-for=TIME` and `type=KIND,…`"));
            }
        }
    }
    if policy.kinds.is_empty() {
        let all = Kind::ALL.into_iter().filter(|kind| !kind.is_irreplaceable());
        policy.kinds = if args.all { all.collect() } else { USUAL.into() };
    }
    Ok(policy)
}

fn kinds(word: &str) -> Option<&'static [Kind]> {
    TYPES.iter().find(|(known, _)| *known == word).map(|(_, kinds)| *kinds)
}

fn unknown_type(spec: &str, word: &str) -> SpecError {
    let known: Vec<&str> = TYPES.iter().map(|(known, _)| *known).collect();
    let hint = match nearest(word, &known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the kinds are `{}`", known.join("`, `")),
    };
    SpecError::new("--filter", spec, format!("there is no kind `{word}`")).with_hint(hint)
}

/// Reads how long ago something was: a duration, or a time; `now` is in seconds since 1970. What is to come was just now.
pub(super) fn age(text: &str, now: i64) -> Option<Duration> {
    let then = moment(text, now)?;
    Some(Duration::from_secs(u64::try_from(now.saturating_sub(then)).unwrap_or(0)))
}

/// Reads a moment in seconds since 1970: so long before now, or a time.
pub(super) fn moment(text: &str, now: i64) -> Option<i64> {
    let ago = duration(text).and_then(|age| i64::try_from(age.as_secs()).ok());
    ago.map(|seconds| now.saturating_sub(seconds)).or_else(|| parse_rfc3339(text))
}

/// Reads a duration as Go has them, with days and weeks besides: `1h30m`, `7d`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let each = match &rest[..unit] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(each)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

/// Reads the bound of the configuration file: `20G`, `15%`, or `none`.
///
/// # Errors
/// [`SpecError`].
pub(crate) fn bound(text: &str) -> Result<Bound, SpecError> {
    let percent = text.strip_suffix('%').map(str::parse);
    match (text, percent) {
        ("none", _) => Ok(Bound::None),
        (_, Some(Ok(percent @ 1..=100))) => Ok(Bound::Percent(percent)),
        (_, Some(_)) => Err(SpecError::new("store.max", text, "it is no part of the disk, from 1% to 100%")),
        (_, None) => size("store.max", text).map(Bound::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, Parsed, parse};

    fn of(flags: &str) -> Result<Policy, String> {
        let words = format!("kiln prune {flags}");
        let Ok(Parsed::Command(cli)) = parse(words.split_whitespace().map(Into::into)) else {
            panic!("{words}")
        };
        let Command::Prune(args) = cli.command else { panic!("{words}") };
        policy(&args, 1_000_000).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_a_policy() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let usual = Policy { kinds: USUAL.into(), ..Policy::default() };
        let all_but_containers = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Container).collect();
        for (flags, expected) in [
            ("", usual.clone()),
            ("-a", Policy { kinds: all_but_containers, ..usual.clone() }),
            ("--filter type=container", Policy { kinds: [Kind::Container].into(), ..usual.clone() }),
            ("--filter until=24h", Policy { unused_for_min: hours(24), ..usual.clone() }),
            ("--filter unused-for=1h30m", Policy { unused_for_min: hours(3) / 2, ..usual.clone() }),
            (
                "--filter until=1970-01-01T00:00:00Z",
                Policy { unused_for_min: Duration::from_secs(1_000_000), ..usual.clone() },
            ),
            (
                "--filter type=log,exec.cachemount",
                Policy { kinds: [Kind::Log, Kind::CacheMount].into(), ..usual.clone() },
            ),
            ("--max 20G --dry-run", Policy { keep_bytes: Some(20 << 30), is_dry_run: true, ..usual.clone() }),
            ("--keep-storage 1", Policy { keep_bytes: Some(1), ..usual.clone() }),
        ] {
            let (found, expected) = (format!("{:?}", of(flags).unwrap()), format!("{expected:?}"));
            assert_eq!(found, expected, "{flags}");
        }
    }

    #[test]
    fn what_means_nothing_is_named() {
        for (flags, says) in [
            ("--filter until", "KEY=VALUE"),
            ("--filter until=", "no time"),
            ("--filter until=5x", "no time"),
            ("--filter until=99999999999999999999h", "no time"),
            ("--filter type=snapshots", "no kind `snapshots`"),
            ("--filter label=x", "no such filter"),
            ("--max lots", "no size"),
        ] {
            let error = of(flags).expect_err(flags);
            assert!(error.contains(says), "{flags}: {error}");
        }
    }

    #[test]
    fn bounds_are_sizes_parts_of_the_disk_or_none() {
        for (text, expected) in [
            ("20G", Some(Bound::Bytes(20 << 30))),
            ("15%", Some(Bound::Percent(15))),
            ("none", Some(Bound::None)),
            ("0%", None),
            ("101%", None),
            ("much", None),
        ] {
            assert_eq!(bound(text).ok(), expected, "{text}");
        }
    }
}
