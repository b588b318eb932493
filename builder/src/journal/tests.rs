use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_oci::{Descriptor, DiffId, Digest, MediaType};
use kiln_store::Store;

use super::*;
use crate::explain::Reason;
use crate::plan::{CopyOp, CopySource, MakeDirOp, Op, Origin, Plan, StepId, Unpack};
use crate::progress::{Progress, ProgressEvent, Silent};
use crate::request::BuildRequest;
use crate::rootfs::{Layer, Rootfs};

const STARTED_NS: i128 = 1_700_000_000_000_000_000;

/// A plan: stage `a` of two steps, and stage `b` of one that reads `a`.
fn plan() -> (Plan, Vec<StepId>) {
    let mut plan = Plan::default();
    let scratch = plan.push(Op::Scratch, Origin { text: "FROM scratch".to_owned(), ..Origin::default() });
    let origin = |stage: &str, position, text: &str| Origin {
        stage: stage.to_owned(),
        position,
        count: 2,
        text: text.to_owned(),
        line: 1 + position,
        ..Origin::default()
    };
    let directory =
        |parent, path: &str| Op::MakeDir(MakeDirOp { parent, path: path.to_owned(), user: String::new() });
    let one = plan.push(directory(scratch, "/1"), origin("a", 1, "ADD https://me:hunter2@host/x /"));
    let two = plan.push(directory(one, "/2"), origin("a", 2, &"x".repeat(9000)));
    let copy = CopyOp {
        parent: scratch,
        sources: vec![CopySource::Path { from: two, pattern: "/".to_owned() }],
        destination: "/".to_owned(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    };
    let three = plan.push(Op::Copy(Box::new(copy)), origin("b", 1, "COPY --from=a / /"));
    (plan, vec![scratch, one, two, three])
}

/// Two layers, as a step has them that is the second in its stage.
fn rootfs(made: &[bool]) -> Rootfs {
    let layer = |size: u64| Layer {
        diff_id: DiffId(Digest::of(&size.to_le_bytes())),
        blob: Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(&size.to_le_bytes()), size),
    };
    let count = made.iter().filter(|made| **made).count() as u64;
    Rootfs { layers: (1..=count).map(|at| layer(at * 100)).collect(), made: made.to_vec() }
}

fn header() -> Header {
    let words = ["kiln", "build", "--secret=id=a,env=TOKEN", "https://me:hunter2@host/a.git"];
    let words = words.map(std::ffi::OsString::from);
    let request = BuildRequest { target: Some("b".to_owned()), ..BuildRequest::new("/context") };
    Header::new(&request, &words, Path::new("/here"), "9.9")
}

fn done() -> Ended {
    Ended::done(&Digest::of(b"image"), vec!["app:1".to_owned()], &[])
}

struct Scene {
    _space: tempfile::TempDir,
    store: Store,
    id: String,
    journal: Arc<Journal>,
}

impl Scene {
    fn new() -> Self {
        let space = tempfile::tempdir().unwrap();
        let store = Store::open(space.path()).unwrap();
        let journal = Journal::before(Arc::new(Silent));
        journal.begin(&store, STARTED_NS, header());
        Self { _space: space, store, id: build_id(STARTED_NS), journal }
    }

    fn path(&self) -> std::path::PathBuf {
        self.store.path().join("logs").join(&self.id).join("journal.jsonl")
    }

    fn story(&self) -> BuildStory {
        read(&self.store, &self.id).unwrap().unwrap()
    }
}

/// What became of each step: state, reason, duration, size.
type Row = (State, Option<Reason>, Option<u64>, Option<u64>);

fn rows(story: &BuildStory) -> Vec<Row> {
    let row = |step: &StepStory| (step.state, step.reason.clone(), step.took, step.layer_bytes);
    story.steps.iter().map(row).collect()
}

