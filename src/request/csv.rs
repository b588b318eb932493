//! One line of comma-separated `key=value` fields, quoted as in RFC 4180: the form of `-o` and `--secret`.
//!
//! As buildx reads it: a field that has commas is put in double quotes as a whole, `"dest=a,b"`; a quote within doubles.

use super::SpecError;

/// Splits a line into its fields.
///
/// # Errors
/// When quotes do not match.
pub(super) fn fields(flag: &'static str, line: &str) -> Result<Vec<String>, SpecError> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or_else(|| {
                SpecError::new(flag, line, "a `\"` at the start of a field has no partner at its end")
            })?,
            None => match rest.split_once(',') {
                Some((field, after)) => (field.to_owned(), Some(after)),
                None => (rest.to_owned(), None),
            },
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// Returns the field that began with a quote, and what follows the comma behind it, if there is one.
fn quoted_field(text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        rest = match after.strip_prefix('"') {
            Some(after) => after,
            None if after.is_empty() => return Some((field, None)),
            None => return Some((field, Some(after.strip_prefix(',')?))),
        };
        field.push('"');
    }
}

/// Splits a field at its first `=`. Keys are in small letters, whatever was written.
pub(super) fn pair(field: &str) -> Option<(String, &str)> {
    field.split_once('=').map(|(key, value)| (key.trim().to_ascii_lowercase(), value))
}

/// Reads the value of a key that is one of two; `None` where there is none.
///
/// # Errors
/// What is wrong with it.
pub(super) fn truth(key: &str, value: Option<&str>) -> Result<Option<bool>, String> {
    match value {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(format!("`{key}` is `true` or `false`, not `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_commas_outside_of_quotes() {
        for (line, expected) in [
            ("type=oci,dest=a", Some(vec!["type=oci", "dest=a"])),
            ("type=oci,\"dest=a,b\"", Some(vec!["type=oci", "dest=a,b"])),
            ("\"name=a,b\",push=true", Some(vec!["name=a,b", "push=true"])),
            ("\"a\"\"b\"", Some(vec!["a\"b"])),
            ("a\"b", Some(vec!["a\"b"])),
            ("a,", Some(vec!["a", ""])),
            ("", Some(vec![""])),
            ("\"a", None),
            ("\"a\"b", None),
        ] {
            let found = fields("-o", line).ok();
            assert_eq!(found, expected.map(|list| list.into_iter().map(str::to_owned).collect()), "{line}");
        }
    }
}
