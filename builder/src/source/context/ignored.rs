//! Ignore files of contexts: which one holds, and its part in a walk.

use std::path::{Path, PathBuf};

use kiln_layer::{Place, Rules, Verdict};

use super::ContextError;
use crate::ignore::{Directory, Matcher};

/// Name of the ignore file.
const IGNORE_FILE: &str = ".dockerignore";
/// Largest ignore file that is read, in bytes.
const IGNORE_BYTES_MAX: u64 = 16 << 20;

/// Applies an ignore file to a walk.
pub(super) struct Ignored<'a>(pub(super) &'a Matcher);

impl<'a> Rules for Ignored<'a> {
    type Directory = Directory<'a>;

    fn root(&self) -> Directory<'a> {
        self.0.top()
    }

    fn judge(&self, above: &Directory<'a>, place: Place<'_>) -> Verdict {
        match above.excludes(place.name()) {
            true => Verdict::Skip,
            false => Verdict::Keep,
        }
    }

    fn enter(&self, above: &Directory<'a>, place: Place<'_>) -> (Verdict, Directory<'a>) {
        let directory = above.enter(place.name());
        let verdict = match (directory.is_excluded(), directory.can_prune()) {
            (false, _) => Verdict::Keep,
            (true, false) => Verdict::Skip,
            (true, true) => Verdict::Prune,
        };
        (verdict, directory)
    }
}

/// Returns where the ignore file is that belongs to a Dockerfile.
pub fn ignore_file_of(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(IGNORE_FILE);
    PathBuf::from(name)
}

/// Returns the patterns that hold for a context, and the name of the file that has them: that of the Dockerfile goes before
/// the context's own.
///
/// # Errors
/// [`ContextError`], when it cannot be read or has a pattern that is none.
pub fn ignored(
    of_dockerfile: Option<&Path>,
    directory: Option<&Path>,
) -> Result<(Matcher, String), ContextError> {
    let own = directory.map(|directory| directory.join(IGNORE_FILE));
    for path in of_dockerfile.into_iter().chain(own.as_deref()) {
        if let Some(bytes) = read_small(path)? {
            let matcher = Matcher::parse(&bytes).map_err(|error| ContextError::Pattern {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok((matcher, name));
        }
    }
    Ok((Matcher::default(), String::new()))
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |source| ContextError::Ignore { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(file, IGNORE_BYTES_MAX + 1);
    std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > IGNORE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("it is larger than {IGNORE_BYTES_MAX} bytes"))));
    }
    Ok(Some(bytes))
}
