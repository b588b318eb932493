//! A command runs in a container, attended by somebody. What it changes stays.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Instant;

use kiln_layer::Tree;
use kiln_layer::owner::{User, resolve_user};
use kiln_sandbox::{
    CancelToken, Control, DEFAULT_PATH, ExecError, Exit, ExitStatus, Limits, Mount, MountKind, Network,
    Owning, RunSpec, SignalLine, SystemFiles, attend,
};

use super::ContainerError;
use super::create::OpenContainer;
use super::find::{self, Purpose};
use super::root::{ContainerRoot, Needed, Volumes};
use crate::blobs;
use crate::container_record::{
    ContainerMount, ContainerMountKind, ContainerNetwork, ContainerRecord, LinkOwner,
};
use crate::export::{gather_present, layers_of};
use crate::interrupt::Interrupt;
use crate::lanes::blocking;
use crate::layers;
use crate::progress::Progress;
use crate::request::Attendant;
use crate::root_kind::is_chroot;
use crate::source::image::ImageError;
use crate::transform::{AccountFiles, StepError, remembered};
use crate::workshop::Workshop;

/// Exit code of a command that was killed.
const KILLED: u8 = 137;

/// How a container is attended.
#[derive(Debug, Clone)]
pub struct Attendance {
    /// By whom, and through what.
    pub attendant: Attendant,
    /// Whether it has a terminal.
    pub has_terminal: bool,
    /// On which its command is signalled.
    pub signals: SignalLine,
}

/// Opens a container, with its layers in reach.
///
/// # Errors
/// [`ContainerError::NotFound`], [`ContainerError::Running`], [`ContainerError::InUse`], [`ContainerError::OtherManner`], or what its image lacks.
pub async fn open(
    workshop: &Arc<Workshop>,
    container: &str,
    purpose: Purpose,
    progress: &Arc<dyn Progress>,
) -> Result<OpenContainer, ContainerError> {
    let (own, text) = (Arc::clone(workshop), container.to_owned());
    let open = blocking(move || {
        let (held, record) = find::hold(&own.store, &text, purpose)?;
        let workshop = super::root::workshop_of(&own, &record)?;
        let image = held.facts()?.image;
        let whole = gather_present(&workshop.store, &image)?;
        let has_id = |single: &&crate::export::SingleImage| single.manifest.config.digest == record.image_id;
        let single = whole
            .images
            .iter()
            .find(has_id)
            .ok_or(crate::export::ExportError::Missing { digest: record.image_id })?;
        let layers = layers_of(&workshop.store, single)?;
        Ok::<_, ContainerError>(OpenContainer { workshop, held, record, image, layers, is_new: false })
    })
    .await?;
    blobs::fetch_layers(&open.workshop, &open.layers, progress).await.map_err(ImageError::from)?;
    let own = Arc::clone(&open.workshop);
    let layers = open.layers.clone();
    blocking(move || layers.iter().try_for_each(|layer| layers::listing(&own, layer).map(drop))).await?;
    Ok(open)
}

