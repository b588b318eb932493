//! Where the steps of a build stand in the graph, and the way of each edge. Pure: numbers in, numbers out.
//!
//! A stage is a lane, and time goes down: a step stands below everything it needs. An edge between lanes leaves its step
//! downwards, goes along the gap between two rows to the gutter before the other lane, and down that gutter to its end, so that
//! it crosses no step.
//!
//! ```text
//!   ┌────┐      ┌────┐
//!   │ 0  │      │ 0  │
//!   └─┬──┘      └─┬──┘
//!     ├────────┐  │         the gap below a row
//!   ┌─┴──┐     │┌─┴──┐
//!   │ 1  │     └► 1  │      the gutter before a lane
//!   └────┘      └────┘
//! ```

use std::collections::BTreeMap;

use kiln_builder::journal::{BuildStory, State, StepKind, StepStory};

/// Width of a step.
pub(super) const NODE_WIDTH: u32 = 206;
/// Height of a step.
pub(super) const NODE_HEIGHT: u32 = 44;
/// Height of a lane's name.
pub(super) const HEAD_HEIGHT: u32 = 34;
/// Between two rows.
const GAP: u32 = 30;
/// Before each lane.
const GUTTER: u32 = 32;
/// Lines that lie beside each other in a gap or gutter before places are used again.
const TRACKS: u32 = 5;
/// Between two of them.
const TRACK_WIDTH: u32 = 3;

/// A graph with the place of everything.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The lanes, from left to right.
    pub(super) lanes: Vec<Lane>,
    /// The steps, inputs first.
    pub(super) nodes: Vec<Node>,
    /// What leads where.
    pub(super) edges: Vec<Edge>,
    /// Width of all.
    pub(super) width: u32,
    /// Height of all.
    pub(super) height: u32,
}

/// A stage.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its name; empty for images that are only copied from.
    pub(super) stage: String,
    /// Its left side.
    pub(super) x: u32,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Which step.
    pub(super) step: u32,
    /// Its left side.
    pub(super) x: u32,
    /// Its upper side.
    pub(super) y: u32,
    lane: u32,
}

/// A way from one step to another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Its corners.
    pub(super) points: Vec<(u32, u32)>,
    /// Whether files are read, and no file system goes on.
    pub(super) is_read: bool,
}

/// Returns the graph of a build: its steps and base images, without what contexts and servers gave.
pub(super) fn layout(story: &BuildStory) -> Layout {
    let lanes = Lanes::of(story);
    let mut placed: BTreeMap<u32, Node> = BTreeMap::new();
    let mut next_row: BTreeMap<u32, u32> = BTreeMap::new();
    for step in story.steps.iter().filter(|step| is_drawn(step)) {
        let lane = lanes.of_step(step);
        let below = step.inputs().filter_map(|input| placed.get(&input)).map(|node| row_of(node.y) + 1).max();
        let row = below.unwrap_or(0).max(next_row.get(&lane).copied().unwrap_or(0));
        next_row.insert(lane, row + 1);
        let node = Node { step: step.planned.step, x: lane_x(lane), y: row_y(row), lane };
        placed.insert(node.step, node);
    }
    let edges = edges(story, &placed);
    let height = placed.values().map(|node| node.y + NODE_HEIGHT + GAP).max().unwrap_or(HEAD_HEIGHT);
    let count = u32::try_from(lanes.names.len()).unwrap_or(u32::MAX);
    let lane = |(index, stage): (u32, String)| Lane { stage, x: lane_x(index) };
    let lanes = (0..).zip(lanes.names).map(lane).collect();
    Layout { lanes, nodes: placed.into_values().collect(), edges, width: lane_x(count), height }
}

/// Which step is in which lane.
struct Lanes {
    names: Vec<String>,
    sources: BTreeMap<u32, u32>,
}

impl Lanes {
    fn of(story: &BuildStory) -> Self {
        let mut lanes = Self { names: Vec::new(), sources: BTreeMap::new() };
        // An image stands before the first stage that begins with it.
        for step in story.transforms() {
            let lane = lanes.index(&step.planned.stage);
            if let Some(parent) = step.planned.parent {
                lanes.sources.entry(parent).or_insert(lane);
            }
        }
        let is_only_read = |step: &&StepStory| {
            is_drawn(step)
                && !step.planned.kind.is_transform()
                && !lanes.sources.contains_key(&step.planned.step)
        };
        let only_read: Vec<u32> =
            story.steps.iter().filter(is_only_read).map(|step| step.planned.step).collect();
        if !only_read.is_empty() {
            lanes.names.insert(0, String::new());
            lanes.sources.values_mut().for_each(|lane| *lane += 1);
            lanes.sources.extend(only_read.into_iter().map(|step| (step, 0)));
        }
        lanes
    }

    fn of_step(&self, step: &StepStory) -> u32 {
        if step.planned.kind.is_transform() {
            let at = self.names.iter().rposition(|name| *name == step.planned.stage);
            return at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        }
        self.sources.get(&step.planned.step).copied().unwrap_or(0)
    }

    fn index(&mut self, stage: &str) -> u32 {
        let at = self.names.iter().position(|name| name == stage).unwrap_or_else(|| {
            self.names.push(stage.to_owned());
            self.names.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}

fn is_drawn(step: &StepStory) -> bool {
    step.state != State::Unneeded
        && matches!(
            step.planned.kind,
            StepKind::Scratch | StepKind::Image | StepKind::Run | StepKind::Copy | StepKind::MakeDirectory
        )
}

fn edges(story: &BuildStory, placed: &BTreeMap<u32, Node>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for to in placed.values() {
        let step = &story.steps[to.step as usize].planned;
        let mut inputs: Vec<(u32, bool)> = step.parent.iter().map(|parent| (*parent, false)).collect();
        for read in &step.reads {
            if !inputs.iter().any(|(input, _)| input == read) {
                inputs.push((*read, true));
            }
        }
        for (input, is_read) in inputs {
            if let Some(from) = placed.get(&input) {
                edges.push(Edge { points: way(*from, *to, is_read), is_read });
            }
        }
    }
    edges
}

fn way(from: Node, to: Node, is_read: bool) -> Vec<(u32, u32)> {
    let bottom = (from.x + NODE_WIDTH / 2, from.y + NODE_HEIGHT);
    if from.lane == to.lane && !is_read {
        return vec![bottom, (bottom.0, to.y)];
    }
    let gap = from.y + NODE_HEIGHT + 6 + TRACK_WIDTH * (from.lane % 4);
    let gutter = to.x - 11 - TRACK_WIDTH * (from.step % TRACKS);
    let middle = to.y + NODE_HEIGHT / 2;
    vec![bottom, (bottom.0, gap), (gutter, gap), (gutter, middle), (to.x, middle)]
}

fn lane_x(lane: u32) -> u32 {
    GUTTER + lane.saturating_mul(NODE_WIDTH + GUTTER)
}

fn row_y(row: u32) -> u32 {
    HEAD_HEIGHT + row.saturating_mul(NODE_HEIGHT + GAP)
}

fn row_of(y: u32) -> u32 {
    (y - HEAD_HEIGHT) / (NODE_HEIGHT + GAP)
}
