//! The live view: what runs is redrawn in place, what is done scrolls up as one line.
//!
//! The cursor always rests below the view and is never hidden, so however the program ends, the terminal is as it was.
//! The view is redrawn at most every [`REDRAW_EVERY`], however much a step prints.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::Duration;

use kiln_builder::plan::StepId;
use kiln_builder::progress::ProgressEvent;
use kiln_oci::Digest;

use super::frame::{Item, Size, TAIL_LINES, View, fit, frame};
use super::label::Labels;
use super::layers::{Layers, Shown};
use super::lines::{Lines, PUT_OFF, clean, heading, waits};
use super::style::{Paint, Style};
use super::transcript::{Transcript, replay};
use super::{Explains, human, repeated, short};

/// Least time between two drawings.
const REDRAW_EVERY: Duration = Duration::from_millis(66);

/// Shows events in a view that is redrawn.
pub(crate) struct Tty<W> {
    out: W,
    size: fn() -> Size,
    explains: Explains,
    style: Style,
    labels: Labels,
    layers: Layers,
    view: View,
    steps: BTreeMap<StepId, Output>,
    /// Lines that will scroll up with the next drawing.
    finished: String,
    /// Lines of the view that are on screen.
    drawn: usize,
    last_drawn: Option<Duration>,
}

/// What a step printed.
#[derive(Debug, Default)]
struct Output {
    lines: Lines,
    transcript: Transcript,
}

impl<W: Write> Tty<W> {
    /// Returns a view on `out`, whose size is asked for at each drawing.
    pub(crate) fn new(out: W, size: fn() -> Size, explains: Explains, style: Style) -> Self {
        Self {
            out,
            size,
            explains,
            style,
            labels: Labels::default(),
            layers: Layers::default(),
            view: View::default(),
            steps: BTreeMap::new(),
            finished: String::new(),
            drawn: 0,
            last_drawn: None,
        }
    }

    /// Takes an event that happened `at` after the beginning, and draws when it is time.
    pub(crate) fn on(&mut self, event: &ProgressEvent<'_>, at: Duration) {
        match (self.layers.on(event), event) {
            (Shown::Otherwise, _) => self.on_build(event, at),
            (Shown::Line { text, is_final: true }, _) => {
                let columns = (self.size)().columns;
                self.finished.push_str(&format!("{}\n", fit(&text, columns)));
            }
            (_, ProgressEvent::Transfer { blob, done, total, .. }) if self.layers.is_layer(blob) => {
                // A bar for each layer; that of a whole one is not drawn.
                self.view.transfers.entry(short(*blob)).or_default().insert(*blob, (*done, *total));
            }
            _ => {}
        }
        // Not onto a screen that is lent.
        if !matches!(event, ProgressEvent::ShellOpened { .. } | ProgressEvent::ShellClosed) {
            self.tick(at);
        }
    }

