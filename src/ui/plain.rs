//! One line an event, for logs. The form is stable:
//!
//! ```text
//! #1 DONE 0.1s reading the context
//! #2 CACHED [build 1/3] COPY Makefile /src
//! #3 [build 2/3] RUN make
//! #3 because src/app.c content 1f3a90c2…→9c01d2e4…
//! #3 0.123 cc -o app app.c
//! #3 DONE 0.4s
//! #4 DONE 0.1s [build 3/3] COPY . /app
//! ```
//!
//! A step that prints something, or that may take long, has a heading; any other is one line when it is done.
//! Why a step runs is said with `--explain` only.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use kiln_builder::explain::Reason;
use kiln_builder::plan::{Op, Plan, StepId};
use kiln_builder::progress::ProgressEvent;
use kiln_oci::Digest;

use super::label::Labels;
use super::layers::{Layers, Shown};
use super::lines::{Lines, PUT_OFF, clean, heading, waits};
use super::style::{Paint, Style};
use super::{Explains, human, repeated, short};

/// Time between two lines about one transfer.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// Writes events as lines.
#[derive(Debug)]
pub(crate) struct Plain<W> {
    out: W,
    explains: Explains,
    style: Style,
    labels: Labels,
    layers: Layers,
    /// For each step, whether its operation is a RUN.
    runs: Vec<bool>,
    running: BTreeMap<StepId, Running>,
    transfers: BTreeMap<(String, Digest), Duration>,
    /// Tasks whose bytes move: when that was said last, and how many they are.
    moving: BTreeMap<String, (Duration, u64)>,
}

#[derive(Debug)]
struct Running {
    number: u32,
    started: Duration,
    has_heading: bool,
    lines: Lines,
}

impl<W: Write> Plain<W> {
    /// Returns a display that writes to `out`.
    pub(crate) fn new(out: W, explains: Explains, style: Style) -> Self {
        Self {
            out,
            explains,
            style,
            labels: Labels::default(),
            layers: Layers::default(),
            runs: Vec::new(),
            running: BTreeMap::new(),
            transfers: BTreeMap::new(),
            moving: BTreeMap::new(),
        }
    }

    /// Shows an event that happened `at` after the beginning.
    pub(crate) fn on(&mut self, event: &ProgressEvent<'_>, at: Duration) {
        match self.layers.on(event) {
            Shown::Otherwise => self.on_build(event, at),
            Shown::Nothing => {}
            Shown::Line { text, .. } => self.write(&format!("{text}\n")),
            Shown::Moving { blob, text } => {
                if self.is_transfer_due("", blob, false, at) {
                    self.write(&format!("{text}\n"));
                }
            }
        }
    }

    fn on_build(&mut self, event: &ProgressEvent<'_>, at: Duration) {
        match event {
            ProgressEvent::Began { task } => {
                self.labels.task_number(task);
            }
            ProgressEvent::TaskOutput { task, line } => {
                let number = self.labels.task_number(task);
                let line = clean(line.as_bytes(), false);
                self.line(number, &line);
            }
            ProgressEvent::Moved { task, done, total } => self.task_moved(task, *done, *total, at),
            ProgressEvent::Finished { task, took, detail } => self.task_done(task, *took, detail),
            ProgressEvent::Planned { plan, .. } => self.plan(plan),
            ProgressEvent::StepCached { step } => {
                self.running.remove(step);
                let number = self.labels.step_number(*step);
                let name = self.labels.step(*step).to_owned();
                self.line(number, &format!("{} {name}", self.style.paint(Paint::Done, "CACHED")));
            }
            ProgressEvent::StepStarted { step } => self.started(*step, at),
            ProgressEvent::StepWaits { step, pid } => {
                let number = self.labels.step_number(*step);
                self.heading(*step);
                self.line(number, &waits(*pid));
            }
            ProgressEvent::StepMissed { step, reason } => self.missed(*step, reason),
            ProgressEvent::StepOutput { step, bytes } => self.output(*step, bytes, at),
            ProgressEvent::StepDone { step, took } => self.ended(*step, Paint::Done, "DONE", *took),
            ProgressEvent::StepFailed { step, took } => self.ended(*step, Paint::Error, "ERROR", *took),
            ProgressEvent::StepPutOff { step, took } => self.ended(*step, Paint::Warning, PUT_OFF, *took),
            ProgressEvent::StepRepeated { step, verdict, took } => {
                let (paint, word) = repeated::word(verdict);
                let number = self.labels.step_number(*step);
                let name = self.labels.step(*step).to_owned();
                let word = self.style.paint(paint, word);
                self.line(number, &format!("{word} {} {name}", human::duration(*took)));
            }
            ProgressEvent::Transfer { what, blob, done, total } => {
                let is_due = self.is_transfer_due(what, *blob, *done == *total, at);
                if is_due {
                    self.transfer(what, *blob, *done, *total);
                }
            }
            ProgressEvent::Warning { message } => {
                let word = self.style.paint(Paint::Warning, "warning");
                self.write(&format!("{word}: {}\n", heading(message, usize::MAX)));
            }
            // They are shown at the end, by what holds the display.
            ProgressEvent::Noticed { .. } | ProgressEvent::StepMade { .. } => {}
            // Those are lines of their own.
            ProgressEvent::ImageMoves { .. } | ProgressEvent::Layer { .. } => {}
            // The screen is lent meanwhile, by what holds the display.
            ProgressEvent::ShellOpened { .. } | ProgressEvent::ShellClosed => {}
            ProgressEvent::Named { reference, digest } => {
                self.write(&format!("named {} {digest}\n", reference.familiar()));
            }
        }
    }

