//! One kiln at a time does a step: others that want the same of one store wait for it, and take what it made.
//!
//! A step waits before it holds anything, and a step that is being done waits for no other step: its inputs are there. So two
//! builds that each do a step the other wants never wait for each other. A step counts as done when its record is on the disk;
//! where it fails, or its process is killed, one of those who waited does it.

use std::time::Duration;

use kiln_sandbox::ExecError;
use kiln_store::{Flight, Turn};

use super::known::Probe;
use super::{Bench, StepError};
use crate::lanes::blocking;
use crate::progress::ProgressEvent;
use crate::rootfs::Layer;

/// The times between two looks: short at first, for a step that takes a moment.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(100);

/// What comes of it that others may do the same step.
pub(super) enum Boarding {
    /// It is this build's to do. Others wait until the flight is dropped.
    Ours(Flight),
    /// It was done meanwhile: a layer, or that nothing changed.
    Done(Option<Box<Layer>>),
}

/// Waits until nobody else does the step with this content key.
pub(super) async fn board(bench: &Bench, probe: &Probe) -> Result<Boarding, StepError> {
    let (step, name) = (probe.step, format!("step {}", probe.key.0));
    let mut look = LOOK_FIRST;
    let mut told = None;
    loop {
        if bench.cancel.is_cancelled() {
            return Err(StepError::Exec(ExecError::Cancelled));
        }
        let (store, own) = (bench.workshop.store.clone(), name.clone());
        match blocking(move || store.take_turn(&own)).await? {
            Turn::Ours(flight) => {
                // Who held it may have been done just now.
                return Ok(match probe.near_layer(bench) {
                    Some(layer) => Boarding::Done(layer.map(Box::new)),
                    None => Boarding::Ours(flight),
                });
            }
            Turn::Others(pid) if told != Some(pid) => {
                told = Some(pid);
                bench.progress.on(&ProgressEvent::StepWaits { step, pid });
            }
            Turn::Others(_) => {}
        }
        tokio::time::sleep(look).await;
        look = (look * 2).min(LOOK_LAST);
    }
}
