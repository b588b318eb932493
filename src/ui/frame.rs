//! What is going on → the lines of a live view. Pure: state, size and instant in, text out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kiln_oci::Digest;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::human;
use super::style::{Paint, Style};

/// Lines of output shown below a running step.
pub(crate) const TAIL_LINES: usize = 6;

/// Everything that a live view shows.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// What is running: steps and other work, by number.
    pub(crate) running: BTreeMap<u32, Item>,
    /// Transfers by name, each with its blobs: bytes done, bytes in all.
    pub(crate) transfers: BTreeMap<String, BTreeMap<Digest, (u64, u64)>>,
    /// Steps that are needed.
    pub(crate) needed: usize,
    /// Steps that are done.
    pub(crate) done: usize,
}

/// Something that is running.
#[derive(Debug)]
pub(crate) struct Item {
    /// What it is called.
    pub(crate) name: String,
    /// When it began.
    pub(crate) started: Duration,
    /// The last lines it printed, cleaned.
    pub(crate) tail: VecDeque<String>,
    /// The line it has not ended yet.
    pub(crate) partial: String,
    /// Bytes done, and bytes in all if that is known, of work that moves some.
    pub(crate) moved: Option<(u64, Option<u64>)>,
}

/// Size of a terminal, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Cells of a line.
    pub(crate) columns: usize,
    /// Lines.
    pub(crate) rows: usize,
}

/// Returns the lines of the view; each fits the width, and all fit the height with a line to spare.
pub(crate) fn frame(view: &View, now: Duration, size: Size, style: Style) -> Vec<String> {
    let room = size.rows.saturating_sub(1);
    let moving: Vec<_> = view.transfers.iter().filter(|(_, blobs)| is_moving(blobs)).collect();
    let fixed = 1 + view.running.len() + moving.len();
    let tails = tail_lines(view, room.saturating_sub(fixed));
    let mut lines = Vec::new();
    for (item, tail) in view.running.values().zip(tails) {
        let took = human::duration(now.saturating_sub(item.started));
        let right =
            item.moved.map_or_else(|| took.clone(), |moved| format!("{} {took}", amount(moved, size)));
        lines.push(both_ends(&format!(" > {}", item.name), &right, size.columns));
        let last =
            item.tail.iter().map(String::as_str).chain((!item.partial.is_empty()).then_some(&*item.partial));
        let last: Vec<&str> = last.collect();
        for line in &last[last.len().saturating_sub(tail)..] {
            lines.push(style.paint(Paint::Dim, &fit(&format!("     {line}"), size.columns)));
        }
    }
    for (name, blobs) in moving {
        let (done, total) = sum(blobs);
        let amount = format!("{} / {}", human::size(done), human::size(total));
        lines.push(both_ends(&format!(" > {name} {}", bar(done, total)), &amount, size.columns));
    }
    if lines.is_empty() && view.needed == 0 {
        return lines;
    }
    let hidden = (lines.len() + 1).saturating_sub(room);
    lines.truncate(room.saturating_sub(1));
    let more = if hidden > 0 { format!(", {hidden} more lines") } else { String::new() };
    let status = format!(" {} of {} steps{more}", view.done, view.needed);
    lines.push(both_ends(&status, &human::duration(now), size.columns));
    lines.truncate(room);
    lines
}

/// Divides the free lines among what runs: as many each, the first ones get the rest.
fn tail_lines(view: &View, room: usize) -> Vec<usize> {
    let count = view.running.len().max(1);
    let wanted = view.running.values().map(|item| item.tail.len() + usize::from(!item.partial.is_empty()));
    wanted
        .enumerate()
        .map(|(index, wanted)| (room / count + usize::from(index < room % count)).min(wanted).min(TAIL_LINES))
        .collect()
}

fn sum(blobs: &BTreeMap<Digest, (u64, u64)>) -> (u64, u64) {
    blobs
        .values()
        .fold((0, 0), |(done, total), blob| (done.saturating_add(blob.0), total.saturating_add(blob.1)))
}

fn is_moving(blobs: &BTreeMap<Digest, (u64, u64)>) -> bool {
    blobs.values().any(|(done, total)| done < total)
}

const BAR_WIDTH: u64 = 20;
/// A narrower terminal has no room for the bar of something whose name is long.
const BAR_COLUMNS_MIN: usize = 70;

/// Returns how much of something has moved, with a bar while the whole is known and there is room for one.
fn amount((done, total): (u64, Option<u64>), size: Size) -> String {
    let amount = human::amount(done, total);
    match total.filter(|total| done < *total && size.columns >= BAR_COLUMNS_MIN) {
        Some(total) => format!("{} {amount}", bar(done, total)),
        None => amount,
    }
}

fn bar(done: u64, total: u64) -> String {
    let part = u128::from(done.min(total)) * u128::from(BAR_WIDTH) / u128::from(total.max(1));
    let part = usize::try_from(part).unwrap_or(0);
    let width = usize::try_from(BAR_WIDTH).unwrap_or(0);
    format!("[{}{}]", "#".repeat(part), ".".repeat(width - part))
}

