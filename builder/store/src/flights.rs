//! Flights: work that only one process does at a time, so that others take its result instead of doing it again.
//!
//! A flight is a lock file with the number of the process that holds it, for those who wait to tell. It goes with the flight;
//! one that a killed process left is free, and goes with the next. Nobody waits here: who finds the work taken comes back, and
//! may do something else meanwhile, such as giving up.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{LockMode, write_all};
use crate::error::{IoContext, Result, optional};
use crate::leases::Session;
use crate::lock::{LockGuard, named_lock_path, try_lock};

/// A process number has fewer digits.
const NUMBER_BYTES_MAX: u64 = 20;

/// Whose work something is.
#[derive(Debug)]
pub enum Turn {
    /// Ours, until the flight is dropped.
    Ours(Flight),
    /// Somebody else's, by the number of the process where that is known.
    Others(Option<u32>),
}

/// Work that this process does; dropping it leaves it to others.
#[derive(Debug)]
pub struct Flight {
    session: Arc<Session>,
    guard: LockGuard,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // While it is held, so that nobody locks a file that has no name any more without noticing. One that stays is free.
        drop(self.session.disk().unlink(self.guard.path()));
    }
}

/// Begins the work called `name`, unless somebody else does it.
pub(crate) fn take_turn(session: &Arc<Session>, name: &str) -> Result<Turn> {
    let path = named_lock_path(session.root(), name);
    let disk = session.disk();
    let Some(guard) = try_lock(disk, &path, LockMode::Exclusive)? else {
        return holder(session, &path).map(Turn::Others);
    };
    if guard.file().metadata().on("inspect", &path)?.len() > 0 {
        disk.truncate(guard.file(), &path, 0).on("truncate", &path)?;
    }
    write_all(disk, guard.file(), &path, std::process::id().to_string().as_bytes())?;
    Ok(Turn::Ours(Flight { session: Arc::clone(session), guard }))
}

fn holder(session: &Session, path: &Path) -> Result<Option<u32>> {
    let Some(file) = optional(session.disk().open(path)).on("open", path)? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(NUMBER_BYTES_MAX).read_to_end(&mut text).on("read", path)?;
    Ok(str::from_utf8(&text).ok().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn work_is_one_process_s_until_its_flight_ends() {
        let space = tempfile::tempdir().unwrap();
        crate::Store::open(space.path()).unwrap();
        let open = || Arc::new(Session::new(space.path().to_owned(), Arc::new(RealDisk)));
        let (mine, other) = (open(), open());
        let Turn::Ours(flight) = take_turn(&mine, "step").unwrap() else { panic!("nobody else is here") };
        let Turn::Others(pid) = take_turn(&other, "step").unwrap() else { panic!("it is taken") };
        assert_eq!(pid, Some(std::process::id()));
        assert!(matches!(take_turn(&other, "another step").unwrap(), Turn::Ours(_)));
        drop(flight);
        assert!(!named_lock_path(space.path(), "step").exists());
        // As a killed process leaves it.
        std::fs::write(named_lock_path(space.path(), "step"), "999999999").unwrap();
        let Turn::Ours(_flight) = take_turn(&other, "step").unwrap() else { panic!("its holder is dead") };
        let Turn::Others(pid) = take_turn(&mine, "step").unwrap() else { panic!("it is taken") };
        assert_eq!(pid, Some(std::process::id()));
    }
}