#[test]
fn a_build_is_read_as_it_was_told() {
    let scene = Scene::new();
    let (plan, ids) = plan();
    let took = Duration::from_millis(1500);
    let (on, blob) = (|event: ProgressEvent<'_>| scene.journal.on(&event), Digest::of(b"blob"));
    on(ProgressEvent::Moved { task: "https://host/x", done: 77, total: None });
    on(ProgressEvent::Finished { task: "https://host/x", took, detail: "" });
    on(ProgressEvent::Planned { plan: &plan, needed: &[true; 4] });
    on(ProgressEvent::StepMade { step: ids[2], rootfs: &rootfs(&[true, false]) });
    on(ProgressEvent::StepCached { step: ids[2] });
    on(ProgressEvent::StepMissed { step: ids[3], reason: &Reason::New });
    on(ProgressEvent::StepStarted { step: ids[3] });
    assert!(scene.story().is_living);
    assert_eq!(rows(&scene.story())[3], (State::Running, Some(Reason::New), None, None));
    on(ProgressEvent::StepOutput { step: ids[3], bytes: b"this is in the log of the step" });
    for done in [0, 40, 50] {
        on(ProgressEvent::Transfer { what: "library/debian", blob, done, total: 50 });
    }
    on(ProgressEvent::Transfer { what: "pushing app", blob, done: 50, total: 50 });
    on(ProgressEvent::Warning { message: "https://me:hunter2@host is slow" });
    on(ProgressEvent::StepMade { step: ids[3], rootfs: &rootfs(&[true]) });
    on(ProgressEvent::StepDone { step: ids[3], took });
    scene.journal.end(&scene.store, done());
    let story = scene.story();
    let expected = [
        (State::Source, None, None, None),
        (State::Cached, None, None, Some(100)),
        (State::Cached, None, None, Some(0)),
        (State::Ran, Some(Reason::New), Some(1500), Some(100)),
    ];
    assert_eq!(rows(&story), expected);
    assert_eq!((story.is_living, story.ended), (false, Some(done())));
    assert_eq!(story.warnings, ["https://host is slow"]);
    assert_eq!(story.moved, [Moved { what: "library/debian".to_owned(), bytes: 50 }]);
    assert_eq!((story.tasks[0].name.as_str(), story.tasks[0].bytes), ("https://host/x", 77));
    let header = &story.header;
    assert_eq!(header.words[1..], ["build", "--secret=id=a,env=TOKEN", "https://host/a.git"]);
    assert_eq!((header.began, header.target.as_deref()), (1_700_000_000_000, Some("b")));
    let reads: Vec<&[u32]> = story.steps.iter().map(|step| &*step.planned.reads).collect();
    assert_eq!(reads, [&[][..], &[], &[], &[2]]);
    assert_eq!(story.steps[2].planned.text, "x".repeat(4096) + "…");
    assert!(!std::fs::read_to_string(scene.path()).unwrap().contains("hunter2"));
}

#[test]
fn a_build_that_begins_anew_has_done_what_it_did_before() {
    let scene = Scene::new();
    let (plan, ids) = plan();
    let on = |event: ProgressEvent<'_>| scene.journal.on(&event);
    let (took, needed) = (Duration::from_millis(5), &[true; 4]);
    on(ProgressEvent::Planned { plan: &plan, needed });
    on(ProgressEvent::StepCached { step: ids[1] });
    on(ProgressEvent::StepMissed { step: ids[2], reason: &Reason::New });
    on(ProgressEvent::StepStarted { step: ids[2] });
    on(ProgressEvent::StepDone { step: ids[2], took });
    on(ProgressEvent::StepStarted { step: ids[3] });
    on(ProgressEvent::StepFailed { step: ids[3], took });
    on(ProgressEvent::Planned { plan: &plan, needed });
    on(ProgressEvent::StepCached { step: ids[2] });
    let (cached, ran) = ((State::Cached, None, None, None), (State::Ran, Some(Reason::New), Some(5), None));
    let expected = [(State::Source, None, None, None), cached, ran, (State::Waiting, None, None, None)];
    assert_eq!(rows(&scene.story()), expected);
    on(ProgressEvent::Planned { plan: &Plan::default(), needed: &[] });
    assert_eq!(rows(&scene.story()), [], "another plan is another build");
}

#[test]
fn the_last_build_whose_steps_are_known_is_found() {
    let scene = Scene::new();
    assert_eq!(last_planned(&scene.store).unwrap(), None);
    scene.journal.on(&ProgressEvent::Planned { plan: &plan().0, needed: &[true; 4] });
    let later = Journal::before(Arc::new(Silent));
    later.begin(&scene.store, STARTED_NS + 1_000_000_000, header());
    assert_eq!(last_planned(&scene.store).unwrap(), Some(scene.story()));
}

#[test]
fn a_build_that_was_killed_is_read_up_to_its_last_whole_line() {
    let scene = Scene::new();
    let (plan, ids) = plan();
    scene.journal.on(&ProgressEvent::Planned { plan: &plan, needed: &[true, true, true, false] });
    scene.journal.on(&ProgressEvent::StepStarted { step: ids[1] });
    let mut file = OpenOptions::new().append(true).open(scene.path()).unwrap();
    file.write_all(b"{\"at\":9,\"event\":\"of a later version\",\"x\":1}\n\xff\n{\"at\":10,\"event\":\"do")
        .unwrap();
    let states = |story: BuildStory| story.steps.iter().map(|step| step.state).collect::<Vec<_>>();
    let expected = [State::Source, State::Running, State::Waiting, State::Unneeded];
    assert_eq!(states(scene.story()), expected);
    let (store, id) = (scene.store.clone(), scene.id.clone());
    drop(scene.journal);
    let story = read(&store, &id).unwrap().unwrap();
    assert_eq!((story.is_living, story.ended), (false, None));
}

#[test]
fn what_is_no_journal_of_this_format_is_no_build() {
    let scene = Scene::new();
    for text in ["", "{", "\u{0}", "{\"at\":0,\"event\":\"cached\",\"step\":1}\n"] {
        std::fs::write(scene.path(), text).unwrap();
        assert_eq!(read(&scene.store, &scene.id).unwrap(), None, "{text}");
    }
    assert_eq!(stories(&scene.store).unwrap(), []);
}

#[test]
fn a_step_that_no_plan_has_is_passed_over() {
    let scene = Scene::new();
    let mut file = OpenOptions::new().append(true).open(scene.path()).unwrap();
    file.write_all(b"{\"at\":1,\"event\":\"cached\",\"step\":4000000000}\n").unwrap();
    assert_eq!(scene.story().steps, []);
}

/// Keeps warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn on(&self, event: &ProgressEvent<'_>) {
        if let ProgressEvent::Warning { message } = event {
            self.0.lock().unwrap().push((*message).to_owned());
        }
    }
}