/// Returns a line with a text at each end; the left one is cut where both do not fit.
fn both_ends(left: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(right.width() + 1);
    let left = fit(left, room);
    let gap = room.saturating_sub(left.width());
    fit(&format!("{left}{} {right}", " ".repeat(gap)), columns)
}

/// Returns as much of a text as fits, with `…` where it was cut. Tabs are blanks up to the next eighth column.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let mut fitted = String::new();
    let mut width = 0;
    // The last place where one column is left for the sign of the cut.
    let mut cut = 0;
    for char in text.chars() {
        let (shown, wide) = match char {
            '\t' => (' ', 8 - width % 8),
            char => (char, char.width().unwrap_or(0)),
        };
        if width + wide > columns {
            fitted.truncate(cut);
            if columns > 0 {
                fitted.push('…');
            }
            return fitted;
        }
        match char {
            '\t' => fitted.extend(std::iter::repeat_n(' ', wide)),
            _ => fitted.push(shown),
        }
        width += wide;
        if width < columns {
            cut = fitted.len();
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, tail: &[&str], partial: &str) -> Item {
        Item {
            name: name.to_owned(),
            started: Duration::from_secs(1),
            tail: tail.iter().map(|line| (*line).to_owned()).collect(),
            partial: partial.to_owned(),
            moved: None,
        }
    }

    fn view() -> View {
        let running = BTreeMap::from([
            (3, item("[build 2/4] RUN make", &["one", "two", "three"], "four")),
            (4, item("[test 1/1] RUN a very long instruction that does not fit", &["x"], "")),
        ]);
        let blobs = BTreeMap::from([(Digest::of(b"a"), (500, 1000)), (Digest::of(b"b"), (1000, 1000))]);
        let transfers = BTreeMap::from([("library/debian".to_owned(), blobs)]);
        View { running, transfers, needed: 7, done: 2 }
    }

    fn lines(columns: usize, rows: usize) -> Vec<String> {
        frame(&view(), Duration::from_secs(3), Size { columns, rows }, Style::PLAIN)
    }

    #[test]
    fn running_steps_have_their_last_lines_and_transfers_a_bar() {
        let expected = [
            " > [build 2/4] RUN make                           2.0s",
            "     one",
            "     two",
            "     three",
            "     four",
            " > [test 1/1] RUN a very long instruction that d… 2.0s",
            "     x",
            " > library/debian [###############.....]   1.5kB / 2kB",
            " 2 of 7 steps                                     3.0s",
        ];
        assert_eq!(lines(54, 24), expected);
    }

    #[test]
    fn work_that_moves_bytes_says_how_many() {
        let fetch = |moved| Item { moved, ..item("fetch https://host/x", &[], "") };
        let running = BTreeMap::from([
            (1, fetch(Some((3_000_000, Some(45_000_000))))),
            (2, fetch(Some((3_000_000, None)))),
            (3, fetch(None)),
        ]);
        let view = View { running, ..View::default() };
        let expected = [
            " > fetch https://host/x   3MB of 45MB 2.0s",
            " > fetch https://host/x           3MB 2.0s",
            " > fetch https://host/x               2.0s",
            " 0 of 0 steps                         3.0s",
        ];
        let shown = |columns| frame(&view, Duration::from_secs(3), Size { columns, rows: 24 }, Style::PLAIN);
        assert_eq!(shown(42), expected);
        let wide = " > fetch https://host/x        [#...................] 3MB of 45MB 2.0s";
        assert_eq!(shown(70)[0], wide);
    }

    #[test]
    fn a_low_terminal_shows_fewer_lines() {
        let expected = [
            " > [build 2/4] RUN make            2.0s",
            "     four",
            " > [test 1/1] RUN a very long ins… 2.0s",
            "     x",
            " > library/debian [######… 1.5kB / 2kB",
            " 2 of 7 steps                      3.0s",
        ];
        let shown = lines(39, 7);
        assert_eq!(
            (&shown[..4], &shown[5..]),
            (&expected.map(str::to_owned)[..4], &expected.map(str::to_owned)[5..])
        );
        let status = " 2 of 7 steps, 1 more lines        3.0s";
        assert_eq!(lines(39, 4), [expected[0], expected[2], status]);
        assert!(lines(39, 0).is_empty());
    }

    #[test]
    fn lines_never_exceed_the_terminal() {
        for columns in 0..60 {
            for rows in 0..12 {
                let lines = frame(&view(), Duration::ZERO, Size { columns, rows }, Style::PLAIN);
                assert!(lines.len() < rows.max(1), "{columns}x{rows}");
                assert!(lines.iter().all(|line| line.width() <= columns), "{columns}x{rows}: {lines:?}");
            }
        }
    }

    #[test]
    fn texts_are_cut_by_columns() {
        for (given, columns, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字", 4, "漢字"),
            ("漢字x", 4, "漢…"),
            ("a\tb", 20, "a       b"),
            ("a\tb", 4, "a…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(fit(given, columns), expected, "{given:?} in {columns}");
        }
    }
}
