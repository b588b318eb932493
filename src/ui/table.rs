//! Columns, as Docker lays them out: a column is at least ten wide, three spaces lie between two.

use unicode_width::UnicodeWidthStr;

const COLUMN_WIDTH_MIN: usize = 10;
const GAP: usize = 3;

/// Returns lines with their cells in columns. The last cell of a line is not padded.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    laid_out(&lines(header, rows), docker_width)
}

/// Returns lines with their cells in columns that are as narrow as can be, `gap` spaces apart. No line ends in spaces.
pub(crate) fn packed(header: &[&str], rows: &[Vec<String>], gap: usize) -> String {
    let text = laid_out(&lines(header, rows), |width| width + gap);
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Returns a text whose cells end at tabs in columns, as Go's `text/tabwriter` does: a column goes on from line to line as long as
/// each has a cell there that ends at a tab.
pub(crate) fn elastic(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    laid_out(&lines, docker_width)
}

fn docker_width(width: usize) -> usize {
    (width + GAP).max(COLUMN_WIDTH_MIN)
}

fn lines<'a>(header: &[&'a str], rows: &'a [Vec<String>]) -> Vec<Vec<&'a str>> {
    let rows = rows.iter().map(|row| row.iter().map(String::as_str).collect());
    std::iter::once(header.to_vec()).chain(rows).collect()
}

fn laid_out(lines: &[Vec<&str>], full: impl Fn(usize) -> usize) -> String {
    let mut widths: Vec<Vec<usize>> = vec![Vec::new(); lines.len()];
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns.saturating_sub(1) {
        let mut begin = 0;
        for block in lines.chunk_by(|a, b| (a.len() > column + 1) == (b.len() > column + 1)) {
            let end = begin + block.len();
            if block[0].len() > column + 1 {
                let widest = block.iter().map(|line| line[column].width()).max().unwrap_or(0);
                widths[begin..end].iter_mut().for_each(|widths| widths.push(full(widest)));
            }
            begin = end;
        }
    }
    lines.iter().zip(&widths).map(|(line, widths)| render_line(line, widths)).collect()
}

fn render_line(line: &[&str], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in line.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
    }
    text.push_str(line.last().unwrap_or(&""));
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

    #[test]
    fn a_column_ends_where_a_line_has_no_cell_for_it() {
        assert_eq!(
            elastic("a\tb\tc\nlong cell here\tx\nnone\nd\te\n\tf\n"),
            "a                b         c\nlong cell here   x\nnone\nd         e\n          f\n"
        );
    }
}
