//! What others' archives may ask for: every bound on reading them stands here, and in `docs/limits.md`.
//!
//! A bound protects this machine, not a taste: each is far above what images and archives in use need, and each error names the
//! member and the number. Unaware of formats.

/// Members in one archive.
pub const MEMBERS_MAX: u64 = 5_000_000;

/// Bytes of a member's name, twice of what the kernel takes in one call: work on a name grows with the square of its depth.
pub const NAME_BYTES_MAX: usize = 8192;

/// Bytes that are kept in memory of all members of one archive: names, those of directories that they imply, targets of links,
/// attributes.
pub const HELD_BYTES_MAX: u64 = 1 << 30;

/// Bytes of all PAX headers of one member, attributes included.
pub const PAX_BYTES_MAX: u64 = 1 << 20;

/// Bytes of one attribute's value; the kernel takes no more.
pub const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a symlink's target; the kernel takes no more.
pub const SYMLINK_BYTES_MAX: usize = 4095;

/// Bytes of one archive after decompression, without the holes of sparse files.
pub const ARCHIVE_BYTES_MAX: u64 = 1 << 40;

/// Bytes in the holes of all sparse files of one archive. They cost no space, but every byte must be hashed.
pub const HOLE_BYTES_MAX: u64 = 64 << 30;

/// Stretches of data in one sparse file.
pub const SPARSE_PARTS_MAX: usize = 1 << 20;

/// How many times its compressed size an archive may have, beyond [`RATIO_FREE_BYTES`]. Deflate cannot reach it.
pub const RATIO_MAX: u64 = 2000;

/// Bytes after decompression up to which the ratio does not matter.
pub const RATIO_FREE_BYTES: u64 = 1 << 30;

/// Base-2 logarithm of the history in bytes that a zstd frame may need.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Memory that an xz stream may need, in KiB; `xz -9` needs a quarter.
pub const XZ_MEMORY_KIB_MAX: u32 = 256 * 1024;

/// What an archive may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members in one archive.
    pub members_max: u64,
    /// Bytes of names, implied directories, targets of links and attributes of all members.
    pub held_bytes_max: u64,
    /// Bytes of the PAX headers of one member, attributes included.
    pub pax_bytes_max: u64,
    /// Bytes of one attribute's value.
    pub xattr_bytes_max: usize,
    /// Bytes of the whole archive after decompression.
    pub archive_bytes_max: u64,
    /// Bytes in the holes of all sparse files.
    pub hole_bytes_max: u64,
    /// Stretches of data in one sparse file.
    pub sparse_parts_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members_max: MEMBERS_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            pax_bytes_max: PAX_BYTES_MAX,
            xattr_bytes_max: XATTR_BYTES_MAX,
            archive_bytes_max: ARCHIVE_BYTES_MAX,
            hole_bytes_max: HOLE_BYTES_MAX,
            sparse_parts_max: SPARSE_PARTS_MAX,
        }
    }
}
