//! `kiln image prune`: images without a name go, or all that a filter means.

use std::time::{Duration, SystemTime};

use kiln_builder::catalog::{self, Candidate, Pruned, Removed};

use super::prune::{confirmed, not_confirmed};
use super::{Context, print};
use crate::cli::ImagePruneArgs;
use crate::failure::{Failure, Kind};
use crate::request::images::{ImageFilter, image_filters};
use crate::settings::now_seconds;
use crate::ui::human;

/// Removes images.
pub(super) fn run(args: &ImagePruneArgs, context: Context) -> Result<(), Failure> {
    let filters = image_filters(&args.filter, now_seconds())?;
    if !args.force && !confirmed(question(args.all))? {
        return Err(not_confirmed("`--force` removes without asking"));
    }
    let (workshop, _) = context.open(1)?;
    let is_meant = |candidate: &Candidate| is_meant(candidate, args.all, &filters);
    let pruned = catalog::prune(&workshop, &is_meant).map_err(|error| Failure::of(Kind::Failed, &error))?;
    print(&render(&pruned))
}

/// What Docker asks, where it is the same here.
fn question(is_all: bool) -> &'static str {
    match is_all {
        true => "WARNING! This will remove all images.\nAre you sure you want to continue? [y/N] ",
        false => "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ",
    }
}

fn is_meant(candidate: &Candidate, is_all: bool, filters: &[ImageFilter]) -> bool {
    let is_dangling = !candidate.has_foreign_name && candidate.names.iter().all(|name| name.tag().is_none());
    (is_all || is_dangling) && filters.iter().all(|filter| passes(candidate, filter))
}

fn passes(candidate: &Candidate, filter: &ImageFilter) -> bool {
    let has = |key: &str, value: Option<&str>| {
        let label = candidate.labels.get(key);
        label.is_some_and(|label| value.is_none_or(|value| value == label))
    };
    match filter {
        ImageFilter::Label { key, value } => has(key, value.as_deref()),
        ImageFilter::NoLabel { key, value } => !has(key, value.as_deref()),
        ImageFilter::Before(limit) => {
            let created = candidate.created.as_deref().and_then(human::parse_rfc3339);
            let used = candidate.last_used.map(seconds);
            // A reproducible image bears a time of long ago: only the store knows that it was built a minute ago.
            created.is_none_or(|created| created < *limit) && used.is_none_or(|used| used < *limit)
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

/// As Docker has it, whose words are small here.
fn render(pruned: &Pruned) -> String {
    let line = |removed: &Removed| match removed {
        Removed::Untagged(name) => format!("untagged: {}\n", name.familiar()),
        Removed::Deleted(digest) => format!("deleted: {digest}\n"),
    };
    let mut text = String::new();
    if !pruned.removed.is_empty() {
        text.push_str("Deleted Images:\n");
        text.extend(pruned.removed.iter().map(line));
        text.push('\n');
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(pruned.reclaimed_bytes)));
    text
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn what_went_is_said_as_docker_says_it() {
        let digest = Digest::of(b"config");
        let removed = vec![Removed::Untagged("app:1".parse().unwrap()), Removed::Deleted(digest)];
        let text = render(&Pruned { removed, reclaimed_bytes: 7_730_000 });
        let expected = "Deleted Images:\nuntagged: app:1\ndeleted: DIGEST\n\nTotal reclaimed space: 7.73MB\n";
        assert_eq!(text, expected.replace("DIGEST", &digest.to_string()));
        let nothing = Pruned { removed: Vec::new(), reclaimed_bytes: 0 };
        assert_eq!(render(&nothing), "Total reclaimed space: 0B\n");
    }

    #[test]
    fn a_rule_means_images_by_name_label_and_age() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let candidate = |name: &str, label: &str, last_used| Candidate {
            names: (!name.is_empty()).then(|| name.parse().unwrap()).into_iter().collect(),
            created: Some("1970-01-01T00:01:40Z".to_owned()),
            has_foreign_name: false,
            labels: [("stage".to_owned(), label.to_owned())].into(),
            last_used,
        };
        let of = |filter: &str, candidate: &Candidate| {
            let filters = image_filters(&[filter.to_owned()], 1000).unwrap();
            is_meant(candidate, true, &filters)
        };
        let image = candidate("app:1", "test", at(300));
        for (filter, meant) in [
            ("until=650s", true),
            ("until=750s", false),
            ("until=1970-01-01T00:10:00Z", true),
            ("label=stage", true),
            ("label=stage=test", true),
            ("label=stage=other", false),
            ("label=none", false),
            ("label!=stage", false),
            ("label!=stage=other", true),
        ] {
            assert_eq!(of(filter, &image), meant, "{filter}");
        }
        assert!(!is_meant(&image, false, &[]));
        assert!(is_meant(&candidate("", "test", None), false, &[]));
        let of_another_tool = Candidate { has_foreign_name: true, ..candidate("", "test", None) };
        assert!(!is_meant(&of_another_tool, false, &[]), "another tool knows it by a name");
        let by_digest = format!("app@{}", Digest::of(b"x"));
        assert!(
            is_meant(&candidate(&by_digest, "test", None), false, &[]),
            "as dangling as one without a name"
        );
    }
}