    fn on_build(&mut self, event: &ProgressEvent<'_>, at: Duration) {
        match event {
            ProgressEvent::Began { task } => {
                let number = self.labels.task_number(task);
                self.begin(number, heading(task, 200), at);
            }
            ProgressEvent::TaskOutput { task, line } => {
                if let Some(item) = self.task(task) {
                    item.partial = clean(line.as_bytes(), false);
                }
            }
            ProgressEvent::Moved { task, done, total } => {
                if let Some(item) = self.task(task) {
                    item.moved = Some((*done, *total));
                }
            }
            ProgressEvent::Finished { task, took, detail } => self.finished(task, *took, detail),
            ProgressEvent::Planned { plan, needed } => {
                self.labels.plan(plan);
                self.view.needed = needed.iter().filter(|is_needed| **is_needed).count();
            }
            ProgressEvent::StepCached { step } => {
                self.view.done += 1;
                self.steps.remove(step);
                self.step_end(*step, Paint::Done, "CACHED", None);
            }
            ProgressEvent::StepStarted { step } => {
                let number = self.labels.step_number(*step);
                self.begin(number, self.labels.step(*step).to_owned(), at);
                self.steps.insert(*step, Output::default());
            }
            ProgressEvent::StepWaits { step, pid } => {
                self.output(*step, format!("{}\n", waits(*pid)).as_bytes());
            }
            ProgressEvent::StepMissed { step, reason } if self.explains == Explains::Yes => {
                let text = format!("{}: {reason}", self.labels.step(*step));
                self.finish_line(Paint::Dim, "because", &text);
            }
            ProgressEvent::StepOutput { step, bytes } => self.output(*step, bytes),
            ProgressEvent::StepDone { step, took } => {
                self.view.done += 1;
                self.steps.remove(step);
                self.step_end(*step, Paint::Done, "DONE", Some(*took));
            }
            ProgressEvent::StepFailed { step, took } => self.failed(*step, *took),
            ProgressEvent::StepPutOff { step, took } => {
                self.steps.remove(step);
                self.step_end(*step, Paint::Warning, PUT_OFF, Some(*took));
            }
            ProgressEvent::StepRepeated { step, verdict, took } => {
                let (paint, word) = repeated::word(verdict);
                self.step_end(*step, paint, word, Some(*took));
            }
            ProgressEvent::Transfer { what, blob, done, total } => self.moved(what, *blob, (*done, *total)),
            ProgressEvent::Warning { message } => self.finish_line(Paint::Warning, "warning", message),
            // They are shown at the end, by what holds the display; who has borrowed the screen has it; images have lines of
            // their own.
            ProgressEvent::Noticed { .. }
            | ProgressEvent::StepMade { .. }
            | ProgressEvent::StepMissed { .. }
            | ProgressEvent::ShellOpened { .. }
            | ProgressEvent::ShellClosed
            | ProgressEvent::ImageMoves { .. }
            | ProgressEvent::Layer { .. } => {}
            ProgressEvent::Named { reference, digest } => {
                self.finish_line(Paint::Done, "NAMED", &format!("{} {digest}", reference.familiar()));
            }
        }
    }

    fn task(&mut self, task: &str) -> Option<&mut Item> {
        let number = self.labels.task_number(task);
        self.view.running.get_mut(&number)
    }

    fn finished(&mut self, task: &str, took: Duration, detail: &str) {
        let number = self.labels.task_number(task);
        let moved = self.view.running.get(&number).and_then(|item| item.moved);
        let size = moved.map(|(done, _)| human::size(done)).unwrap_or_default();
        let detail = if detail.is_empty() { &size } else { detail };
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        self.end(number, Paint::Done, "DONE", &format!("{task}{detail} {}", human::duration(took)));
    }

    fn moved(&mut self, what: &str, blob: Digest, (done, total): (u64, u64)) {
        let blobs = self.view.transfers.entry(heading(what, 200)).or_default();
        let before = blobs.insert(blob, (done, total));
        if done == total && before != Some((done, total)) {
            let text = format!("{what} {} {}", short(blob), human::size(total));
            self.finish_line(Paint::Done, "DONE", &text);
        }
    }

    /// Draws when it is time.
    pub(crate) fn tick(&mut self, at: Duration) {
        if self.last_drawn.is_none_or(|last| at.saturating_sub(last) >= REDRAW_EVERY) {
            self.last_drawn = Some(at);
            let lines = frame(&self.view, at, (self.size)(), self.style);
            self.draw(&lines);
        }
    }

    /// Takes the view away and leaves what is done.
    pub(crate) fn finish(&mut self) {
        self.draw(&[]);
    }

    fn begin(&mut self, number: u32, name: String, at: Duration) {
        let item = Item { name, started: at, tail: VecDeque::new(), partial: String::new(), moved: None };
        self.view.running.insert(number, item);
    }

    fn end(&mut self, number: u32, paint: Paint, word: &str, text: &str) {
        self.view.running.remove(&number);
        self.finish_line(paint, word, text);
    }