impl OpenContainer {
    /// Runs the container's command until it ends, or somebody raises `interrupt`; returns how it ended. What that is, is
    /// remembered with it.
    ///
    /// # Errors
    /// When the command could not be started. That is remembered, too.
    pub async fn run(
        &mut self,
        attendance: Attendance,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, ContainerError> {
        let (started, now) = (Instant::now(), self.workshop.started_ns / 1_000_000_000);
        let now = i64::try_from(now).unwrap_or_default();
        let ready = Ready::of(self, &attendance)?;
        self.held.begin_command()?;
        (self.record.started, self.record.ended) = (Some(now), None);
        (self.record.exit_code, self.record.error) = (None, None);
        self.write()?;
        let outcome = ready.attend(attendance, interrupt).await;
        let seconds = i64::try_from(started.elapsed().as_secs()).unwrap_or_default();
        self.record.ended = Some(now + seconds);
        match &outcome {
            Ok(exit) => self.remember(exit),
            // Docker's container that could not be started has not been.
            Err(error) if error.shell_code().is_some() => {
                (self.record.started, self.record.ended) = (None, None);
                self.record.exit_code = error.shell_code();
                self.record.error = Some(error.to_string());
            }
            Err(_) => self.record.exit_code = Some(KILLED),
        }
        Ok(outcome?.status)
    }

    /// Brings what the command changed, and how it ended, to the disk.
    ///
    /// # Errors
    /// What the store says.
    pub fn settle(&self) -> Result<(), ContainerError> {
        self.held.sync()?;
        self.write()
    }

    /// Removes the container, once nobody reads it any more or somebody raises `interrupt`: then it stays.
    ///
    /// # Errors
    /// [`ContainerError::InUse`] when it stays, or what could not be removed.
    pub async fn remove(self, interrupt: &Interrupt) -> Result<(), ContainerError> {
        let Self { mut held, record, .. } = self;
        while let Some(read) = blocking(move || held.try_remove()).await? {
            if interrupt.is_raised() {
                return Err(ContainerError::InUse { name: record.name });
            }
            held = read;
        }
        Ok(())
    }

    fn remember(&mut self, exit: &Exit) {
        let code = exit.status.shell_code();
        self.record.exit_code = Some(u8::try_from(code).unwrap_or(u8::MAX));
        let root = &mut self.record.root;
        let stubs = exit.stubs.iter().map(|stub| stub.as_os_str().to_owned());
        root.stubs.extend(stubs);
        root.stubs.sort();
        root.stubs.dedup();
        let found = exit.ownership.iter().map(|record| LinkOwner {
            inode: (record.device, record.inode),
            owner: (record.owner.uid, record.owner.gid),
        });
        let mut links: Vec<LinkOwner> = found.collect();
        let before = root.links.take().unwrap_or_default();
        let is_told = |old: &LinkOwner| links.iter().any(|link| link.inode == old.inode);
        let rest: Vec<LinkOwner> = before.into_iter().filter(|old| !is_told(old)).collect();
        links.extend(rest);
        root.links = Some(links);
    }
}

/// A container whose command can be started.
struct Ready {
    spec: RunSpec,
    root: super::root::RunningRoot,
}

impl Ready {
    fn of(open: &OpenContainer, attendance: &Attendance) -> Result<Self, ContainerError> {
        let record = &open.record;
        if let Err(reason) = &open.workshop.identity {
            return Err(StepError::Impossible { reason: reason.clone() }.into());
        }
        if record.argv.is_empty() {
            return Err(ContainerError::NoCommand { image: record.image_name.clone() });
        }
        let root = open.root()?;
        let view = match open.is_new {
            true => Arc::clone(&root.lower),
            false => Arc::new(root.view(Volumes::Shown, Needed::None)?),
        };
        let user = user(&open.workshop, record, &root, &view)?;
        let mut spec = spec(&open.workshop, record, &user, attendance)?;
        spec.remembered = remembered(&open.workshop, &view);
        // Nobody's command is ended for what the kernel refuses.
        if spec.remembered.owners == Owning::SetOrEnd {
            spec.remembered.owners = Owning::Set;
        }
        Ok(Self { spec, root: root.running()? })
    }

