//! Which user and group ids exist in this process's user namespace.

use std::fs;
use std::io;

/// The ids that can be used here.
pub(crate) struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// An id that does not exist here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingId {
    pub(crate) is_group: bool,
    pub(crate) id: u32,
    /// How many of its kind there are.
    pub(crate) available: u64,
}

#[derive(Clone, Copy)]
struct Range {
    inside: u64,
    outside: u64,
    count: u64,
}

/// Ids are 32 bits and the last one means "none".
const ALL_IDS: u64 = u32::MAX as u64;

impl IdMap {
    /// Reads the map of this process.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Ok(IdMap {
            users: parse(&fs::read_to_string("/proc/self/uid_map")?),
            groups: parse(&fs::read_to_string("/proc/self/gid_map")?),
        })
    }

    /// Whether this is the machine's own user namespace.
    pub(crate) fn is_initial(&self) -> bool {
        matches!(self.users[..], [Range { inside: 0, outside: 0, count: ALL_IDS }])
    }

    /// Whether a user of the namespace around this one has an id here.
    pub(crate) fn has_outer_user(&self, id: u32) -> bool {
        has_outer(&self.users, id)
    }

    /// Whether a group of the namespace around this one has an id here.
    pub(crate) fn has_outer_group(&self, id: u32) -> bool {
        has_outer(&self.groups, id)
    }

    /// Whether there is only one user id.
    pub(crate) fn is_single(&self) -> bool {
        self.user_count() == 1
    }

    pub(crate) fn user_count(&self) -> u64 {
        self.users.iter().map(|range| range.count).sum()
    }

    pub(crate) fn group_count(&self) -> u64 {
        self.groups.iter().map(|range| range.count).sum()
    }

    /// Returns which of these ids there is not.
    pub(crate) fn lack(&self, users: &[u32], groups: &[u32]) -> Option<MissingId> {
        let lack = |is_group, id: &u32, available| MissingId { is_group, id: *id, available };
        let user = users.iter().find(|id| !self.has_user(**id));
        let group = groups.iter().find(|id| !self.has_group(**id));
        user.map(|id| lack(false, id, self.user_count()))
            .or_else(|| group.map(|id| lack(true, id, self.group_count())))
    }

    /// Returns an id from which on users or groups may be missing; all lower ones are there.
    pub(crate) fn first_missing(&self) -> u32 {
        let first = |ranges: &[Range]| {
            // Ranges are few; each may go on where others end.
            let end = |at: u64| ranges.iter().find(|range| range.inside == at).map(|range| at + range.count);
            std::iter::successors(Some(0), |at| end(*at)).last().unwrap_or(0)
        };
        u32::try_from(first(&self.users).min(first(&self.groups))).unwrap_or(u32::MAX)
    }

    pub(crate) fn has_user(&self, id: u32) -> bool {
        has(&self.users, id)
    }

    pub(crate) fn has_group(&self, id: u32) -> bool {
        has(&self.groups, id)
    }
}

fn has(ranges: &[Range], id: u32) -> bool {
    let id = u64::from(id);
    ranges.iter().any(|range| range.inside <= id && id < range.inside + range.count)
}

fn has_outer(ranges: &[Range], id: u32) -> bool {
    let id = u64::from(id);
    ranges.iter().any(|range| range.outside <= id && id < range.outside + range.count)
}

fn parse(text: &str) -> Vec<Range> {
    let mut ranges = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().map(str::parse);
        if let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        {
            ranges.push(Range { inside, outside, count });
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_outside_are_found_where_they_are_mapped() {
        let users = parse("0 1000 1\n1 100000 65536\n");
        for (id, expected) in
            [(0, false), (1000, true), (1001, false), (100_000, true), (165_535, true), (165_536, false)]
        {
            assert_eq!(has_outer(&users, id), expected, "{id}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_below_the_first() {
        let user = "0 1000 1\n1 100000 65536\n";
        let rows = [
            (user, user, 65537),
            (user, "0 1000 1\n1 100000 10\n", 11),
            ("1 100000 5\n0 1000 1\n9 7 1\n", user, 6),
            ("0 0 4294967295\n", "0 0 4294967295\n", u32::MAX),
            ("", "", 0),
        ];
        for (users, groups, expected) in rows {
            let map = IdMap { users: parse(users), groups: parse(groups) };
            assert_eq!(map.first_missing(), expected, "{users} {groups}");
        }
        let map = IdMap { users: parse(user), groups: parse("0 1000 1\n") };
        let lack = |is_group, id, available| Some(MissingId { is_group, id, available });
        assert_eq!(map.lack(&[65536], &[0]), None);
        assert_eq!(map.lack(&[65537], &[1]), lack(false, 65537, 65537));
        assert_eq!(map.lack(&[0], &[0, 1]), lack(true, 1, 1));
    }

    #[test]
    fn a_map_tells_what_exists() {
        let rows = [
            ("         0          0 4294967295\n", true, false, 1000, true),
            ("0 1000 1\n", false, true, 1000, false),
            ("0 1000 1\n1 100000 65536\n", false, false, 65536, true),
            ("0 1000 1\n1 100000 65536\n", false, false, 65537, false),
            ("", false, false, 0, false),
        ];
        for (text, is_initial, is_single, id, has_it) in rows {
            let map = IdMap { users: parse(text), groups: parse(text) };
            assert_eq!(
                (map.is_initial(), map.is_single(), map.has_user(id)),
                (is_initial, is_single, has_it),
                "{text}"
            );
        }
    }
}
