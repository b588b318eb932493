//! Who the processes of a single-id step believe to be. The kernel knows only one id there, so changing it is pretended:
//! `apt` drops to `_apt`, `su` becomes somebody, and both see what they asked for. Permissions are not checked by it.

use rustix::io::Errno;

use crate::spec::{Owner, User};

/// Real, effective and saved ids, and supplementary groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: [u32; 3],
    pub(crate) group: [u32; 3],
    /// Sorted, as the kernel keeps them.
    pub(crate) groups: Vec<u32>,
    /// Whether the process asked to keep its capabilities when it stops being root, to change more ids after that.
    pub(crate) keeps_capabilities: bool,
}

/// Everything that any process of a step believes. What a process carries is a number: its place in this list.
pub(crate) struct Beliefs(Vec<Credentials>);

/// Different beliefs in one step; a step that wants more is refused.
const BELIEFS_MAX: usize = 1 << 16;
const UNCHANGED: u32 = u32::MAX;

impl Beliefs {
    /// Returns the beliefs of a step that starts as `user`, which has the number 0.
    pub(crate) fn new(user: &User) -> Self {
        let mut groups = vec![user.gid];
        groups.extend(user.groups.iter().filter(|id| **id != user.gid));
        groups.sort_unstable();
        let (user, group) = ([user.uid; 3], [user.gid; 3]);
        Beliefs(vec![Credentials { user, group, groups, keeps_capabilities: false }])
    }

    /// Returns what a process with this number believes; with one that was never given, what the step started with.
    pub(crate) fn at(&self, number: u64) -> &Credentials {
        usize::try_from(number).ok().and_then(|number| self.0.get(number)).unwrap_or(&self.0[0])
    }

    /// Returns the number of a belief.
    pub(crate) fn number(&mut self, belief: Credentials) -> Result<u64, Errno> {
        // The last ones are asked for again: a process goes back and forth between its user and root.
        if let Some(number) = self.0.iter().rposition(|known| *known == belief) {
            return Ok(number as u64);
        }
        if self.0.len() >= BELIEFS_MAX {
            return Err(Errno::AGAIN);
        }
        self.0.push(belief);
        Ok(self.0.len() as u64 - 1)
    }
}

impl Credentials {
    /// Whether the effective user is root.
    pub(crate) fn is_root(&self) -> bool {
        self.user[1] == 0
    }

    /// Whether any ids may be taken.
    pub(crate) fn may_take_ids(&self) -> bool {
        self.is_root() || self.keeps_capabilities
    }

    /// Returns whom new files belong to.
    pub(crate) fn owner(&self) -> Owner {
        Owner { uid: self.user[1], gid: self.group[1] }
    }

