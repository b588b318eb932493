//! Steps that were done a second time, in words.

use kiln_builder::difference::{FileChange, FileDifference};
use kiln_builder::repeated::{Differing, DifferingFile, FirstByte, Repeated, Verdict};

use super::lines::heading;
use super::style::Paint;

/// Longest instruction that is shown, in characters.
const INSTRUCTION_LENGTH_MAX: usize = 60;
/// Further names that are shown.
const NAMES_MAX: usize = 3;
/// Longest text of a difference that is shown, in characters.
const TEXT_LENGTH_MAX: usize = 200;

/// Returns the word for what became of a step.
pub(super) fn word(verdict: &Verdict) -> (Paint, &'static str) {
    match verdict {
        Verdict::Same => (Paint::Done, "SAME"),
        Verdict::Differs(_) => (Paint::Error, "DIFFERS"),
        Verdict::Failed { .. } => (Paint::Error, "FAILS"),
    }
}

/// Says of a step what was not the same, if something was not. `file` is the Dockerfile's name.
pub(crate) fn finding(repeated: &Repeated, file: &str) -> Option<String> {
    let said = match &repeated.verdict {
        Verdict::Same => return None,
        Verdict::Differs(differing) => of_files(differing),
        Verdict::Failed { message, log } => format!("{message}, the second time: see `{}`", log.display()),
    };
    let origin = &repeated.origin;
    let instruction = heading(&origin.text, INSTRUCTION_LENGTH_MAX);
    Some(match origin.line {
        0 => format!("{instruction}: {said}"),
        line => format!("{instruction} ({file}:{line}): {said}"),
    })
}

fn of_files(differing: &Differing) -> String {
    let Some((first, others)) = differing.files.split_first() else {
        return "the layers differ, though they leave the same files".to_owned();
    };
    let mut text = of_file(first);
    let shown = others.len().min(NAMES_MAX);
    let names: Vec<String> = others[..shown].iter().map(|other| name(&other.difference)).collect();
    if !names.is_empty() {
        text += &format!("; also {}", names.join(", "));
    }
    match differing.count.saturating_sub(1 + shown) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}

fn of_file(file: &DifferingFile) -> String {
    let path = path(&file.difference);
    match &file.first_byte {
        Some(first) => of_byte(&path, first),
        None => format!("{path} ({})", heading(&what(&file.difference), TEXT_LENGTH_MAX)),
    }
}

fn of_byte(path: &str, first: &FirstByte) -> String {
    let sizes = match first.sizes {
        [before, after] if before == after => before.to_string(),
        [before, after] => format!("{before} and {after}"),
    };
    let mut text = format!("{path} differs at byte {} of {sizes}", first.offset);
    if first.bytes.contains(&None) {
        text += ", where one of them ends";
    }
    match (&first.text, first.bytes) {
        (Some([before, after]), _) => text += &format!(": `{before}` and `{after}`"),
        (None, [Some(before), Some(after)]) => text += &format!(": {before:#04x} and {after:#04x}"),
        (None, _) => {}
    }
    match first.hint {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

fn name(difference: &FileDifference) -> String {
    let aspects = match &difference.change {
        FileChange::Changed(reasons) => {
            reasons.iter().map(|reason| reason.aspect.as_str()).collect::<Vec<_>>().join(", ")
        }
        _ => what(difference),
    };
    format!("{} ({})", path(difference), heading(&aspects, TEXT_LENGTH_MAX))
}

fn what(difference: &FileDifference) -> String {
    match &difference.change {
        FileChange::Added => "made the second time only".to_owned(),
        FileChange::Deleted => "made the first time only".to_owned(),
        FileChange::Changed(reasons) => {
            let said = reasons.iter().map(|reason| {
                let (aspect, before, after) = (&reason.aspect, &reason.before, &reason.after);
                format!("{aspect} {before} → {after}")
            });
            said.collect::<Vec<_>>().join("; ")
        }
    }
}

fn path(difference: &FileDifference) -> String {
    match difference.path.as_str() {
        "." => "/".to_owned(),
        path => format!("/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use kiln_builder::difference::FileReason;
    use kiln_builder::plan::Origin;

    use super::*;

    fn changed(path: &str, aspect: &str) -> DifferingFile {
        let (before, after) = ("1".to_owned(), "2".to_owned());
        let reasons = vec![FileReason { aspect: aspect.to_owned(), before, after }];
        let change = FileChange::Changed(reasons);
        let difference = FileDifference { path: path.to_owned(), noun: "file", change };
        DifferingFile { difference, first_byte: None }
    }

    fn said(files: Vec<DifferingFile>, count: usize) -> String {
        let origin = Origin { text: "RUN make".to_owned(), line: 7, ..Origin::default() };
        let verdict = Verdict::Differs(Differing { files, count });
        let repeated = Repeated { origin, verdict, has_caches: false, has_network: false };
        finding(&repeated, "Dockerfile").unwrap()
    }

    #[test]
    fn a_finding_names_the_step_the_file_and_the_byte() {
        let byte = |text: Option<[&str; 2]>, bytes, sizes, hint| FirstByte {
            offset: 4,
            sizes,
            bytes,
            text: text.map(|text| text.map(str::to_owned)),
            hint,
        };
        let with =
            |first_byte| DifferingFile { first_byte: Some(first_byte), ..changed("app/tool", "content") };
        for (files, count, expected) in [
            (
                vec![with(byte(None, [Some(0x12), Some(0x34)], [9, 9], Some("the time in a gzip header")))],
                1,
                "/app/tool differs at byte 4 of 9: 0x12 and 0x34 (the time in a gzip header)",
            ),
            (
                vec![with(byte(None, [None, Some(0x34)], [4, 9], None))],
                1,
                "/app/tool differs at byte 4 of 4 and 9, where one of them ends",
            ),
            (
                vec![
                    with(byte(Some(["at 1", "at 2"]), [Some(49), Some(50)], [4, 4], None)),
                    changed("x", "time"),
                ],
                5,
                "/app/tool differs at byte 4 of 4: `at 1` and `at 2`; also /x (time), and 3 more",
            ),
            (
                vec![with(byte(Some(["", "x"]), [None, Some(120)], [4, 6], None))],
                1,
                "/app/tool differs at byte 4 of 4 and 6, where one of them ends: `` and `x`",
            ),
            (vec![changed(".", "mode")], 1, "/ (mode 1 → 2)"),
            (vec![], 0, "the layers differ, though they leave the same files"),
        ] {
            assert_eq!(said(files, count), format!("RUN make (Dockerfile:7): {expected}"));
        }
    }
}
