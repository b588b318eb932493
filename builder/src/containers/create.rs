//! A container is made of an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_layer::{ArchivePath, Entry, Tree};
use kiln_oci::config::RunConfig;
use kiln_oci::{Descriptor, Platform, Reference};
use kiln_store::{ContainerFacts, HeldContainer, NewContainer};

use super::root::{self, Needed, Volumes};
use super::{ContainerError, find, name};
use crate::blobs;
use crate::catalog::find::{Chosen, choose, locate};
use crate::catalog::{self, CatalogError, Pulled, needs};
use crate::container_record::{ContainerMount, ContainerNetwork, ContainerRecord, RootRecord, Surroundings};
use crate::export::layers_of;
use crate::lanes::blocking;
use crate::layers;
use crate::progress::{Progress, ProgressEvent};
use crate::recording::{check_ids, check_layers};
use crate::rootfs::Layer;
use crate::source::image::ImageError;
use crate::workshop::Workshop;

/// What a container is made of, and how it is to run.
#[derive(Debug, Clone, Default)]
pub struct ContainerRequest {
    /// Name or id of the image.
    pub image: String,
    /// Whether the image is fetched.
    pub pull: PullPolicy,
    /// The platform wanted; this machine's when absent.
    pub platform: Option<Platform>,
    /// A name for it.
    pub name: Option<String>,
    /// Words in the place of the image's command.
    pub command: Vec<String>,
    /// A program in the place of the image's entrypoint, which also leaves the image's command out; an empty one is none.
    pub entrypoint: Option<String>,
    /// Variables besides the image's; later ones win.
    pub env: Vec<(String, String)>,
    /// Labels besides the image's.
    pub labels: BTreeMap<String, String>,
    /// Working directory in the place of the image's.
    pub working_dir: Option<String>,
    /// User and group in the place of the image's.
    pub user: Option<String>,
    /// Host name; the beginning of its id when absent.
    pub hostname: Option<String>,
    /// Network.
    pub network: ContainerNetwork,
    /// Mounts.
    pub mounts: Vec<ContainerMount>,
    /// Paths that are kept out of images made of it.
    pub volumes: Vec<String>,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
}

/// Whether an image is fetched for a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always.
    Always,
    /// When it is not here.
    #[default]
    Missing,
    /// Never.
    Never,
}

/// What becomes known about the image of a container that is being made.
#[derive(Debug, Clone, Copy)]
pub enum ImageNews<'a> {
    /// It is not here, and is fetched.
    Missing(&'a Reference),
    /// It was fetched.
    Pulled(&'a Reference, &'a Pulled),
}

/// A container that this process holds.
#[derive(Debug)]
pub struct OpenContainer {
    pub(super) workshop: Arc<Workshop>,
    pub(super) held: HeldContainer,
    pub(super) record: ContainerRecord,
    pub(super) image: Descriptor,
    pub(super) layers: Vec<Layer>,
    /// Whether nothing but empty directories can be in it.
    pub(super) is_new: bool,
}

impl OpenContainer {
    /// Returns its id.
    pub fn id(&self) -> kiln_store::ContainerId {
        self.held.id()
    }

    /// Returns what is remembered of it.
    pub fn record(&self) -> &ContainerRecord {
        &self.record
    }

    /// Whether somebody else runs its command, so that its files change meanwhile.
    pub fn is_running(&self) -> bool {
        self.held.is_moving()
    }

    /// Writes what is remembered of it.
    pub(super) fn write(&self) -> Result<(), ContainerError> {
        let details = serde_json::to_value(&self.record).expect("records serialize to memory");
        Ok(self.held.write(&ContainerFacts { image: self.image.clone(), details })?)
    }
}

