//! The words of `kiln image prune --filter`.

use super::SpecError;
use super::upkeep::{TIMES, moment};

/// Which images are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageFilter {
    /// Those of before a time, in seconds since 1970.
    Before(i64),
    /// Those with a label, of this value where there is one.
    Label {
        /// The label.
        key: String,
        /// What it must be.
        value: Option<String>,
    },
    /// Those without it.
    NoLabel {
        /// The label.
        key: String,
        /// What it must not be.
        value: Option<String>,
    },
}

/// Reads filters; `now` is in seconds since 1970.
///
/// # Errors
/// [`SpecError`].
pub(crate) fn image_filters(specs: &[String], now: i64) -> Result<Vec<ImageFilter>, SpecError> {
    specs.iter().map(|spec| image_filter(spec, now)).collect()
}

fn image_filter(spec: &str, now: i64) -> Result<ImageFilter, SpecError> {
    let error = |reason: &str| SpecError::new("--filter", spec, reason);
    let (key, value) = spec.split_once('=').ok_or_else(|| error("it is not of the form KEY=VALUE"))?;
    let label = |text: &str| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    match key {
        "until" => {
            let moment = moment(value, now).ok_or_else(|| error("it is no time").with_hint(TIMES))?;
            Ok(ImageFilter::Before(moment))
        }
        "label" => {
            let (key, value) = label(value);
            Ok(ImageFilter::Label { key, value })
        }
        "label!" => {
            let (key, value) = label(value);
            Ok(ImageFilter::NoLabel { key, value })
        }
        _ => Err(error("there is no such filter")
            .with_hint("the filters are `until=TIME`, `label=KEY[=VALUE]` and `label!=KEY[=VALUE]`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_filters_are_refused_by_name() {
        for (spec, says) in
            [("x", "KEY=VALUE"), ("until=soon", "no time"), ("dangling=true", "no such filter")]
        {
            let error = image_filters(&[spec.to_owned()], 0).expect_err(spec).to_string();
            assert!(error.contains(spec) && error.contains(says), "{error}");
        }
    }
}
