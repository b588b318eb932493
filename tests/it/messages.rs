//! What a failure says: the line, the reason, and what was meant.

use crate::support::{TestSpace, busybox, requires};

/// One Dockerfile that fails: its text, further arguments, the exit code, and what the message has to contain.
struct Failing {
    dockerfile: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const FAILING: [Failing; 15] = [
    Failing {
        dockerfile: "FROM scratch\nCOPPY a /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "COPPY", "COPY"],
    },
    Failing {
        dockerfile: "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /a\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:3", "biuld", "`build`"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY --chwon=1 a /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "chwon", "chown"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY missing.txt /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "missing.txt"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY Dockerfil /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "source `/Dockerfil` was not found", "did you mean `Dockerfile`?"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY <<E /etc/passwd\nroot:x:0:0\nuser:x:1:1\nE\nCOPY --chown=usre a /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:6", "unknown user `usre`", "/etc/passwd", "did you mean `user`?"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY <<E /etc/group\nwheel:x:1:\nstaff:x:2:\nE\nCOPY --chown=1:nobody a /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:6", "unknown group `nobody`", "it lists wheel, staff; a number needs no list"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY hidden.log /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "hidden.log", ".dockerignore"],
    },
    Failing {
        dockerfile: "FROM scratch\nCOPY ../outside /\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:2", "outside"],
    },
    Failing { dockerfile: "COPY a /\n", arguments: &[], code: 1, says: &["Dockerfile:1", "FROM"] },
    Failing { dockerfile: "", arguments: &[], code: 1, says: &["Dockerfile"] },
    Failing {
        dockerfile: "# syntax=example.com/other/frontend\nFROM scratch\n",
        arguments: &[],
        code: 1,
        says: &["Dockerfile:1", "example.com/other/frontend"],
    },
    Failing {
        dockerfile: "FROM scratch AS one\n",
        arguments: &["--target", "oen"],
        code: 1,
        says: &["oen", "`one`"],
    },
    Failing {
        dockerfile: "FROM scratch\n",
        arguments: &["--traget", "x"],
        code: 2,
        says: &["--traget", "--target"],
    },
    Failing {
        dockerfile: "FROM scratch\n",
        arguments: &["-o", "type=ocii,dest=x"],
        code: 2,
        says: &["ocii", "oci"],
    },
];

#[test]
fn a_failure_says_where_and_what_was_meant() {
    for Failing { dockerfile, arguments, code, says } in FAILING {
        let space = TestSpace::new();
        let files = [("Dockerfile", dockerfile), ("a", ""), ("hidden.log", ""), (".dockerignore", "*.log\n")];
        let context = space.context("context", &files);
        space.build(&context).args(arguments).run().fails_with(code).says(says);
    }
}

#[test]
fn every_error_of_a_dockerfile_is_told_at_once() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPPY a /\nENV\nLABLE x=y\n")]);
    space.build(&context).run().fails_with(1).says(&["Dockerfile:2", "Dockerfile:3", "Dockerfile:4"]);
}

#[test]
fn a_failing_run_shows_its_line_its_exit_code_and_its_output() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let dockerfile = "FROM busybox\nRUN echo fine\nRUN echo to-stdout && echo to-stderr >&2 && exit 42\n";
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    let outcome = space.build(&context).run().fails_with(1);
    outcome.says(&["Dockerfile:3", "42", "to-stdout", "to-stderr"]);
    space.kiln(["build", "-q"]).arg(&context).run().fails_with(1).says(&["Dockerfile:3", "42", "to-stdout"]);
    drop(server);
}

#[test]
fn a_missing_program_is_named_and_is_no_crash() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let server = busybox::serve(&space);
    let context =
        space.context("context", &[("Dockerfile", "FROM busybox\nRUN [\"/no/such/program\", \"x\"]\n")]);
    space.build(&context).run().fails_with(1).says(&["Dockerfile:2", "/no/such/program"]);
    let context = space.context("shell", &[("Dockerfile", "FROM scratch\nRUN true\n")]);
    space.build(&context).run().fails_with(1).says(&["Dockerfile:2", "/bin/sh"]);
    drop(server);
}

#[test]
fn unreachable_stages_are_never_resolved() {
    let space = TestSpace::new();
    let dockerfile = "FROM no-such-registry.invalid/nothing AS unused\nRUN exit 1\nFROM scratch\nCOPY a /\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("a", "")]);
    space.build(&context).run().success().never_says(&["no-such-registry.invalid"]);
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let space = TestSpace::new();
    for arguments in
        [&["biuld", "."][..], &["build"], &["build", "--no-such-flag", "."], &["pull"], &["tag", "one"]]
    {
        space.kiln(arguments).run().fails_with(2);
    }
    space.kiln(["build"]).arg(space.path("no/such/context")).run().fails_with(1).says(&["no/such/context"]);
}
