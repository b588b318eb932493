//! The clock of the store's file system, which is another one than the machine's where that lies elsewhere, and has coarser steps.

use std::io;
use std::path::Path;

use kiln_store::{Scratch, Store, StoreError};

/// The store's file system does not tell its time.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The store has no place to look.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be made there.
    #[error("cannot ask the store's file system for the time")]
    Look(#[source] io::Error),
}

/// Returns the time that the file system gives to what is made now, in nanoseconds.
pub(crate) fn now(store: &Store) -> Result<i64, ClockError> {
    look(&place(store)?).map_err(ClockError::Look)
}

/// Waits until the clock is past what it shows now, so that all that was made before is older than the time it returns, and whatever
/// is made after that is not.
pub(crate) fn outlast_now(store: &Store) -> Result<i64, ClockError> {
    let place = place(store)?;
    let now = look(&place).map_err(ClockError::Look)?;
    outlast_in(&place, now)
}

/// Waits until the clock is past `latest_ns`, a few milliseconds as a rule; returns what it shows. One that stands still or was set
/// back is not waited for.
pub(crate) fn outlast(store: &Store, latest_ns: i64) -> Result<i64, ClockError> {
    outlast_in(&place(store)?, latest_ns)
}

fn outlast_in(place: &Scratch, latest_ns: i64) -> Result<i64, ClockError> {
    const LOOKS_MAX: u32 = 100;
    let mut looks = 0;
    loop {
        let now = look(place).map_err(ClockError::Look)?;
        if now > latest_ns || looks == LOOKS_MAX {
            return Ok(now);
        }
        looks += 1;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn place(store: &Store) -> Result<Scratch, ClockError> {
    Ok(store.scratch("clock")?)
}

fn look(place: &Scratch) -> io::Result<i64> {
    let path: &Path = &place.path().join("now");
    let made = fs_err::File::create_new(path)?;
    let now = kiln_layer::FileIdentity::of(made.file())?.ctime_ns;
    fs_err::remove_file(path)?;
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_has_passed_is_behind_the_clock_and_one_far_ahead_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let before = now(&store).unwrap();
        let after = outlast(&store, before).unwrap();
        assert!(after > before, "{before} {after}");
        assert!(outlast(&store, i64::MAX).unwrap() < i64::MAX);
        let left = std::fs::read_dir(folder.path().join("scratch")).unwrap();
        let left = left.flat_map(|own| std::fs::read_dir(own.unwrap().path()).into_iter().flatten());
        assert_eq!(left.count(), 0);
    }
}
