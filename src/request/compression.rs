//! Compressions by their names: `gzip`, `zstd:19`, `none`.

use kiln_builder::request::Compression;

use super::SpecError;

/// The names that messages list.
const NAMES: &str = "the compressions are `gzip`, `zstd` and `none`";

/// Levels of gzip.
const GZIP_LEVEL_MAX: u32 = 9;
/// Levels of zstd; 0 means the default one there.
const ZSTD_LEVEL_MAX: u32 = 22;

/// Reads the value of `--compression`: a name, and a level behind a colon.
///
/// # Errors
/// [`SpecError`], saying which there are.
pub(super) fn flag(text: &str) -> Result<Compression, SpecError> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text, None),
    };
    named(name, level).map_err(|(reason, hint)| SpecError::new("--compression", text, reason).with_hint(hint))
}

/// Reads a compression and its level; the error is a reason and a hint.
///
/// # Errors
/// When there is no such compression or level.
pub(super) fn named(name: &str, level: Option<&str>) -> Result<Compression, (String, String)> {
    match name {
        "gzip" => Ok(match number(name, level, GZIP_LEVEL_MAX)? {
            Some(level) => Compression::Gzip(level),
            None => Compression::default(),
        }),
        "zstd" => Ok(match number(name, level, ZSTD_LEVEL_MAX)?.filter(|level| *level > 0) {
            Some(level) => Compression::Zstd(level as i32),
            None => Compression::ZSTD,
        }),
        "none" | "uncompressed" => match level {
            None => Ok(Compression::None),
            Some(_) => Err((format!("`{name}` has no level"), "leave the level out".to_owned())),
        },
        "estargz" => Err(("compression `estargz` is not built yet".to_owned(), NAMES.to_owned())),
        other => Err((format!("there is no compression `{other}`"), NAMES.to_owned())),
    }
}

fn number(name: &str, level: Option<&str>, most: u32) -> Result<Option<u32>, (String, String)> {
    let Some(text) = level else { return Ok(None) };
    match text.parse::<u32>() {
        Ok(level) if level <= most => Ok(Some(level)),
        _ => Err((
            format!("`{text}` is no level of `{name}`"),
            format!("its levels are the numbers 0 to {most}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_has_a_name_and_may_have_a_level() {
        let outcome = |text: &str| flag(text).map_err(|error| error.reason);
        for (text, expected) in [
            ("gzip", Ok(Compression::default())),
            ("gzip:0", Ok(Compression::Gzip(0))),
            ("gzip:9", Ok(Compression::Gzip(9))),
            ("zstd", Ok(Compression::Zstd(3))),
            ("zstd:0", Ok(Compression::Zstd(3))),
            ("zstd:19", Ok(Compression::Zstd(19))),
            ("none", Ok(Compression::None)),
            ("uncompressed", Ok(Compression::None)),
            ("gzip:10", Err("`10` is no level of `gzip`")),
            ("zstd:fast", Err("`fast` is no level of `zstd`")),
            ("none:1", Err("`none` has no level")),
            ("lz4", Err("there is no compression `lz4`")),
            ("", Err("there is no compression ``")),
        ] {
            assert_eq!(outcome(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
