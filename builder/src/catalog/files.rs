//! What files an image has, without unpacking it: the trees of its layers are merged, as steps see them.

use std::sync::Arc;

use kiln_layer::{ArchivePath, Device, Entry, Kind, Origin, escape};
use kiln_oci::{DiffId, Platform};

use super::CatalogError;
use super::paths::{Files, Last, files};
use crate::progress::Progress;
use crate::workshop::Workshop;

/// A question for the files of an image.
#[derive(Debug, Clone)]
pub struct LookRequest {
    /// The image.
    pub image: String,
    /// A path in it.
    pub path: Vec<u8>,
    /// Which platform, of an image for several.
    pub platform: Option<Platform>,
    /// How far it goes.
    pub reach: Reach,
    /// Whether a symlink at the end of the path is shown instead of followed.
    pub shows_link: bool,
}

/// How far one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What is in the directory.
    Directory,
    /// What is below it, too.
    Everything,
}

/// One file of an image. Names are text for people: what is no text, and what could move a cursor, is `\xNN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its path in the image, from `/` on.
    pub path: String,
    /// Its name, seen from the directory that was asked for.
    pub name: String,
    /// What it is: `file`, `directory`, `symlink`, …
    pub noun: &'static str,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// How many names it has.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of its content.
    pub size_bytes: u64,
    /// When its content changed, in seconds since 1970.
    pub seconds: i64,
    /// Where a symlink leads.
    pub target: Option<String>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// The layer that has its content.
    pub layer: Option<DiffId>,
}

/// Returns what is at a path of an image: a file itself, of a directory what is in it. Layers that were never read are fetched first,
/// where they are not here.
///
/// # Errors
/// [`CatalogError::NotFound`], [`CatalogError::NoFile`], [`CatalogError::Path`], [`CatalogError::Platform`], or what is wrong with a
/// layer.
pub async fn look(
    workshop: &Arc<Workshop>,
    request: &LookRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<FileRow>, CatalogError> {
    let files = files(workshop, &request.image, request.platform.as_ref(), progress).await?;
    let last = if request.shows_link { Last::Itself } else { Last::Followed };
    let place = files.at(&request.path, last)?;
    if let Some(entry) = place.entry.filter(|entry| !entry.is_directory()) {
        return Ok(vec![row(&files, &place.path, escape(&request.path), entry)]);
    }
    let below = files.tree.below(&place.path);
    let is_shown = |path: &ArchivePath| request.reach == Reach::Everything || path.is_child_of(&place.path);
    let shown = below.filter(|(path, _)| is_shown(path));
    Ok(shown
        .map(|(path, entry)| {
            let name = path.bytes_below(&place.path).unwrap_or(path.as_bytes());
            row(&files, path, escape(name), entry)
        })
        .collect())
}

fn row(files: &Files, path: &ArchivePath, name: String, entry: &Entry) -> FileRow {
    let inode = files.tree.inode(path);
    let content = entry.content();
    FileRow {
        path: format!("/{}", escape(path.as_bytes())),
        name,
        noun: entry.kind.noun(),
        mode: entry.metadata.mode,
        links: inode.map_or(1, |inode| files.tree.link_count(inode)),
        uid: entry.metadata.uid,
        gid: entry.metadata.gid,
        size_bytes: content.map_or(0, |content| content.size),
        seconds: entry.metadata.mtime.seconds,
        target: entry.symlink_target().map(escape),
        device: match entry.kind {
            Kind::CharDevice(Device { major, minor }) | Kind::BlockDevice(Device { major, minor }) => {
                Some((major, minor))
            }
            _ => None,
        },
        layer: content.and_then(|content| match content.origin {
            Origin::Layer(layer) => Some(layer),
            _ => None,
        }),
    }
}
