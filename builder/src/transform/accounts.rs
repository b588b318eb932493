//! The image's own `passwd` and `group`, read without unpacking more than the layers that hold them.

use std::io::Read;
use std::sync::Arc;

use kiln_layer::owner::Accounts;
use kiln_layer::{ArchivePath, LayerDirectories, Tree};

use super::finish::{fetch_contents, holder, on_cpu};
use super::{Bench, StepError};
use crate::layers;
use crate::rootfs::Layer;

const FILES: [&str; 2] = ["etc/passwd", "etc/group"];
/// Largest account file that is read, in bytes (BuildKit's limit).
const ACCOUNT_FILE_BYTES_MAX: u64 = 10 << 20;

/// The account files of a file system.
#[derive(Debug, Default)]
pub(crate) struct AccountFiles {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl AccountFiles {
    /// Reads them, where they are regular files.
    pub(crate) fn read(tree: &Tree, layers: &dyn LayerDirectories) -> Result<Self, StepError> {
        let [passwd, group] = FILES;
        Ok(Self { passwd: file(tree, layers, passwd)?, group: file(tree, layers, group)? })
    }

    pub(crate) fn accounts(&self) -> Accounts<'_> {
        Accounts { passwd: self.passwd.as_deref(), group: self.group.as_deref() }
    }
}

/// Whether resolving a user or owner needs the account files at all.
pub(super) fn are_needed(text: &str) -> bool {
    !kiln_layer::owner::files_needed(text).is_empty()
}

/// Fetches the layers that hold the account files of a stack, unless they are unpacked. Its listings must be known.
pub(super) async fn fetch(bench: &Arc<Bench>, stack: &[Layer]) -> Result<(), StepError> {
    let own = stack.to_vec();
    let find = move |bench: &Bench| {
        let tree = layers::tree(&bench.workshop, &own)?;
        let find = |path| holder(tree.get(&resolved(&tree, path)?)?);
        Ok(FILES.into_iter().filter_map(find).collect())
    };
    let holders = on_cpu(bench, find).await?;
    fetch_contents(bench, holders, &[stack.to_vec()]).await
}

/// Returns where one of the files is. A path that leads nowhere is an image without that file.
fn resolved(tree: &Tree, path: &str) -> Option<ArchivePath> {
    let named = ArchivePath::parse(path.as_bytes()).expect("a plain path");
    Some(tree.resolve(&named).ok()?.path)
}

fn file(tree: &Tree, layers: &dyn LayerDirectories, path: &str) -> Result<Option<Vec<u8>>, StepError> {
    let resolved = resolved(tree, path);
    let Some(content) = resolved.and_then(|path| tree.get(&path)?.content()) else { return Ok(None) };
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
