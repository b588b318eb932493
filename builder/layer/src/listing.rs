//! [`Listing`]: the entries of one layer, without contents, as a compact record.
//!
//! Trees of images are merged from listings, so nothing is unpacked to know what an image contains. The encoding starts with a
//! magic word, a version and a checksum; names share the part they have in common with the name before.
//!
//! | Field | Bytes | Meaning |
//! |---|---|---|
//! | magic | 4 | `klst` |
//! | version | 2, little-endian | [`LISTING_FORMAT`] |
//! | checksum | 4, little-endian | CRC-32 of the rest |
//! | body | rest | diff id and items, postcard |

use std::sync::Arc;

use kiln_oci::{DiffId, Digest};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::content::{Content, Origin};
use crate::content_digest::ContentDigest;
use crate::entry::{Device, Entry, Kind, Metadata};
use crate::path::{ArchivePath, PATH_BYTES_MAX};

/// The version of the encoding written by this program.
pub const LISTING_FORMAT: u16 = 2;

const MAGIC: &[u8; 4] = b"klst";
const HEADER_BYTES: usize = 10;
/// A line has rarely more, so that the record is not moved while it grows.
const LINE_BYTES_USUAL: usize = 80;

/// What one layer contains, sorted by path.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The layer this is the listing of.
    pub diff_id: DiffId,
    /// What it has at each path. A path can have an opaque marker besides its entry.
    pub items: Vec<(ArchivePath, Item)>,
}

/// One line of a listing.
#[derive(Debug, Clone)]
pub enum Item {
    /// What lower layers have below this directory is hidden.
    Opaque,
    /// What lower layers have at this path is removed.
    Whiteout,
    /// An entry. The origin of a file's content is the layer itself.
    Entry(Entry),
    /// Another name of an entry of this layer, or of a layer below.
    HardLink {
        /// The name it shares an inode with.
        target: ArchivePath,
    },
}

/// Why bytes are not a listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// There are no bytes.
    #[error("listing is missing")]
    Missing,
    /// Written by an older program in a form this one does not read any more.
    #[error("listing has format {found}, older than {LISTING_FORMAT}")]
    TooOld {
        /// The version found.
        found: u16,
    },
    /// Written by a newer program.
    #[error("listing has format {found}, newer than {LISTING_FORMAT}")]
    TooNew {
        /// The version found.
        found: u16,
    },
    /// Not what any program wrote.
    #[error("listing is damaged: {what}")]
    Corrupt {
        /// What does not hold.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
struct WireLine<'a> {
    shared: u32,
    #[serde(borrow)]
    rest: &'a [u8],
    #[serde(borrow)]
    item: WireItem<'a>,
}

