//! Filesystems of their own for a test, taken away when dropped. Needs root.

use std::fs;
use std::path::{Path, PathBuf};

use super::peers;

/// Something mounted.
pub(crate) struct Mounted {
    /// Where it is.
    pub(crate) path: PathBuf,
    below: Option<PathBuf>,
}

/// A kind of filesystem.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filesystem {
    /// In memory, of a size such as `24m`.
    Tmpfs(&'static str),
    /// In memory, where every reading shows in a file's time of access.
    Watched,
    /// ext4 with inodes of 128 bytes, whose times are whole seconds.
    CoarseExt4,
    /// btrfs, where files can share blocks, of a size such as `160m`.
    Btrfs(&'static str),
    /// An overlay over empty directories in memory.
    Overlay,
}

impl Mounted {
    /// Mounts a fresh filesystem at `path`, which is made.
    pub(crate) fn new(path: PathBuf, kind: Filesystem) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut below = None;
        match kind {
            Filesystem::Tmpfs(size) => mount(&path, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]),
            Filesystem::Watched => mount(&path, &["-t", "tmpfs", "-o", "strictatime", "tmpfs"]),
            Filesystem::CoarseExt4 => {
                let image = path.with_extension("image");
                fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
                let image = image.display().to_string();
                peers::run("mkfs.ext4", ["-q", "-I", "128", &image]);
                mount(&path, &["-o", "loop", &image]);
            }
            Filesystem::Btrfs(size) => {
                let image = path.with_extension("image").display().to_string();
                peers::run("truncate", ["-s", size, &image]);
                peers::run(
                    "mkfs.btrfs",
                    ["-q", "--mixed", "--metadata", "single", "--data", "single", &image],
                );
                mount(&path, &["-o", "loop", &image]);
            }
            Filesystem::Overlay => {
                let layers = path.with_extension("layers");
                fs::create_dir_all(&layers).unwrap();
                mount(&layers, &["-t", "tmpfs", "tmpfs"]);
                let part = |name: &str| {
                    fs::create_dir(layers.join(name)).unwrap();
                    layers.join(name).display().to_string()
                };
                let (lower, upper, work) = (part("lower"), part("upper"), part("work"));
                let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
                mount(&path, &["-t", "overlay", "-o", &options, "overlay"]);
                below = Some(layers);
            }
        }
        Self { path, below }
    }

    /// Lets nobody write there any more.
    pub(crate) fn remount_read_only(&self) {
        mount(&self.path, &["-o", "remount,ro"]);
    }
}

fn mount(path: &Path, words: &[&str]) {
    let path = path.display().to_string();
    peers::run("mount", words.iter().copied().chain([path.as_str()]));
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for path in [Some(&self.path), self.below.as_ref()].into_iter().flatten() {
            peers::run("umount", ["-l".as_ref(), path.as_os_str()]);
        }
    }
}
