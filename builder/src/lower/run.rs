//! RUN → a run step: its command, its environment, its mounts.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::{
    self, Command, Instruction, MountFlag, Network as NetworkFlag, RunInstruction, Security,
};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::instruction::mount::{self, Mount};

use super::attempt::Attempt;
use super::names::clean;
use super::scope::proxy_variables;
use super::stages::StageState;
use crate::agents::DEFAULT_AGENT;
use crate::plan::{MountKind, Network, Op, RunMount, RunOp, Script, Sharing, StepId};
use crate::request::Arguments;
use crate::workshop::AGENT_VARIABLE;

/// Host name of steps, as BuildKit has it; the argument of this name overrides it.
/// The host name of steps, which is BuildKit's.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
const HOSTNAME_ARGUMENT: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// Puts a prefix before the names of cache mounts.
const CACHE_NAMESPACE_ARGUMENT: &str = "BUILDKIT_CACHE_MOUNT_NS";
/// Where scripts of heredocs are in a step.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

/// What a command sees of the variables.
struct Visible {
    env: Vec<(String, String)>,
    /// Which of these are arguments.
    arguments: Vec<String>,
    /// Arguments that it does not see.
    left_out: BTreeSet<String>,
}

impl Attempt<'_> {
    pub(super) fn run(&mut self, state: &mut StageState, instruction: &Instruction, run: &RunInstruction) {
        self.refuse(run);
        let Some(mounts) = self.mounts(state, &run.mounts) else { return };
        let (argv, script) = command(state, instruction, run);
        let Visible { mut env, arguments, left_out } = self.visible(state, &argv, script.as_ref());
        if let Some(epoch) = self.options.epoch
            && state.variables.value("SOURCE_DATE_EPOCH").is_none()
        {
            env.push(("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string()));
        }
        if let Some(agent) = agents(&mounts).next()
            && state.variables.value(AGENT_VARIABLE).is_none()
        {
            env.push((AGENT_VARIABLE.to_owned(), agent.target.clone()));
        }
        let declared = |name: &str| env.iter().any(|(other, _)| other == name);
        let unkeyed_env = proxy_variables(&self.options.build_args)
            .into_iter()
            .filter(|(name, _)| !declared(name))
            .collect();
        let network = match run.network.as_ref().map(|network| network.value) {
            None | Some(NetworkFlag::Default) => self.options.network,
            Some(NetworkFlag::None) => Network::None,
            Some(NetworkFlag::Host) => Network::Host,
        };
        let hostname =
            self.options.build_args.get(HOSTNAME_ARGUMENT).map_or(DEFAULT_HOSTNAME, String::as_str);
        let created_by = format!("RUN {}", history_text(state, &argv, &left_out));
        let op = RunOp {
            parent: state.root,
            argv,
            env,
            arguments,
            unkeyed_env,
            cwd: clean(working_directory(state)),
            user: state.config.config.user.clone(),
            network,
            mounts,
            hostname: hostname.to_owned(),
            extra_hosts: self.options.extra_hosts.clone(),
            ulimits: self.options.ulimits.clone(),
            shm_size_bytes: self.options.shm_size_bytes,
            platform: state.platform.clone(),
            shell: state.config.config.shell.clone(),
            script,
        };
        let created_by = self.with_suffix(created_by);
        self.transform(state, instruction, Op::Run(Box::new(op)), created_by);
    }

    /// Returns the variables of a command. Which arguments are left out with `--args=referenced` is decided by its text, so what
    /// the command cannot name is not there either.
    fn visible(&self, state: &StageState, argv: &[String], script: Option<&Script>) -> Visible {
        let is_argument = |name: &str| {
            state.arguments.iter().any(|(argument, _)| argument == name)
                && !state.env_places.contains_key(name)
        };
        let texts = || argv.iter().map(String::as_str).chain(script.map(|script| script.text.as_str()));
        let is_left_out = |name: &str| {
            self.options.arguments == Arguments::Referenced
                && name != "SOURCE_DATE_EPOCH"
                && is_argument(name)
                && !texts().any(|text| names(text, name))
        };
        let (left_out, env): (Vec<_>, Vec<_>) =
            state.variables.pairs().into_iter().partition(|(name, _)| is_left_out(name));
        let arguments = env.iter().map(|(name, _)| name.clone()).filter(|name| is_argument(name)).collect();
        Visible { env, arguments, left_out: left_out.into_iter().map(|(name, _)| name).collect() }
    }

    /// Refuses what is understood and not built yet.
    fn refuse(&mut self, run: &RunInstruction) {
        if let Some(security) = &run.security
            && security.value == Security::Insecure
        {
            self.expander.push(
                Diagnostic::error("unsupported", security.span, "`RUN --security=insecure` is not allowed")
                    .with_help(
                        "a step never gets more privileges than the sandbox gives; do this outside the build",
                    ),
            );
        }
        for device in &run.devices {
            self.unsupported(device.span, "`RUN --device`", "do what needs the device outside the build");
        }
    }

    fn mounts(&mut self, state: &StageState, flags: &[MountFlag]) -> Option<Vec<RunMount>> {
        let mut mounts = Some(Vec::with_capacity(flags.len()));
        for flag in flags {
            let expander = &mut self.expander;
            let mut expand =
                |text: &str| expander.value(text, &state.variables).map(|expansion| expansion.text);
            match mount::parse_mount(&flag.value.text, &mut expand) {
                Ok(parsed) if matches!(parsed.kind, mount::MountKind::Ssh) => {
                    mounts.iter_mut().for_each(|mounts| mounts.push(agent(state, &parsed, mounts)));
                }
                Ok(parsed) => match (self.mount(state, &parsed, flag), &mut mounts) {
                    (Some(mount), Some(mounts)) => mounts.push(mount),
                    (None, _) => mounts = None,
                    (Some(_), None) => {}
                },
                Err(problem) => {
                    self.expander.push(problem.diagnostic("mount", &flag.value));
                    mounts = None;
                }
            }
        }
        mounts
    }

    fn mount(&mut self, state: &StageState, mount: &Mount, flag: &MountFlag) -> Option<RunMount> {
        use mount::MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
        let span = flag.value.span;
        if matches!(mount.kind, Secret) {
            return self.secret(state, mount, flag);
        }
        let written = mount.target.clone().unwrap_or_default();
        let is_absolute = written.starts_with('/');
        let target =
            clean(&if is_absolute { written } else { format!("{}/{written}", working_directory(state)) });
        if target == "/" {
            if !is_absolute {
                self.expander.raise_doubt();
            }
            self.expander.error("mount", span, "invalid mount target `/`: name a directory below it");
            return None;
        }
        let from = match (&flag.from, mount.kind) {
            (_, Tmpfs) | (None, Cache) => None,
            (Some(from), _) => Some(self.mount_from(from)?),
            (None, _) => Some(self.context()),
        };
        let kind = match mount.kind {
            Tmpfs => MountKind::Tmpfs { size_bytes: mount.size_bytes_max.filter(|size| *size > 0) },
            Cache => self.cache(mount, &target, from),
            Bind | Secret | Ssh => MountKind::Bind {
                from: from?,
                source: clean(&format!("/{}", mount.source.as_deref().unwrap_or_default())),
                writable: !mount.is_read_only,
            },
        };
        Some(RunMount { target, kind })
    }

    fn cache(&self, mount: &Mount, target: &str, from: Option<StepId>) -> MountKind {
        let id = match mount.id.as_deref() {
            Some(id) => id.to_owned(),
            // Named by the target as written: a relative one is not joined to the working directory.
            None => match mount.target.as_deref() {
                Some(written) if written.starts_with('/') => target.to_owned(),
                Some(written) => clean(written).trim_start_matches('/').to_owned(),
                None => target.to_owned(),
            },
        };
        let namespace =
            self.options.build_args.get(CACHE_NAMESPACE_ARGUMENT).map(String::as_str).unwrap_or_default();
        let source = clean(&format!("/{}", mount.source.as_deref().unwrap_or_default()));
        MountKind::Cache {
            id: format!("{namespace}/{id}"),
            sharing: match mount.sharing {
                None | Some(mount::Sharing::Shared) => Sharing::Shared,
                Some(mount::Sharing::Private) => Sharing::Private,
                Some(mount::Sharing::Locked) => Sharing::Locked,
            },
            seed: from.map(|from| (from, source)),
            readonly: mount.is_read_only,
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        }
    }

    fn secret(&mut self, state: &StageState, mount: &Mount, flag: &MountFlag) -> Option<RunMount> {
        let base_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let named = mount.source.clone().or_else(|| mount.id.clone());
        let Some(id) = named.or_else(|| mount.target.as_deref().map(base_name)) else {
            self.expander.error(
                "mount",
                flag.value.span,
                "one of `id` and `target` is required for a secret",
            );
            return None;
        };
        let env = mount.env.clone().map(|name| if name.is_empty() { id.clone() } else { name });
        let target = match (&mount.target, &env) {
            (Some(target), _) if target.starts_with('/') => clean(target),
            (Some(target), _) => clean(&format!("{}/{target}", working_directory(state))),
            (None, Some(_)) => String::new(),
            (None, None) => format!("/run/secrets/{}", base_name(&id)),
        };
        let kind = MountKind::Secret {
            id,
            env,
            required: mount.is_required,
            mode: mount.mode.unwrap_or(0o400),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        };
        Some(RunMount { target, kind })
    }
}

/// Returns the mount of an agent; `before` are the mounts that stand before it. Defaults are those of BuildKit's
/// `client/llb/exec.go`.
fn agent(state: &StageState, mount: &Mount, before: &[RunMount]) -> RunMount {
    let target = match &mount.target {
        Some(target) if target.starts_with('/') => clean(target),
        Some(target) => clean(&format!("{}/{target}", working_directory(state))),
        None => format!("/run/buildkit/ssh_agent.{}", agents(before).count()),
    };
    let kind = MountKind::Agent {
        id: mount.source.clone().or_else(|| mount.id.clone()).unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
        required: mount.is_required,
        mode: mount.mode.unwrap_or(0o600),
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
    };
    RunMount { target, kind }
}

fn agents(mounts: &[RunMount]) -> impl Iterator<Item = &RunMount> {
    mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Agent { .. }))
}

