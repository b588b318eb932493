//! What a stage begins with: another stage, an image, a named context, or nothing.

use std::collections::BTreeMap;

use kiln_frontend::stage::Base;
use kiln_frontend::variables::DEFAULT_PATH;
use kiln_oci::{ImageConfig, Platform, Reference};

use super::attempt::Attempt;
use super::links::From;
use super::names::{named_context, working_directory};
use super::scope::VariableList;
use super::stages::{ImageRequest, ImageSource, StageState};
use crate::plan::{CopyOp, CopySource, HistoryLine, Op, Origin, StepId, Unpack};

/// What a stage begins with.
pub(super) enum Start {
    /// A file system and a configuration.
    Ready(Box<StageState>),
    /// A named context stands for the whole stage.
    Replaced(Box<StageState>),
    /// Something is not known yet, or wrong.
    Missing,
}

impl Attempt<'_> {
    pub(super) fn start(&mut self, index: usize) -> Start {
        let state = match self.graph.stages()[index].base.clone() {
            Base::Unknown => None,
            Base::Stage(earlier) => self.stages.get(&earlier).cloned().map(|mut state| {
                state.config.config.on_build.clear();
                state.cmd_is_set = false;
                // What the image says counts again, whatever ARG made of it in that stage: as in BuildKit.
                set_all(&mut state.variables, &state.config.config.env);
                self.name_stage(index, &mut state, 0);
                state
            }),
            Base::Scratch => {
                let mut config = ImageConfig::empty(&self.target);
                config.config.working_dir = "/".to_owned();
                let root = self.plan.push(Op::Scratch, Origin::default());
                Some(self.begin(index, root, self.target.clone(), config, 0))
            }
            Base::Context => {
                self.replaced.extend(self.file.stages[index].name().map(str::to_owned));
                let state = self.froms[index].context.clone().and_then(|key| self.context_base(index, &key));
                return state.map_or(Start::Missing, |state| Start::Replaced(Box::new(state)));
            }
            Base::Image(name) => {
                let platform = &self.froms[index].platform;
                let context = named_context(&self.options.named_contexts, &name, platform);
                match context.map(|(key, _)| key.to_owned()) {
                    Some(key) => {
                        self.replaced.insert(name);
                        self.context_base(index, &key)
                    }
                    None => self.image_base(index, &name),
                }
            }
        };
        state.map_or(Start::Missing, |state| Start::Ready(Box::new(state)))
    }

    /// Returns a stage whose base is a named context.
    fn context_base(&mut self, index: usize, key: &str) -> Option<StageState> {
        let span = self.file.stages[index].from.operation.base.span;
        let platform = &self.froms[index].platform.clone();
        let context = self.options.named_contexts.get(key)?.clone();
        match self.context_image(context, platform) {
            Some(request) => {
                let image = self.image(request)?;
                let root = self.image_step(&image, span);
                Some(self.begin(index, root, image.config.platform(), inherited(image.config), 1))
            }
            None => {
                let mut config = ImageConfig::empty(platform);
                config.config.working_dir = "/".to_owned();
                let root = self.plan.push(Op::Scratch, Origin::default());
                let mut state = self.begin(index, root, platform.clone(), config, 1);
                let from = self.named_step(key);
                let source = CopySource::Path { from, pattern: "/".to_owned() };
                let op = CopyOp {
                    parent: root,
                    sources: vec![source],
                    destination: "/".to_owned(),
                    chown: None,
                    chmod: None,
                    link: false,
                    parents: false,
                    exclude: Vec::new(),
                    unpack: Unpack::Never,
                };
                let text = format!("FROM {key}");
                let origin = self.origin(&mut state, &text, span);
                state.root = self.plan.push(Op::Copy(Box::new(op)), origin);
                state.history.push(HistoryLine { created_by: text, step: Some(state.root) });
                Some(state)
            }
        }
    }

    fn image_base(&mut self, index: usize, name: &str) -> Option<StageState> {
        let span = self.file.stages[index].from.operation.base.span;
        let From { platform, is_given, .. } = self.froms[index].clone();
        let source = ImageSource::Named(name.parse::<Reference>().ok()?.or_latest());
        let any_platform = !is_given && self.options.platforms.is_empty();
        let request = ImageRequest { source, platform: platform.clone(), any_platform };
        self.bases.insert(name.to_owned(), request.clone());
        let image = self.image(request)?;
        let root = self.image_step(&image, span);
        let platform = if any_platform { image.config.platform() } else { platform };
        Some(self.begin(index, root, platform, inherited(image.config), 1))
    }

    pub(super) fn begin(
        &mut self,
        index: usize,
        root: StepId,
        platform: Platform,
        mut config: ImageConfig,
        position: u32,
    ) -> StageState {
        if !config.config.working_dir.is_empty() {
            // BuildKit applies an image's directory as a WORKDIR: a relative one counts twice.
            let own = &config.config.working_dir;
            config.config.working_dir = working_directory(own, own);
        }
        config.rootfs = kiln_oci::config::RootFs::default();
        let mut variables = VariableList::default();
        set_all(&mut variables, &config.config.env);
        let env_places = places(&config.config.env);
        let has_path = config.config.env.iter().any(|variable| variable.split('=').next() == Some("PATH"));
        let needs_path = !has_path && platform.os != "windows";
        let mut state = StageState {
            root,
            platform,
            config,
            history: Vec::new(),
            env_places,
            variables,
            arguments: Vec::new(),
            cmd_is_set: false,
            label: String::new(),
            name: String::new(),
            progress: (0, 0),
        };
        if needs_path {
            state.set_env("PATH", DEFAULT_PATH);
            state.variables.set("PATH", DEFAULT_PATH);
        }
        self.name_stage(index, &mut state, position);
        state
    }

    pub(super) fn name_stage(&self, index: usize, state: &mut StageState, position: u32) {
        let name = self.file.stages[index].name();
        state.name = name.unwrap_or_default().to_owned();
        let shown = match name {
            Some(name) => name.to_owned(),
            None if self.file.stages.len() == 1 => String::new(),
            None => format!("stage-{index}"),
        };
        let platform = if self.options.platforms.len() > 1 { self.target.to_string() } else { String::new() };
        state.label =
            [platform, shown].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        state.progress = (position, position);
    }
}

/// Returns what a stage takes over: not the time, nor the triggers, which run in this stage and are then gone.
fn inherited(mut config: ImageConfig) -> ImageConfig {
    config.created = None;
    config.config.on_build.clear();
    config
}

/// Sets the variables of an image.
fn set_all(variables: &mut VariableList, env: &[String]) {
    for variable in env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        variables.set(name, value);
    }
}

/// Returns where each variable of an image stands. Of several of one name, the first is the one that ENV replaces.
fn places(env: &[String]) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (place, variable) in env.iter().enumerate() {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        places.entry(name.to_owned()).or_insert(place);
    }
    places
}
