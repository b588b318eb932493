//! A file of the user's, written anew: readers see the old text or the new one, whenever they look.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};

/// Why a file was left as it is.
#[derive(Debug, thiserror::Error)]
enum RewriteError {
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` was left as it is: somebody else changed it meanwhile", path.display())]
    Changed { path: PathBuf },
}

/// Replaces the text of a file if it still is the one that was read. Its mode stays, and its owner as far as that can be
/// set; a symlink stays one, and what it leads to is written.
///
/// # Errors
/// The [`Failure`] that names the file.
pub(super) fn replace(path: &Path, read: &[u8], text: &[u8]) -> Result<(), Failure> {
    let failed = |source| RewriteError::Write { path: path.to_owned(), source };
    let outcome = fs_err::canonicalize(path).map_err(failed).and_then(|target| {
        if fs_err::read(&target).map_err(failed)? != read {
            return Err(RewriteError::Changed { path: path.to_owned() });
        }
        write_beside(&target, text).map_err(failed)
    });
    outcome.map_err(|error| Failure::of(Kind::Failed, &error))
}

fn write_beside(target: &Path, text: &[u8]) -> io::Result<()> {
    let metadata = fs_err::metadata(target)?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".kiln-").tempfile_in(folder)?;
    file.write_all(text)?;
    let own = file.as_file().metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        // Only root can give a file away; for others the new file is theirs, as with an editor.
        std::os::unix::fs::fchown(file.as_file(), Some(metadata.uid()), Some(metadata.gid())).ok();
    }
    file.as_file().set_permissions(std::fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_its_symlink() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        replace(&link, b"old", b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("file"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "other").unwrap();
        let failure = replace(&file, b"old", b"new").unwrap_err();
        let name = file.display();
        let message = format!("`{name}` was left as it is: somebody else changed it meanwhile");
        assert_eq!((failure.message, std::fs::read_to_string(&file).unwrap()), (message, "other".to_owned()));
    }
}
