//! Who the processes of a single-id step believe to be. The kernel knows only one id there, so changing it is pretended:
//! `apt` drops to `_apt`, `su` becomes somebody, and both see what they asked for. Permissions are not checked by it.

use rustix::io::Errno;

use crate::spec::{Owner, User};

/// Real, effective and saved id, and the one that counts for files, of which `setfsuid` alone makes another than the effective.
pub(crate) type Ids = [u32; 4];

/// Ids of users and groups, and supplementary groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Ids,
    pub(crate) group: Ids,
    /// Sorted, as the kernel keeps them.
    pub(crate) groups: Vec<u32>,
    /// Whether the process asked to keep its capabilities when it stops being root, to change more ids after that.
    pub(crate) keeps_capabilities: bool,
}

/// Everything that any process of a step believes. What a process carries is a number: its place in this list.
pub(crate) struct Beliefs {
    known: Vec<Credentials>,
    /// Supplementary groups in all of them.
    groups: usize,
}

/// Different beliefs in one step; a step that wants more is refused.
const BELIEFS_MAX: usize = 1 << 16;
/// Supplementary groups in all beliefs of a step, a few megabytes; a step that wants more is refused.
const BELIEVED_GROUPS_MAX: usize = 1 << 20;
const UNCHANGED: u32 = u32::MAX;

impl Beliefs {
    /// Returns the beliefs of a step that starts as `user`, which has the number 0.
    pub(crate) fn new(user: &User) -> Self {
        let mut groups = vec![user.gid];
        groups.extend(user.groups.iter().filter(|id| **id != user.gid));
        groups.sort_unstable();
        let (user, group) = ([user.uid; 4], [user.gid; 4]);
        let first = Credentials { user, group, groups, keeps_capabilities: false };
        Beliefs { groups: first.groups.len(), known: vec![first] }
    }

    /// Returns what a process with this number believes; with one that was never given, what the step started with.
    pub(crate) fn at(&self, number: u64) -> &Credentials {
        usize::try_from(number).ok().and_then(|number| self.known.get(number)).unwrap_or(&self.known[0])
    }

    /// Returns the number of a belief.
    pub(crate) fn number(&mut self, belief: Credentials) -> Result<u64, Errno> {
        // The last ones are asked for again: a process goes back and forth between its user and root.
        if let Some(number) = self.known.iter().rposition(|known| *known == belief) {
            return Ok(number as u64);
        }
        let groups = self.groups + belief.groups.len();
        if self.known.len() >= BELIEFS_MAX || groups > BELIEVED_GROUPS_MAX {
            return Err(Errno::AGAIN);
        }
        self.groups = groups;
        self.known.push(belief);
        Ok(self.known.len() as u64 - 1)
    }
}

impl Credentials {
    /// Whether it has root's rights over files, which go and come with the id that counts for them (capabilities(7)).
    pub(crate) fn is_root_of_files(&self) -> bool {
        self.user[3] == 0
    }

    /// Whether any ids may be taken.
    pub(crate) fn may_take_ids(&self) -> bool {
        self.user[1] == 0 || self.keeps_capabilities
    }

    /// Returns whom new files belong to.
    pub(crate) fn owner(&self) -> Owner {
        Owner { uid: self.user[3], gid: self.group[3] }
    }

    /// Whether files of a group are shared with it.
    fn is_in(&self, gid: u32) -> bool {
        gid == self.group[3] || self.groups.contains(&gid)
    }

    /// Whether a file of a group may keep a set-group-id bit that no right to execute goes with, when its owner changes.
    pub(crate) fn may_keep_group_bit(&self, gid: u32) -> bool {
        self.is_root_of_files() || self.is_in(gid)
    }

    /// Whether a file that belongs to `now` may be given to `wanted`, by the rules of chown(2); `None` is unchanged.
    pub(crate) fn may_give(&self, now: Owner, wanted: (Option<u32>, Option<u32>)) -> bool {
        let is_own = now.uid == self.user[3];
        let is_member = |gid: u32| gid == now.gid || self.is_in(gid);
        let user_fits = wanted.0.is_none_or(|uid| is_own && uid == now.uid);
        let group_fits = wanted.1.is_none_or(|gid| is_own && is_member(gid));
        self.is_root_of_files() || (user_fits && group_fits)
    }

