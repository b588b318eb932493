//! The image's own `passwd` and `group`, read without unpacking more than the layers that hold them.

use std::io::Read;

use kiln_layer::owner::Accounts;
use kiln_layer::{ArchivePath, LayerDirectories, Tree};

use super::StepError;

/// Largest account file that is read, in bytes (BuildKit's limit).
const ACCOUNT_FILE_BYTES_MAX: u64 = 10 << 20;

/// The account files of a file system.
#[derive(Debug, Default)]
pub(super) struct AccountFiles {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl AccountFiles {
    /// Reads them, where they are regular files.
    pub(super) fn read(tree: &Tree, layers: &dyn LayerDirectories) -> Result<Self, StepError> {
        Ok(Self { passwd: file(tree, layers, "etc/passwd")?, group: file(tree, layers, "etc/group")? })
    }

    pub(super) fn accounts(&self) -> Accounts<'_> {
        Accounts { passwd: self.passwd.as_deref(), group: self.group.as_deref() }
    }
}

/// Whether resolving a user or owner needs the account files at all.
pub(super) fn are_needed(text: &str) -> bool {
    !kiln_layer::owner::files_needed(text).is_empty()
}

fn file(tree: &Tree, layers: &dyn LayerDirectories, path: &str) -> Result<Option<Vec<u8>>, StepError> {
    let named = ArchivePath::parse(path.as_bytes()).expect("a plain path");
    // A path that leads nowhere is an image without that file.
    let Ok(resolved) = tree.resolve(&named) else { return Ok(None) };
    let Some(content) = tree.get(&resolved.path).and_then(|entry| entry.content()) else { return Ok(None) };
    let failed = |source| StepError::Io { what: format!("cannot read `/{path}` of the image"), source };
    if content.size > ACCOUNT_FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!(
            "it is larger than {ACCOUNT_FILE_BYTES_MAX} bytes"
        ))));
    }
    let mut bytes = Vec::new();
    content.open(layers).and_then(|mut reader| reader.read_to_end(&mut bytes)).map_err(failed)?;
    Ok(Some(bytes))
}
