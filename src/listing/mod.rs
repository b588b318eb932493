//! `--format` as Docker has it: `table`, `table TEMPLATE`, `json`, or a template for each row.
//!
//! Rows are [`Value`]s; whatever the words of a template mean is in `kiln-template`, the functions that Docker adds are in
//! [`functions`] (as `cli/templates` and `cli/command/formatter` of Docker's client).

mod functions;

use kiln_template::{Functions, MissingKey, Template, Value};

use crate::failure::{Failure, Kind};
use crate::ui::{clean, table};

/// What can be listed: Docker's template for its table, and the headings of the fields.
pub(crate) struct Listing<'a> {
    /// The template of `--format table`.
    pub(crate) table: &'a str,
    /// The heading of each field.
    pub(crate) headings: &'a [(&'static str, &'a str)],
}

/// Whether a format is a table, whose cells are for people.
pub(crate) fn is_table(format: &str) -> bool {
    format.starts_with("table")
}

/// Returns a text, which could be anything, as it stands in a table: in its cell, and without what could act on a terminal. Docker
/// prints it as it is.
pub(crate) fn in_cell(text: &str) -> String {
    clean(text.replace(['\t', '\n', '\r'], " ").as_bytes(), false)
}

/// Returns the rows in a format. What a table shows of them is fit for a terminal; other formats have the texts as they are, for
/// programs.
///
/// # Errors
/// When the format is no template, or asks for what a row has not.
pub(crate) fn render(format: &str, listing: &Listing<'_>, rows: &[Value]) -> Result<String, Failure> {
    let source = match (format, format.strip_prefix("table")) {
        ("json", _) => "{{json .}}",
        (_, Some("")) => listing.table,
        (_, Some(template)) => template,
        (_, None) => format,
    };
    let source = source.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    let format_of_row = Format::read(&source)?;
    let mut text = String::new();
    if is_table(format) {
        let headings = listing.headings.iter().map(|(field, heading)| (*field, Value::from(*heading)));
        // As with Docker, a heading that cannot be made ends there.
        let headings = Value::map(headings, Value::from(""));
        text = format_of_row.template.execute_leniently(&headings, &functions::for_headings()) + "\n";
    }
    for row in rows {
        text += &match is_table(format) {
            true => format_of_row.fill_in(&row.map_texts(&in_cell), MissingKey::IsMissing)?,
            false => format_of_row.fill_in(row, MissingKey::IsMissing)?,
        };
        text.push('\n');
    }
    Ok(if is_table(format) { table::elastic(&text) } else { text })
}

/// A template that has Docker's functions.
pub(crate) struct Format {
    template: Template,
    functions: Functions,
}

impl Format {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn read(source: &str) -> Result<Self, Failure> {
        let functions = functions::functions();
        match Template::parse("", source, &functions) {
            Ok(template) => Ok(Self { template, functions }),
            Err(error) => Err(Failure::usage(format!("template parsing error: {error}"))),
        }
    }

    /// Fills in the template.
    ///
    /// # Errors
    /// When it asks for what the value has not.
    pub(crate) fn fill_in(&self, value: &Value, missing_key: MissingKey) -> Result<String, Failure> {
        self.template.execute(value, &self.functions, missing_key).map_err(|error| {
            let failure = Failure::of(Kind::Failed, &*error);
            Failure { message: format!("template parsing error: {}", failure.message), ..failure }
        })
    }
}

#[cfg(test)]
mod tests {
    use kiln_template::Struct;

    use super::*;

    const LISTING: Listing<'_> = Listing {
        table: "{{.ID}}\t{{.Tag}}",
        headings: &[("ID", "IMAGE ID"), ("Tag", "TAG"), ("Repository", "REPOSITORY")],
    };

    fn rendered(format: &str) -> String {
        let row = |id: &str, repository: &str, tag: &str| {
            Value::from(Struct::new("row").field("ID", id).field("Repository", repository).field("Tag", tag))
        };
        let rows = [row("aaaa", "localhost:5000/x/y", "v2"), row("bbbb", "<none>", "<none>")];
        render(format, &LISTING, &rows).unwrap_or_else(|failure| failure.message)
    }

    #[test]
    fn a_text_in_a_table_stays_in_its_cell_and_does_nothing_to_a_terminal() {
        let row = Value::from(
            Struct::new("row").field("ID", "a\tb\nc\x1b]0;title\x07\r").field("Tag", "\u{9b}1\u{202e}"),
        );
        let shown = |format| render(format, &LISTING, std::slice::from_ref(&row)).unwrap();
        assert_eq!(shown("table"), "IMAGE ID   TAG\na b c      \\u{9b}1\\u{202e}\n");
        assert_eq!(shown("{{.ID}}"), "a\tb\nc\x1b]0;title\x07\r\n");
    }

    /// The texts are those of Docker's client for such rows.
    #[test]
    fn rows_are_formatted_as_docker_formats_them() {
        for (format, expected) in [
            ("table", "IMAGE ID   TAG\naaaa       v2\nbbbb       <none>\n"),
            ("table {{.Tag}}", "TAG\nv2\n<none>\n"),
            ("table{{.Tag}}", "TAG\nv2\n<none>\n"),
            (" table {{.Tag}}", "table v2\ntable <none>\n"),
            ("foo", "foo\nfoo\n"),
            (
                "json",
                "{\"ID\":\"aaaa\",\"Repository\":\"localhost:5000/x/y\",\"Tag\":\"v2\"}\n{\"ID\":\"bbbb\",\"Repository\":\"<none>\",\"Tag\":\"<none>\"}\n",
            ),
            ("{{json .Tag}}", "\"v2\"\n\"<none>\"\n"),
            ("a\\nb\\\\tc", "a\nb\\\tc\na\nb\\\tc\n"),
            (
                "table {{upper .Repository}}|{{json .Tag}}|{{title .Repository}}|{{truncate .ID 2}}|{{pad .Tag 1 1}}|{{.Tag | printf \"%10s\"}}",
                "REPOSITORY|TAG|REPOSITORY|IMAGE ID| TAG |       TAG\n\
                 LOCALHOST:5000/X/Y|\"v2\"|Localhost:5000/X/Y|aa| v2 |        v2\n\
                 <NONE>|\"<none>\"|<None>|bb| <none> |    <none>\n",
            ),
            (
                "table {{split .Repository \"/\"}}|{{join (split .Repository \"/\") \"+\"}}",
                "REPOSITORY|REPOSITORY\n[localhost:5000 x y]|localhost:5000+x+y\n[<none>]|<none>\n",
            ),
            ("{{.Repository", "template parsing error: template: :1: unclosed action"),
            (
                "table {{.Foo}}",
                "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type row",
            ),
        ] {
            assert_eq!(rendered(format), expected, "{format}");
        }
    }
}
