//! `--secret SPEC`, as buildx reads it: `id=ID`, then `src=FILE` or `env=VARIABLE`; without either the variable of that name
//! wins, else the file of that name.

use std::path::Path;

use kiln_builder::secrets::{SECRET_SIZE_MAX, Secret, SecretSource};

use super::{SpecError, csv};
use crate::settings::Environment;
use crate::suggest::nearest;

const FLAG: &str = "--secret";
const KEYS: &[&str] = &["id", "src", "source", "env", "type"];

/// Reads one `--secret` and looks whether its value can be had.
///
/// # Errors
/// [`SpecError`], naming the key, the file or the variable; never a value.
pub(crate) fn parse(
    line: &str,
    base: &Path,
    environment: &Environment,
) -> Result<(String, SecretSource), SpecError> {
    let spec = Spec::parse(line)?;
    let error = |reason: String| SpecError::new(FLAG, line, reason);
    let id = spec.id.ok_or_else(|| error("`id=` is missing".to_owned()))?;
    let variable = spec.variable.or_else(|| {
        let is_variable = spec.file.is_none() && spec.kind != Some(Type::File);
        (is_variable && environment.raw(&id).is_some()).then(|| id.clone())
    });
    let source = match variable {
        Some(name) => from_variable(&name, environment).map_err(error)?,
        None if spec.kind == Some(Type::Env) => {
            return Err(error(format!("the variable `{}` is not set", spec.file.unwrap_or(id))));
        }
        None => from_file(&base.join(spec.file.as_deref().unwrap_or(&id))).map_err(error)?,
    };
    Ok((id, source))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    File,
    Env,
}

#[derive(Default)]
struct Spec {
    kind: Option<Type>,
    id: Option<String>,
    file: Option<String>,
    variable: Option<String>,
}

impl Spec {
    fn parse(line: &str) -> Result<Self, SpecError> {
        let error = |reason: String| SpecError::new(FLAG, line, reason);
        let mut spec = Self::default();
        for field in csv::fields(FLAG, line)? {
            let (key, value) =
                csv::pair(&field).ok_or_else(|| error(format!("`{field}` is not of the form key=value")))?;
            if value.is_empty() {
                return Err(error(format!("`{key}` has no value")));
            }
            let value = value.to_owned();
            let before = match key.as_str() {
                "id" => spec.id.replace(value),
                "src" | "source" => spec.file.replace(value),
                "env" => spec.variable.replace(value),
                "type" => spec.kind.replace(kind(&value).map_err(error)?).map(|_| String::new()),
                other => return Err(unknown_key(line, other)),
            };
            if before.is_some() {
                return Err(error(format!("`{key}` is given twice")));
            }
        }
        // `type=env,src=NAME` is the variable NAME.
        if spec.kind == Some(Type::Env) && spec.variable.is_none() {
            spec.variable = spec.file.take();
        }
        match (&spec.file, &spec.variable) {
            (Some(_), Some(_)) => Err(error("it has both a file and a variable".to_owned())),
            (None, Some(_)) if spec.kind == Some(Type::File) => {
                Err(error("`type=file` has no variable".to_owned()))
            }
            _ => Ok(spec),
        }
    }
}

fn kind(text: &str) -> Result<Type, String> {
    match text {
        "file" => Ok(Type::File),
        "env" => Ok(Type::Env),
        other => Err(format!("there is no type `{other}`, only `file` and `env`")),
    }
}

fn unknown_key(line: &str, key: &str) -> SpecError {
    let hint = match nearest(key, KEYS) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the keys are `{}`", KEYS.join("`, `")),
    };
    SpecError::new(FLAG, line, format!("there is no key `{key}`")).with_hint(hint)
}

fn from_variable(name: &str, environment: &Environment) -> Result<SecretSource, String> {
    use std::os::unix::ffi::OsStrExt;
    let value = environment.raw(name).ok_or_else(|| format!("the variable `{name}` is not set"))?;
    if value.len() as u64 > SECRET_SIZE_MAX {
        return Err(format!("the variable `{name}` is larger than {SECRET_SIZE_MAX} bytes"));
    }
    Ok(SecretSource::Value(Secret::new(value.as_bytes())))
}

fn from_file(path: &Path) -> Result<SecretSource, String> {
    match fs_err::metadata(path) {
        Err(error) => Err(error.to_string()),
        Ok(metadata) if metadata.is_dir() => Err(format!("`{}` is a directory", path.display())),
        Ok(metadata) if metadata.len() > SECRET_SIZE_MAX => {
            Err(format!("`{}` is larger than {SECRET_SIZE_MAX} bytes", path.display()))
        }
        Ok(_) => Ok(SecretSource::File(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str, base: &Path) -> Result<(String, SecretSource), String> {
        let environment = Environment::of([("TOKEN", "t"), ("both", "v"), ("EMPTY", "")]);
        parse(line, base, &environment).map_err(|error| error.reason)
    }

    #[test]
    fn sources_are_found_as_buildx_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        for name in ["key", "both"] {
            std::fs::write(base.join(name), "f").unwrap();
        }
        let value = |text: &str| SecretSource::Value(Secret::new(text));
        for (line, id, source) in [
            ("id=a,src=key", "a", SecretSource::File(base.join("key"))),
            ("id=a,source=key,type=file", "a", SecretSource::File(base.join("key"))),
            ("id=a,env=TOKEN", "a", value("t")),
            ("type=env,id=a,src=TOKEN", "a", value("t")),
            ("id=TOKEN", "TOKEN", value("t")),
            ("id=EMPTY", "EMPTY", value("")),
            ("id=both", "both", value("v")),
            ("id=both,type=file", "both", SecretSource::File(base.join("both"))),
            ("id=key", "key", SecretSource::File(base.join("key"))),
        ] {
            assert_eq!(outcome(line, base), Ok((id.to_owned(), source)), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (line, says) in [
            ("src=x", "`id=` is missing"),
            ("id=a,env=NONE", "the variable `NONE` is not set"),
            ("type=env,id=NONE", "the variable `NONE` is not set"),
            ("id=a,src=x,env=TOKEN", "it has both a file and a variable"),
            ("id=a,id=b", "`id` is given twice"),
            ("id=a,file=x", "there is no key `file`"),
            ("id", "`id` is not of the form key=value"),
            ("id=a,type=vault", "there is no type `vault`, only `file` and `env`"),
        ] {
            assert_eq!(outcome(line, folder.path()), Err(says.to_owned()), "{line}");
        }
        let missing = outcome("id=a,src=missing", folder.path()).unwrap_err();
        assert!(missing.contains("missing") && missing.contains("No such file"), "{missing}");
        let directory = outcome("id=a,src=.", folder.path()).unwrap_err();
        assert!(directory.ends_with("is a directory"), "{directory}");
    }
}
