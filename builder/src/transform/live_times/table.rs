//! What the steps that used a cache mount have seen: for each path its content, and since when that is shown as new.
//!
//! Whoever keeps state in a cache compares the times of its files with those of the sources: an object is made again when a
//! source is *newer*. So a path is new, which is to say as young as the step, whenever its content may be another one than
//! some object in the cache was made from:
//!
//! | Path | Last seen | It is |
//! |---|---|---|
//! | there, with the same content | in the step before | as old as it was then |
//! | there, with other content | ever | new |
//! | there, with the same content | before a step that lacked it | new, if COPY, ADD or a bind mount put it there |
//! | there | never | new, likewise |
//! | any, made new while another step was at work in the mount | | new once more, until a step is alone |
//! | any, where the table was lost | | new |
//!
//! What came with the base image or from RUN is new only when it changed: a cache is shared by stages of other bases, and used
//! by one RUN after the other, and each would find all that the other installed to be new. That can be gigabytes, and nothing
//! in the cache was made from them.
//!
//! In a mount that is new nothing was made from anything: all keep the time of their layers. A path once seen is never
//! dropped, so that it cannot come back with another content under its old time.
//!
//! | Field | Bytes | Meaning |
//! |---|---|---|
//! | magic | 4 | `ksee` |
//! | version | 2, little-endian | [`TABLE_FORMAT`] |
//! | digest | 32 | BLAKE3 of the rest |
//! | body | rest | times and entries, postcard; names share what they have in common with the name before |

use kiln_layer::{ArchivePath, ContentDigest, PATH_BYTES_MAX};
use serde::{Deserialize, Serialize};

use super::view::{Identity, Viewed};

/// The version of the encoding.
const TABLE_FORMAT: u16 = 1;
const MAGIC: &[u8; 4] = b"ksee";
const HEADER_BYTES: usize = 38;
/// Most paths a table remembers. Beyond, it begins anew, and everything is new once.
const ENTRIES_MAX: usize = 8_000_000;

/// A time in nanoseconds since 1970.
pub(super) type Nanoseconds = i64;

/// What is known of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody has used it.
    Unused,
    /// It was used, and what was seen then is lost.
    Lost,
    /// What was seen.
    Seen(Table),
}

/// What was seen of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// When the mount was used first: what is older than this is older than all that was made in it.
    pub(super) born: Nanoseconds,
    /// The latest time that something is shown with.
    pub(super) latest: Nanoseconds,
    entries: Vec<(ArchivePath, Seen)>,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    identity: Identity,
    /// The time it is shown with; none, when it is older than the mount.
    since: Option<Nanoseconds>,
    /// Whether the last step saw it.
    is_here: bool,
    /// Whether it became new while another step was at work, which may still make something of what was there before.
    is_contested: bool,
}

/// The moment at which a step begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Its time, later than all that is shown.
    pub(super) now: Nanoseconds,
    /// Whether another step is at work in the mount.
    pub(super) has_company: bool,
}

#[derive(Serialize, Deserialize)]
struct WireTimes {
    born: Nanoseconds,
    latest: Nanoseconds,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct WireLine<'a> {
    shared: u32,
    #[serde(borrow)]
    rest: &'a [u8],
    seen: Seen,
}

impl Known {
    /// Reads what was kept: nothing at all in an unused mount, `None` where it is gone.
    pub(super) fn read(kept: Option<&[u8]>) -> Self {
        match kept {
            Some([]) => Self::Unused,
            Some(bytes) => Table::decode(bytes).map_or(Self::Lost, Self::Seen),
            None => Self::Lost,
        }
    }

    /// Returns the latest time that something is shown with.
    pub(super) fn latest(&self) -> Nanoseconds {
        match self {
            Self::Seen(table) => table.latest,
            Self::Unused | Self::Lost => Nanoseconds::MIN,
        }
    }

    /// Tells whether this table is what is known.
    pub(super) fn is(&self, table: &Table) -> bool {
        matches!(self, Self::Seen(seen) if seen == table)
    }

    /// Returns the table once a step has seen `view`, which is sorted. Of a path that is new by being there, `is_source` says
    /// whether that counts.
    pub(super) fn after(
        &self,
        view: &[Viewed],
        moment: Moment,
        is_source: &dyn Fn(&Viewed) -> bool,
    ) -> Table {
        match self {
            Self::Unused => Table::of(view, moment, None),
            Self::Lost => Table::of(view, moment, Some(moment.now)),
            Self::Seen(table) => table.after(view, moment, is_source),
        }
    }
}

impl Table {
    fn of(view: &[Viewed], moment: Moment, since: Option<Nanoseconds>) -> Self {
        let is_contested = moment.has_company && since.is_some();
        let seen = |viewed: &Viewed| Seen { identity: viewed.identity, since, is_here: true, is_contested };
        let entries = view.iter().map(|viewed| (viewed.path.clone(), seen(viewed))).collect();
        Self { born: moment.now, latest: moment.now, entries }
    }

