//! Lines → what a build did.

use std::io::{self, BufRead, BufReader, Read};

use kiln_oci::Digest;
use kiln_store::{Store, StoreError};

use super::entry::{Ended, Entry, FORMAT, Header, Line, PlannedStep};
use crate::explain::Reason;

/// Longest journal that is read, in bytes: one of a hundred thousand steps has half of it.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// What a build did, as far as its journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStory {
    /// Its id.
    pub id: String,
    /// Whether it still goes on.
    pub is_living: bool,
    /// How it was called.
    pub header: Header,
    /// The steps of its plan, inputs before what needs them.
    pub steps: Vec<StepStory>,
    /// Other work, in the order of its end.
    pub tasks: Vec<Task>,
    /// What came and went.
    pub moved: Vec<Moved>,
    /// What was not as it should be.
    pub warnings: Vec<String>,
    /// How it ended; nothing where it goes on, or was killed.
    pub ended: Option<Ended>,
    /// When the last thing happened, in milliseconds since its beginning.
    pub last_at: u64,
}

/// A step, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepStory {
    /// The step.
    pub planned: PlannedStep,
    /// What became of it.
    pub state: State,
    /// When it began to run, in milliseconds since the build began.
    pub started: Option<u64>,
    /// How long it ran, in milliseconds.
    pub took: Option<u64>,
    /// Why it was not taken from the cache.
    pub reason: Option<Reason>,
    /// The bytes of its layer; zero where it changed nothing.
    pub layer_bytes: Option<u64>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It gives files, and is neither run nor found.
    Source,
    /// No result needs it.
    Unneeded,
    /// It was found in the cache, or something made from it was.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It runs, or ran when the build ended.
    Running,
    /// Its turn did not come.
    Waiting,
}

/// Work that is no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// When it ended, in milliseconds since the build began.
    pub ended: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// Bytes that it fetched.
    pub bytes: u64,
}

/// Bytes that went over a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What they belong to.
    pub what: String,
    /// How many.
    pub bytes: u64,
}

impl Moved {
    /// Whether they went to a registry, and did not come from one.
    pub fn is_pushed(&self) -> bool {
        self.what.starts_with("pushing ")
    }
}

impl BuildStory {
    /// Returns the steps that some result needs, and that are run or found in the cache.
    pub fn transforms(&self) -> impl Iterator<Item = &StepStory> {
        self.steps.iter().filter(|step| step.planned.kind.is_transform() && step.state != State::Unneeded)
    }

    /// Returns what it is called by people: eight digits made from its id.
    pub fn name(&self) -> String {
        Digest::of(self.id.as_bytes()).hex()[..8].to_owned()
    }

    /// Returns how long it took, or takes up to now as far as is known, in milliseconds.
    pub fn took(&self) -> u64 {
        self.last_at
    }
}

/// Returns the builds of a store that have a journal, newest first. One that cannot be read is left out.
///
/// # Errors
/// What the store says of the folder.
pub fn stories(store: &Store) -> Result<Vec<BuildStory>, StoreError> {
    let ids = store.logs().build_ids()?;
    // A build that was removed while the list is made, or is of another format, is not worth an error of the whole list.
    Ok(ids.iter().filter_map(|id| read(store, id).ok().flatten()).collect())
}

/// Returns the newest build that came as far as its plan.
///
/// # Errors
/// What the store says of the folder.
pub fn last_planned(store: &Store) -> Result<Option<BuildStory>, StoreError> {
    let ids = store.logs().build_ids()?;
    // As above.
    let mut stories = ids.iter().filter_map(|id| read(store, id).ok().flatten());
    Ok(stories.find(|story| !story.steps.is_empty()))
}

/// Returns what a build did; nothing where there is no journal, or one of another format.
///
/// # Errors
/// What the store says.
pub fn read(store: &Store, id: &str) -> Result<Option<BuildStory>, StoreError> {
    // Asked first: who ends while the lines are read has written how.
    let is_living = store.logs().is_living(id)?;
    let Some(file) = store.logs().journal(id)? else { return Ok(None) };
    let lines = lines(file).map_err(|source| StoreError::Io {
        verb: "read",
        path: store.path().join("logs").join(id),
        source,
    })?;
    Ok(story(id, is_living, lines))
}

/// Returns the lines that can be understood.
fn lines(file: impl Read) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(file.take(JOURNAL_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        // The half of a line is the last one of a killed process; an unknown one is a later version's.
        lines.extend(serde_json::from_slice::<Line>(&line).ok());
    }
}

