//! Nothing but what fails: the output of a failed step.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use kiln_builder::plan::StepId;
use kiln_builder::progress::ProgressEvent;

use super::label::Labels;
use super::style::Style;
use super::transcript::{Transcript, replay};

/// Keeps what steps print, in case they fail.
#[derive(Debug)]
pub(crate) struct Quiet<W> {
    out: W,
    style: Style,
    labels: Labels,
    running: BTreeMap<StepId, Transcript>,
}

impl<W: Write> Quiet<W> {
    /// Returns a display that writes to `out` when it must.
    pub(crate) fn new(out: W, style: Style) -> Self {
        Self { out, style, labels: Labels::default(), running: BTreeMap::new() }
    }

    /// Takes an event.
    pub(crate) fn on(&mut self, event: &ProgressEvent<'_>, _at: Duration) {
        match event {
            ProgressEvent::Planned { plan, .. } => self.labels.plan(plan),
            ProgressEvent::StepOutput { step, bytes } => self.running.entry(*step).or_default().push(bytes),
            ProgressEvent::StepDone { step, .. } | ProgressEvent::StepPutOff { step, .. } => {
                self.running.remove(step);
            }
            ProgressEvent::StepFailed { step, .. } => {
                if let Some(transcript) = self.running.remove(step) {
                    replay(&mut self.out, transcript, self.labels.step(*step), self.style);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::label::tests::plan;
    use super::*;

    #[test]
    fn only_the_output_of_a_failed_step_is_shown() {
        let plan = plan();
        let ids: Vec<StepId> = plan.steps().map(|(id, _)| id).collect();
        let took = Duration::ZERO;
        let mut out = Vec::new();
        let mut quiet = Quiet::new(&mut out, Style::PLAIN);
        for event in [
            ProgressEvent::Planned { plan: &plan, needed: &[true; 3] },
            ProgressEvent::StepOutput { step: ids[1], bytes: b"fine\n" },
            ProgressEvent::StepDone { step: ids[1], took },
            ProgressEvent::StepOutput { step: ids[2], bytes: b"no such file" },
            ProgressEvent::StepFailed { step: ids[2], took },
            ProgressEvent::StepOutput { step: ids[1], bytes: b"done anew\n" },
            ProgressEvent::StepPutOff { step: ids[1], took },
            ProgressEvent::StepFailed { step: ids[1], took },
        ] {
            quiet.on(&event, Duration::ZERO);
        }
        assert_eq!(String::from_utf8(out).unwrap(), "output of [build 2/2] COPY . /app:\nno such file\n");
    }
}
