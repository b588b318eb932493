//! The Dockerfile's text: found, read, bounded.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_layer::{ArchivePath, Entry, NoLayers, Tree};

use super::git::{GitError, GitSources};
use crate::git_reference::GitReference;
use crate::lower::Source;
use crate::request::{DockerfilePlace, WebUrl};

/// Name of the Dockerfile when nobody says another.
const NAME: &str = "Dockerfile";
/// The same as some write it.
const LOWER_NAME: &str = "dockerfile";

/// Largest Dockerfile that is read, in bytes.
pub const DOCKERFILE_BYTES_MAX: u64 = 64 << 20;

/// There is no Dockerfile, or it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the Dockerfile `{}`", path.display())]
pub struct NoDockerfile {
    /// Where it should be.
    pub path: PathBuf,
    /// What the file system says.
    pub source: std::io::Error,
}

/// Finds and reads the Dockerfile beside or in a directory; returns its path where it has one.
///
/// # Errors
/// [`NoDockerfile`], which names the place.
pub fn read(place: &DockerfilePlace, context: &Path) -> Result<(Source, Option<PathBuf>), NoDockerfile> {
    let (name, path) = match place {
        DockerfilePlace::Text(bytes) => return Ok((Source::from_bytes(NAME, bytes), None)),
        DockerfilePlace::Web(url) => return Err(not_fetched(url)),
        DockerfilePlace::Default => {
            let path = context.join(NAME);
            let lower = context.join(LOWER_NAME);
            let found = if !path.exists() && lower.exists() { lower } else { path };
            (NAME.to_owned(), found)
        }
        DockerfilePlace::Path(path) => {
            let in_context = context.join(path);
            let found = if path.exists() || !in_context.exists() { path.clone() } else { in_context };
            (path.display().to_string(), found)
        }
    };
    let source = read_file(name, &path)?;
    Ok((source, Some(path)))
}

/// Finds and reads the Dockerfile in an archive: what is named is in there, unless the name is absolute.
///
/// # Errors
/// [`NoDockerfile`], which names the place.
pub fn read_in_archive(place: &DockerfilePlace, files: &Tree) -> Result<Source, NoDockerfile> {
    let names = match place {
        DockerfilePlace::Text(bytes) => return Ok(Source::from_bytes(NAME, bytes)),
        DockerfilePlace::Web(url) => return Err(not_fetched(url)),
        DockerfilePlace::Default => [Path::new(NAME), Path::new(LOWER_NAME)].to_vec(),
        DockerfilePlace::Path(path) if path.is_absolute() => {
            return read_file(path.display().to_string(), path);
        }
        DockerfilePlace::Path(path) => vec![path.as_path()],
    };
    let first = names[0];
    let failed = |source| NoDockerfile { path: first.to_owned(), source };
    for name in &names {
        let path = ArchivePath::clamp(name.as_os_str().as_encoded_bytes());
        let path = path.map_err(|error| failed(std::io::Error::other(error)))?;
        let place = files.resolve(&path).map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(content) = files.get(&place.path).and_then(Entry::content) {
            let bytes = content.open(&NoLayers).and_then(read_bounded).map_err(failed)?;
            return Ok(Source::from_bytes(first.display().to_string(), &bytes));
        }
    }
    let reason = "the archive has no such file; one that is outside is named by its absolute path";
    Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, reason)))
}

/// Files of the web are fetched by whoever has a store to keep them in.
fn not_fetched(url: &WebUrl) -> NoDockerfile {
    let source = std::io::Error::other("without a store, files of the web are not fetched");
    NoDockerfile { path: PathBuf::from(url.to_string()), source }
}

fn read_file(name: String, path: &Path) -> Result<Source, NoDockerfile> {
    let bytes = std::fs::File::open(path).and_then(read_bounded);
    let bytes = bytes.map_err(|source| NoDockerfile { path: path.to_owned(), source })?;
    Ok(Source::from_bytes(name, &bytes))
}

/// Reads a Dockerfile that is no larger than any can need to be.
///
/// # Errors
/// When it cannot be read, or is larger.
pub fn read_bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(DOCKERFILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > DOCKERFILE_BYTES_MAX {
        true => Err(std::io::Error::other(format!("it is larger than {DOCKERFILE_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}

/// Finds and reads the Dockerfile of a context that is a git repository; `None` when its place is on the web.
///
/// # Errors
/// [`GitError`], which names the place.
pub async fn of_repository(
    git: &GitSources,
    reference: &GitReference,
    place: &DockerfilePlace,
) -> Result<Option<Source>, GitError> {
    let names = match place {
        DockerfilePlace::Text(bytes) => return Ok(Some(Source::from_bytes(NAME, bytes))),
        DockerfilePlace::Web(_) => return Ok(None),
        DockerfilePlace::Default => vec![PathBuf::from(NAME), PathBuf::from(LOWER_NAME)],
        DockerfilePlace::Path(path) => vec![path.clone()],
    };
    let bytes = git.read(reference, &names, DOCKERFILE_BYTES_MAX).await?;
    Ok(Some(Source::from_bytes(names[0].display().to_string(), &bytes)))
}
