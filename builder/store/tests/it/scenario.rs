//! One run through everything a build does to a store.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{Descriptor, DiffId, Digest, MediaType, Reference};
use kiln_store::disk::Disk;
use kiln_store::gc::{Kind, Policy, gc};
use kiln_store::{ContainerFacts, Left, Partial, Result, Sharing, Store};
use serde_json::Value;

pub(crate) const MANIFEST: &[u8] = b"{\"manifest\":1}";
pub(crate) const LAYER: &[u8] = b"a layer, written in two pieces";
pub(crate) const PULLED: &[u8] = b"a blob from far away";

pub(crate) fn reference() -> Reference {
    "example.org/team/app:1".parse().unwrap()
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(bytes), bytes.len() as u64)
}

pub(crate) fn key() -> Digest {
    Digest::of(b"the key of a step")
}

/// Runs through everything; `promised` hears what must outlive a crash from then on.
pub(crate) fn run(root: &Path, disk: Arc<dyn Disk>, promised: &dyn Fn(&'static str)) -> Result<()> {
    let store = Store::open_on(root, disk)?;
    store.collect_dead_scratch()?;
    write_layer(&store)?;
    pull(&store)?;
    store.records().put("steps", &key(), b"payload", &[Digest::of(LAYER), Digest::of(PULLED)])?;
    promised("record");
    store.blobs().put_bytes(MANIFEST)?;
    store.names().set(&reference(), &descriptor(MANIFEST))?;
    promised("name");
    store.records().get("steps", &key())?;
    work_in_a_container(&store)?;
    unpack(&store)?;
    store.logs().writer("build", "step")?.write_all(b"output\n").map_err(from_io)?;
    store.cache_mount("cache", Sharing::Private, &mut |path| std::fs::write(path.join("seed"), "x"))?;
    store.blobs().put_bytes(b"garbage")?;
    drop(store.lock("step")?);
    let expand = |_: &_, _: &_| Ok(vec![]);
    gc(
        &store,
        &Policy { kinds: Kind::ALL.into(), keep_bytes: Some(u64::MAX), ..Policy::default() },
        &expand,
    )?;
    Ok(())
}

/// Runs through what only some builds do to a store, and what is written about builds and mounts.
pub(crate) fn run_the_rest(root: &Path, disk: Arc<dyn Disk>) -> Result<()> {
    let store = Store::open_on(root, disk)?;
    store.collect_dead_scratch()?;
    store.logs().begin_journal("build")?.append(b"{}\n")?;
    let mount =
        store.cache_mount("cache", Sharing::Locked, &mut |path| std::fs::write(path.join("seed"), "x"))?;
    let memory = mount.memory()?;
    memory.write(b"seen")?;
    memory.give_shown(store.scratch("shown")?)?;
    drop((memory, mount));
    drop(store.try_repository("far")?);
    drop(store.take_turn("a step")?);
    store.note(Left { now_bytes: 1, some_day_bytes: 2 })
}

fn write_layer(store: &Store) -> Result<()> {
    let mut writer = store.blobs().writer();
    writer.write_all(&LAYER[..5]).map_err(from_io)?;
    writer.write_all(&LAYER[5..]).map_err(from_io)?;
    writer.commit(Some(&Digest::of(LAYER)))?;
    Ok(())
}

fn pull(store: &Store) -> Result<()> {
    if let Partial::Resume(mut partial) = store.blobs().partial(&Digest::of(PULLED), PULLED.len() as u64)? {
        let at = usize::try_from(partial.len_bytes()).unwrap();
        partial.append(&PULLED[at..])?;
        partial.commit()?;
    }
    Ok(())
}

fn work_in_a_container(store: &Store) -> Result<()> {
    let facts = ContainerFacts { image: descriptor(MANIFEST), details: Value::Null };
    let mut held = store.containers().begin()?.publish(&facts)?;
    held.begin_command()?;
    std::fs::write(held.changes().join("file"), "changed").unwrap();
    held.write(&ContainerFacts { details: "ended".into(), ..facts })?;
    held.sync()?;
    store.containers().begin()?.publish(&held.facts()?)?.remove()
}

fn unpack(store: &Store) -> Result<()> {
    let scratch = store.scratch("unpack")?;
    std::fs::write(scratch.path().join("file"), "content").unwrap();
    store.publish_snapshot(scratch, &DiffId(Digest::of(LAYER)))?;
    store.snapshots().settle(Duration::ZERO)?.try_for_each(|settled| settled.map(drop))?;
    Ok(())
}

/// Takes the store's own error back out of `io::Write`.
fn from_io(error: std::io::Error) -> kiln_store::StoreError {
    *error.into_inner().unwrap().downcast().unwrap()
}