fn story(id: &str, is_living: bool, lines: Vec<Line>) -> Option<BuildStory> {
    let mut lines = lines.into_iter();
    let Some(Line { entry: Entry::Build(header), .. }) = lines.next() else { return None };
    if header.format != FORMAT {
        return None;
    }
    let mut story = BuildStory {
        id: id.to_owned(),
        is_living,
        header: *header,
        steps: Vec::new(),
        tasks: Vec::new(),
        moved: Vec::new(),
        warnings: Vec::new(),
        ended: None,
        last_at: 0,
    };
    for Line { at, entry } in lines {
        story.last_at = story.last_at.max(at);
        story.add(at, entry);
    }
    imply_cached(&mut story.steps);
    Some(story)
}

impl BuildStory {
    fn add(&mut self, at: u64, entry: Entry) {
        match entry {
            Entry::Build(_) => {}
            Entry::Task { task, took, bytes } => self.tasks.push(Task { name: task, ended: at, took, bytes }),
            Entry::Plan { steps } => self.begin(steps),
            // It is there because this build has made it, before it began anew.
            Entry::Cached { step } => self.change(step, |it| match it.state {
                State::Ran => {}
                _ => it.state = State::Cached,
            }),
            Entry::Missed { step, reason } => self.change(step, |it| it.reason = Some(reason)),
            Entry::Started { step } => self.change(step, |it| {
                it.state = State::Running;
                it.started = Some(at);
            }),
            Entry::Done { step, took } => self.change(step, |it| it.end(State::Ran, at, took)),
            Entry::Failed { step, took } => self.change(step, |it| it.end(State::Failed, at, took)),
            Entry::Layers { layers } => {
                for (step, bytes) in layers {
                    self.change(step, |it| it.layer_bytes = Some(bytes));
                }
            }
            Entry::Moved { what, bytes } => match self.moved.iter_mut().find(|moved| moved.what == what) {
                Some(moved) => moved.bytes = moved.bytes.saturating_add(bytes),
                None => self.moved.push(Moved { what, bytes }),
            },
            Entry::Warning { message } => self.warnings.push(message),
            Entry::Ended(ended) => self.ended = Some(*ended),
        }
    }

    /// Begins with a plan. A build that begins anew, because it has to go on in another way, keeps what it has done and found.
    fn begin(&mut self, planned: Vec<PlannedStep>) {
        let mut before = std::mem::take(&mut self.steps).into_iter();
        self.steps = planned.into_iter().map(StepStory::new).collect();
        for step in &mut self.steps {
            let is_over = |was: &StepStory| matches!(was.state, State::Ran | State::Cached);
            if let Some(was) = before.next().filter(|was| was.planned == step.planned && is_over(was)) {
                *step = was;
            }
        }
    }

    fn change(&mut self, step: u32, change: impl FnOnce(&mut StepStory)) {
        // A journal that names a step which its plan lacks is damaged, and the rest is still worth reading.
        if let Some(story) = self.steps.get_mut(step as usize) {
            change(story);
        }
    }
}

impl StepStory {
    fn new(planned: PlannedStep) -> Self {
        let state = match planned.kind.is_transform() {
            _ if !planned.is_needed => State::Unneeded,
            true => State::Waiting,
            false => State::Source,
        };
        Self { planned, state, started: None, took: None, reason: None, layer_bytes: None }
    }

    fn end(&mut self, state: State, at: u64, took: u64) {
        self.state = state;
        self.started.get_or_insert(at.saturating_sub(took));
        self.took = Some(took);
    }

    /// Returns what its log is called.
    pub fn log_name(&self) -> String {
        format!("{:04}", self.planned.step)
    }

    /// Returns the steps whose results it needs.
    pub fn inputs(&self) -> impl Iterator<Item = u32> + '_ {
        self.planned.parent.into_iter().chain(self.planned.reads.iter().copied())
    }
}

/// A step that nobody asked for, because what is made from it was found, counts as found.
fn imply_cached(steps: &mut [StepStory]) {
    for index in (0..steps.len()).rev() {
        if steps[index].state != State::Cached {
            continue;
        }
        let inputs: Vec<usize> = steps[index].inputs().map(|input| input as usize).collect();
        for input in inputs {
            if let Some(input) = steps.get_mut(input).filter(|input| input.state == State::Waiting) {
                input.state = State::Cached;
            }
        }
    }
}
