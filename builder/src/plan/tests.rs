//! The table of [`super::key`], walked: every input that counts makes another key, each its own, and what does not count makes
//! the same.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, DiffId, Digest, MediaType, Platform};

use super::key::{Inputs, KeyBase, KeyKind, StepKey, step_key};
use super::op::{
    CopyOp, CopySource, MountKind, Network, Op, RunMount, RunOp, Script, Sharing, Ulimit, Unpack,
};
use super::{ContextOp, ImageOp, MakeDirOp, Plan, StepId};
use crate::plan::Origin;
use crate::rootfs::Layer;

/// Whether an input counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Counts,
    DoesNot,
}
use Row::{Counts, DoesNot};

/// All that a key is made of.
#[derive(Clone)]
struct Made {
    base: KeyBase,
    op: Op,
    inputs: Inputs,
}

type Change = (&'static str, Row, fn(&mut Made));

fn key(made: &Made, kind: KeyKind) -> StepKey {
    step_key(kind, &made.base, &made.op, &made.inputs)
}

/// Changes one input after the other. Keys that should be others are others than all that came before, too.
fn walk(made: &Made, rows: &[Change]) {
    for kind in [KeyKind::Definition, KeyKind::Content] {
        let mut seen = BTreeMap::from([(key(made, kind), "nothing changed")]);
        for (name, row, change) in rows {
            let mut changed = made.clone();
            change(&mut changed);
            let (key, same) = (key(&changed, kind), key(made, kind));
            match row {
                DoesNot => assert!(key == same, "{name} does not count"),
                Counts => assert_eq!(seen.insert(key, name), None, "{name} counts"),
            }
        }
    }
    assert_ne!(key(made, KeyKind::Definition), key(made, KeyKind::Content));
}

fn steps() -> (StepId, StepId) {
    let mut plan = Plan::default();
    let first = plan.push(Op::Scratch, Origin::default());
    (first, plan.push(Op::Context(ContextOp { name: "main".to_owned() }), Origin::default()))
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn made(op: Op) -> Made {
    let base = KeyBase { epoch: Some(7), compression: "gzip:5".to_owned(), formats: (1, 2) };
    let inputs = Inputs { parent: Some(digest("parent")), reads: vec![digest("one"), digest("two")] };
    Made { base, op, inputs }
}

/// What counts for every step that makes a layer.
const SHARED: [Change; 8] = [
    ("epoch", Counts, |made| made.base.epoch = Some(8)),
    ("epoch is preserved", Counts, |made| made.base.epoch = None),
    ("compression", Counts, |made| made.base.compression = "gzip:6".to_owned()),
    ("format of tar", Counts, |made| made.base.formats.0 += 1),
    ("format of compression", Counts, |made| made.base.formats.1 += 1),
    ("parent", Counts, |made| made.inputs.parent = Some(digest("other parent"))),
    ("independent of the parent", Counts, |made| made.inputs.parent = None),
    ("step of the parent", DoesNot, |made| match &mut made.op {
        Op::Run(run) => run.parent = steps().1,
        Op::Copy(copy) => copy.parent = steps().1,
        Op::MakeDir(make) => make.parent = steps().1,
        _ => unreachable!("it has no parent"),
    }),
];

fn run_op() -> RunOp {
    let (parent, files) = steps();
    let mount = |target: &str, kind| RunMount { target: target.to_owned(), kind };
    let text = str::to_owned;
    let bind = |source: &str| MountKind::Bind { from: files, source: text(source), writable: false };
    let sharing = Sharing::Shared;
    let cache = MountKind::Cache {
        id: text("id"),
        sharing,
        seed: None,
        readonly: false,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let (id, required) = (text("id"), false);
    let secret = MountKind::Secret { id: id.clone(), env: None, required, mode: 0o400, uid: 0, gid: 0 };
    let agent = MountKind::Agent { id, required, mode: 0o600, uid: 0, gid: 0 };
    RunOp {
        parent,
        argv: vec![text("/bin/sh"), text("-c"), text("make all")],
        env: vec![(text("A"), text("1")), (text("B"), text("2"))],
        arguments: vec![text("A")],
        unkeyed_env: vec![(text("http_proxy"), text("p"))],
        cwd: text("/"),
        user: text(""),
        network: Network::Host,
        mounts: vec![
            mount("/one", bind("a")),
            mount("/two", bind("b")),
            mount("/cache", cache),
            mount("/tmp", MountKind::Tmpfs { size_bytes: None }),
            mount("/secret", secret),
            mount("/agent", agent),
        ],
        hostname: text("buildkitsandbox"),
        extra_hosts: vec![(text("host"), text("1.2.3.4"))],
        ulimits: vec![Ulimit { name: text("nofile"), soft: Some(1), hard: Some(2) }],
        shm_size_bytes: Some(1),
        platform: Platform::host(),
        shell: vec![text("/bin/sh")],
        script: Some(Script { name: text("s"), text: text("t") }),
    }
}

fn run(made: &mut Made) -> &mut RunOp {
    let Op::Run(run) = &mut made.op else { unreachable!("it is one") };
    // A new field needs rows below.
    let RunOp {
        parent: _,
        argv: _,
        env: _,
        arguments: _,
        unkeyed_env: _,
        cwd: _,
        user: _,
        network: _,
        mounts: _,
        hostname: _,
        extra_hosts: _,
        ulimits: _,
        shm_size_bytes: _,
        platform: _,
        shell: _,
        script: _,
    } = &**run;
    run
}

fn kind(made: &mut Made, index: usize) -> &mut MountKind {
    &mut run(made).mounts[index].kind
}

/// Changes the fields that caches, secrets and agents have in common.
macro_rules! set {
    ($index:literal, $field:ident, $value:expr) => {
        |made| {
            let (MountKind::Cache { $field, .. }
            | MountKind::Secret { $field, .. }
            | MountKind::Agent { $field, .. }) = kind(made, $index)
            else {
                unreachable!("it has one")
            };
            *$field = $value;
        }
    };
}

const RUN: [Change; 25] = [
    ("argument", Counts, |made| run(made).argv[2] = "make".to_owned()),
    ("two arguments for one", Counts, |made| {
        run(made).argv = ["/bin/sh", "-c", "make", "all"].map(str::to_owned).to_vec();
    }),
    ("variable", Counts, |made| run(made).env[0].1 = "3".to_owned()),
    ("name of a variable", Counts, |made| run(made).env[0].0 = "C".to_owned()),
    ("order of variables", Counts, |made| run(made).env.reverse()),
    ("one variable less", Counts, |made| drop(run(made).env.pop())),
    ("proxy that nobody declared", DoesNot, |made| run(made).unkeyed_env[0].1 = "q".to_owned()),
    ("which variables are arguments", DoesNot, |made| run(made).arguments.clear()),
    ("directory", Counts, |made| run(made).cwd = "/a".to_owned()),
    ("user", Counts, |made| run(made).user = "1".to_owned()),
    ("network", Counts, |made| run(made).network = Network::None),
    ("host name", Counts, |made| run(made).hostname = "a".to_owned()),
    ("name of an extra host", Counts, |made| run(made).extra_hosts[0].0 = "h".to_owned()),
    ("another extra host", Counts, |made| run(made).extra_hosts.push(("i".to_owned(), String::new()))),
    ("address of an extra host", DoesNot, |made| run(made).extra_hosts[0].1 = "4.3.2.1".to_owned()),
    ("limit", Counts, |made| run(made).ulimits[0].name = "core".to_owned()),
    ("soft limit", Counts, |made| run(made).ulimits[0].soft = None),
    ("hard limit", Counts, |made| run(made).ulimits[0].hard = None),
    ("no limit", Counts, |made| run(made).ulimits.clear()),
    ("shm size", Counts, |made| run(made).shm_size_bytes = Some(2)),
    ("platform", Counts, |made| run(made).platform = "linux/s390x".parse().unwrap()),
    ("shell", DoesNot, |made| run(made).shell.clear()),
    ("script", Counts, |made| run(made).script.as_mut().unwrap().text = "u".to_owned()),
    ("name of the script", Counts, |made| run(made).script.as_mut().unwrap().name = "r".to_owned()),
    ("no script", Counts, |made| run(made).script = None),
];

const MOUNTS: [Change; 26] = [
    ("files of a mount", Counts, |made| made.inputs.reads[0] = digest("three")),
    ("files of the next mount", Counts, |made| made.inputs.reads[1] = digest("three")),
    ("target of a mount", Counts, |made| run(made).mounts[0].target = "/three".to_owned()),
    ("order of mounts", Counts, |made| run(made).mounts.swap(0, 1)),
    ("one mount less", Counts, |made| drop(run(made).mounts.pop())),
    ("place that a mount shows", Counts, |made| {
        let MountKind::Bind { source, .. } = kind(made, 0) else { unreachable!("it is one") };
        *source = "c".to_owned();
    }),
    ("whether it can be written", Counts, |made| {
        let MountKind::Bind { writable, .. } = kind(made, 0) else { unreachable!("it is one") };
        *writable = true;
    }),
    ("step that a mount shows", DoesNot, |made| {
        let MountKind::Bind { from, .. } = kind(made, 0) else { unreachable!("it is one") };
        *from = steps().0;
    }),
    ("size of memory", Counts, |made| *kind(made, 3) = MountKind::Tmpfs { size_bytes: Some(1) }),
    ("name of a cache", Counts, set!(2, id, "other".to_owned())),
    ("mode of a cache", Counts, set!(2, mode, 0o700)),
    ("user of a cache", Counts, set!(2, uid, 1)),
    ("group of a cache", Counts, set!(2, gid, 1)),
    ("who shares a cache", Counts, |made| {
        let MountKind::Cache { sharing, .. } = kind(made, 2) else { unreachable!("it is one") };
        *sharing = Sharing::Locked;
    }),
    ("cache of one's own", Counts, |made| {
        let MountKind::Cache { sharing, .. } = kind(made, 2) else { unreachable!("it is one") };
        *sharing = Sharing::Private;
    }),
    ("whether a cache is only read", Counts, |made| {
        let MountKind::Cache { readonly, .. } = kind(made, 2) else { unreachable!("it is one") };
        *readonly = true;
    }),
    ("what a cache starts with", DoesNot, |made| {
        let MountKind::Cache { seed, .. } = kind(made, 2) else { unreachable!("it is one") };
        *seed = Some((steps().0, "/".to_owned()));
    }),
    ("variable of a secret", Counts, |made| {
        let MountKind::Secret { env, .. } = kind(made, 4) else { unreachable!("it is one") };
        *env = Some("S".to_owned());
    }),
    ("whether a secret is required", Counts, |made| {
        let MountKind::Secret { required, .. } = kind(made, 4) else { unreachable!("it is one") };
        *required = true;
    }),
    ("name of a secret", Counts, set!(4, id, "other".to_owned())),
    ("mode of a secret", Counts, set!(4, mode, 0o444)),
    ("owner of a secret", Counts, set!(4, uid, 1)),
    ("name of an agent", Counts, set!(5, id, "other".to_owned())),
    ("mode of an agent", Counts, set!(5, mode, 0o666)),
    ("owner of an agent", Counts, set!(5, gid, 1)),
    ("whether an agent is required", Counts, |made| {
        let MountKind::Agent { required, .. } = kind(made, 5) else { unreachable!("it is one") };
        *required = true;
    }),
];

#[test]
fn what_counts_for_a_run_makes_another_key_and_nothing_else_does() {
    walk(&made(Op::Run(Box::new(run_op()))), &[&SHARED[..], &RUN, &MOUNTS].concat());
}

fn copy(made: &mut Made) -> &mut CopyOp {
    let Op::Copy(copy) = &mut made.op else { unreachable!("it is one") };
    // A new field needs rows below.
    let CopyOp {
        parent: _,
        sources: _,
        destination: _,
        chown: _,
        chmod: _,
        link: _,
        parents: _,
        exclude: _,
        unpack: _,
    } = &**copy;
    copy
}

#[test]
fn what_counts_for_a_copy_makes_another_key_and_nothing_else_does() {
    let (parent, files) = steps();
    let inline = CopySource::Inline { name: "name".to_owned(), text: "text".to_owned() };
    let sources = vec![
        CopySource::Path { from: files, pattern: "a*".to_owned() },
        CopySource::Remote { from: files },
        inline,
    ];
    let op = CopyOp {
        parent,
        sources,
        destination: "/d/".to_owned(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: vec!["x".to_owned()],
        unpack: Unpack::Never,
    };
    let rows: [Change; 18] = [
        ("files", Counts, |made| made.inputs.reads[0] = digest("three")),
        ("file of the web", Counts, |made| made.inputs.reads[1] = digest("three")),
        ("pattern", Counts, |made| {
            copy(made).sources[0] = CopySource::Path { from: steps().1, pattern: "b*".to_owned() };
        }),
        ("step that is read", DoesNot, |made| {
            copy(made).sources[0] = CopySource::Path { from: steps().0, pattern: "a*".to_owned() };
        }),
        ("step that fetches", DoesNot, |made| copy(made).sources[1] = CopySource::Remote { from: steps().0 }),
        ("text", Counts, |made| {
            copy(made).sources[2] = CopySource::Inline { name: "name".to_owned(), text: "t".to_owned() };
        }),
        ("name of a text", Counts, |made| {
            copy(made).sources[2] = CopySource::Inline { name: "n".to_owned(), text: "text".to_owned() };
        }),
        ("one source less", Counts, |made| drop(copy(made).sources.pop())),
        ("destination", Counts, |made| copy(made).destination = "/d".to_owned()),
        ("owner", Counts, |made| copy(made).chown = Some("1".to_owned())),
        ("mode", Counts, |made| copy(made).chmod = Some("1".to_owned())),
        ("link", Counts, |made| copy(made).link = true),
        ("parents", Counts, |made| copy(made).parents = true),
        ("what is left out", Counts, |made| copy(made).exclude[0] = "y".to_owned()),
        ("nothing is left out", Counts, |made| copy(made).exclude.clear()),
        ("more is left out", Counts, |made| copy(made).exclude.push("y".to_owned())),
        ("archives are unpacked", Counts, |made| copy(made).unpack = Unpack::Local),
        ("all archives are unpacked", Counts, |made| copy(made).unpack = Unpack::All),
    ];
    walk(&made(Op::Copy(Box::new(op))), &[&SHARED[..], &rows].concat());
}

#[test]
fn what_counts_for_a_directory_makes_another_key_and_nothing_else_does() {
    let set = |made: &mut Made, path: &str, user: &str| {
        let Op::MakeDir(MakeDirOp { parent: _, path: old_path, user: old_user }) = &mut made.op else {
            unreachable!("it is one")
        };
        (*old_path, *old_user) = (path.to_owned(), user.to_owned());
    };
    let (parent, path, user) = (steps().0, "/a".to_owned(), String::new());
    let first = made(Op::MakeDir(MakeDirOp { parent, path, user }));
    walk(&first, &SHARED);
    for (path, user) in [("/b", ""), ("/a", "1"), ("/a1", "")] {
        let mut other = first.clone();
        set(&mut other, path, user);
        assert_ne!(key(&other, KeyKind::Definition), key(&first, KeyKind::Definition), "{path} {user}");
    }
}

#[test]
fn of_an_image_its_diff_ids_count_and_no_name_time_compression_or_blob() {
    let layer = |content: &str, blob: &str| {
        let blob = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest(blob), 1);
        Layer { diff_id: DiffId(digest(content)), blob }
    };
    let image = |name: &str, layers: Vec<Layer>| {
        let (reference, manifest, platform) = (name.parse().unwrap(), digest(name), Platform::host());
        made(Op::Image(Box::new(ImageOp { reference, manifest, platform, layers })))
    };
    let first = image("a:1", vec![layer("a", "a"), layer("b", "b")]);
    let other_blob = image("b:2", vec![layer("a", "other"), layer("b", "b")]);
    let mut other_base = first.clone();
    other_base.base = KeyBase { epoch: None, compression: "none".to_owned(), formats: (8, 9) };
    let key = |made: &Made| key(made, KeyKind::Definition);
    assert_eq!([key(&other_blob), key(&other_base)], [key(&first); 2]);
    for layers in [vec![], vec![layer("a", "a")], vec![layer("b", "b"), layer("a", "a")]] {
        assert_ne!(key(&first), key(&image("a:1", layers)));
    }
}
