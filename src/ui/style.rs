//! Colours, or none. Colour never says what a word does not say too.

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// A hint.
    Help,
    /// What the eye should find first.
    Bold,
    /// Line numbers and bars.
    Gutter,
    /// What is less important.
    Dim,
    /// Something that is done.
    Done,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    is_coloured: bool,
}

impl Style {
    /// No colour.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { is_coloured: false };

    /// Returns the style for an output.
    pub(crate) fn new(is_coloured: bool) -> Self {
        Self { is_coloured }
    }

    /// Whether there is colour.
    pub(crate) fn is_coloured(self) -> bool {
        self.is_coloured
    }

    /// Returns text in its colour.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            _ if !self.is_coloured || text.is_empty() => return text.to_owned(),
            Paint::Error => "1;31",
            Paint::Warning => "1;33",
            Paint::Help => "1;36",
            Paint::Bold => "1",
            Paint::Gutter => "1;34",
            Paint::Dim => "2",
            Paint::Done => "32",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