    fn step_end(&mut self, step: StepId, paint: Paint, word: &str, took: Option<Duration>) {
        let number = self.labels.step_number(step);
        let took = took.map(|took| format!(" {}", human::duration(took))).unwrap_or_default();
        let text = format!("{}{took}", self.labels.step(step));
        self.end(number, paint, word, &text);
    }

    fn finish_line(&mut self, paint: Paint, word: &str, text: &str) {
        let columns = (self.size)().columns;
        let text = fit(&heading(text, usize::MAX), columns.saturating_sub(8));
        self.finished.push_str(&format!("{} {text}\n", self.style.paint(paint, &format!("{word:>7}"))));
    }

    fn output(&mut self, step: StepId, bytes: &[u8]) {
        let number = self.labels.step_number(step);
        let Some(output) = self.steps.get_mut(&step) else { return };
        output.transcript.push(bytes);
        let Some(item) = self.view.running.get_mut(&number) else { return };
        // Of a flood only the last lines are looked at.
        let mut last = VecDeque::with_capacity(TAIL_LINES);
        output.lines.push(bytes, |line| {
            if last.len() == TAIL_LINES {
                last.pop_front();
            }
            last.push_back(line.to_vec());
        });
        item.tail.extend(last.iter().map(|line| clean(line, false)));
        item.tail.drain(..item.tail.len().saturating_sub(TAIL_LINES));
        item.partial = clean(output.lines.partial(), false);
    }

    fn failed(&mut self, step: StepId, took: Duration) {
        let number = self.labels.step_number(step);
        self.view.running.remove(&number);
        self.draw(&[]);
        if let Some(output) = self.steps.remove(&step) {
            replay(&mut self.out, output.transcript, self.labels.step(step), self.style);
        }
        self.step_end(step, Paint::Error, "ERROR", Some(took));
    }

