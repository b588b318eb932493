//! What a stage begins with: another stage, an image, a named context, or nothing.

use kiln_frontend::ast::Word;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Span;
use kiln_frontend::suggest;
use kiln_frontend::variables::DEFAULT_PATH;
use kiln_oci::{ImageConfig, Platform};

use super::attempt::Attempt;
use super::meta::set_env;
use super::names::{clean, named_context};
use super::scope::VariableList;
use super::stages::{ImageRequest, StageState};
use crate::plan::{CopyOp, CopySource, HistoryLine, Op, Origin, StepId, Unpack};
use crate::request::NamedContext;

/// What a stage begins with.
pub(super) enum Base {
    /// A file system and configuration, and the triggers to run first.
    Ready(Box<StageState>, Vec<String>),
    /// A named context stands for the whole stage.
    Replaced(Box<StageState>),
    /// Something is not known yet, or wrong.
    Missing,
}

impl Attempt<'_> {
    pub(super) fn base(&mut self, index: usize) -> Base {
        let from = &self.file.stages[index].from;
        let written = &from.operation.base;
        let expansion = self.expander.expansion(written, &self.globals.clone());
        let base = expansion.text;
        if base.is_empty() {
            let meant =
                expansion.undefined.iter().find_map(|name| suggest::nearest(name, self.globals.names()));
            let mut error = Diagnostic::error(
                "blank-base",
                written.span,
                format!("base name (`{}`) should not be blank", written.text),
            );
            error.help = Some(meant.map_or_else(
                || "set the ARG before the first FROM, or give `--build-arg`".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            ));
            self.expander.push(error);
            return Base::Missing;
        }
        let Ok(wanted) = self.stage_platform(from.operation.platform.as_ref()) else { return Base::Missing };
        let name = self.file.stages[index].name().unwrap_or_default().to_owned();
        let platform = wanted.clone().unwrap_or_else(|| self.target.clone());
        if !name.is_empty()
            && let Some((key, context)) = named_context(&self.options.named_contexts, &name, &platform)
        {
            return match self.context_base(index, key, context.clone(), &platform) {
                Some(state) => Base::Replaced(Box::new(state)),
                None => Base::Missing,
            };
        }
        if let Some(earlier) = self.names.before(&base, index) {
            let Some(mut state) = self.stage(earlier) else { return Base::Missing };
            state.config.config.on_build.clear();
            state.cmd_is_set = false;
            let triggers = std::mem::take(&mut state.triggers);
            self.name_stage(index, &mut state, 0);
            return Base::Ready(Box::new(state), triggers);
        }
        if base == "scratch" {
            let mut config = ImageConfig::empty(&self.target);
            config.config.working_dir = "/".to_owned();
            let root = self.plan.push(Op::Scratch, Origin::default());
            return Base::Ready(
                Box::new(self.start(index, root, self.target.clone(), config, 0)),
                Vec::new(),
            );
        }
        let state = match named_context(&self.options.named_contexts, &base, &platform) {
            Some((key, context)) => self.context_base(index, key, context.clone(), &platform),
            None => self.image_base(index, &base, written.span, platform, wanted.is_none()),
        };
        match state {
            Some(mut state) => {
                let triggers = std::mem::take(&mut state.config.config.on_build);
                Base::Ready(Box::new(state), triggers)
            }
            None => Base::Missing,
        }
    }

    pub(super) fn stage_platform(&mut self, word: Option<&Word>) -> Result<Option<Platform>, ()> {
        let Some(word) = word else { return Ok(None) };
        let expansion = self.expander.expansion(word, &self.globals.clone());
        let result = match expansion.text.as_str() {
            "" => Err(format!("empty platform value from expression `{}`", word.text)),
            text => {
                text.parse().map_err(|error| format!("failed to parse platform `{}`: {error}", word.text))
            }
        };
        result.map(Some).map_err(|message| {
            let meant =
                expansion.undefined.iter().find_map(|name| suggest::nearest(name, self.globals.names()));
            let mut error = Diagnostic::error("platform", word.span, message);
            error.help = meant.map(|meant| format!("did you mean `{meant}`?"));
            self.expander.push(error);
        })
    }

    /// Returns a stage whose base is a named context.
    pub(super) fn context_base(
        &mut self,
        index: usize,
        key: &str,
        context: NamedContext,
        platform: &Platform,
    ) -> Option<StageState> {
        let span = self.file.stages[index].from.operation.base.span;
        match self.context_image(context, platform) {
            Some(request) => {
                let image = self.image(request)?;
                let root = self.image_step(&image, span);
                Some(self.start(index, root, image.config.platform(), without_time(image.config), 1))
            }
            None => {
                let mut config = ImageConfig::empty(platform);
                config.config.working_dir = "/".to_owned();
                let root = self.plan.push(Op::Scratch, Origin::default());
                let mut state = self.start(index, root, platform.clone(), config, 1);
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

    pub(super) fn image_base(
        &mut self,
        index: usize,
        base: &str,
        span: Span,
        platform: Platform,
        any_platform: bool,
    ) -> Option<StageState> {
        let source = self.image_named(base, span)?;
        let any_platform = any_platform && self.options.platforms.is_empty();
        let image = self.image(ImageRequest { source, platform: platform.clone(), any_platform })?;
        let root = self.image_step(&image, span);
        let platform = if any_platform { image.config.platform() } else { platform };
        Some(self.start(index, root, platform, without_time(image.config), 1))
    }

    pub(super) fn start(
        &mut self,
        index: usize,
        root: StepId,
        platform: Platform,
        mut config: ImageConfig,
        position: u32,
    ) -> StageState {
        if !config.config.env.iter().any(|variable| variable.starts_with("PATH=")) && platform.os != "windows"
        {
            set_env(&mut config.config.env, "PATH", DEFAULT_PATH);
        }
        if !config.config.working_dir.is_empty() {
            config.config.working_dir = clean(&config.config.working_dir);
        }
        config.rootfs = kiln_oci::config::RootFs::default();
        let mut variables = VariableList::default();
        for variable in &config.config.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            variables.set(name, value);
        }
        let mut state = StageState {
            root,
            platform,
            config,
            history: Vec::new(),
            variables,
            arguments: Vec::new(),
            cmd_is_set: false,
            triggers: Vec::new(),
            label: String::new(),
            name: String::new(),
            progress: (0, 0),
        };
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

fn without_time(mut config: ImageConfig) -> ImageConfig {
    config.created = None;
    config
}