    fn after(&self, view: &[Viewed], moment: Moment, is_source: &dyn Fn(&Viewed) -> bool) -> Self {
        let mut entries = Vec::with_capacity(self.entries.len().max(view.len()));
        let mut before = self.entries.iter().peekable();
        let absent = |(path, seen): &(ArchivePath, Seen)| (path.clone(), Seen { is_here: false, ..*seen });
        for viewed in view {
            while let Some(entry) = before.next_if(|(path, _)| *path < viewed.path) {
                entries.push(absent(entry));
            }
            let known = before.next_if(|(path, _)| *path == viewed.path).map(|(_, seen)| *seen);
            entries.push((viewed.path.clone(), judge(viewed, known, moment, is_source)));
        }
        entries.extend(before.map(absent));
        if entries.len() > ENTRIES_MAX {
            return Self::of(view, moment, Some(moment.now));
        }
        let mut table = Self { born: self.born, latest: self.latest, entries };
        table.age_hard_links_alike(view);
        let latest = table.entries.iter().filter_map(|(_, seen)| seen.since).max();
        table.latest = table.latest.max(latest.unwrap_or(Nanoseconds::MIN));
        table
    }

    /// Gives all names of a file the time of the youngest of them: a file has one.
    fn age_hard_links_alike(&mut self, view: &[Viewed]) {
        let mut ages = std::collections::BTreeMap::new();
        let groups = || view.iter().map(|viewed| viewed.group);
        for (group, since) in groups().zip(self.since()).filter(|(group, _)| group.is_some()) {
            let age = ages.entry(group).or_insert(since);
            *age = since.max(*age);
        }
        let here = self.entries.iter_mut().filter(|(_, seen)| seen.is_here);
        for (group, (_, seen)) in groups().zip(here).filter(|(group, _)| group.is_some()) {
            seen.since = ages[&group];
        }
    }

    /// Returns the times of the paths that the last step saw, in their order; none where a path is older than the mount.
    pub(super) fn since(&self) -> impl Iterator<Item = Option<Nanoseconds>> {
        self.entries.iter().filter(|(_, seen)| seen.is_here).map(|(_, seen)| seen.since)
    }

    /// Returns the form that is kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let times = WireTimes { born: self.born, latest: self.latest, count: self.entries.len() as u64 };
        let always = "plain data in memory always encodes";
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&TABLE_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 32]);
        bytes = postcard::to_extend(&times, bytes).expect(always);
        let mut before: &[u8] = b"";
        for (path, seen) in &self.entries {
            let name = path.as_bytes();
            let shared = before.iter().zip(name).take_while(|(left, right)| left == right).count();
            let line = WireLine { shared: shared as u32, rest: &name[shared..], seen: *seen };
            bytes = postcard::to_extend(&line, bytes).expect(always);
            before = name;
        }
        let digest = ContentDigest::of(&bytes[HEADER_BYTES..]);
        bytes[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads the form that is kept; whatever is wrong with it, it counts as lost.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let version = TABLE_FORMAT.to_le_bytes();
        let digest = ContentDigest::of(body);
        let is_whole = [&MAGIC[..], &version, digest.as_bytes()].concat() == header;
        let (times, mut rest): (WireTimes, _) =
            is_whole.then(|| postcard::take_from_bytes(body).ok()).flatten()?;
        let mut entries: Vec<(ArchivePath, Seen)> = Vec::new();
        let mut name: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let line: WireLine<'_>;
            (line, rest) = postcard::take_from_bytes(rest).ok()?;
            name.truncate(line.shared as usize);
            name.extend_from_slice(line.rest);
            let path = (name.len() <= PATH_BYTES_MAX).then(|| ArchivePath::parse(&name).ok()).flatten()?;
            entries.push((path, line.seen));
        }
        let is_sorted = entries.is_sorted_by(|(left, _), (right, _)| left < right);
        (is_sorted && entries.len() as u64 == times.count).then_some(Self {
            born: times.born,
            latest: times.latest,
            entries,
        })
    }
}

fn judge(viewed: &Viewed, known: Option<Seen>, moment: Moment, is_source: &dyn Fn(&Viewed) -> bool) -> Seen {
    let is_new = match known {
        Some(seen) => {
            !seen.identity.is_same(viewed.identity) || seen.is_contested || !seen.is_here && is_source(viewed)
        }
        None => is_source(viewed),
    };
    let since = if is_new { Some(moment.now) } else { known.and_then(|seen| seen.since) };
    Seen { identity: viewed.identity, since, is_here: true, is_contested: is_new && moment.has_company }
}
