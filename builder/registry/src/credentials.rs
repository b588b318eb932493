//! Who we are to which registry: podman's files, Docker's file, credential helpers; and keeping a login.

use std::path::{Path, PathBuf};

use crate::cause::CredentialError;
use crate::config::CredentialFiles;
use crate::credential_file::{Credential, CredentialFile, server_key, update};
use crate::credential_helper as helper;

/// Finds and keeps credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    files: CredentialFiles,
}

/// Where a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptIn {
    /// In a file, readable by its owner only but not encrypted.
    File(PathBuf),
    /// By a credential helper of this name.
    Helper(String),
}

impl Credentials {
    /// Takes the places to look in. Nothing is read yet.
    pub fn new(files: CredentialFiles) -> Self {
        Self { files }
    }

    /// Returns the credentials for `repository` of `registry`: from the first file that has some, a helper that a file
    /// names before that file's own entries. With an empty `repository`, those for the registry as a whole.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed; a helper that is missing or fails for another reason than having
    /// nothing.
    pub async fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        for path in self.paths() {
            let file = CredentialFile::read(path)?;
            if let Some(name) = file.helper(registry) {
                let found = helper::get(name, &self.files.helper_path, server_key(registry)).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some(found) = file.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps `credential` for `registry`, where it will be found: in the file that already has one for it, else in
    /// Docker's, else in the first of podman's; by the helper that this file names, if it does.
    ///
    /// # Errors
    /// There is no file, it cannot be read or written, or the helper fails.
    pub async fn store(&self, registry: &str, credential: &Credential) -> Result<KeptIn, CredentialError> {
        let path = self.path_to_store(registry)?;
        let file = CredentialFile::read(path)?;
        if let Some(name) = file.helper(registry) {
            helper::store(name, &self.files.helper_path, server_key(registry), credential).await?;
            return Ok(KeptIn::Helper(name.to_owned()));
        }
        update(path, |file| {
            file.set(registry, credential);
            true
        })?;
        Ok(KeptIn::File(path.to_owned()))
    }

    /// Forgets the credentials for `registry` everywhere. Returns where there were some.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a helper that fails.
    pub async fn erase(&self, registry: &str) -> Result<Vec<KeptIn>, CredentialError> {
        let mut erased = Vec::new();
        for path in self.paths() {
            let file = CredentialFile::read(path)?;
            if let Some(name) = file.helper(registry)
                && helper::erase(name, &self.files.helper_path, server_key(registry)).await?
            {
                erased.push(KeptIn::Helper(name.to_owned()));
            }
            if file.has(registry) && update(path, |file| file.remove(registry))? {
                erased.push(KeptIn::File(path.to_owned()));
            }
        }
        Ok(erased)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.auth_files.iter().chain(&self.files.docker_config).map(PathBuf::as_path)
    }

    fn path_to_store(&self, registry: &str) -> Result<&Path, CredentialError> {
        for path in self.paths() {
            if CredentialFile::read(path)?.has(registry) {
                return Ok(path);
            }
        }
        let fallback = self.files.docker_config.as_ref().or_else(|| self.files.auth_files.first());
        fallback.map(PathBuf::as_path).ok_or(CredentialError::NoFile)
    }
}
