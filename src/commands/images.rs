//! `kiln images`.

use std::cmp::Reverse;
use std::collections::HashMap;

use kiln_oci::Reference;
use kiln_template::{Struct, Value};

use super::{Context, print};
use crate::cli::ImagesArgs;
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, render};
use crate::settings::now_seconds;
use crate::ui::{human, short};
use kiln_builder::catalog::{self, CatalogError, Filter, Filters, ImageRow, Sizes};

/// Lists images.
pub(super) fn run(args: &ImagesArgs, context: Context) -> Result<(), Failure> {
    let filters = filters(&args.filter)?;
    let wanted = args.name.as_deref().map(Wanted::read).transpose()?;
    let (workshop, _) = context.open(1)?;
    let failed = |error: CatalogError| Failure::of(Kind::Failed, &error);
    let when = |image: &str| {
        catalog::inspect(&workshop, image, None).map(|details| seconds(details.config.created.as_deref()))
    };
    let filters = Filters::new(filters, when).map_err(failed)?;
    let sizes = if args.quiet { Sizes::Unwanted } else { Sizes::Wanted };
    let mut rows = catalog::list(&workshop, sizes).map_err(failed)?;
    rows.retain(|row| {
        wanted.as_ref().is_none_or(|wanted| wanted.has(row)) && filters.wants(row, created(row))
    });
    sort(&mut rows);
    print(&listed(&rows, args, now_seconds())?)
}

fn filters(texts: &[String]) -> Result<Vec<Filter>, Failure> {
    let filters: Result<_, catalog::FilterError> = texts.iter().map(|text| text.parse()).collect();
    filters.map_err(|error| Failure::of(Kind::Usage, &error))
}

/// What the operand says.
enum Wanted {
    /// A name, or all names of a repository.
    Name(Reference),
    /// All names that fit.
    Pattern(Filters),
}

impl Wanted {
    fn read(text: &str) -> Result<Self, Failure> {
        if !text.contains(['*', '?', '[']) {
            return super::reference(text).map(Self::Name);
        }
        let pattern = Filter::reference(text).map_err(|error| Failure::of(Kind::Usage, &error))?;
        let never = |_: &str| Ok::<_, std::convert::Infallible>(None);
        let Ok(filters) = Filters::new(vec![pattern], never);
        Ok(Self::Pattern(filters))
    }

    fn has(&self, row: &ImageRow) -> bool {
        match self {
            Self::Name(wanted) => is_wanted(row.reference.as_ref(), wanted),
            Self::Pattern(filters) => filters.wants(row, created(row)),
        }
    }
}

/// Whether a name is the one wanted, or of the repository wanted.
fn is_wanted(name: Option<&Reference>, wanted: &Reference) -> bool {
    name.is_some_and(|name| {
        let is_repository = name.registry() == wanted.registry() && name.repository() == wanted.repository();
        let is_tag = wanted.tag().is_none_or(|tag| name.tag() == Some(tag));
        is_repository && is_tag && wanted.digest().is_none_or(|digest| name.digest() == Some(digest))
    })
}

/// Newest image first, and the names of one image together, as Docker's server lists them. Images of one time, which reproducible
/// builds all are and Docker leaves in any order, go by their first name as it is shown; those without a name come last.
fn sort(rows: &mut [ImageRow]) {
    let mut first_names = HashMap::new();
    for row in rows.iter() {
        let name = shown_name(row);
        let first = first_names.entry(row.id).or_insert_with(|| name.clone());
        if name < *first {
            *first = name;
        }
    }
    rows.sort_by_cached_key(|row| {
        (Reverse(created(row)), first_names[&row.id].clone(), row.id, shown_name(row))
    });
}

/// Returns repository and tag as they are shown, in an order in which no name is after all names.
fn shown_name(row: &ImageRow) -> (bool, Option<String>, Option<String>) {
    let name = row.reference.as_ref();
    let tag = name.and_then(Reference::tag).map(str::to_owned);
    (name.is_none(), name.map(Reference::familiar_name), tag)
}

fn created(row: &ImageRow) -> Option<i64> {
    seconds(row.created.as_deref())
}

fn seconds(time: Option<&str>) -> Option<i64> {
    time.and_then(human::parse_rfc3339)
}

/// Docker's table, and with `--digests`.
const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_OF_DIGESTS: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

/// Docker's headings.
const HEADINGS: [(&str, &str); 11] = [
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

fn listed(rows: &[ImageRow], args: &ImagesArgs, now: i64) -> Result<String, Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    // A template of one's own says what to print; `--quiet` speaks of the table only.
    let format = if args.quiet && format == "table" { "{{.ID}}" } else { format };
    let table = if args.digests { TABLE_OF_DIGESTS } else { TABLE };
    let rows: Vec<Value> = rows.iter().map(|row| value(row, args, now)).collect();
    render(format, &Listing { table, headings: &HEADINGS }, &rows)
}