#[test]
fn a_journal_that_cannot_be_written_is_one_warning() {
    let space = tempfile::tempdir().unwrap();
    let store = Store::open(space.path()).unwrap();
    std::fs::remove_dir(space.path().join("logs")).unwrap();
    std::fs::write(space.path().join("logs"), "").unwrap();
    let display = Arc::new(Warnings::default());
    let journal = Journal::before(display.clone());
    journal.begin(&store, STARTED_NS, header());
    journal.on(&ProgressEvent::Finished { task: "x", took: Duration::ZERO, detail: "" });
    journal.end(&store, done());
    let warnings = display.0.lock().unwrap().clone();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("`kiln log` will not know all of this build: cannot "), "{warnings:?}");
}

#[test]
fn a_build_that_finds_everything_writes_three_times() {
    let scene = Scene::new();
    let (plan, ids) = plan();
    let size = || std::fs::metadata(scene.path()).unwrap().len();
    let begun = size();
    assert!(begun > 0);
    scene.journal.on(&ProgressEvent::Planned { plan: &plan, needed: &[true; 4] });
    let planned = size();
    assert!(planned > begun);
    scene.journal.on(&ProgressEvent::StepCached { step: ids[2] });
    assert_eq!(size(), planned);
    scene.journal.end(&scene.store, done());
    assert_eq!(scene.story().ended, Some(done()));
}

#[test]
fn an_end_says_what_was_not_the_same_and_one_of_an_older_kiln_says_nothing_of_it() {
    let is_good = |line: &str| serde_json::from_str::<Ended>(line).unwrap().is_good();
    assert!(is_good(r#"{"outcome":"done","digest":"sha256:1","names":[]}"#));
    assert!(!is_good(r#"{"outcome":"done","digest":"sha256:1","names":[],"not_the_same":["RUN date: x"]}"#));
    assert!(!is_good(r#"{"outcome":"interrupted"}"#));
    let ended = Ended::done(
        &Digest::of(b"image"),
        Vec::new(),
        &["RUN git clone https://me:hunter2@host/a: x".to_owned()],
    );
    let line = serde_json::to_string(&ended).unwrap();
    assert!(!line.contains("hunter2"), "{line}");
    assert_eq!(serde_json::from_str::<Ended>(&line).unwrap(), ended);
}
