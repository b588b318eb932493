//! `kiln images`.

use kiln_oci::Reference;
use serde::Serialize;

use super::{Context, print};
use crate::cli::{Format, ImagesArgs};
use crate::failure::{Failure, Kind};
use crate::settings::now_seconds;
use crate::ui::{human, short, table};
use kiln_builder::catalog::{self, ImageRow};

/// Lists images.
pub(super) fn run(args: &ImagesArgs, context: Context) -> Result<(), Failure> {
    let wanted = args.name.as_deref().map(super::reference).transpose()?;
    let (workshop, _) = context.open(1)?;
    let mut rows = catalog::list(&workshop).map_err(|error| Failure::of(Kind::Failed, &error))?;
    rows.retain(|row| wanted.as_ref().is_none_or(|wanted| is_wanted(row.reference.as_ref(), wanted)));
    sort(&mut rows);
    print(&render(&rows, args, now_seconds()))
}

/// Whether a name is the one wanted, or of the repository wanted.
fn is_wanted(name: Option<&Reference>, wanted: &Reference) -> bool {
    name.is_some_and(|name| {
        let is_repository = name.registry() == wanted.registry() && name.repository() == wanted.repository();
        let is_tag = wanted.tag().is_none_or(|tag| name.tag() == Some(tag));
        is_repository && is_tag && wanted.digest().is_none_or(|digest| name.digest() == Some(digest))
    })
}

/// Newest first, then by name.
fn sort(rows: &mut [ImageRow]) {
    rows.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| a.reference.cmp(&b.reference)));
}

fn created(row: &ImageRow) -> Option<i64> {
    row.created.as_deref().and_then(human::parse_rfc3339)
}

/// One image as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    repository: Option<String>,
    tag: Option<&'a str>,
    id: String,
    digest: String,
    created: Option<&'a str>,
    size_bytes: u64,
    platform: String,
}

fn render(rows: &[ImageRow], args: &ImagesArgs, now: i64) -> String {
    let id = |row: &ImageRow| if args.no_trunc { row.id.to_string() } else { short(row.id) };
    if args.quiet {
        return rows.iter().map(|row| format!("{}\n", id(row))).collect();
    }
    if args.format == Some(Format::Json) {
        return rows.iter().map(json).collect();
    }
    let mut header = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        header.insert(2, "DIGEST");
    }
    let none = || "<none>".to_owned();
    let cells = |row: &ImageRow| {
        let name = row.reference.as_ref();
        let mut cells = vec![
            name.map_or_else(none, Reference::familiar_name),
            name.and_then(Reference::tag).map_or_else(none, str::to_owned),
            id(row),
            created(row).map_or_else(|| "N/A".to_owned(), |then| human::ago(then, now)),
            human::size(row.size_bytes),
        ];
        if args.digests {
            cells.insert(2, row.manifest.to_string());
        }
        cells
    };
    table::render(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn json(row: &ImageRow) -> String {
    let name = row.reference.as_ref();
    let line = Json {
        format: 1,
        repository: name.map(Reference::familiar_name),
        tag: name.and_then(Reference::tag),
        id: row.id.to_string(),
        digest: row.manifest.to_string(),
        created: row.created.as_deref(),
        size_bytes: row.size_bytes,
        platform: row.platform.to_string(),
    };
    format!("{}\n", serde_json::to_string(&line).expect("this type always serializes"))
}

#[cfg(test)]
mod tests {
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
            labels: std::collections::BTreeMap::new(),
        };
        let mut rows = vec![
            row(None, None, 5),
            row(Some("app:latest"), Some("1980-01-01T00:00:00Z"), 4_270_000),
            row(Some("localhost:5000/debian:bookworm-slim"), Some("2024-05-01T00:00:00Z"), 74_800_000),
        ];
        sort(&mut rows);
        rows
    }

    fn args(flags: &str) -> ImagesArgs {
        let words = format!("kiln images {flags}");
        match crate::cli::parse(words.split_whitespace().map(Into::into)) {
            Ok(crate::cli::Parsed::Command(cli)) => match cli.command {
                crate::cli::Command::Images(args) => args,
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
        assert_eq!(render(&rows(), &args(""), now), expected);
        let id = Digest::of(b"config");
        assert_eq!(render(&rows()[..1], &args("-q"), now), "b79606fb3afe\n");
        assert_eq!(render(&rows()[..1], &args("-q --no-trunc"), now), format!("{id}\n"));
        let digest = Digest::of(b"manifest");
        let digests = render(&rows()[..1], &args("--digests"), now);
        assert!(digests.contains(&format!("bookworm-slim   {digest}   b79606fb3afe")), "{digests}");
        let json = format!(
            r#"{{"format":1,"repository":"app","tag":"latest","id":"{id}","digest":"{digest}","created":"1980-01-01T00:00:00Z","size_bytes":4270000,"platform":"linux/amd64"}}"#
        );
        assert_eq!(render(&rows()[1..2], &args("--format json"), now), format!("{json}\n"));
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
