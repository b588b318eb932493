//! Ends all processes that come of this one where no pid namespace does it. Orphans of the step become children of this process, its
//! subreaper, whatever sessions and groups they made.

use std::collections::HashMap;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Kills every descendant and waits for all of them.
pub(crate) fn end_all() -> Result<(), Errno> {
    loop {
        let found = descendants();
        if found.is_empty() {
            return Ok(());
        }
        for process in found {
            match kill_process(process, Signal::KILL) {
                // It may have ended meanwhile.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        // One that is dead by now; its children are ours after that, so the list is made anew.
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Returns the descendants of this process, as `/proc` has them at the moment; the dead among them that nobody waited for, too.
fn descendants() -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    // Without `/proc` nothing is found, and what is left ends with the container.
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let (Some(process), Ok(stat)) = (number, fs::read_to_string(entry.path().join("stat"))) else {
            continue;
        };
        if let Some(parent) = parent_in(&stat) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![getpid()];
    while let Some(process) = next.pop() {
        let below = children.remove(&process).unwrap_or_default();
        found.extend(&below);
        next.extend(below);
    }
    found
}

/// Reads the parent in a line of `/proc/PID/stat`: behind the name, which is in brackets and may hold some.
fn parent_in(stat: &str) -> Option<Pid> {
    let fields = &stat[stat.rfind(')')? + 1..];
    Pid::from_raw(fields.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        let parent = |stat| parent_in(stat).map(|pid| pid.as_raw_nonzero().get());
        assert_eq!(parent("12 (sh) S 7 12 12"), Some(7));
        assert_eq!(parent("12 (a) S 1 (b) R 8 12"), Some(8));
        assert_eq!(parent("12 (sh"), None);
    }
}
