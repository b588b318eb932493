use std::time::Instant;

use kiln_builder::explain::{Change, Reason};
use kiln_builder::journal::{BuildStory, Ended, Header, PlannedStep, State, StepKind, StepStory, Task};

use super::layout::{NODE_HEIGHT, NODE_WIDTH, layout};
use super::*;

fn step(
    number: u32,
    kind: StepKind,
    stage: &str,
    parent: Option<u32>,
    reads: &[u32],
    text: &str,
) -> StepStory {
    let planned = PlannedStep {
        step: number,
        kind,
        stage: stage.to_owned(),
        stage_name: stage.to_owned(),
        position: number,
        count: 9,
        line: number,
        text: text.to_owned(),
        parent,
        reads: reads.to_vec(),
        is_needed: true,
    };
    let state = if kind.is_transform() { State::Ran } else { State::Source };
    StepStory {
        planned,
        state,
        started: Some(u64::from(number) * 100),
        took: Some(50),
        reason: None,
        layer_bytes: Some(1000),
    }
}

fn story(steps: Vec<StepStory>) -> BuildStory {
    BuildStory {
        id: "00000001700000000000-1".to_owned(),
        is_living: false,
        header: Header { format: 1, began: 1_700_000_000_000, ..Header::default() },
        steps,
        tasks: Vec::new(),
        moved: Vec::new(),
        warnings: Vec::new(),
        ended: Some(Ended::Interrupted),
        last_at: 1000,
    }
}

fn stages() -> BuildStory {
    use StepKind::{Copy, Image, MakeDirectory, Run, Scratch};
    story(vec![
        step(0, Image, "", None, &[], "FROM a"),
        step(1, Run, "one", Some(0), &[], "RUN 1"),
        step(2, Run, "one", Some(1), &[], "RUN 2"),
        step(3, Run, "two", Some(2), &[], "RUN 3"),
        step(4, Scratch, "", None, &[], "FROM scratch"),
        step(5, Image, "", None, &[], "FROM tools"),
        step(6, StepKind::Context, "", None, &[], "load build context"),
        step(7, Copy, "last", Some(4), &[6, 1, 3], "COPY --from=one / /"),
        step(8, Copy, "last", Some(7), &[5, 5], "COPY --from=tools / /"),
        step(9, MakeDirectory, "last", Some(8), &[], "WORKDIR /x"),
    ])
}

/// Whether a line from one corner to the next touches the inside of a box.
fn touches((from, to): ((u32, u32), (u32, u32)), (x, y): (u32, u32)) -> bool {
    let (left, right) = (from.0.min(to.0), from.0.max(to.0));
    let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
    left < x + NODE_WIDTH && right > x && top < y + NODE_HEIGHT && bottom > y
}

#[test]
fn steps_stand_below_what_they_need_and_no_edge_crosses_one() {
    let layout = layout(&stages());
    let lanes: Vec<&str> = layout.lanes.iter().map(|lane| lane.stage.as_str()).collect();
    assert_eq!(lanes, ["", "one", "two", "last"]);
    let steps: Vec<u32> = layout.nodes.iter().map(|node| node.step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5, 7, 8, 9], "a context has no place");
    // An edge each for what goes on, and one for each step that files are read from, however often.
    assert_eq!(layout.edges.iter().filter(|edge| edge.is_read).count(), 3);
    assert_eq!(layout.edges.len(), 6 + 3);
    for edge in &layout.edges {
        assert!(edge.points[0].1 < edge.points[edge.points.len() - 1].1, "{edge:?} goes down");
        for corners in edge.points.windows(2) {
            for node in &layout.nodes {
                assert!(!touches((corners[0], corners[1]), (node.x, node.y)), "{edge:?} crosses {node:?}");
            }
            assert!(corners[1].0 < layout.width && corners[1].1 < layout.height);
        }
    }
    for (at, one) in layout.nodes.iter().enumerate() {
        for other in &layout.nodes[..at] {
            assert!(one.x.abs_diff(other.x) >= NODE_WIDTH || one.y.abs_diff(other.y) > NODE_HEIGHT);
        }
    }
}

const HOSTILE: &str =
    "</title></style></pre></svg><script>alert(1)</script>\"' onload=x \u{202e}\u{0}\x1b[31m<!--";

#[test]
fn nothing_that_a_build_says_becomes_markup() {
    let mut story = stages();
    for step in &mut story.steps {
        step.planned.text = HOSTILE.to_owned();
        step.planned.stage = HOSTILE.to_owned();
        let change = Change { what: HOSTILE.to_owned(), before: Some(HOSTILE.to_owned()), after: None };
        step.reason = Some(Reason::Changed { changes: vec![change] });
    }
    let all = || vec![HOSTILE.to_owned(), String::new()];
    let text = HOSTILE.to_owned();
    story.warnings = all();
    story.tasks = vec![Task { name: text.clone(), ended: 900, took: 800, bytes: 0 }];
    story.header = Header {
        words: all(),
        version: text.clone(),
        directory: text.clone(),
        context: text.clone(),
        dockerfile: text.clone(),
        target: Some(text.clone()),
        platforms: all(),
        ..story.header
    };
    for ended in [
        Ended::Failed { message: text.clone() },
        Ended::Done { digest: text.clone(), names: vec![text.clone()], not_the_same: all() },
    ] {
        story.ended = Some(ended);
        let tail = LogTail { bytes: [HOSTILE.as_bytes(), b"\xff\n"].concat(), omitted: 9 };
        let page = page(&story, &Logs::from([(7, tail)]));
        for mark in ["<script", "<!--", "onload=x \u{202e}", "\u{202e}", "\u{0}", "\x1b", "' onload"] {
            assert!(!page.contains(mark), "{mark:?}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert_eq!(page.matches("</title></head>").count() + page.matches("</title>\n<style>").count(), 1);
    }
}

#[test]
fn a_thousand_steps_are_a_page_at_once_and_of_bounded_size() {
    let steps = (0..1000).map(|at| {
        let kind = if at == 0 { StepKind::Scratch } else { StepKind::Run };
        step(at, kind, &format!("stage-{}", at / 50), at.checked_sub(1), &[], "RUN something --with-words")
    });
    let story = story(steps.collect());
    let max = usize::try_from(log_bytes_max(999)).unwrap();
    let logs = (1..1000).map(|at| (at, LogTail { bytes: vec![b'<'; max], omitted: 0 })).collect();
    let started = Instant::now();
    let page = page(&story, &logs);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert!(page.len() < 32 << 20, "{}", page.len());
    assert_eq!(page.matches("<details class=\"step").count(), 999);
}
