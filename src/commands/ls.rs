//! `kiln ls`.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use kiln_builder::catalog::{self, CatalogError, FileRow, LookRequest, Reach};
use kiln_builder::progress::Progress;
use serde::Serialize;

use super::{Context, interrupt, platform, print, transfer_display, with_display_abandoning};
use crate::cli::{Format, LsArgs};
use crate::failure::{Failure, Kind};
use crate::ui::human;

/// Lists files of an image.
pub(super) async fn run(args: &LsArgs, context: Context) -> Result<(), Failure> {
    let request = LookRequest {
        image: args.image.clone(),
        path: args.path.as_bytes().to_owned(),
        platform: platform(args.platform.as_ref())?,
        reach: if args.recursive { Reach::Everything } else { Reach::Directory },
        shows_link: args.long || args.format.is_some(),
    };
    let display = transfer_display(false, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let work = async { catalog::look(&workshop, &request, &progress).await.map_err(not_here) };
    let rows = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    print(&match args.format {
        Some(Format::Json) => rows.iter().map(json).collect(),
        _ if args.long => long(&rows),
        _ => rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>(),
    })
}

/// Says what to do about an image that is not in the store.
pub(super) fn not_here(error: CatalogError) -> Failure {
    let failure = Failure::of(Kind::Failed, &error);
    match error.is_not_found() {
        true => failure
            .with_hint("`kiln pull` fetches an image from a registry; those of the store are looked into"),
        false => failure,
    }
}

/// Returns the lines of `ls -l`, with numbers as in the image: what users are called is not looked up.
fn long(rows: &[FileRow]) -> String {
    let size = |row: &FileRow| match row.device {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => row.size_bytes.to_string(),
    };
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| [row.links.to_string(), row.uid.to_string(), row.gid.to_string(), size(row)])
        .collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |(row, cells): (&FileRow, &[String; 4])| {
        let cells: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        // 2024-05-01 10:00 of 2024-05-01T10:00:00Z.
        let time = human::rfc3339(row.seconds).replacen('T', " ", 1);
        let time = time.rsplit_once(':').map_or(time.as_str(), |(minutes, _)| minutes);
        let target = row.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        format!("{} {} {time} {}{target}\n", mode(row), cells.join(" "), row.name)
    };
    rows.iter().zip(&cells).map(line).collect()
}

/// Returns kind and permissions as `ls` has them: `drwxr-xr-x`.
fn mode(row: &FileRow) -> String {
    let kind = match row.noun {
        "directory" => 'd',
        "symlink" => 'l',
        "character device" => 'c',
        "block device" => 'b',
        "fifo" => 'p',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letters) in
        [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])]
    {
        let bits = row.mode >> shift;
        let has = |bit: u32| bits & bit != 0;
        text.push(if has(4) { 'r' } else { '-' });
        text.push(if has(2) { 'w' } else { '-' });
        text.push(match (row.mode & special != 0, has(1)) {
            (true, true) => letters[0],
            (true, false) => letters[1],
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// One file as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    path: &'a str,
    kind: &'a str,
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
}

fn json(row: &FileRow) -> String {
    let line = Json {
        format: 1,
        path: &row.path,
        kind: row.noun,
        mode: format!("{:04o}", row.mode),
        links: row.links,
        uid: row.uid,
        gid: row.gid,
        size_bytes: row.size_bytes,
        modified: human::rfc3339(row.seconds),
        target: row.target.as_deref(),
        device: row.device.map(|(major, minor)| format!("{major}:{minor}")),
        layer: row.layer.map(|layer| layer.to_string()),
    };
    serde_json::to_string(&line).expect("these types always serialize") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, noun: &'static str, mode: u32) -> FileRow {
        FileRow {
            path: format!("/{name}"),
            name: name.to_owned(),
            noun,
            mode,
            links: 1,
            uid: 0,
            gid: 42,
            size_bytes: 5,
            seconds: 1_714_557_600,
            target: None,
            device: None,
            layer: None,
        }
    }

    #[test]
    fn modes_are_written_as_ls_writes_them() {
        for (noun, bits, expected) in [
            ("directory", 0o755, "drwxr-xr-x"),
            ("directory", 0o1777, "drwxrwxrwt"),
            ("file", 0o4755, "-rwsr-xr-x"),
            ("file", 0o4644, "-rwSr--r--"),
            ("file", 0o2711, "-rwx--s--x"),
            ("file", 0o1640, "-rw-r----T"),
            ("symlink", 0o777, "lrwxrwxrwx"),
            ("character device", 0o600, "crw-------"),
        ] {
            assert_eq!(mode(&row("x", noun, bits)), expected, "{noun} {bits:o}");
        }
    }

    #[test]
    fn columns_of_the_long_form_stand_below_each_other() {
        let link = FileRow { target: Some("/b".to_owned()), size_bytes: 0, ..row("a", "symlink", 0o777) };
        let device = FileRow { device: Some((1, 3)), ..row("null", "character device", 0o666) };
        assert_eq!(
            long(&[row("b", "file", 0o644), link, device]),
            "-rw-r--r-- 1 0 42    5 2024-05-01 10:00 b\n\
             lrwxrwxrwx 1 0 42    0 2024-05-01 10:00 a -> /b\n\
             crw-rw-rw- 1 0 42 1, 3 2024-05-01 10:00 null\n"
        );
    }
}