    /// Replaces what is on screen: one write, from the first line of the old view on.
    fn draw(&mut self, lines: &[String]) {
        if self.drawn == 0 && lines.is_empty() && self.finished.is_empty() {
            return;
        }
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        for line in self.finished.lines().chain(lines.iter().map(String::as_str)) {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.finished.clear();
        self.drawn = lines.len();
        // Nowhere is left to say that the terminal is gone, and the build does not depend on it.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::super::label::tests::plan;
    use super::*;

    /// What a terminal shows after some bytes: knows only what the view uses.
    fn screen(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (mut lines, mut row, mut column) = (vec![String::new()], 0, 0);
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\x1b' => {
                    let sequence: String = chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    // `take_while` ate the letter; numbers are only used to go up.
                    match sequence.trim_start_matches('[').parse::<usize>() {
                        Ok(up) => row -= up,
                        Err(_) => {
                            lines[row].truncate(column);
                            if text_after_is_clear(&chars) {
                                lines.truncate(row + 1);
                            }
                        }
                    }
                }
                '\r' => column = 0,
                '\n' => {
                    (row, column) = (row + 1, 0);
                    if row == lines.len() {
                        lines.push(String::new());
                    }
                }
                char => {
                    lines[row].truncate(column);
                    lines[row].push(char);
                    column = lines[row].len();
                }
            }
        }
        lines
    }

    /// Whether the sequence just read was the one at the end of a drawing: no line end follows it.
    fn text_after_is_clear(rest: &std::str::Chars<'_>) -> bool {
        !rest.as_str().starts_with('\n')
    }

    fn size() -> Size {
        Size { columns: 40, rows: 10 }
    }

    #[test]
    fn running_steps_are_redrawn_and_finished_ones_scroll_up() {
        let plan = plan();
        let ids: Vec<StepId> = plan.steps().map(|(id, _)| id).collect();
        let took = Duration::from_secs(2);
        let mut out = Vec::new();
        let mut tty = Tty::new(&mut out, size, Explains::Yes, Style::PLAIN);
        let events = [
            ProgressEvent::Planned { plan: &plan, needed: &[true; 3] },
            ProgressEvent::StepCached { step: ids[0] },
            ProgressEvent::StepStarted { step: ids[1] },
            ProgressEvent::StepOutput { step: ids[1], bytes: b"1\n2\n3\n4\n5\n6\n7\npart" },
        ];
        for (second, event) in (0..).zip(&events) {
            tty.on(event, Duration::from_secs(second));
        }
        let expected = [
            " CACHED FROM scratch",
            " > [build 1/2] RUN make             1.0s",
            "     3",
            "     4",
            "     5",
            "     6",
            "     7",
            "     part",
            " 1 of 3 steps                       3.0s",
            "",
        ];
        assert_eq!(screen(tty.out), expected);
        tty.on(&ProgressEvent::StepDone { step: ids[1], took }, Duration::from_secs(5));
        tty.finish();
        let expected = [" CACHED FROM scratch", "   DONE [build 1/2] RUN make 2.0s", ""];
        assert_eq!(screen(&out), expected);
    }

    #[test]
    fn a_failed_step_leaves_its_whole_output() {
        let plan = plan();
        let step = plan.steps().map(|(id, _)| id).nth(1).unwrap();
        let mut out = Vec::new();
        let mut tty = Tty::new(&mut out, size, Explains::Yes, Style::PLAIN);
        tty.on(&ProgressEvent::Planned { plan: &plan, needed: &[true; 3] }, Duration::ZERO);
        tty.on(&ProgressEvent::StepStarted { step }, Duration::from_secs(1));
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        tty.on(&ProgressEvent::StepOutput { step, bytes: text.as_bytes() }, Duration::from_secs(2));
        tty.on(&ProgressEvent::StepFailed { step, took: Duration::from_secs(1) }, Duration::from_secs(3));
        tty.finish();
        let shown = screen(&out);
        let (first, last) = (shown[0].as_str(), shown[shown.len() - 2].as_str());
        assert_eq!((first, last), ("output of [build 1/2] RUN make:", "  ERROR [build 1/2] RUN make 1.0s"));
        assert_eq!(shown[1..101], text.lines().map(str::to_owned).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_that_is_put_off_leaves_a_line_and_so_does_one_that_is_repeated() {
        let plan = plan();
        let step = plan.steps().map(|(id, _)| id).nth(1).unwrap();
        let (mut out, took) = (Vec::new(), Duration::from_secs(1));
        let mut tty = Tty::new(&mut out, size, Explains::Yes, Style::PLAIN);
        for event in [
            ProgressEvent::Planned { plan: &plan, needed: &[true; 3] },
            ProgressEvent::StepStarted { step },
            ProgressEvent::StepOutput { step, bytes: b"chown\n" },
            ProgressEvent::StepPutOff { step, took },
            ProgressEvent::StepRepeated { step, verdict: &kiln_builder::repeated::Verdict::Same, took },
        ] {
            tty.on(&event, took);
        }
        tty.finish();
        let expected = ["PUT OFF [build 1/2] RUN make 1.0s", "   SAME [build 1/2] RUN make 1.0s", ""];
        assert_eq!(screen(&out), expected);
    }

    #[test]
    fn a_flood_is_drawn_fifteen_times_a_second_at_most() {
        let plan = plan();
        let step = plan.steps().map(|(id, _)| id).nth(1).unwrap();
        let mut out = Vec::new();
        let mut tty = Tty::new(&mut out, size, Explains::Yes, Style::PLAIN);
        tty.on(&ProgressEvent::StepStarted { step }, Duration::ZERO);
        for millis in 0..1000 {
            tty.on(&ProgressEvent::StepOutput { step, bytes: b"x\n" }, Duration::from_millis(millis));
        }
        let drawings = String::from_utf8(out).unwrap().matches("\x1b[J").count();
        assert!(drawings <= 16, "{drawings}");
    }
}