    fn plan(&mut self, plan: &Plan) {
        self.labels.plan(plan);
        self.runs = plan.steps().map(|(_, step)| matches!(step.op, Op::Run(_))).collect();
    }

    fn task_moved(&mut self, task: &str, done: u64, total: Option<u64>, at: Duration) {
        let (said, bytes) = self.moving.entry(task.to_owned()).or_insert((at, done));
        *bytes = done;
        if at.saturating_sub(*said) >= TRANSFER_EVERY {
            *said = at;
            let number = self.labels.task_number(task);
            self.line(number, &format!("{} {}", heading(task, 200), human::amount(done, total)));
        }
    }

    fn task_done(&mut self, task: &str, took: Duration, detail: &str) {
        let number = self.labels.task_number(task);
        let moved = self.moving.remove(task).map(|(_, bytes)| human::size(bytes));
        let detail = if detail.is_empty() { moved.unwrap_or_default() } else { detail.to_owned() };
        let done = self.style.paint(Paint::Done, "DONE");
        let detail = if detail.is_empty() { detail } else { format!(" ({})", heading(&detail, 200)) };
        self.line(number, &format!("{done} {} {}{detail}", human::duration(took), heading(task, 200)));
    }

    fn started(&mut self, step: StepId, at: Duration) {
        let number = self.labels.step_number(step);
        let running = Running { number, started: at, has_heading: false, lines: Lines::default() };
        self.running.insert(step, running);
    }

    /// A step that runs may take long, and may print something.
    fn missed(&mut self, step: StepId, reason: &Reason) {
        let is_run = self.runs.get(step.index()).copied().unwrap_or(false);
        if is_run || self.explains == Explains::Yes {
            self.heading(step);
        }
        if self.explains == Explains::Yes {
            let number = self.labels.step_number(step);
            self.line(number, &format!("because {}", heading(&reason.to_string(), usize::MAX)));
        }
    }

    fn heading(&mut self, step: StepId) {
        let Some(running) = self.running.get_mut(&step) else { return };
        if !std::mem::replace(&mut running.has_heading, true) {
            let number = running.number;
            let name = self.style.paint(Paint::Bold, self.labels.step(step));
            self.line(number, &name);
        }
    }

    fn output(&mut self, step: StepId, bytes: &[u8], at: Duration) {
        self.heading(step);
        let is_coloured = self.style.is_coloured();
        let Some(running) = self.running.get_mut(&step) else { return };
        let (number, since) = (running.number, at.saturating_sub(running.started));
        let mut text = String::new();
        running
            .lines
            .push(bytes, |line| text.push_str(&output_line(number, since, &clean(line, is_coloured))));
        self.write(&text);
    }

    fn ended(&mut self, step: StepId, paint: Paint, word: &str, took: Duration) {
        let number = self.labels.step_number(step);
        let mut tail = format!("{} {}", self.style.paint(paint, word), human::duration(took));
        let is_coloured = self.style.is_coloured();
        let mut last = String::new();
        let has_heading = self.running.remove(&step).is_some_and(|mut running| {
            running.lines.finish(|line| last = output_line(number, took, &clean(line, is_coloured)));
            running.has_heading
        });
        if !has_heading {
            tail = format!("{tail} {}", self.labels.step(step));
        }
        self.write(&last);
        self.line(number, &tail);
    }

    fn is_transfer_due(&mut self, what: &str, blob: Digest, is_done: bool, at: Duration) -> bool {
        let key = (what.to_owned(), blob);
        if is_done {
            self.transfers.remove(&key);
            return true;
        }
        let last = *self.transfers.entry(key.clone()).or_insert(at);
        let is_due = at.saturating_sub(last) >= TRANSFER_EVERY;
        if is_due {
            self.transfers.insert(key, at);
        }
        is_due
    }

    fn transfer(&mut self, what: &str, blob: Digest, done: u64, total: u64) {
        let (name, blob) = (heading(what, 200), short(blob));
        let text = match done == total {
            true => format!("{name} {blob} {}", human::size(total)),
            false => format!("{name} {blob} {} of {}", human::size(done), human::size(total)),
        };
        self.write(&format!("{text}\n"));
    }

    fn line(&mut self, number: u32, text: &str) {
        self.write(&format!("{} {text}\n", self.style.paint(Paint::Dim, &format!("#{number}"))));
    }

    fn write(&mut self, text: &str) {
        // Nowhere is left to say that standard error is gone, and the build does not depend on it.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).ok();
    }
}