fn working_directory(state: &StageState) -> &str {
    match state.config.config.working_dir.as_str() {
        "" => "/",
        directory => directory,
    }
}

/// Returns the words that run, and the script that must be there for them.
fn command(
    state: &StageState,
    instruction: &Instruction,
    run: &RunInstruction,
) -> (Vec<String>, Option<Script>) {
    let Command::Shell(word) = &run.command else { return (state.command(&run.command), None) };
    match instruction.script(&word.text) {
        ast::Script::Body { name, text } if text.starts_with("#!") => {
            let path = format!("{SCRIPT_DIRECTORY}/{name}");
            (state.in_shell(&path), Some(Script { name, text }))
        }
        ast::Script::Body { text, .. } | ast::Script::Text(text) => (state.in_shell(&text), None),
    }
}

/// Whether a text names a variable: as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices(name).any(|(place, found)| {
        let (before, after) = (&text[..place], &text[place + found.len()..]);
        !before.chars().next_back().is_some_and(is_part) && !after.chars().next().is_some_and(is_part)
    })
}

/// Returns the command as the history has it: declared arguments first, `|2 A=1 B=2 /bin/sh -c …`.
fn history_text(state: &StageState, argv: &[String], left_out: &BTreeSet<String>) -> String {
    let mut arguments: Vec<(&str, &str)> = Vec::new();
    let mut places = BTreeMap::new();
    for (name, value) in state.arguments.iter().filter(|(name, _)| !left_out.contains(name)) {
        let text = state.variables.value(name).or(value.as_deref()).unwrap_or_default();
        let place = *places.entry(name).or_insert(arguments.len());
        match arguments.get_mut(place) {
            Some(known) => known.1 = text,
            None => arguments.push((name, text)),
        }
    }
    let mut words = Vec::new();
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(argv.iter().cloned());
    words.join(" ")
}
