//! Patterns matched component by component, where `**` may span several.

use crate::{BadPattern, Glob};

/// Whether `**` spans components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubleStar {
    /// It is any number of components, none included.
    Spans,
    /// It is the same as `*`.
    Star,
}

/// A compiled pattern that is matched component by component: no class reaches across a `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob {
    components: Vec<Component>,
    spans: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    One(Glob),
    AnyNumber,
}

impl Component {
    fn new(pattern: &[u8], double_star: DoubleStar) -> Result<Self, BadPattern> {
        match (pattern, double_star) {
            (b"**", DoubleStar::Spans) => Ok(Self::AnyNumber),
            _ => Glob::new(pattern).map(Self::One),
        }
    }
}

impl PathGlob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When a component is malformed.
    pub fn new(pattern: &[u8], double_star: DoubleStar) -> Result<Self, BadPattern> {
        let components = pattern.split(|byte| *byte == b'/').map(|part| Component::new(part, double_star));
        let components: Vec<Component> = components.collect::<Result<_, _>>()?;
        let spans = components.contains(&Component::AnyNumber);
        Ok(Self { components, spans })
    }

    /// Tells whether there is a `**` that spans components.
    pub fn spans(&self) -> bool {
        self.spans
    }

    /// Tells whether a whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        if self.spans {
            return self.matches_spanning(path);
        }
        let mut names = path.split(|byte| *byte == b'/');
        let matches = |component: &Component| match (component, names.next()) {
            (Component::One(glob), Some(name)) => glob.matches(name),
            _ => false,
        };
        self.components.iter().all(matches) && names.next().is_none()
    }

    /// Keeps how many names can have been used up, so that many `**` cost no more than a table.
    fn matches_spanning(&self, path: &[u8]) -> bool {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for component in &self.components {
            match component {
                Component::AnyNumber => {
                    let first = reached.iter().position(|is_reached| *is_reached);
                    reached[first.unwrap_or(names.len() + 1)..].fill(true);
                }
                Component::One(glob) => {
                    for at in (0..names.len()).rev() {
                        reached[at + 1] = reached[at] && glob.matches(names[at]);
                    }
                    reached[0] = false;
                }
            }
        }
        reached[names.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stars_span_components_where_they_are_asked_to() {
        for (pattern, path, spanning, plain) in [
            ("**/a", "a", true, false),
            ("**/a", "x/a", true, true),
            ("**/a", "x/y/a", true, false),
            ("x/**", "x/y/z", true, false),
            ("x/**", "x/y", true, true),
            ("x/**", "x", true, false),
            ("x/**/z", "x/z", true, false),
            ("x/**/z", "x/y/z", true, true),
            ("x/**/z", "y/z", false, false),
            ("x/**/**/z", "x/z", true, false),
            ("**", "a/b", true, false),
            ("**/*.c", "a/b.c", true, true),
            ("**/*.c", "a/b.h", false, false),
            ("*/b", "a/b", true, true),
            ("*/b", "a/b/c", false, false),
            ("a**", "ab", true, true),
            ("", "", true, true),
            ("a", "a/b", false, false),
            ("a/b", "a", false, false),
            ("a[^x]b", "a/b", false, false),
        ] {
            for (double_star, expected) in [(DoubleStar::Spans, spanning), (DoubleStar::Star, plain)] {
                let glob = PathGlob::new(pattern.as_bytes(), double_star).unwrap();
                assert_eq!(glob.matches(path.as_bytes()), expected, "{pattern} on {path}, {double_star:?}");
            }
        }
    }

    #[test]
    fn every_component_has_to_be_a_pattern() {
        for pattern in ["a/[", "[/]", "**/[]", "a\\/b"] {
            let found = PathGlob::new(pattern.as_bytes(), DoubleStar::Spans);
            assert_eq!(found, Err(BadPattern), "{pattern}");
        }
    }
}