    /// Returns what a process believes when it has become a program that belongs to `owner` and has this mode.
    pub(crate) fn after_exec(&self, mode: u32, owner: Owner) -> Self {
        let mut new = self.clone();
        if mode & libc::S_ISUID != 0 {
            new.user[1] = owner.uid;
        }
        // Without the right to execute for the group, the bit means something else.
        if mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP {
            new.group[1] = owner.gid;
        }
        for ids in [&mut new.user, &mut new.group] {
            (ids[2], ids[3]) = (ids[1], ids[1]);
        }
        new.keeps_capabilities = false;
        new
    }
}

/// One `set…id` call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// `setuid`, `setgid`.
    All(u32),
    /// `setreuid`, `setregid`.
    RealEffective(u32, u32),
    /// `setresuid`, `setresgid`.
    Each([u32; 3]),
    /// `setfsuid`, `setfsgid`; what is not allowed changes nothing, and is no error.
    OfFiles(u32),
}

/// Applies a change to ids by the rules of setuid(2) and its kin.
pub(crate) fn apply(ids: Ids, is_privileged: bool, change: Change) -> Result<Ids, Errno> {
    let [real, effective, saved, of_files] = ids;
    let keep = |wanted: u32, old: u32| if wanted == UNCHANGED { old } else { wanted };
    // Of each id that is asked for, and those that one without privileges may take.
    let is_one_of = |wanted: u32, held: &[u32]| wanted == UNCHANGED || held.contains(&wanted);
    let (new, is_allowed) = match change {
        Change::All(UNCHANGED) => return Err(Errno::INVAL),
        Change::All(id) if is_privileged => ([id; 3], true),
        Change::All(id) => ([real, id, saved], [real, saved].contains(&id)),
        Change::RealEffective(to_real, to_effective) => {
            let new_effective = keep(to_effective, effective);
            let saves = to_real != UNCHANGED || (to_effective != UNCHANGED && new_effective != real);
            let is_allowed =
                is_one_of(to_real, &[real, effective]) && is_one_of(to_effective, &[real, effective, saved]);
            ([keep(to_real, real), new_effective, if saves { new_effective } else { saved }], is_allowed)
        }
        Change::Each(wanted) => {
            let new = [keep(wanted[0], real), keep(wanted[1], effective), keep(wanted[2], saved)];
            // Asking for nothing new leaves also the one of files.
            if new == [real, effective, saved] && wanted[1] == UNCHANGED {
                return Ok(ids);
            }
            (new, wanted.iter().all(|id| is_one_of(*id, &[real, effective, saved])))
        }
        Change::OfFiles(id) => {
            let is_allowed = id != UNCHANGED && (is_privileged || ids.contains(&id));
            return Ok([real, effective, saved, if is_allowed { id } else { of_files }]);
        }
    };
    let [real, effective, saved] = new;
    if is_privileged || is_allowed { Ok([real, effective, saved, effective]) } else { Err(Errno::PERM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_by_the_rules_of_setuid() {
        let (root, dropped, none) = ([0; 4], [42; 4], UNCHANGED);
        let rows = [
            (root, Change::All(42), Ok(dropped)),
            (root, Change::All(none), Err(Errno::INVAL)),
            (dropped, Change::All(0), Err(Errno::PERM)),
            (dropped, Change::All(42), Ok(dropped)),
            ([0, 42, 0, 42], Change::All(0), Ok(root)),
            ([1, 42, 2, 42], Change::All(42), Err(Errno::PERM)),
            ([1, 42, 2, 42], Change::All(2), Ok([1, 2, 2, 2])),
            (dropped, Change::Each([none, 0, none]), Err(Errno::PERM)),
            (root, Change::Each([none, 42, none]), Ok([0, 42, 0, 42])),
            ([0, 0, 0, 42], Change::Each([none; 3]), Ok([0, 0, 0, 42])),
            ([0, 0, 0, 42], Change::Each([none, 0, none]), Ok(root)),
            ([0, 0, 0, 42], Change::Each([7, none, none]), Ok([7, 0, 0, 0])),
            ([0, 42, 0, 42], Change::RealEffective(none, 0), Ok(root)),
            (root, Change::RealEffective(42, 42), Ok(dropped)),
            ([0, 0, 0, 42], Change::RealEffective(none, none), Ok(root)),
            ([1, 42, 2, 42], Change::RealEffective(2, none), Err(Errno::PERM)),
            ([1, 42, 2, 42], Change::RealEffective(42, 2), Ok([42, 2, 2, 2])),
            (root, Change::OfFiles(42), Ok([0, 0, 0, 42])),
            (root, Change::OfFiles(none), Ok(root)),
            (dropped, Change::OfFiles(0), Ok(dropped)),
            ([1, 42, 2, 42], Change::OfFiles(2), Ok([1, 42, 2, 2])),
        ];
        for (ids, change, expected) in rows {
            assert_eq!(apply(ids, ids[1] == 0, change), expected, "{ids:?} {change:?}");
        }
    }

    #[test]
    fn a_step_that_believes_too_much_is_refused() {
        let mut beliefs = Beliefs::new(&User { uid: 0, gid: 0, groups: Vec::new() });
        let with_groups =
            |first: u32| Credentials { groups: (first..first + 65_536).collect(), ..Credentials::default() };
        let accepted = (1..=64).map_while(|first| beliefs.number(with_groups(first)).ok()).count();
        assert_eq!((accepted, beliefs.number(with_groups(1))), (15, Ok(1)));
    }

    #[test]
    fn a_number_is_a_belief_and_an_unknown_one_is_the_first() {
        let mut beliefs = Beliefs::new(&User { uid: 7, gid: 8, groups: vec![9, 8] });
        let first = beliefs.at(0).clone();
        assert_eq!((first.owner(), first.groups.as_slice()), (Owner { uid: 7, gid: 8 }, [8, 9].as_slice()));
        let dropped = Credentials { user: [42; 4], group: [42; 4], ..Credentials::default() };
        assert_eq!(beliefs.number(dropped.clone()), Ok(1));
        assert_eq!((beliefs.number(first.clone()), beliefs.number(dropped.clone())), (Ok(0), Ok(1)));
        assert_eq!((beliefs.at(1), beliefs.at(2), beliefs.at(u64::MAX)), (&dropped, &first, &first));
    }

    #[test]
    fn files_are_given_away_by_root_and_handed_to_own_groups_by_their_owner() {
        let root = Credentials { user: [0; 4], group: [0; 4], ..Credentials::default() };
        let user = Credentials { user: [5; 4], group: [6; 4], groups: vec![7], ..Credentials::default() };
        let half = Credentials { user: [0, 0, 0, 5], ..root.clone() };
        let (own, other) = (Owner { uid: 5, gid: 6 }, Owner { uid: 1, gid: 1 });
        let rows = [
            (&root, other, (Some(9), Some(9)), true),
            (&user, own, (Some(9), None), false),
            (&user, own, (Some(5), Some(7)), true),
            (&user, own, (None, Some(8)), false),
            (&user, other, (Some(1), Some(1)), false),
            (&user, other, (None, None), true),
            (&half, other, (Some(5), None), false),
        ];
        for (who, now, wanted, expected) in rows {
            assert_eq!(who.may_give(now, wanted), expected, "{who:?} {now:?} {wanted:?}");
        }
    }

    #[test]
    fn a_program_with_set_id_bits_runs_as_its_owner() {
        let user = Credentials { user: [5; 4], group: [6; 4], ..Credentials::default() };
        let owner = Owner { uid: 0, gid: 9 };
        let rows = [
            (0o755, [5, 5, 5, 5], [6, 6, 6, 6]),
            (0o4755, [5, 0, 0, 0], [6, 6, 6, 6]),
            (0o2755, [5, 5, 5, 5], [6, 9, 9, 9]),
            (0o2745, [5, 5, 5, 5], [6, 6, 6, 6]),
        ];
        for (mode, users, groups) in rows {
            let new = user.after_exec(mode, owner);
            assert_eq!((new.user, new.group), (users, groups), "{mode:o}");
        }
    }
}
