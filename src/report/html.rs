//! Text → markup that it cannot break. Markup of our own is `'static`, so whatever comes from a build has to go by
//! [`Html::text`] or [`Html::log`], which escape it.

use crate::ui::{Lines, clean, heading};

/// A page as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
}

impl Html {
    /// Adds markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Adds a text of one line. Good between tags, and in an attribute with quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.escape(&heading(text, usize::MAX));
        self
    }

    /// Adds a text with its lines.
    pub(super) fn lines(&mut self, text: &str) -> &mut Self {
        self.log(text.as_bytes())
    }

    /// Adds what a step printed.
    pub(super) fn log(&mut self, bytes: &[u8]) -> &mut Self {
        let mut lines = Lines::default();
        let mut take = |line: &[u8]| {
            self.escape(&clean(line, false));
            self.out.push('\n');
        };
        lines.push(bytes, &mut take);
        lines.finish(&mut take);
        self
    }

    /// Adds a whole number.
    pub(super) fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        self.out.push_str(&number.into().to_string());
        self
    }

    /// Adds a number with at most two digits behind the point.
    pub(super) fn decimal(&mut self, number: f64) -> &mut Self {
        let text = format!("{number:.2}");
        self.out.push_str(text.trim_end_matches('0').trim_end_matches('.'));
        self
    }

    /// Adds what belongs together.
    pub(super) fn with(&mut self, add: impl FnOnce(&mut Self)) -> &mut Self {
        add(self);
        self
    }

    /// Returns the page.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn escape(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                char => self.out.push(char),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        for (text, expected) in [
            ("a</script><b>&amp;", "a&lt;/script&gt;&lt;b&gt;&amp;amp;"),
            ("\" onclick='x'", "&quot; onclick=&#39;x&#39;"),
            ("\u{202e}gpj.exe\u{0}\u{7f}", "\\u{202e}gpj.exe^@^?"),
            ("\x1b[31mred\x1b[0m\x1b]0;title\x07", "red"),
            ("<!-- ]]> --\n>", "&lt;!-- ]]&gt; -- &gt;"),
        ] {
            let mut html = Html::default();
            html.text(text);
            assert_eq!(html.finish(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_log_keeps_its_lines_and_loses_what_acts() {
        let mut html = Html::default();
        html.log(b"10%\r20%\r\n<pre>\xff\n\x1b[1mend");
        assert_eq!(html.finish(), "20%\n&lt;pre&gt;\u{fffd}\nend\n");
    }

    #[test]
    fn numbers_are_short() {
        let mut html = Html::default();
        html.number(7_u32).raw(" ").decimal(0.5).raw(" ").decimal(100.0).raw(" ").decimal(1.0 / 3.0);
        assert_eq!(html.finish(), "7 0.5 100 0.33");
    }
}
