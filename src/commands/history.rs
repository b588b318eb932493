//! `kiln history`.

use kiln_template::{Struct, Value};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Context, platform, print};
use crate::cli::HistoryArgs;
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, in_cell, is_table, render};
use crate::settings::now_seconds;
use crate::ui::{human, short};
use kiln_builder::catalog::{self, HistoryRow};

/// Widest command that is shown, in columns, as in Docker.
const COMMAND_WIDTH_MAX: usize = 45;

/// Shows how an image came to be.
pub(super) fn run(args: &HistoryArgs, context: Context) -> Result<(), Failure> {
    let platform = platform(args.platform.as_ref())?;
    let (workshop, _) = context.open(1)?;
    let rows = catalog::history(&workshop, &args.image, platform.as_ref());
    print(&listed(&rows.map_err(|error| Failure::of(Kind::Failed, &error))?, args, now_seconds())?)
}

/// Docker's table for people, and that for programs.
const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_OF_FIGURES: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

/// Docker's headings.
const HEADINGS: [(&str, &str); 6] = [
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

/// Returns the lines, newest first.
fn listed(rows: &[HistoryRow], args: &HistoryArgs, now: i64) -> Result<String, Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    let format = if args.quiet && format == "table" { "{{.ID}}" } else { format };
    let table = if args.human { TABLE } else { TABLE_OF_FIGURES };
    let rows: Vec<Value> = rows.iter().map(|row| value(row, args, is_table(format), now)).collect();
    render(format, &Listing { table, headings: &HEADINGS }, &rows)
}

/// Returns a line under Docker's names.
fn value(row: &HistoryRow, args: &HistoryArgs, is_table: bool, now: i64) -> Value {
    let id = match row.id {
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => short(id),
        None => "<missing>".to_owned(),
    };
    let then = row.created.as_deref().and_then(human::parse_rfc3339);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "N/A".to_owned());
    let at = or_unknown(then.map(human::rfc3339));
    let since = if args.human { or_unknown(then.map(|then| human::ago(then, now))) } else { at.clone() };
    let command = row.created_by.replace('\t', " ");
    // Before it is measured.
    let command = if is_table { in_cell(&command) } else { command };
    let size = if args.human { human::size(row.size_bytes) } else { row.size_bytes.to_string() };
    Struct::new("line of history")
        .field("Comment", row.comment.as_str())
        .field("CreatedAt", at)
        .field("CreatedBy", if args.no_trunc { command } else { shortened(&command, COMMAND_WIDTH_MAX) })
        .field("CreatedSince", since)
        .field("ID", id)
        .field("Size", size)
        .into()
}

/// Returns what of a text fits into so many columns, with an ellipsis where that is not all.
pub(super) fn shortened(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width < width_max
    };
    let mut shortened: String = text.chars().take_while(fits).collect();
    shortened.push('…');
    shortened
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    fn args(flags: &str) -> HistoryArgs {
        let words = format!("kiln history {flags} app");
        match crate::cli::parse(words.split_whitespace().map(Into::into)) {
            Ok(crate::cli::Parsed::Command(cli)) => match cli.command {
                crate::cli::Command::History(args) => args.into_inner(),
                _ => panic!("{words}"),
            },
            _ => panic!("{words}"),
        }
    }

    #[test]
    fn history_is_shown_as_docker_shows_it() {
        let row = |id, created: Option<&str>, created_by: &str, size_bytes| HistoryRow {
            id,
            created: created.map(str::to_owned),
            created_by: created_by.to_owned(),
            size_bytes,
            comment: "c".to_owned(),
        };
        let rows = [
            row(Some(Digest::of(b"config")), Some("2024-05-01T00:00:00Z"), "CMD [\"sh\"]", 0),
            row(None, None, "RUN apt-get update &&\tapt-get install -y build-essential", 74_800_000),
        ];
        let now = human::parse_rfc3339("2024-05-22T00:00:00Z").unwrap();
        let expected = "\
IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
b79606fb3afe   3 weeks ago   CMD [\"sh\"]                                      0B        c
<missing>      N/A           RUN apt-get update && apt-get install -y bui…   74.8MB    c
";
        assert_eq!(listed(&rows, &args(""), now).unwrap(), expected);
        assert_eq!(listed(&rows, &args("-q"), now).unwrap(), "b79606fb3afe\n<missing>\n");
        let machine = listed(&rows[..1], &args("--human=false"), now).unwrap();
        let expected = "\
IMAGE          CREATED AT             CREATED BY   SIZE      COMMENT
b79606fb3afe   2024-05-01T00:00:00Z   CMD [\"sh\"]   0         c
";
        assert_eq!(machine, expected);
    }

    #[test]
    fn commands_are_cut_as_docker_cuts_them() {
        let digits = "0123456789".repeat(5);
        for (text, expected) in [
            (&digits[..45], digits[..45].to_owned()),
            (&digits[..46], format!("{}…", &digits[..44])),
            (
                "RUN 日本語日本語日本語日本語日本語日本語日本語日本語日本語",
                "RUN 日本語日本語日本語日本語日本語日本語日本…".to_owned(),
            ),
        ] {
            assert_eq!(shortened(text, COMMAND_WIDTH_MAX), expected);
        }
    }

    #[test]
    fn what_an_image_says_stays_in_its_cell() {
        let row = HistoryRow {
            id: None,
            created: None,
            created_by: "RUN a\tb\x1b[31m".to_owned(),
            size_bytes: 1234,
            comment: "two\nlines\tc".to_owned(),
        };
        let expected = "\
IMAGE       CREATED   CREATED BY   SIZE      COMMENT
<missing>   N/A       RUN a b      1.23kB    two lines c
";
        assert_eq!(listed(std::slice::from_ref(&row), &args(""), 0).unwrap(), expected);
        let mut args = args("");
        args.format = Some("{{.Comment}}|{{.CreatedBy}}".to_owned());
        assert_eq!(listed(&[row], &args, 0).unwrap(), "two\nlines\tc|RUN a b\x1b[31m\n");
    }
}