#[derive(Serialize, Deserialize)]
enum WireItem<'a> {
    Opaque,
    Whiteout,
    HardLink(&'a [u8]),
    Directory(Metadata),
    File(Metadata, u64, Option<ContentDigest>),
    Symlink(Metadata, &'a [u8]),
    CharDevice(Metadata, Device),
    BlockDevice(Metadata, Device),
    Fifo(Metadata),
}

impl Listing {
    pub(crate) fn sorted(diff_id: DiffId, mut items: Vec<(ArchivePath, Item)>) -> Self {
        items.sort_by(|left, right| (&left.0, left.1.rank()).cmp(&(&right.0, right.1.rank())));
        Self { diff_id, items }
    }

    /// Returns the sum of the sizes of all files, as `images` and `history` show it.
    pub fn content_bytes(&self) -> u64 {
        self.items
            .iter()
            .filter_map(|(_, item)| match item {
                Item::Entry(entry) => entry.content().map(|content| content.size),
                _ => None,
            })
            .sum()
    }

    /// Tells whether nothing of lower layers shows through: the root is opaque.
    pub fn hides_all_below(&self) -> bool {
        matches!(self.items.first(), Some((path, Item::Opaque)) if path.is_root())
    }

    /// Returns the record form.
    pub fn encode(&self) -> Vec<u8> {
        let mut record = Record(Vec::with_capacity(HEADER_BYTES + self.items.len() * LINE_BYTES_USUAL));
        record.0.resize(HEADER_BYTES, 0);
        record.0.extend_from_slice(self.diff_id.0.as_bytes());
        record.0.extend_from_slice(&(self.items.len() as u64).to_le_bytes());
        let mut before: &[u8] = b"";
        for (path, item) in &self.items {
            let bytes = path.as_bytes();
            let shared = before.iter().zip(bytes).take_while(|(left, right)| left == right).count();
            let line = WireLine { shared: shared as u32, rest: &bytes[shared..], item: item.to_wire() };
            record = postcard::serialize_with_flavor(&line, record)
                .map(Record)
                .expect("plain data in memory always encodes");
            before = bytes;
        }
        let Record(mut record) = record;
        let checksum = checksum(&record[HEADER_BYTES..]);
        record[..4].copy_from_slice(MAGIC);
        record[4..6].copy_from_slice(&LISTING_FORMAT.to_le_bytes());
        record[6..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        record
    }

    /// Reads the record form.
    ///
    /// # Errors
    /// Tells missing, too old, too new and damaged apart.
    pub fn decode(record: &[u8]) -> Result<Self, ListingError> {
        let body = check_header(record)?;
        let damaged = |what| ListingError::Corrupt { what };
        let (diff_id, rest) = body.split_first_chunk::<32>().ok_or(damaged("no diff id"))?;
        let (count, mut rest) = rest.split_first_chunk::<8>().ok_or(damaged("no count"))?;
        let count = u64::from_le_bytes(*count);
        let mut items: Vec<(ArchivePath, Item)> = Vec::new();
        let mut name: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let line: WireLine<'_>;
            (line, rest) = postcard::take_from_bytes(rest).map_err(|_| damaged("bad line"))?;
            let shared = line.shared as usize;
            if shared > name.len() || shared + line.rest.len() > PATH_BYTES_MAX {
                return Err(damaged("bad name"));
            }
            name.truncate(shared);
            name.extend_from_slice(line.rest);
            let path = ArchivePath::parse(&name).map_err(|_| damaged("bad name"))?;
            if items.last().is_some_and(|(before, _)| before > &path) {
                return Err(damaged("not sorted"));
            }
            let item = Item::from_wire(line.item).ok_or(damaged("bad link target"))?;
            items.push((path, item));
        }
        if items.len() as u64 != count {
            return Err(damaged("cut short"));
        }
        let mut listing = Self { diff_id: DiffId(Digest::from_bytes(*diff_id)), items };
        listing.locate_contents();
        Ok(listing)
    }

    /// Points every file's content into this layer.
    pub(crate) fn locate_contents(&mut self) {
        let diff_id = self.diff_id;
        for (path, item) in &mut self.items {
            if let Item::Entry(Entry { kind: Kind::File(content), .. }) = item {
                content.origin = Origin::Layer(diff_id);
                content.path = path.clone();
                content.identity = None;
            }
        }
    }
}

/// Takes what postcard writes, names in one piece; its own way for a [`Vec`] is byte by byte.
struct Record(Vec<u8>);

impl Flavor for Record {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

fn checksum(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}

fn check_header(record: &[u8]) -> Result<&[u8], ListingError> {
    if record.is_empty() {
        return Err(ListingError::Missing);
    }
    if record.len() < HEADER_BYTES || &record[..4] != MAGIC {
        return Err(ListingError::Corrupt { what: "not a listing" });
    }
    match u16::from_le_bytes([record[4], record[5]]) {
        found if found < LISTING_FORMAT => return Err(ListingError::TooOld { found }),
        found if found > LISTING_FORMAT => return Err(ListingError::TooNew { found }),
        _ => {}
    }
    let expected = u32::from_le_bytes([record[6], record[7], record[8], record[9]]);
    let body = &record[HEADER_BYTES..];
    if checksum(body) == expected { Ok(body) } else { Err(ListingError::Corrupt { what: "wrong checksum" }) }
}

impl Item {
    fn rank(&self) -> u8 {
        match self {
            Self::Opaque => 0,
            Self::Whiteout => 1,
            Self::Entry(_) | Self::HardLink { .. } => 2,
        }
    }

    fn to_wire(&self) -> WireItem<'_> {
        let entry = match self {
            Self::Opaque => return WireItem::Opaque,
            Self::Whiteout => return WireItem::Whiteout,
            Self::HardLink { target } => return WireItem::HardLink(target.as_bytes()),
            Self::Entry(entry) => entry,
        };
        let metadata = entry.metadata.clone();
        match &entry.kind {
            Kind::Directory => WireItem::Directory(metadata),
            Kind::File(content) => WireItem::File(metadata, content.size, content.digest),
            Kind::Symlink(target) => WireItem::Symlink(metadata, target),
            Kind::CharDevice(device) => WireItem::CharDevice(metadata, *device),
            Kind::BlockDevice(device) => WireItem::BlockDevice(metadata, *device),
            Kind::Fifo => WireItem::Fifo(metadata),
        }
    }

    fn from_wire(wire: WireItem<'_>) -> Option<Self> {
        let (metadata, kind) = match wire {
            WireItem::Opaque => return Some(Self::Opaque),
            WireItem::Whiteout => return Some(Self::Whiteout),
            WireItem::HardLink(target) => {
                return ArchivePath::parse(target).ok().map(|target| Self::HardLink { target });
            }
            WireItem::Directory(metadata) => (metadata, Kind::Directory),
            WireItem::File(metadata, size, digest) => (metadata, Kind::File(unlocated(size, digest))),
            WireItem::Symlink(metadata, target) => (metadata, Kind::Symlink(Arc::from(target))),
            WireItem::CharDevice(metadata, device) => (metadata, Kind::CharDevice(device)),
            WireItem::BlockDevice(metadata, device) => (metadata, Kind::BlockDevice(device)),
            WireItem::Fifo(metadata) => (metadata, Kind::Fifo),
        };
        Some(Self::Entry(Entry { metadata, kind }))
    }
}

/// A content whose layer is not known yet; [`Listing::locate_contents`] follows.
pub(crate) fn unlocated(size: u64, digest: Option<ContentDigest>) -> Content {
    Content {
        origin: Origin::Inline(Arc::from(&[][..])),
        path: ArchivePath::root(),
        size,
        digest,
        identity: None,
    }
}
