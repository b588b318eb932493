//! Who the processes of a single-id step believe to be. The kernel knows only one id there, so changing it is pretended:
//! `apt` drops to `_apt`, `su` becomes somebody, and both see what they asked for. Permissions are not checked by it.

use std::collections::BTreeMap;

use rustix::io::Errno;

use crate::spec::User;

/// Real, effective and saved ids, and supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: [u32; 3],
    pub(crate) group: [u32; 3],
    pub(crate) groups: Vec<u32>,
}

/// A process as long as it lives: ids are used again, start times are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) started: u64,
}

/// Looks into the process table: who a process is and who its parent is.
pub(crate) trait ProcessTable {
    /// Returns a process and its parent's id; `None` when it is gone.
    fn look_up(&self, id: u32) -> Option<(Process, u32)>;
}

/// What every process believes. A child believes what its parent believes until it says otherwise.
pub(crate) struct Beliefs {
    first: Credentials,
    changed: BTreeMap<u32, (u64, Credentials)>,
}

/// Generations looked back; deeper chains have ended up at process 1 long before.
const ANCESTORS_MAX: u32 = 64;
const UNCHANGED: u32 = u32::MAX;

impl Beliefs {
    pub(crate) fn new(user: &User) -> Self {
        let mut groups = vec![user.gid];
        groups.extend(user.groups.iter().filter(|id| **id != user.gid));
        let first = Credentials { user: [user.uid; 3], group: [user.gid; 3], groups };
        Beliefs { first, changed: BTreeMap::new() }
    }

    /// Returns what a process believes.
    pub(crate) fn of(&self, id: u32, table: &impl ProcessTable) -> Credentials {
        let mut id = id;
        for _ in 0..ANCESTORS_MAX {
            // Most steps never change ids: then nobody is looked up.
            if self.changed.is_empty() {
                break;
            }
            let Some((process, parent)) = table.look_up(id) else { break };
            match self.changed.get(&process.id) {
                Some((started, credentials)) if *started == process.started => return credentials.clone(),
                _ => id = parent,
            }
        }
        self.first.clone()
    }

    /// Changes what a process believes.
    pub(crate) fn set(&mut self, id: u32, credentials: Credentials, table: &impl ProcessTable) {
        if let Some((process, _)) = table.look_up(id) {
            self.changed.insert(process.id, (process.started, credentials));
        }
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

    struct Table(Vec<(u32, u64, u32)>);

    impl ProcessTable for Table {
        fn look_up(&self, id: u32) -> Option<(Process, u32)> {
            let row = self.0.iter().find(|row| row.0 == id)?;
            Some((Process { id, started: row.1 }, row.2))
        }
    }

    #[test]
    fn a_child_believes_its_parent_and_a_reused_id_does_not() {
        let mut beliefs = Beliefs::new(&User::default());
        let table = Table(vec![(1, 10, 0), (2, 20, 1), (3, 30, 2)]);
        let dropped = Credentials { user: [42; 3], group: [42; 3], groups: vec![] };
        beliefs.set(2, dropped.clone(), &table);
        assert_eq!(beliefs.of(3, &table), dropped);
        assert_eq!(beliefs.of(1, &table).user, [0; 3]);
        let later = Table(vec![(1, 10, 0), (2, 99, 1)]);
        assert_eq!(beliefs.of(2, &later).user, [0; 3]);
    }
}