    async fn attend(self, attendance: Attendance, interrupt: &Interrupt) -> Result<Exit, ContainerError> {
        let cancel = CancelToken::new()
            .map_err(|source| StepError::Io { what: "cannot watch over the container".to_owned(), source })?;
        let token = cancel.clone();
        let mut work = Box::pin(blocking(move || {
            let control = Control { cancel: &token, signals: Some(&attendance.signals) };
            let streams = &attendance.attendant.streams;
            let outcome = attend(&self.spec, &self.root.plan, control, streams);
            drop(self.root);
            outcome
        }));
        let outcome: Result<Exit, ExecError> = tokio::select! {
            outcome = &mut work => outcome,
            () = interrupt.raised() => {
                cancel.cancel();
                work.await
            }
        };
        Ok(outcome.map_err(StepError::from)?)
    }
}

fn user(
    workshop: &Workshop,
    record: &ContainerRecord,
    root: &ContainerRoot,
    view: &Tree,
) -> Result<User, ContainerError> {
    let text = if record.config.user.is_empty() { "0" } else { &record.config.user };
    let files = root.with_contents(|contents| AccountFiles::read(view, contents))?;
    let user = resolve_user(text, files.accounts()).map_err(|source| StepError::Owner {
        what: "user",
        text: text.to_owned(),
        source,
    })?;
    crate::recording::check_ids(workshop, [user.owner.uid], [user.owner.gid])?;
    Ok(user)
}

fn spec(
    workshop: &Workshop,
    record: &ContainerRecord,
    user: &User,
    attendance: &Attendance,
) -> Result<RunSpec, ContainerError> {
    let around = &record.surroundings;
    let mut spec = RunSpec::new(&record.argv);
    spec.env = environment(record, user, attendance);
    spec.cwd = match record.config.working_dir.as_str() {
        "" => "/".into(),
        directory => directory.into(),
    };
    spec.user = kiln_sandbox::User { uid: user.owner.uid, gid: user.owner.gid, groups: user.groups.clone() };
    spec.hostname.clone_from(&around.hostname);
    spec.network = match around.network {
        ContainerNetwork::Host => Network::Host,
        ContainerNetwork::None => Network::None,
    };
    spec.mounts = around.mounts.iter().map(|mount| mount_of(workshop, mount)).collect::<Result<_, _>>()?;
    if let Some(size) = around.shm_size_bytes.filter(|size| *size > 0) {
        spec.limits = Limits { shm_size_bytes: size, ..spec.limits };
    }
    spec.files = SystemFiles { resolv_conf: workshop.resolv_conf.clone(), hosts: Some(hosts(record)) };
    Ok(spec)
}

/// Returns what the command finds in its environment: Docker's variables, then those of the configuration.
fn environment(record: &ContainerRecord, user: &User, attendance: &Attendance) -> Vec<(OsString, OsString)> {
    let home = user.home.clone().filter(|home| !home.is_empty()).unwrap_or_else(|| b"/".to_vec());
    let mut env: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), DEFAULT_PATH.into()),
        ("HOSTNAME".into(), record.surroundings.hostname.clone().into()),
        ("HOME".into(), OsString::from_vec(home)),
    ];
    if attendance.has_terminal {
        env.push((
            "TERM".into(),
            attendance.attendant.terminal_kind.clone().unwrap_or_else(|| "xterm".into()),
        ));
    }
    for variable in &record.config.env {
        let Some((name, value)) = variable.split_once('=') else { continue };
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.into(),
            None => env.push((name.into(), value.into())),
        }
    }
    env
}

fn mount_of(workshop: &Workshop, mount: &ContainerMount) -> Result<Mount, ContainerError> {
    let refused = |reason: String| ContainerError::Mount { target: mount.target.clone(), reason };
    let kind = match &mount.kind {
        ContainerMountKind::Tmpfs { size_bytes } => MountKind::Tmpfs { size_bytes: *size_bytes },
        ContainerMountKind::Bind { .. } if is_chroot(workshop) => {
            let reason = "this process may not mount; `kiln cp` brings files in and out".to_owned();
            return Err(refused(reason));
        }
        ContainerMountKind::Bind { source, is_read_only } => {
            // The sandbox follows no symlink there.
            let found = fs_err::canonicalize(source).map_err(|error| refused(error.to_string()))?;
            let source = found.into_os_string();
            match is_read_only {
                true => MountKind::BindReadOnly { source },
                false => MountKind::Bind { source },
            }
        }
    };
    Ok(Mount { target: mount.target.clone().into(), kind })
}

fn hosts(record: &ContainerRecord) -> Vec<u8> {
    let hostname = &record.surroundings.hostname;
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in &record.surroundings.extra_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}
