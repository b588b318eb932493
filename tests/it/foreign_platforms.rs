//! RUN for another platform: refused with what is missing, or carried out by a handler of the kernel.

use std::path::Path;

use crate::support::image::read_all;
use crate::support::{Invocation, TestSpace, requires};

/// A program for arm64 that prints `hi` and ends: an ELF header, one segment, eight instructions.
fn arm64_program() -> Vec<u8> {
    let code: [u32; 8] = [
        0xd280_0020, // mov x0, #1
        0x1000_00e1, // adr x1, text
        0xd280_0062, // mov x2, #3
        0xd280_0808, // mov x8, #64 (write)
        0xd400_0001, // svc #0
        0xd280_0000, // mov x0, #0
        0xd280_0ba8, // mov x8, #93 (exit)
        0xd400_0001, // svc #0
    ];
    let body: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).chain(*b"hi\n\0").collect();
    let (start, size) = (0x40_0000_u64, 120 + body.len() as u64);
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 183] {
        program.extend(half.to_le_bytes());
    }
    program.extend(1_u32.to_le_bytes());
    for word in [start + 120, 64, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        program.extend(word.to_le_bytes());
    }
    for word in [0, start, start, size, size, 0x1_0000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(body);
    program
}

fn build(space: &TestSpace, dockerfile: &str) -> Invocation {
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    std::fs::write(context.join("prog"), arm64_program()).unwrap();
    space.build(&context).arg("--platform=linux/arm64")
}

/// Returns the words that run a program where handlers are a user namespace's own: with the one for arm64, with these flags.
fn with_handler(flags: &str) -> Vec<String> {
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    let register = if flags == "none" {
        String::new()
    } else {
        format!(
            "printf '%s' ':qemu-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:{flags}' > /proc/sys/fs/binfmt_misc/register && "
        )
    };
    let script = format!("mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && {register}exec \"$@\"");
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Whether this kernel lets a user namespace have handlers of its own (Linux 6.7).
fn has_own_handlers() -> bool {
    let words = with_handler("none");
    let status = std::process::Command::new(&words[0]).args(&words[1..]).arg("true").status();
    status.is_ok_and(|status| status.success())
}

const RUN: &str = "FROM scratch\nCOPY --chmod=755 prog /\nRUN [\"/prog\"]\n";

#[test]
fn without_a_handler_a_step_is_refused_before_it_runs_and_copy_needs_none() {
    requires!("root", "unshare");
    if !has_own_handlers() {
        return crate::support::requires::skip("needs handlers of a user namespace's own");
    }
    let space = TestSpace::new();
    let outcome = build(&space, RUN).under(with_handler("none")).run().fails_with(4);
    outcome.says(&[
        "Dockerfile:3",
        "programs of `linux/arm64` cannot run on this machine: the kernel has no handler for them (`qemu-aarch64`)",
        "qemu-user-static",
        "A Dockerfile without RUN needs none",
        "--platform=$BUILDPLATFORM",
    ]);
    build(&space, "FROM scratch\nCOPY prog /\n").under(with_handler("none")).run().success();
}

#[test]
fn what_is_refused_for_one_platform_is_so_before_a_step_of_another_runs() {
    requires!("root", "unshare", "qemu-aarch64-static", "busybox");
    if !has_own_handlers() {
        return crate::support::requires::skip("needs handlers of a user namespace's own");
    }
    let space = TestSpace::new();
    let base = "FROM scratch AS common\nARG TARGETARCH\nCOPY --chmod=755 $TARGETARCH /busybox\n";
    let many: String = (0..9).map(|number| format!("COPY Dockerfile /{number}\n")).collect();
    // The step of amd64 is ready long before it is known that that of arm64 must run.
    let dockerfile = format!(
        "{base}FROM common AS for-amd64\nRUN [\"/busybox\", \"echo\", \"it\", \"ran\"]\n\
         FROM common AS for-arm64\n{many}RUN [\"/busybox\", \"echo\"]\n\
         FROM for-$TARGETARCH\nCOPY Dockerfile /end\n"
    );
    let context = space.context("context", &[("Dockerfile", &dockerfile)]);
    std::fs::write(context.join("arm64"), arm64_program()).unwrap();
    std::fs::copy("/bin/busybox", context.join("amd64")).unwrap();
    let call = |platforms: &str| space.build(&context).arg(format!("--platform={platforms}"));
    let outcome = call("linux/amd64,linux/arm64").under(with_handler("none")).run().fails_with(4);
    outcome.says(&["programs of `linux/arm64` cannot run"]).never_says(&["for-amd64 1/1]", " it ran\n"]);
    // What is known needs no handler.
    call("linux/arm64").under(with_handler("F")).run().success();
    let outcome = call("linux/amd64,linux/arm64").under(with_handler("none")).run().success();
    outcome.says(&[" it ran\n"]);
}

#[test]
fn where_handlers_cannot_be_read_the_program_itself_tells() {
    requires!("root", "setpriv");
    let space = TestSpace::shared();
    if Path::new("/proc/sys/fs/binfmt_misc/status").exists() {
        return crate::support::requires::skip("needs a machine whose handlers are not listed");
    }
    let user = crate::support::users::with_single_id(&space);
    let call = build(&space, RUN).user(&user).store(&user.path("store"));
    call.run().fails_with(4).says(&["a program for arm64", "Dockerfile:3", "qemu-user-static"]);
    // Root reads the list although it is mounted nowhere.
    build(&space, RUN).run().fails_with(4).says(&["Dockerfile:3", "(`qemu-aarch64`)"]);
}

#[test]
fn a_handler_that_works_in_every_root_runs_the_step() {
    requires!("root", "unshare", "qemu-aarch64-static");
    if !has_own_handlers() {
        return crate::support::requires::skip("needs handlers of a user namespace's own");
    }
    let space = TestSpace::new();
    build(&space, RUN).under(with_handler("F")).run().success().says(&[" hi\n"]);
    let other = TestSpace::new();
    let outcome = build(&other, RUN).under(with_handler("")).run().fails_with(4);
    outcome.says(&["registered without the flag F, and the image has no `/usr/bin/qemu-aarch64-static`"]);
    let report = space.kiln(["doctor"]).under(with_handler("F")).run().success().text();
    assert!(report.contains("linux/arm64 (`qemu-aarch64`)\n"), "{report}");
}

#[test]
fn several_platforms_at_once_give_an_index_whose_steps_ran_on_each() {
    requires!("root", "unshare", "qemu-aarch64-static", "busybox");
    if !has_own_handlers() {
        return crate::support::requires::skip("needs handlers of a user namespace's own");
    }
    let space = TestSpace::new();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY --chmod=755 $TARGETARCH /busybox\nRUN [\"/busybox\", \"echo\", \"native\"]\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    std::fs::write(context.join("arm64"), arm64_program()).unwrap();
    std::fs::copy("/bin/busybox", context.join("amd64")).unwrap();
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let call = space.build(&context).args(["--platform=linux/amd64,linux/arm64", "-o", &output]);
    call.under(with_handler("F")).run().success().says(&[" hi\n", " native\n"]);
    let images = read_all(&layout, &mut crate::support::image::LayerCache::new());
    let platforms: Vec<String> = images.iter().map(|image| image.platform()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
}
