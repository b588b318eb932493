//! Steps that the kernel would refuse an id or a device.

use kiln_sandbox::{ExecError, Mount, MountKind, Owner, Owning};

use super::harness::{Case, rung};
use super::space::{Space, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("a_step_that_needs_what_the_kernel_would_refuse_is_ended", ended),
    ("a_user_or_owner_that_is_not_mapped_does_not_start", not_started),
];

/// What a step needs: a kind of id and its number, or a device.
#[derive(Debug, PartialEq)]
enum Need {
    Id(&'static str, u32),
    Device,
}

fn need(error: &ExecError) -> Need {
    match error {
        ExecError::IdNotMapped { kind, id, available } => {
            assert!(*available >= 65536, "{error:?}");
            Need::Id(kind, *id)
        }
        ExecError::NoDevices => Need::Device,
        _ => panic!("{error:?}"),
    }
}

fn ended() {
    if rung() != "subordinate" {
        return;
    }
    let rows = [
        ("touch /a; chown 65535:65535 /a; mkfifo /p; chown -h 7 /p", None),
        ("touch /a; chown 123456 /a; touch /after", Some(Need::Id("user", 123_456))),
        ("touch /a; chown 0:4294967294 /a", Some(Need::Id("group", u32::MAX - 1))),
        ("ln -s x /l; chown -h 70000:7 /l", Some(Need::Id("user", 70_000))),
        ("touch /a; (sleep 9 & chown 70000 /a)", Some(Need::Id("user", 70_000))),
        ("mknod /c c 1 3", Some(Need::Device)),
        ("mknod /b b 7 9", Some(Need::Device)),
        ("mknod /p p", None),
    ];
    for (script, expected) in rows {
        let space = Space::new();
        let mut spec = script_spec(script);
        spec.remembered.owners = Owning::SetOrEnd;
        let outcome = space.try_run(&spec);
        assert!(!space.path("upper/after").exists(), "{script}");
        let found = outcome.as_ref().err().map(need);
        assert_eq!(found, expected, "{script}");
        if let Ok(outcome) = outcome {
            assert_eq!(outcome.output, "", "{script}");
        }
        spec.remembered.owners = Owning::Remember;
        assert!(Space::new().try_run(&spec).unwrap().exit.status.is_success(), "{script}");
    }
    // Nobody may do it there, so the kernel can say so.
    let mut spec = script_spec("mknod /tmp/c c 1 3 2>/dev/null || echo refused");
    (spec.user.uid, spec.remembered.owners) = (7, Owning::SetOrEnd);
    assert_eq!(Space::new().output(&spec), "refused\n");
}

fn not_started() {
    if rung() != "subordinate" {
        return;
    }
    let mut by_user = script_spec("id -u");
    by_user.user.uid = 123_456;
    let mut by_group = script_spec("id -G");
    by_group.user.groups = vec![5, 123_456];
    let mut by_file = script_spec("stat -c %u /run/secret");
    let owner = Owner { uid: 123_456, gid: 0 };
    let kind = MountKind::File { content: b"x".to_vec(), mode: 0o400, owner };
    by_file.mounts.push(Mount { target: "/run/secret".into(), kind });
    let rows = [
        (by_user, Need::Id("user", 123_456), "123456\n"),
        (by_group, Need::Id("group", 123_456), "0 5 123456\n"),
        (by_file, Need::Id("user", 123_456), "123456\n"),
    ];
    for (mut spec, expected, seen) in rows {
        for owners in [Owning::Set, Owning::SetOrEnd] {
            spec.remembered.owners = owners;
            assert_eq!(need(&Space::new().try_run(&spec).err().unwrap()), expected);
        }
        spec.remembered.owners = Owning::Remember;
        assert_eq!(Space::new().output(&spec), seen);
    }
}
