//! What steps printed.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};

use kiln_builder::Workshop;
use kiln_builder::journal::{BuildStory, State, StepStory};

use super::failed;
use crate::commands::print_bytes;
use crate::failure::{Failure, Kind};
use crate::report::{LogTail, Logs, log_bytes_max};
use crate::ui::{Lines, clean, show_text};

/// Prints all that a step printed.
pub(super) fn print_step(
    workshop: &Workshop,
    stories: &[BuildStory],
    story: &BuildStory,
    step: &StepStory,
) -> Result<(), Failure> {
    let logs = workshop.store.logs();
    let Some(mut file) = logs.open(&story.id, &step.log_name()).map_err(failed)? else {
        show_text(&nothing(stories, story, step));
        return Ok(());
    };
    let mut printer = Printer::default();
    printer.copy(&mut file)?;
    printer.finish()
}

/// Says why there is no output, and where there is some.
fn nothing(stories: &[BuildStory], story: &BuildStory, step: &StepStory) -> String {
    let number = step.planned.step;
    match step.state {
        State::Cached => {
            let is_same = |other: &&StepStory| {
                other.state == State::Ran
                    && other.planned.text == step.planned.text
                    && other.planned.stage == step.planned.stage
            };
            let ran = stories
                .iter()
                .skip_while(|other| other.id != story.id)
                .find_map(|other| Some((other.name(), other.transforms().find(is_same)?)));
            let where_it_ran = match ran {
                Some((name, step)) => {
                    format!("; it last ran in another: `kiln log {name} {}`", step.planned.step)
                }
                None => String::new(),
            };
            format!(
                "step {number} was taken from the cache, so it printed nothing in this build{where_it_ran}\n"
            )
        }
        State::Waiting => format!("step {number} was not reached\n"),
        _ => format!("step {number} printed nothing\n"),
    }
}

/// Writes output to standard output: as it is, and to a terminal without what acts on it.
#[derive(Debug, Default)]
pub(super) struct Printer {
    lines: Lines,
    is_closed: bool,
}

impl Printer {
    /// Copies what a file has from where it stands. Does nothing once the reader has gone away.
    pub(super) fn copy(&mut self, file: &mut File) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 * 1024];
        while !self.is_closed {
            let size = file.read(&mut buffer).map_err(|error| unreadable(&error))?;
            if size == 0 {
                break;
            }
            self.print(&buffer[..size])?;
        }
        Ok(())
    }

    /// Whether the reader has gone away.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !io::stdout().is_terminal() {
            self.is_closed = !print_bytes(bytes)?;
            return Ok(());
        }
        let mut text = String::new();
        self.lines.push(bytes, |line| text.push_str(&format!("{}\n", clean(line, true))));
        self.is_closed = !print_bytes(text.as_bytes())?;
        Ok(())
    }

    /// Writes the last line, if it has no end.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let mut text = String::new();
        self.lines.finish(|line| text.push_str(&format!("{}\n", clean(line, true))));
        print_bytes(text.as_bytes()).map(drop)
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Kind::Failed, format!("cannot read the log: {error}"))
}

/// Returns the ends of all that steps printed.
pub(super) fn tails(workshop: &Workshop, story: &BuildStory) -> Result<Logs, Failure> {
    let logs = workshop.store.logs();
    let ran: Vec<&StepStory> = story.transforms().filter(|step| step.started.is_some()).collect();
    let mut tails = Logs::new();
    for step in &ran {
        // What failed is what people look for.
        let bytes_max = if step.state == State::Failed { log_bytes_max(1) } else { log_bytes_max(ran.len()) };
        let Some(mut file) = logs.open(&story.id, &step.log_name()).map_err(failed)? else { continue };
        // A log that cannot be read to its end is shown as far as it can; the page is about more than that.
        if let Ok(tail) = tail(&mut file, bytes_max) {
            tails.insert(step.planned.step, tail);
        }
    }
    Ok(tails)
}

/// Returns the end of a log, from the beginning of a line on where there is one.
fn tail(file: &mut File, bytes_max: u64) -> io::Result<LogTail> {
    let size = file.metadata()?.len();
    let mut omitted = size.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(omitted))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    if omitted > 0
        && let Some(at) = bytes.iter().position(|byte| *byte == b'\n').filter(|at| at + 1 < bytes.len())
    {
        bytes.drain(..=at);
        omitted += at as u64 + 1;
    }
    Ok(LogTail { bytes, omitted })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_of_a_log_begins_with_a_line() {
        for (text, bytes_max, expected, omitted) in [
            ("a\nb\n", 10, "a\nb\n", 0),
            ("aaaa\nbbbb\nc\n", 8, "bbbb\nc\n", 5),
            ("aaaaaaaaaa", 4, "aaaa", 6),
            ("aaaaaaaaa\n", 4, "aaa\n", 6),
            ("", 4, "", 0),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let expected = LogTail { bytes: expected.as_bytes().to_vec(), omitted };
            assert_eq!(tail(&mut file, bytes_max).unwrap(), expected, "{text:?}");
        }
    }
}
