//! Which steps are meant by `STAGE[:LINE]`.

use kiln_builder::journal::PlannedStep;

use crate::failure::Failure;
use crate::ui::heading;

/// Longest text of somebody's in an error, in characters.
const TEXT_LENGTH_MAX: usize = 200;

/// What `STAGE`, `STAGE:LINE` or `:LINE` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepPlace {
    /// The stage; empty where it does not matter.
    pub(super) stage: String,
    /// The line; nothing where it does not matter.
    pub(super) line: Option<u32>,
}

impl StepPlace {
    /// Reads what somebody wrote.
    ///
    /// # Errors
    /// What stands for the line is none.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((stage, line)) = text.rsplit_once(':') else {
            return Ok(Self { stage: text.to_owned(), line: None });
        };
        let number = line.parse().ok().filter(|line| *line > 0);
        let number = number.ok_or_else(|| {
            Failure::usage(format!("`{}` is no line of a Dockerfile", heading(line, TEXT_LENGTH_MAX)))
                .with_hint("write STAGE:LINE, such as `build:12`, or `:12`")
        })?;
        Ok(Self { stage: stage.to_owned(), line: Some(number) })
    }

    /// Whether a step is in the stage that is meant: by its name, as it is shown, or where it has no name, by its number.
    pub(super) fn is_stage_of(&self, planned: &PlannedStep) -> bool {
        // Several platforms stand before the stage. One without a name is `stage-N`, and the only one is nothing.
        let shown = planned.stage.split(' ').next_back().unwrap_or_default();
        let number = if planned.stage_name.is_empty() { shown.strip_prefix("stage-") } else { None };
        let is_only = shown.is_empty() && self.stage == "0";
        self.stage.is_empty()
            || is_only
            || [planned.stage.as_str(), shown].contains(&self.stage.as_str())
            || planned.stage_name == self.stage.to_lowercase()
            || number == Some(&self.stage)
    }

    /// Whether a step is meant.
    pub(super) fn is_of(&self, planned: &PlannedStep) -> bool {
        self.is_stage_of(planned) && self.line.is_none_or(|line| line == planned.line)
    }
}

#[cfg(test)]
mod tests {
    use kiln_builder::journal::StepKind;

    use super::*;

    #[test]
    fn a_step_is_named_by_its_stage_and_line() {
        let planned = |stage: &str, stage_name: &str| PlannedStep {
            step: 3,
            kind: StepKind::Run,
            stage: stage.to_owned(),
            stage_name: stage_name.to_owned(),
            position: 1,
            count: 1,
            line: 4,
            text: "RUN true".to_owned(),
            parent: None,
            reads: Vec::new(),
            is_needed: true,
        };
        let (only, unnamed) = (planned("", ""), planned("stage-1", ""));
        let named = planned("linux/arm64 build", "build");
        for (text, expected) in [
            ("", [true, true, true]),
            (":4", [true, true, true]),
            (":5", [false, false, false]),
            ("0:4", [true, false, false]),
            ("1", [false, true, false]),
            ("stage-1:4", [false, true, false]),
            ("Build:4", [false, false, true]),
            ("linux/arm64 build", [false, false, true]),
            ("build:3", [false, false, false]),
        ] {
            let place = StepPlace::parse(text).unwrap();
            assert_eq!([&only, &unnamed, &named].map(|step| place.is_of(step)), expected, "{text:?}");
        }
        for (text, told) in [("a:x", "`x` is no line"), ("a:0", "`0` is no line"), ("a:\n", "no line")] {
            let failure = StepPlace::parse(text).unwrap_err();
            assert!(failure.message.contains(told) && !failure.message.contains('\n'), "{}", failure.message);
        }
    }
}