/// Makes a container of an image, which is fetched where that is not here: `tell` hears of it. Nothing runs in it yet.
///
/// # Errors
/// [`ContainerError`]: what is wrong with the request, or cannot be had.
pub async fn create(
    workshop: &Arc<Workshop>,
    request: &ContainerRequest,
    progress: &Arc<dyn Progress>,
    tell: &(dyn Fn(ImageNews<'_>) + Sync),
) -> Result<OpenContainer, ContainerError> {
    if let Some(asked) = &request.name {
        name::check(asked)?;
        find::check_free(&workshop.store, asked)?;
    }
    fetch_image(workshop, request, progress, tell).await?;
    let (top, chosen) = known(workshop, request).await?;
    let own = Arc::clone(workshop);
    let wanted = layers_of(&workshop.store, &chosen.image)?;
    blobs::fetch_layers(workshop, &wanted, progress).await.map_err(ImageError::from)?;
    let (request, progress) = (request.clone(), Arc::clone(progress));
    let make = move || {
        // What killed kilns left.
        own.store.collect_dead_scratch()?;
        let workshop = fitting(&own, &wanted, &request, &progress)?;
        let lower = layers::tree(&workshop, &wanted)?;
        let new = workshop.store.containers().begin()?;
        let root = root::fill(&workshop, &new, &wanted, &lower)?;
        let record = record(&workshop, &request, &chosen, &new, root);
        publish(&workshop, new, record, &top, wanted)
    };
    workshop.lanes.wait(make).await
}

/// Fetches the image, if that is wanted.
async fn fetch_image(
    workshop: &Arc<Workshop>,
    request: &ContainerRequest,
    progress: &Arc<dyn Progress>,
    tell: &(dyn Fn(ImageNews<'_>) + Sync),
) -> Result<(), ContainerError> {
    // What is no name is no image anywhere.
    let Ok(reference) = request.image.parse::<Reference>().map(|name| name.or_latest()) else {
        return Ok(());
    };
    match request.pull {
        PullPolicy::Always => {}
        PullPolicy::Never => return Ok(()),
        PullPolicy::Missing => match known(workshop, request).await {
            Err(ContainerError::Catalog(error)) if is_absent(&error) => tell(ImageNews::Missing(&reference)),
            _ => return Ok(()),
        },
    }
    let pulled = catalog::pull(workshop, &reference, request.platform.as_ref(), progress).await?;
    tell(ImageNews::Pulled(&reference, &pulled));
    Ok(())
}

fn is_absent(error: &CatalogError) -> bool {
    error.is_not_found() || matches!(error, CatalogError::Platform { .. })
}

async fn known(
    workshop: &Arc<Workshop>,
    request: &ContainerRequest,
) -> Result<(Descriptor, Chosen), ContainerError> {
    let (own, request) = (Arc::clone(workshop), request.clone());
    blocking(move || {
        let store = &own.store;
        let located = locate(store, &request.image)?;
        let chosen = choose(store, &request.image, &located.descriptor, request.platform.as_ref())?;
        // Held by this process until the container itself does.
        let needed = needs(store.blobs(), &located.descriptor).unwrap_or_default();
        for digest in needed.iter().chain([&located.descriptor.digest]) {
            store.blobs().hold(digest)?;
        }
        Ok((located.descriptor, chosen))
    })
    .await
}

/// Returns the workshop that can set all owners of the image, or records them.
fn fitting(
    workshop: &Arc<Workshop>,
    wanted: &[Layer],
    request: &ContainerRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Arc<Workshop>, ContainerError> {
    for layer in wanted {
        layers::listing(workshop, layer)?;
    }
    let user: Vec<u32> =
        request.user.iter().filter_map(|user| user.split(':').next()?.parse().ok()).collect();
    let outcome = check_layers(workshop, wanted).and_then(|()| check_ids(workshop, user, []));
    let Err(lack) = outcome else { return Ok(Arc::clone(workshop)) };
    let Some(recording) = workshop.recording() else { return Err(lack.into()) };
    let message = format!("{lack}, so owners and devices of the container are recorded");
    progress.on(&ProgressEvent::Warning { message: &message });
    Ok(Arc::new(recording))
}

fn record(
    workshop: &Workshop,
    request: &ContainerRequest,
    chosen: &Chosen,
    new: &NewContainer,
    root: RootRecord,
) -> ContainerRecord {
    let config = config(&chosen.config.config, request);
    let argv = [config.entrypoint.as_slice(), config.cmd.as_slice()].concat();
    ContainerRecord {
        // One that nobody asks for is given when it is published.
        name: request.name.clone().unwrap_or_default(),
        image_name: request.image.clone(),
        image_id: chosen.image.manifest.config.digest,
        platform: chosen.platform(),
        config,
        argv,
        surroundings: Surroundings {
            hostname: request.hostname.clone().unwrap_or_else(|| new.id().short()),
            network: request.network,
            mounts: request.mounts.clone(),
            extra_hosts: request.extra_hosts.clone(),
            shm_size_bytes: request.shm_size_bytes,
        },
        root,
        created_ns: i64::try_from(workshop.started_ns).unwrap_or_default(),
        started: None,
        ended: None,
        exit_code: None,
        error: None,
    }
}

/// Returns the image's configuration with what was asked for, as Docker merges them.
fn config(image: &RunConfig, request: &ContainerRequest) -> RunConfig {
    let mut config = image.clone();
    if let Some(entrypoint) = &request.entrypoint {
        config.entrypoint = Some(entrypoint.clone()).filter(|word| !word.is_empty()).into_iter().collect();
        config.cmd.clear();
    }
    if !request.command.is_empty() {
        config.cmd.clone_from(&request.command);
    }
    for (name, value) in &request.env {
        let beginning = format!("{name}=");
        let text = format!("{beginning}{value}");
        match config.env.iter_mut().find(|known| known.starts_with(&beginning)) {
            Some(known) => *known = text,
            None => config.env.push(text),
        }
    }
    config.labels.extend(request.labels.clone());
    config.volumes.extend(request.volumes.iter().map(|path| (path.clone(), Default::default())));
    if let Some(user) = &request.user {
        config.user.clone_from(user);
    }
    if let Some(directory) = &request.working_dir {
        config.working_dir.clone_from(directory);
    }
    config
}

fn publish(
    workshop: &Arc<Workshop>,
    new: NewContainer,
    mut record: ContainerRecord,
    top: &Descriptor,
    layers: Vec<Layer>,
) -> Result<OpenContainer, ContainerError> {
    let store = &workshop.store;
    let image = Descriptor::new(top.media_type.clone(), top.digest, top.size);
    // Names are given by one kiln at a time.
    let alone = store.lock("container names")?;
    let asked = Some(record.name.as_str()).filter(|name| !name.is_empty());
    record.name = find::free_name(store, &new.id(), asked)?;
    let details = serde_json::to_value(&record).expect("records serialize to memory");
    let held = new.publish(&ContainerFacts { image: image.clone(), details })?;
    drop(alone);
    let open = OpenContainer { workshop: Arc::clone(workshop), held, record, image, layers, is_new: true };
    match open.make_directories() {
        Ok(()) => Ok(open),
        Err(error) => {
            // Nobody has seen it yet; what cannot be removed is shown by `ps -a`.
            open.held.remove().ok();
            Err(error)
        }
    }
}

impl OpenContainer {
    /// Makes the working directory and the volumes, where the image has none, as Docker does.
    fn make_directories(&self) -> Result<(), ContainerError> {
        let config = &self.record.config;
        let wanted = config.volumes.keys().chain([&config.working_dir]).filter(|path| !path.is_empty());
        let root = self.root()?;
        let mut more = Tree::new();
        for text in wanted {
            let resolve = |source| ContainerError::Resolve {
                container: self.record.name.clone(),
                path: text.clone(),
                source,
            };
            let Ok(path) = ArchivePath::clamp(text.as_bytes()) else { continue };
            let found = root.lower.resolve(&path).map_err(resolve)?;
            if !found.exists {
                kiln_layer::check_length(&found.path)?;
                more.insert(found.path, Entry::implied_directory());
            }
        }
        if more.is_empty() {
            return Ok(());
        }
        root.put(&root.view(Volumes::Shown, Needed::None)?, &more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_over_the_image_as_docker_merges_them() {
        let image = RunConfig {
            entrypoint: vec!["/e".to_owned()],
            cmd: vec!["c".to_owned()],
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            user: "7".to_owned(),
            ..RunConfig::default()
        };
        let of = |entrypoint: Option<&str>, command: &[&str]| {
            let request = ContainerRequest {
                entrypoint: entrypoint.map(str::to_owned),
                command: command.iter().map(|&word| word.to_owned()).collect(),
                env: vec![("B".to_owned(), "3".to_owned()), ("C".to_owned(), "4".to_owned())],
                ..ContainerRequest::default()
            };
            let config = config(&image, &request);
            assert_eq!((config.env.join(" "), config.user), ("A=1 B=3 C=4".to_owned(), "7".to_owned()));
            [config.entrypoint, config.cmd].concat().join(" ")
        };
        assert_eq!(of(None, &[]), "/e c");
        assert_eq!(of(None, &["x", "y"]), "/e x y");
        assert_eq!(of(Some("/f"), &[]), "/f");
        assert_eq!(of(Some("/f"), &["x"]), "/f x");
        assert_eq!(of(Some(""), &["x"]), "x");
    }
}
