//! Columns, as Docker lays them out: a column is at least ten wide, three spaces lie between two.

use unicode_width::UnicodeWidthStr;

const COLUMN_WIDTH_MIN: usize = 10;
const GAP: usize = 3;

/// Returns lines with their cells in columns. The last cell of a line is not padded.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    laid_out(header, rows, |width| (width + GAP).max(COLUMN_WIDTH_MIN))
}

/// Returns lines with their cells in columns that are as narrow as can be, `gap` spaces apart. No line ends in spaces.
pub(crate) fn packed(header: &[&str], rows: &[Vec<String>], gap: usize) -> String {
    let text = laid_out(header, rows, |width| width + gap);
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn laid_out(header: &[&str], rows: &[Vec<String>], full: impl Fn(usize) -> usize) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let widest = lines().filter_map(|line| line.get(column)).map(|cell| cell.width()).max();
            full(widest.unwrap_or(0))
        })
        .collect();
    lines().map(|line| render_line(line, &widths)).collect()
}

fn render_line(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
        text.push_str(cell);
        if index + 1 < line.len() {
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_laid_out_as_docker_lays_them_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = render(
            &["REPOSITORY", "TAG", "SIZE"],
            &[row(["debian", "bookworm-slim", "1B"]), row(["ä", "1", ""])],
        );
        let expected = "\
REPOSITORY   TAG             SIZE
debian       bookworm-slim   1B
ä            1               \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_column_is_at_least_ten_wide() {
        assert_eq!(
            render(&["TAG", "ID"], &[vec!["1".to_owned(), "2".to_owned()]]),
            "TAG       ID\n1         2\n"
        );
    }
}
