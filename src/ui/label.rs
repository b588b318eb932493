//! What steps and other work are called on screen, and their numbers.

use std::collections::BTreeMap;

use kiln_builder::plan::{Origin, Plan, StepId};

use super::lines::heading;

/// Longest instruction in a heading, in characters.
const TEXT_LENGTH_MAX: usize = 200;

/// Names and numbers of what goes on. A number is given when something is first spoken of.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    steps: Vec<String>,
    numbers: BTreeMap<Key, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Step(StepId),
    Task(String),
}

impl Labels {
    /// Learns the plan.
    pub(crate) fn plan(&mut self, plan: &Plan) {
        self.steps = plan.steps().map(|(_, step)| label(&step.origin)).collect();
    }

    /// Returns what a step is called: `[build 2/4] RUN make`.
    pub(crate) fn step(&self, id: StepId) -> &str {
        self.steps.get(id.index()).map_or("step", String::as_str)
    }

    /// Returns the number of a step.
    pub(crate) fn step_number(&mut self, id: StepId) -> u32 {
        self.number(Key::Step(id))
    }

    /// Returns the number of other work.
    pub(crate) fn task_number(&mut self, task: &str) -> u32 {
        self.number(Key::Task(task.to_owned()))
    }

    fn number(&mut self, key: Key) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.numbers.entry(key).or_insert(next)
    }
}

fn label(origin: &Origin) -> String {
    let text = heading(&origin.text, TEXT_LENGTH_MAX);
    let stage = heading(&origin.stage, TEXT_LENGTH_MAX);
    match (stage.as_str(), origin.position) {
        ("", _) => text,
        (stage, 0) => format!("[{stage}] {text}"),
        (stage, position) => format!("[{stage} {position}/{}] {text}", origin.count),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kiln_builder::plan::{MakeDirOp, Op};

    /// Returns a plan of two steps of stage `build`: `RUN make` and `COPY . /app`.
    pub(crate) fn plan() -> Plan {
        let mut plan = Plan::default();
        let mut parent =
            plan.push(Op::Scratch, Origin { text: "FROM scratch".to_owned(), ..Origin::default() });
        for (index, text) in (1..).zip(["RUN make", "COPY . /app"]) {
            let op = Op::MakeDir(MakeDirOp { parent, path: text.to_owned(), user: String::new() });
            let (stage, text) = ("build".to_owned(), text.to_owned());
            parent = plan.push(op, Origin { stage, position: index, count: 2, text, ..Origin::default() });
        }
        plan
    }

    #[test]
    fn steps_are_called_by_stage_position_and_text() {
        let mut labels = Labels::default();
        let plan = plan();
        labels.plan(&plan);
        let names: Vec<String> = plan.steps().map(|(id, _)| labels.step(id).to_owned()).collect();
        assert_eq!(names, ["FROM scratch", "[build 1/2] RUN make", "[build 2/2] COPY . /app"]);
    }

    #[test]
    fn numbers_are_given_once() {
        let mut labels = Labels::default();
        assert_eq!([labels.task_number("a"), labels.task_number("b"), labels.task_number("a")], [1, 2, 1]);
    }
}