/// Returns a row under Docker's names. What it would take a look at all images to know is `N/A`, as in its list.
fn value(row: &ImageRow, args: &ImagesArgs, now: i64) -> Value {
    let name = row.reference.as_ref();
    let none = || "<none>".to_owned();
    let unknown = || "N/A".to_owned();
    let created = created(row);
    Struct::new("image")
        .field("Containers", "N/A")
        .field("CreatedAt", created.map_or_else(unknown, human::go_time))
        .field("CreatedSince", created.map_or_else(unknown, |then| human::ago(then, now)))
        .field("Digest", row.manifest.to_string())
        .field("ID", if args.no_trunc { row.id.to_string() } else { short(row.id) })
        .field("Repository", name.map_or_else(none, Reference::familiar_name))
        .field("SharedSize", "N/A")
        .field("Size", human::size(row.size_bytes))
        .field("Tag", name.and_then(Reference::tag).map_or_else(none, str::to_owned))
        .field("UniqueSize", "N/A")
        .field("VirtualSize", human::size_of_digits(row.size_bytes, 4))
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kiln_oci::{Digest, Platform};

    use super::*;

    fn rows() -> Vec<ImageRow> {
        let row = |name: Option<&str>, created: Option<&str>, size_bytes| ImageRow {
            reference: name.map(|name| name.parse().unwrap()),
            id: Digest::of(b"config"),
            manifest: Digest::of(b"manifest"),
            created: created.map(str::to_owned),
            size_bytes,
            platform: Platform::linux("amd64"),
            labels: BTreeMap::new(),
        };
        let mut rows = vec![
            row(None, None, 5),
            row(Some("app:latest"), Some("1980-01-01T00:00:00Z"), 4_270_000),
            row(Some("localhost:5000/debian:bookworm-slim"), Some("2024-05-01T00:00:00Z"), 74_800_000),
        ];
        sort(&mut rows);
        rows
    }

    #[test]
    fn images_go_by_their_time_and_then_by_the_names_that_are_shown() {
        let (old, new) = (Some("1980-01-01T00:00:00Z"), Some("2024-05-01T00:00:00Z"));
        let row = |name: Option<&str>, id: &str, created: Option<&str>| ImageRow {
            reference: name.map(|name| name.parse().unwrap()),
            id: Digest::of(id.as_bytes()),
            manifest: Digest::of(id.as_bytes()),
            created: created.map(str::to_owned),
            size_bytes: 1,
            platform: Platform::linux("amd64"),
            labels: BTreeMap::new(),
        };
        let in_order = [
            row(None, "newer without a name", new),
            row(Some("app:1"), "a", old),
            // The full name of `app` is `docker.io/library/app`, which comes after this one.
            row(Some("me/app:1"), "a", old),
            row(Some("app:2"), "b", old),
            row(Some("app-tools:1"), "c", old),
            row(Some("localhost:5000/app:1"), "d", old),
            row(Some("me/app:2"), "e", old),
            row(None, "without a name", old),
            row(Some("a:1"), "without a time", None),
        ];
        for step in 1..in_order.len() {
            let mut rows: Vec<ImageRow> =
                (0..in_order.len()).map(|place| in_order[(place + step) % in_order.len()].clone()).collect();
            rows.swap(0, step);
            sort(&mut rows);
            assert_eq!(rows, in_order);
        }
    }

    fn args(flags: &str) -> ImagesArgs {
        let words = format!("kiln images {flags}");
        match crate::cli::parse(words.split_whitespace().map(Into::into)) {
            Ok(crate::cli::Parsed::Command(cli)) => match cli.command {
                crate::cli::Command::Images(args) => args.into_inner(),
                _ => panic!("{words}"),
            },
            _ => panic!("{words}"),
        }
    }

    #[test]
    fn images_are_listed_as_docker_lists_them() {
        let now = human::parse_rfc3339("2024-05-22T00:00:00Z").unwrap();
        let expected = "\
REPOSITORY              TAG             IMAGE ID       CREATED        SIZE
localhost:5000/debian   bookworm-slim   b79606fb3afe   3 weeks ago    74.8MB
app                     latest          b79606fb3afe   44 years ago   4.27MB
<none>                  <none>          b79606fb3afe   N/A            5B
";
        assert_eq!(listed(&rows(), &args(""), now).unwrap(), expected);
        let id = Digest::of(b"config");
        assert_eq!(listed(&rows()[..1], &args("-q"), now).unwrap(), "b79606fb3afe\n");
        assert_eq!(listed(&rows()[..1], &args("-q --no-trunc"), now).unwrap(), format!("{id}\n"));
        let digest = Digest::of(b"manifest");
        let digests = listed(&rows()[..1], &args("--digests"), now).unwrap();
        assert!(digests.contains(&format!("bookworm-slim   {digest}   b79606fb3afe")), "{digests}");
    }

    #[test]
    fn fields_have_the_names_of_docker() {
        let args = |format: &str| {
            let mut args = args("");
            args.format = Some(format.to_owned());
            args
        };
        let now = human::parse_rfc3339("2024-05-22T00:00:00Z").unwrap();
        let digest = Digest::of(b"manifest");
        let json = format!(
            r#"{{"Containers":"N/A","CreatedAt":"1980-01-01 00:00:00 +0000 UTC","CreatedSince":"44 years ago","Digest":"{digest}","ID":"b79606fb3afe","Repository":"app","SharedSize":"N/A","Size":"4.27MB","Tag":"latest","UniqueSize":"N/A","VirtualSize":"4.27MB"}}"#
        );
        assert_eq!(listed(&rows()[1..2], &args("json"), now).unwrap(), format!("{json}\n"));
        let names: Vec<String> = HEADINGS.iter().map(|(field, _)| format!("{{{{.{field}}}}}")).collect();
        for row in rows() {
            listed(&[row], &args(&names.concat()), now).unwrap();
        }
        let failure = listed(&rows(), &args("{{.Tga}}"), now).unwrap_err();
        assert_eq!(failure.hints, ["did you mean `.Tag`?"]);
    }

    #[test]
    fn a_repository_or_a_name_can_be_wanted() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        for (name, wanted, expected) in [
            ("app:1", "app", true),
            ("app:1", "app:1", true),
            ("app:1", "app:2", false),
            ("app:1", "docker.io/library/app", true),
            ("app2:1", "app", false),
            ("localhost/app:1", "app", false),
        ] {
            assert_eq!(is_wanted(Some(&reference(name)), &reference(wanted)), expected, "{name} {wanted}");
        }
        assert!(!is_wanted(None, &reference("app")));
    }
}
