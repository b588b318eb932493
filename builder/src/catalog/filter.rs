//! Which images a list shows, in Docker's words: `dangling=true`, `label=a=b`, `reference=app:*`, `before=app`.

use kiln_glob::Glob;
use kiln_oci::Reference;

use super::show::ImageRow;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The image has no name, or has one.
    Dangling(bool),
    /// The image has a label, perhaps with this value.
    Label(String, Option<String>),
    /// The image is older than this one.
    Before(String),
    /// The image is newer than this one.
    Since(String),
    /// The name fits a pattern, with its tag or without.
    Reference(Glob),
}

/// A text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is no name with a value.
    #[error("`{text}` is no filter: it should be NAME=VALUE")]
    NoValue {
        /// The text.
        text: String,
    },
    /// There is no such condition.
    #[error("there is no filter `{name}`: there are dangling, label, before, since and reference")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It is neither true nor false.
    #[error("`dangling` is `true` or `false`, not `{value}`")]
    NoBool {
        /// The value.
        value: String,
    },
    /// The pattern is none.
    #[error("`{pattern}` is no pattern")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong.
        source: kiln_glob::BadPattern,
    },
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let no_value = || FilterError::NoValue { text: text.to_owned() };
        let (name, value) = text.split_once('=').ok_or_else(no_value)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                value => Err(FilterError::NoBool { value: value.to_owned() }),
            },
            "label" => match value.split_once('=') {
                Some((key, value)) => Ok(Self::Label(key.to_owned(), Some(value.to_owned()))),
                None => Ok(Self::Label(value.to_owned(), None)),
            },
            "before" => Ok(Self::Before(value.to_owned())),
            "since" => Ok(Self::Since(value.to_owned())),
            "reference" => Self::reference(value),
            name => Err(FilterError::Unknown { name: name.to_owned() }),
        }
    }
}

impl Filter {
    /// Returns the condition that a name fits a pattern.
    ///
    /// # Errors
    /// [`FilterError::Pattern`].
    pub fn reference(pattern: &str) -> Result<Self, FilterError> {
        let bad = |source| FilterError::Pattern { pattern: pattern.to_owned(), source };
        Glob::new(pattern.as_bytes()).map(Self::Reference).map_err(bad)
    }
}

/// Conditions that hold together. Of several patterns one has to fit, and the last `before`, `since` and `dangling` counts.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    labels: Vec<(String, Option<String>)>,
    patterns: Vec<Glob>,
    is_dangling: Option<bool>,
    before: Option<Instant>,
    since: Option<Instant>,
}

/// When an image was made, as far as that is known: seconds since 1970.
type Instant = Option<i64>;

impl Filters {
    /// Takes conditions together. `created` says when an image of this name was made.
    ///
    /// # Errors
    /// Those of `created`.
    pub fn new<E>(filters: Vec<Filter>, created: impl Fn(&str) -> Result<Option<i64>, E>) -> Result<Self, E> {
        let mut together = Self::default();
        for filter in filters {
            match filter {
                Filter::Dangling(is_dangling) => together.is_dangling = Some(is_dangling),
                Filter::Label(key, value) => together.labels.push((key, value)),
                Filter::Before(image) => together.before = Some(created(&image)?),
                Filter::Since(image) => together.since = Some(created(&image)?),
                Filter::Reference(pattern) => together.patterns.push(pattern),
            }
        }
        Ok(together)
    }

    /// Whether an image is wanted that was made at this instant.
    pub fn wants(&self, row: &ImageRow, created: Option<i64>) -> bool {
        let has_label = |(key, value): &(String, Option<String>)| {
            row.labels.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
        };
        let fits = |pattern: &Glob| row.reference.as_ref().is_some_and(|name| fits(pattern, name));
        self.is_dangling.is_none_or(|is_dangling| is_dangling == row.reference.is_none())
            && self.labels.iter().all(has_label)
            && (self.patterns.is_empty() || self.patterns.iter().any(fits))
            && self.before.is_none_or(|other| created < other)
            && self.since.is_none_or(|other| created > other)
    }
}

fn fits(pattern: &Glob, name: &Reference) -> bool {
    pattern.matches(name.familiar().as_bytes()) || pattern.matches(name.familiar_name().as_bytes())
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, Platform};

    use super::*;

    fn row(name: Option<&str>, labels: &[(&str, &str)]) -> ImageRow {
        ImageRow {
            reference: name.map(|name| name.parse().unwrap()),
            id: Digest::of(b"config"),
            manifest: Digest::of(b"manifest"),
            created: None,
            size_bytes: 5,
            platform: Platform::linux("amd64"),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn conditions_choose_images_as_with_docker() {
        let rows = [
            (row(Some("app:1"), &[("a", "1"), ("b", "2")]), Some(10)),
            (row(Some("localhost:5000/team/app:2"), &[("a", "2")]), Some(20)),
            (row(None, &[]), Some(30)),
        ];
        for (texts, expected) in [
            (&[][..], [true, true, true]),
            (&["dangling=true"], [false, false, true]),
            (&["dangling=false"], [true, true, false]),
            (&["label=a"], [true, true, false]),
            (&["label=a=1"], [true, false, false]),
            (&["label=a", "label=b"], [true, false, false]),
            (&["reference=app"], [true, false, false]),
            (&["reference=app:1"], [true, false, false]),
            (&["reference=*"], [true, false, false]),
            (&["reference=*/*/*"], [false, true, false]),
            (&["reference=*:1", "reference=*/*/*:2"], [true, true, false]),
            (&["reference=app", "label=a=2"], [false, false, false]),
            (&["before=20"], [true, false, false]),
            (&["since=10"], [false, true, true]),
            (&["since=10", "before=30"], [false, true, false]),
        ] {
            let filters = texts.iter().map(|text| text.parse().unwrap()).collect();
            let filters = Filters::new(filters, |image| image.parse().map(Some)).unwrap();
            assert_eq!(
                rows.each_ref().map(|(row, created)| filters.wants(row, *created)),
                expected,
                "{texts:?}"
            );
        }
    }

    #[test]
    fn what_is_no_condition_says_why() {
        for (text, says) in [
            ("dangling", "`dangling` is no filter: it should be NAME=VALUE"),
            ("dangling=maybe", "`dangling` is `true` or `false`, not `maybe`"),
            (
                "until=1h",
                "there is no filter `until`: there are dangling, label, before, since and reference",
            ),
            ("reference=[", "`[` is no pattern"),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().to_string(), says);
        }
    }
}
