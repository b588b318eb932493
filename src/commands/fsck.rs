//! `kiln fsck`: whether everything in the store is what it says it is, and mending it.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | all is well, or was mended |
//! | 1 | it could not be found out, or mended |
//! | 3 | something is wrong: without `--repair`, or what only the user can mend |

use std::fmt::Display;
use std::path::Path;

use kiln_builder::upkeep::{Checked, Doubt, Problem, check, mend};
use serde_json::{Value, json};

use super::{Context, print};
use crate::cli::{FsckArgs, FsckFormat};
use crate::failure::{Failure, Kind};
use crate::ui::visible;

/// Checks the store.
pub(super) fn run(args: &FsckArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let failed = |error: kiln_builder::upkeep::StoreError| Failure::of(Kind::Failed, &error);
    let checked = check(&workshop).map_err(failed)?;
    let mended = if args.repair { Some(mend(&workshop, &checked).map_err(failed)?) } else { None };
    let findings = findings(&checked, args.repair);
    let unmended = findings.iter().filter(|finding| !finding.is_mended).count();
    print(&match args.format {
        FsckFormat::Json => as_json(&checked, &findings, mended),
        FsckFormat::Text => as_text(&checked, &findings, mended),
    })?;
    if unmended == 0 {
        return Ok(());
    }
    // The findings have said it.
    let failure = Failure::new(Kind::Findings, format!("{unmended} problems are left"));
    Err(Failure { is_shown: true, ..failure })
}

/// Something that was found.
struct Finding {
    kind: &'static str,
    message: String,
    cure: String,
    is_mended: bool,
}

fn findings(checked: &Checked, is_repaired: bool) -> Vec<Finding> {
    let problems = checked.store.problems.iter().map(|problem| of_problem(problem, is_repaired));
    problems.chain(checked.doubts.iter().map(|doubt| of_doubt(doubt, is_repaired))).collect()
}

fn finding(kind: &'static str, message: &dyn Display, cure: &str, is_mended: bool) -> Finding {
    Finding { kind, message: message.to_string(), cure: cure.to_owned(), is_mended }
}

const AGAIN: &str = "the next build makes or fetches it again";

fn of_problem(problem: &Problem, is_repaired: bool) -> Finding {
    let (kind, cure) = match problem {
        Problem::BlobDamaged { .. } => ("blob-damaged", AGAIN),
        Problem::Unchecked(_) => return finding("unchecked", problem, "see why it cannot be read", false),
        Problem::Stray { .. } => ("stray", "it is not kiln's"),
        Problem::IndexDamaged(_) => (
            "index-damaged",
            "entries that are whole are kept; images that are not listed any more are to be built or pulled again",
        ),
        Problem::ManifestMissing { .. } => ("manifest-missing", "pull or build the image again"),
        Problem::ContainerDamaged { .. } => ("container-damaged", "its files are in `damaged`, below its id"),
        Problem::ContainerDangling { id, .. } => {
            let cure =
                format!("pull or build the image again; `kiln rm {}` gives the container up", id.short());
            return finding("container-dangling", problem, &cure, false);
        }
        Problem::RecordDamaged(_) => ("record-damaged", AGAIN),
        Problem::RecordDangling { .. } => ("record-dangling", AGAIN),
    };
    finding(kind, problem, cure, is_repaired)
}

fn of_doubt(doubt: &Doubt, is_repaired: bool) -> Finding {
    match doubt {
        Doubt::Incomplete { name, image, .. } | Doubt::Unreadable { name, image } => {
            let cure = match name {
                Some(name) => format!("build it again, or `kiln pull {name}`; `kiln rmi {name}` gives it up"),
                None => format!("build it again; `kiln rmi {image}` gives it up"),
            };
            finding("image-incomplete", doubt, &cure, false)
        }
        Doubt::Unpacked { .. } => {
            finding("unpacked-damaged", doubt, "it is unpacked again when it is needed", is_repaired)
        }
    }
}

fn as_text(checked: &Checked, findings: &[Finding], mended: Option<usize>) -> String {
    let mut text = String::new();
    for Finding { message, cure, is_mended, .. } in findings {
        let word = if *is_mended { "mended" } else { "found" };
        text += &format!("{word}: {}\n  {cure}\n", visible(message));
    }
    let left = checked.store.leftovers.len();
    if left > 0 {
        let what = if mended.is_some() { "were removed" } else { "go with the next build" };
        text += &format!("{left} leftovers of killed processes {what}\n");
    }
    text += &format!(
        "checked {} blobs, {} records, {} images, {} unpacked layers: ",
        checked.store.blobs, checked.store.records, checked.store.images, checked.unpacked
    );
    text + &match (findings.len(), mended) {
        (0, _) => "all is well\n".to_owned(),
        (count, None) => format!("{count} problems; `kiln fsck --repair` mends what can be mended\n"),
        (count, Some(mended)) => format!("{count} problems, {mended} mended\n"),
    }
}

/// One object a line. The format is number 1; a new field or a new kind of problem is no new format.
fn as_json(checked: &Checked, findings: &[Finding], mended: Option<usize>) -> String {
    let line = |finding: &Finding| {
        json!({
            "format": 1, "type": "problem", "kind": finding.kind, "message": finding.message,
            "cure": finding.cure, "mended": finding.is_mended,
        })
    };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let last = json!({
        "format": 1, "type": "checked", "blobs": checked.store.blobs, "records": checked.store.records,
        "images": checked.store.images, "unpacked": checked.unpacked, "problems": findings.len(),
        "mended": mended,
        "leftovers": checked.store.leftovers.iter().map(|left| path(left)).collect::<Vec<_>>(),
    });
    let lines: Vec<Value> = findings.iter().map(line).chain([last]).collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
}
