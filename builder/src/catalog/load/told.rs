//! How far a load is, told to whoever waits: an archive may have many gigabytes, and its layers are read a second time when they
//! are checked.

use std::io::{self, Read};
use std::time::Instant;

use crate::progress::{Progress, ProgressEvent};

/// How many bytes lie between two reports.
const REPORT_BYTES: u64 = 1 << 20;

/// One part of the work, begun and not finished.
pub(super) struct Told<'a> {
    progress: &'a dyn Progress,
    task: String,
    started: Instant,
    done: u64,
    total: Option<u64>,
    /// What was reported last.
    reported: u64,
}

impl<'a> Told<'a> {
    /// Says that the work begins.
    pub(super) fn begin(progress: &'a dyn Progress, task: String) -> Self {
        progress.on(&ProgressEvent::Began { task: &task });
        Self { progress, task, started: Instant::now(), done: 0, total: None, reported: 0 }
    }

    /// Says how many bytes there are.
    pub(super) fn expect(&mut self, total: u64) {
        self.total = Some(total);
        self.report();
    }

    /// Says that so many more bytes are done.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done - self.reported >= REPORT_BYTES {
            self.report();
        }
    }

    /// Says that the work is done.
    pub(super) fn finish(mut self) {
        self.report();
        let took = self.started.elapsed();
        self.progress.on(&ProgressEvent::Finished { task: &self.task, took, detail: "" });
    }

    fn report(&mut self) {
        self.reported = self.done;
        let moved = ProgressEvent::Moved { task: &self.task, done: self.done, total: self.total };
        self.progress.on(&moved);
    }
}

/// A file whose reading is told.
pub(super) struct Counted<'a, 'told, R> {
    pub(super) file: R,
    pub(super) told: &'a mut Told<'told>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.told.moved(count as u64);
        Ok(count)
    }
}