    /// Whether a file that belongs to `now` may be given to `wanted`, by the rules of chown(2); `None` is unchanged.
    pub(crate) fn may_give(&self, now: Owner, wanted: (Option<u32>, Option<u32>)) -> bool {
        let is_own = now.uid == self.user[1];
        let is_member = |gid: u32| gid == now.gid || gid == self.group[1] || self.groups.contains(&gid);
        let user_fits = wanted.0.is_none_or(|uid| is_own && uid == now.uid);
        let group_fits = wanted.1.is_none_or(|gid| is_own && is_member(gid));
        self.is_root() || (user_fits && group_fits)
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
        (new.user[2], new.group[2]) = (new.user[1], new.group[1]);
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
}

/// Applies a change to real, effective and saved ids by the rules of setuid(2) and its kin.
pub(crate) fn apply(ids: [u32; 3], is_privileged: bool, change: Change) -> Result<[u32; 3], Errno> {
    let keep = |wanted: u32, old: u32| if wanted == UNCHANGED { old } else { wanted };
    let new = match change {
        Change::All(id) if is_privileged => [id; 3],
        Change::All(id) => [ids[0], id, ids[2]],
        Change::RealEffective(real, effective) => {
            let (new_real, new_effective) = (keep(real, ids[0]), keep(effective, ids[1]));
            let saves = real != UNCHANGED || (effective != UNCHANGED && new_effective != ids[0]);
            [new_real, new_effective, if saves { new_effective } else { ids[2] }]
        }
        Change::Each(wanted) => [keep(wanted[0], ids[0]), keep(wanted[1], ids[1]), keep(wanted[2], ids[2])],
    };
    let is_allowed = is_privileged || new.iter().all(|id| ids.contains(id));
    if is_allowed { Ok(new) } else { Err(Errno::PERM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_by_the_rules_of_setuid() {
        let root = [0; 3];
        let dropped = [42; 3];
        let rows = [
            (root, Change::All(42), Ok(dropped)),
            (dropped, Change::All(0), Err(Errno::PERM)),
            (dropped, Change::Each([UNCHANGED, 0, UNCHANGED]), Err(Errno::PERM)),
            (root, Change::Each([UNCHANGED, 42, UNCHANGED]), Ok([0, 42, 0])),
            ([0, 42, 0], Change::All(0), Ok([0, 0, 0])),
            ([0, 42, 0], Change::RealEffective(UNCHANGED, 0), Ok([0, 0, 0])),
            (root, Change::RealEffective(42, 42), Ok(dropped)),
            (dropped, Change::All(42), Ok(dropped)),
        ];
        for (ids, change, expected) in rows {
            assert_eq!(apply(ids, ids[1] == 0, change), expected, "{ids:?} {change:?}");
        }
    }

    #[test]
    fn a_number_is_a_belief_and_an_unknown_one_is_the_first() {
        let mut beliefs = Beliefs::new(&User { uid: 7, gid: 8, groups: vec![9, 8] });
        let first = beliefs.at(0).clone();
        assert_eq!((first.owner(), first.groups.as_slice()), (Owner { uid: 7, gid: 8 }, [8, 9].as_slice()));
        let dropped = Credentials { user: [42; 3], group: [42; 3], ..Credentials::default() };
        assert_eq!(beliefs.number(dropped.clone()), Ok(1));
        assert_eq!((beliefs.number(first.clone()), beliefs.number(dropped.clone())), (Ok(0), Ok(1)));
        assert_eq!((beliefs.at(1), beliefs.at(2), beliefs.at(u64::MAX)), (&dropped, &first, &first));
    }

    #[test]
    fn files_are_given_away_by_root_and_handed_to_own_groups_by_their_owner() {
        let root = Credentials { user: [0; 3], group: [0; 3], ..Credentials::default() };
        let user = Credentials { user: [5; 3], group: [6; 3], groups: vec![7], ..Credentials::default() };
        let (own, other) = (Owner { uid: 5, gid: 6 }, Owner { uid: 1, gid: 1 });
        let rows = [
            (&root, other, (Some(9), Some(9)), true),
            (&user, own, (Some(9), None), false),
            (&user, own, (Some(5), Some(7)), true),
            (&user, own, (None, Some(8)), false),
            (&user, other, (Some(1), Some(1)), false),
            (&user, other, (None, None), true),
        ];
        for (who, now, wanted, expected) in rows {
            assert_eq!(who.may_give(now, wanted), expected, "{who:?} {now:?} {wanted:?}");
        }
    }

    #[test]
    fn a_program_with_set_id_bits_runs_as_its_owner() {
        let user = Credentials { user: [5; 3], group: [6; 3], ..Credentials::default() };
        let owner = Owner { uid: 0, gid: 9 };
        let rows = [
            (0o755, [5, 5, 5], [6, 6, 6]),
            (0o4755, [5, 0, 0], [6, 6, 6]),
            (0o2755, [5, 5, 5], [6, 9, 9]),
            (0o2745, [5, 5, 5], [6, 6, 6]),
        ];
        for (mode, users, groups) in rows {
            let new = user.after_exec(mode, owner);
            assert_eq!((new.user, new.group), (users, groups), "{mode:o}");
        }
    }
}
