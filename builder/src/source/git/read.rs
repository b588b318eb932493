//! One file of a repository, for the Dockerfile of a context: read from the objects, so that no files are written for a build
//! that then finds everything in the cache.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_layer::{ArchivePath, NoLayers, Tree};

use super::bare::Bare;
use super::fetch::{Asked, format_of};
use super::program::Input;
use super::{GitError, GitSources, PathProblem};
use crate::git_reference::GitReference;

impl GitSources {
    /// Returns the content of the first of some files that is there. Symlinks are followed within the repository.
    ///
    /// # Errors
    /// [`GitError`], when none is there.
    pub async fn read(
        &self,
        reference: &GitReference,
        names: &[PathBuf],
        size_max: u64,
    ) -> Result<Vec<u8>, GitError> {
        let first = names.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let failed = |problem| GitError::Dockerfile {
            repository: reference.shown(),
            path: first.display().to_string(),
            problem,
        };
        let path = |name: &PathBuf| {
            let is_outside = name.is_absolute() || name.components().any(|part| part.as_os_str() == "..");
            let path = ArchivePath::clean(name.as_os_str().as_encoded_bytes());
            path.ok().filter(|_| !is_outside).ok_or(PathProblem::Outside)
        };
        let paths: Vec<ArchivePath> = names.iter().map(path).collect::<Result<_, _>>().map_err(failed)?;
        if let Some(content) = self.read_object(reference, &paths, size_max).await? {
            return Ok(content);
        }
        // It may be in a submodule, or nowhere.
        let tree = self.files(reference).await?;
        let mut outcome = Err(PathProblem::Missing);
        for path in &paths {
            outcome = read_file(&tree, path, size_max);
            if !matches!(outcome, Err(PathProblem::Missing)) {
                break;
            }
        }
        outcome.map_err(failed)
    }

    async fn read_object(
        &self,
        reference: &GitReference,
        paths: &[ArchivePath],
        size_max: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let resolved = self.resolve(reference).await?;
        let task = format!("load git repository {}", reference.shown());
        let asked = Asked { remote: &reference.remote, named: &reference.remote, task: &task };
        let object = resolved.commit();
        let bare = self.open(asked, format_of(object)).await?;
        if !bare.has(object).await? {
            self.telling(&task, self.obtain(&bare, asked, &resolved.object)).await?;
        }
        let Some(tree) = bare.directory(object, &reference.subdirectory).await? else { return Ok(None) };
        for path in paths {
            if let Some(content) = blob(&bare, &tree, path, size_max).await? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

/// Returns the content of a file, where one is at that path of a directory. Symlinks are followed within the directory.
async fn blob(
    bare: &Bare,
    tree: &str,
    path: &ArchivePath,
    size_max: u64,
) -> Result<Option<Vec<u8>>, GitError> {
    if path.as_bytes().contains(&b'\n') {
        return Ok(None);
    }
    let question = [tree.as_bytes(), b":", path.as_bytes(), b"\n"].concat();
    let words = ["cat-file", "--batch", "--follow-symlinks"];
    let output_max = usize::try_from(size_max).unwrap_or(usize::MAX).saturating_add(1 << 10);
    let answer = match bare.local("read a file of", &words, Input::Bytes(question), output_max).await {
        Ok(answer) => answer,
        // The way over the tree says so, too, and of which file.
        Err(GitError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(content(&answer).map(<[u8]>::to_vec))
}

/// Reads an answer of `git cat-file --batch`: `ID blob SIZE`, a line break, the content, a line break.
fn content(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut words = head.split(' ').skip(1);
    let (kind, size) = (words.next()?, words.next()?);
    let size: usize = size.parse().ok().filter(|_| kind == "blob")?;
    answer.get(end + 1..)?.get(..size)
}

fn read_file(tree: &Tree, path: &ArchivePath, size_max: u64) -> Result<Vec<u8>, PathProblem> {
    let found = tree.resolve(path).map_err(|_| PathProblem::Missing)?;
    let entry = tree.get(&found.path).filter(|_| found.exists).ok_or(PathProblem::Missing)?;
    let content = entry.content().ok_or(PathProblem::NoFile)?;
    if content.size > size_max {
        return Err(PathProblem::TooLarge);
    }
    let mut bytes = Vec::new();
    // The file was hashed a moment ago.
    let read = content.open(&NoLayers).and_then(|reader| reader.take(size_max).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|_| PathProblem::NoFile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_files_are_read() {
        assert_eq!(content(b"01 blob 3\na\nb\n"), Some(&b"a\nb"[..]));
        assert_eq!(content(b"01 tree 3\na\nb\n"), None);
        assert_eq!(content(b"01:Dockerfile missing\n"), None);
        assert_eq!(content(b"symlink 4\n../x\n"), None);
        assert_eq!(content(b"01 blob 9\na\n"), None);
    }
}