fn output_line(number: u32, since: Duration, line: &str) -> String {
    format!("#{number} {}.{:03} {line}\n", since.as_secs(), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::super::label::tests::plan;
    use super::*;
    use kiln_builder::repeated::Verdict;

    fn shown(events: &[(u64, ProgressEvent<'_>)]) -> String {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out, Explains::Yes, Style::PLAIN);
        for (millis, event) in events {
            plain.on(event, Duration::from_millis(*millis));
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_are_lines_of_the_documented_form() {
        let plan = plan();
        let ids: Vec<StepId> = plan.steps().map(|(id, _)| id).collect();
        let took = Duration::from_millis(400);
        let reason = Reason::ResultGone { what: "a\nb".to_owned() };
        let failed = Verdict::Failed { message: "exit code: 1".to_owned(), log: "/log".into() };
        let text = shown(&[
            (0, ProgressEvent::Began { task: "reading the context" }),
            (9, ProgressEvent::Finished { task: "reading the context", took, detail: "3 files" }),
            (10, ProgressEvent::Planned { plan: &plan, needed: &[true; 3] }),
            (10, ProgressEvent::StepCached { step: ids[0] }),
            (1000, ProgressEvent::StepStarted { step: ids[1] }),
            (1050, ProgressEvent::StepWaits { step: ids[1], pid: Some(u32::MAX) }),
            (1000, ProgressEvent::StepMissed { step: ids[1], reason: &reason }),
            (1123, ProgressEvent::StepOutput { step: ids[1], bytes: b"cc -o a\x1b[2J\nhal" }),
            (1200, ProgressEvent::StepOutput { step: ids[1], bytes: b"f\r\nend" }),
            (1400, ProgressEvent::StepFailed { step: ids[1], took }),
            (1400, ProgressEvent::StepStarted { step: ids[2] }),
            (1500, ProgressEvent::StepDone { step: ids[2], took }),
            (1500, ProgressEvent::StepStarted { step: ids[1] }),
            (1500, ProgressEvent::StepOutput { step: ids[1], bytes: b"chown" }),
            (1500, ProgressEvent::StepPutOff { step: ids[1], took }),
            (1600, ProgressEvent::StepRepeated { step: ids[1], verdict: &Verdict::Same, took }),
            (1600, ProgressEvent::StepRepeated { step: ids[2], verdict: &failed, took }),
            (1600, ProgressEvent::Warning { message: "mirror\nis slow" }),
        ]);
        let expected = "\
#1 DONE 0.4s reading the context (3 files)
#2 CACHED FROM scratch
#3 [build 1/2] RUN make
#3 waits for another kiln (pid 4294967295) that builds the same step
#3 because the result is gone: a b
#3 0.123 cc -o a
#3 0.200 half
#3 0.400 end
#3 ERROR 0.4s
#4 DONE 0.4s [build 2/2] COPY . /app
#3 [build 1/2] RUN make
#3 0.400 chown
#3 PUT OFF 0.4s
#3 SAME 0.4s [build 1/2] RUN make
#4 FAILS 0.4s [build 2/2] COPY . /app
warning: mirror is slow
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_step_that_has_begun_and_is_known_by_its_inputs_is_one_line() {
        let plan = plan();
        let step = plan.steps().nth(1).unwrap().0;
        let text = shown(&[
            (10, ProgressEvent::Planned { plan: &plan, needed: &[true; 3] }),
            (10, ProgressEvent::StepStarted { step }),
            (10, ProgressEvent::StepCached { step }),
        ]);
        assert_eq!(text, "#1 CACHED [build 1/2] RUN make\n");
    }

    #[test]
    fn a_task_whose_bytes_move_has_few_lines_and_its_size_at_the_end() {
        let task = "fetch https://host/x";
        let event = |done| ProgressEvent::Moved { task, done, total: Some(45_000_000) };
        let took = Duration::from_secs(9);
        let text = shown(&[
            (0, ProgressEvent::Began { task }),
            (0, event(0)),
            (4999, event(2000)),
            (5000, event(3_000_000)),
            (5100, event(4_000_000)),
            (9000, event(45_000_000)),
            (9000, ProgressEvent::Finished { task, took, detail: "" }),
            (9000, ProgressEvent::Began { task: "again" }),
            (9000, ProgressEvent::Finished { task: "again", took, detail: "not modified" }),
        ]);
        let expected = "\
#1 fetch https://host/x 3MB of 45MB
#1 DONE 9.0s fetch https://host/x (45MB)
#2 DONE 9.0s again (not modified)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_transfer_has_a_line_at_its_end_and_few_before() {
        let blob = Digest::of(b"x");
        let event = |done| ProgressEvent::Transfer { what: "library/debian", blob, done, total: 45_000_000 };
        let text = shown(&[
            (0, event(0)),
            (1, event(1000)),
            (4999, event(2000)),
            (5000, event(3_000_000)),
            (5100, event(4_000_000)),
            (9000, event(45_000_000)),
        ]);
        let hex = &blob.hex()[..12];
        assert_eq!(text, format!("library/debian {hex} 3MB of 45MB\nlibrary/debian {hex} 45MB\n"));
    }
}
