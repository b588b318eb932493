//! Heredocs: `<<WORD` in a line, and the bodies below it.

use crate::expand::{self, ExpandError, Reading};
use crate::lines::Lines;
use crate::source::Span;

/// A heredoc: `<<WORD` and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends the body, without quotes.
    pub name: String,
    /// The file descriptor before `<<`; 0 where there is none.
    pub descriptor: u64,
    /// Whether variables in the body are expanded: no part of the word is quoted.
    pub is_expanded: bool,
    /// Whether it is written `<<-`: leading tabs of every line go away.
    pub strips_tabs: bool,
    /// The body as written, with the line endings of the file.
    pub content: String,
    /// Where the body stands, without the line that ends it.
    pub span: Span,
}

impl Heredoc {
    /// Returns the body without leading tabs where it is written `<<-`, else as it is.
    pub fn body(&self) -> String {
        if self.strips_tabs { without_tabs(&self.content) } else { self.content.clone() }
    }
}

/// Takes the leading tabs off every line.
pub(crate) fn without_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

/// Finds the heredocs that a line announces. A line whose quotes do not match announces none.
pub(crate) fn announced(line: &str) -> Result<Vec<Heredoc>, ExpandError> {
    let reading =
        Reading { keeps_quotes: true, keeps_escapes: true, keeps_unset: true, ..Reading::word('\\') };
    let Ok(words) = expand::read_plain(line, reading) else { return Ok(Vec::new()) };
    words.words.iter().map(|word| announcement(word)).filter_map(Result::transpose).collect()
}

/// Reads one word as `[fd]<<[-]WORD`; its body is still empty.
pub(crate) fn announcement(word: &str) -> Result<Option<Heredoc>, ExpandError> {
    let descriptor_length = word.bytes().take_while(u8::is_ascii_digit).count();
    let (descriptor, rest) = word.split_at(descriptor_length);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (strips_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = Reading { keeps_unset: true, ..Reading::word('\\') };
    let words = expand::read_plain(rest, plain)?.words;
    let [name] = words.as_slice() else { return Ok(None) };
    let raw = expand::read_plain(rest, Reading { keeps_quotes: true, ..plain })?.words;
    let quotes = |word: &str| word.matches(['\'', '"']).count();
    let is_expanded = raw.first().is_some_and(|raw| quotes(raw) == quotes(name));
    Ok(Some(Heredoc {
        name: name.clone(),
        // Digits beyond the largest number count as the largest, as in Go.
        descriptor: if descriptor.is_empty() { 0 } else { descriptor.parse().unwrap_or(u64::MAX) },
        is_expanded,
        strips_tabs,
        content: String::new(),
        span: Span::default(),
    }))
}

/// Reads the body of a heredoc from the lines below and tells whether its end was found. The last line, which ends it, is
/// consumed.
pub(crate) fn read_body(heredoc: &mut Heredoc, lines: &mut Lines<'_>, text: &str) -> bool {
    let start = lines.offset();
    let mut end = start;
    while let Some(raw) = lines.next_raw() {
        let mut line = text[raw.clone()].trim_end_matches(['\r', '\n']);
        if heredoc.strips_tabs {
            line = line.trim_start_matches('\t');
        }
        if line == heredoc.name {
            heredoc.content = text[start..end].to_owned();
            heredoc.span = Span::new(start, end);
            return true;
        }
        end = raw.end;
    }
    heredoc.content = text[start..end].to_owned();
    heredoc.span = Span::new(start, end);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heredoc_words_are_found_in_a_line() {
        let cases: &[(&str, &str)] = &[
            ("RUN cat <<EOF", "0:EOF:expand"),
            ("RUN cat <<-EOF >x", "0:EOF:expand:tabs"),
            ("RUN cat << EOF", "0:EOF:expand"),
            ("RUN 3<<EOF cat", "3:EOF:expand"),
            ("RUN 99999999999999999999<<EOF cat", "18446744073709551615:EOF:expand"),
            ("RUN <<'EOF'", "0:EOF"),
            ("RUN <<\"E\"OF", "0:EOF"),
            ("RUN <<E\\OF", "0:EOF:expand"),
            ("RUN <<\"a b\"", "0:a b"),
            ("RUN <<A <<B", "0:A:expand 0:B:expand"),
            ("RUN cat <<A && cat <<-'B'", "0:A:expand 0:B:tabs"),
            ("RUN cat <<<word", ""),
            ("RUN echo $((1<<2))", ""),
            ("RUN echo \"<<EOF\"", ""),
            ("RUN echo '<<EOF'", ""),
            ("RUN echo \\<<EOF", ""),
            ("RUN a<<EOF", ""),
            ("RUN cat << ", ""),
            ("RUN echo it's <<EOF", ""),
            ("RUN cat <<$X", "0:$X:expand"),
        ];
        for (line, expected) in cases {
            let found: Vec<String> = announced(line).unwrap().iter().map(describe).collect();
            assert_eq!(found.join(" "), *expected, "{line}");
        }
    }

    fn describe(heredoc: &Heredoc) -> String {
        let mut text = format!("{}:{}", heredoc.descriptor, heredoc.name);
        text.push_str(if heredoc.is_expanded { ":expand" } else { "" });
        text.push_str(if heredoc.strips_tabs { ":tabs" } else { "" });
        text
    }
}
