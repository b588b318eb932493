//! The Dockerfile's text: found, read, bounded.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::git::{GitError, GitSources};
use crate::git_reference::GitReference;
use crate::lower::Source;
use crate::request::DockerfilePlace;

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

/// Finds and reads the Dockerfile; returns its path where it has one.
///
/// # Errors
/// [`NoDockerfile`], which names the place.
pub fn read(place: &DockerfilePlace, context: &Path) -> Result<(Source, Option<PathBuf>), NoDockerfile> {
    let (name, path) = match place {
        DockerfilePlace::Text(bytes) => return Ok((Source::from_bytes("Dockerfile", bytes), None)),
        DockerfilePlace::Default => {
            let path = context.join("Dockerfile");
            let lower = context.join("dockerfile");
            let found = if !path.exists() && lower.exists() { lower } else { path };
            ("Dockerfile".to_owned(), found)
        }
        DockerfilePlace::Path(path) => {
            let in_context = context.join(path);
            let found = if path.exists() || !in_context.exists() { path.clone() } else { in_context };
            (path.display().to_string(), found)
        }
    };
    let failed = |source| NoDockerfile { path: path.clone(), source };
    let file = std::fs::File::open(&path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(DOCKERFILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > DOCKERFILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("it is larger than {DOCKERFILE_BYTES_MAX} bytes"))));
    }
    Ok((Source::from_bytes(name, &bytes), Some(path)))
}

/// Finds and reads the Dockerfile of a context that is a git repository.
///
/// # Errors
/// [`GitError`], which names the place.
pub async fn of_repository(
    git: &GitSources,
    reference: &GitReference,
    place: &DockerfilePlace,
) -> Result<Source, GitError> {
    let names = match place {
        DockerfilePlace::Text(bytes) => return Ok(Source::from_bytes("Dockerfile", bytes)),
        DockerfilePlace::Default => vec![PathBuf::from("Dockerfile"), PathBuf::from("dockerfile")],
        DockerfilePlace::Path(path) => vec![path.clone()],
    };
    let bytes = git.read(reference, &names, DOCKERFILE_BYTES_MAX).await?;
    Ok(Source::from_bytes(names[0].display().to_string(), &bytes))
}
