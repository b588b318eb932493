//! The edits, a row each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Project;
use crate::support::busybox;
use crate::support::files::File;

/// An edit, and what must follow from it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) edit: fn(&mut Project),
    /// The lines whose steps run, and why.
    pub(super) ran: &'static [(u64, &'static str)],
}

const fn row(name: &'static str, edit: fn(&mut Project), ran: &'static [(u64, &'static str)]) -> Row {
    Row { name, edit, ran }
}

/// Every step is in the cache.
const NOTHING: &[(u64, &str)] = &[];

pub(super) const ROWS: &[Row] = &[
    row("nothing", |_| {}, NOTHING),
    row(
        "the content of a file that reaches the result",
        |project| project.write("src/main.c", "main2\n// comment\n"),
        &[
            (8, "src/main.c content #→#"),
            (9, "after build:8"),
            (17, "after build:8"),
            (19, "after build:8"),
            (20, "after build:8"),
        ],
    ),
    row(
        "a comment that leaves the result as it was",
        |project| project.write("src/main.c", "main\n// another\n"),
        &[(8, "src/main.c content #→#"), (9, "after build:8")],
    ),
    row(
        "a mode",
        |project| {
            fs::set_permissions(project.path("src/lib/a.h"), fs::Permissions::from_mode(0o600)).unwrap()
        },
        &[(8, "src/lib/a.h mode 0644→0600"), (9, "after build:8")],
    ),
    row(
        "a file added",
        |project| project.write("src/lib/b.h", "b\n"),
        &[(8, "src/lib/b.h +file"), (9, "after build:8")],
    ),
    row(
        "a file removed",
        |project| fs::remove_file(project.path("src/lib/a.h")).unwrap(),
        &[(8, "src/lib/a.h -file"), (9, "after build:8")],
    ),
    row(
        "a file renamed",
        |project| fs::rename(project.path("src/lib/a.h"), project.path("src/lib/c.h")).unwrap(),
        &[(8, "name of file src/lib/a.h→src/lib/c.h"), (9, "after build:8")],
    ),
    row("an ignored file", |project| project.write("src/ignored.log", "more\n"), NOTHING),
    row("a file that no step selects", |project| project.write("README", "text\n"), NOTHING),
    row(
        "a link's target",
        |project| {
            fs::remove_file(project.path("src/link")).unwrap();
            std::os::unix::fs::symlink("lib/a.h", project.path("src/link")).unwrap();
        },
        &[(8, "src/link link target main.c→lib/a.h"), (9, "after build:8")],
    ),
    row(
        "a link in place of a file",
        |project| {
            fs::remove_file(project.path("src/lib/a.h")).unwrap();
            std::os::unix::fs::symlink("b", project.path("src/lib/a.h")).unwrap();
        },
        &[(8, "src/lib/a.h kind file→symlink"), (9, "after build:8")],
    ),
    row(
        "only times",
        |project| {
            let file = fs::File::options().write(true).open(project.path("src/main.c")).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
        },
        NOTHING,
    ),
    row(
        "an attribute that reaches the layer",
        |project| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(project.path("src/lib/a.h"), "user.x", b"y", flags).unwrap();
        },
        &[(8, "src/lib/a.h attributes"), (9, "after build:8")],
    ),
    row(
        "an argument that is used",
        |project| project.flag("--build-arg=VERSION=2"),
        &[
            (9, "build argument VERSION 1→2"),
            (17, "after build:9"),
            (19, "after build:9"),
            (20, "after build:9"),
        ],
    ),
    row(
        "an argument that no command names is in the environment",
        |project| project.flag("--build-arg=BUILD_NUMBER=2"),
        &[(19, "build argument BUILD_NUMBER 1→2"), (20, "build argument BUILD_NUMBER 1→2")],
    ),
    row("an argument that is not declared", |project| project.flag("--build-arg=NOBODY=2"), NOTHING),
    row(
        "a default of an argument",
        |project| project.replace("VERSION=1", "VERSION=3"),
        &[
            (9, "build argument VERSION 1→3"),
            (17, "after build:9"),
            (19, "after build:9"),
            (20, "after build:9"),
        ],
    ),
    row(
        "a variable",
        |project| project.replace("MODE=fast", "MODE=slow"),
        &[(9, "environment variable MODE fast→slow")],
    ),
    row("a label", |project| project.replace("LABEL a=b", "LABEL a=c"), NOTHING),
    row(
        "a command that only the configuration has",
        |project| project.replace("CMD [", "ENTRYPOINT ["),
        NOTHING,
    ),
    row("a comment in the Dockerfile", |project| project.replace("\n\nFROM", "\n# comment\nFROM"), NOTHING),
    row("blank lines", |project| project.replace("\n\nFROM", "\n\n\n\nFROM"), NOTHING),
    row(
        "a command",
        |project| project.replace("echo tools >", "echo  tools >"),
        &[(2, "command echo tools > /tools→echo  tools > /tools")],
    ),
    row(
        "the text of a heredoc",
        |project| project.replace("echo heredoc >", "echo another >"),
        &[(20, "command echo heredoc > /heredoc\\n→echo another > /heredoc\\n")],
    ),
    row(
        "an owner of a copy",
        |project| project.replace("COPY --from=tools", "COPY --chown=1:2 --from=tools"),
        &[(16, "--chown (nothing)→1:2"), (19, "after last:16"), (20, "after last:16")],
    ),
    row(
        "a mode of a copy",
        |project| project.replace("COPY src/", "COPY --chmod=0700 src/"),
        &[(8, "--chmod (nothing)→0700"), (9, "after build:8")],
    ),
    row(
        "the network of a step",
        |project| project.replace("RUN echo tools", "RUN --network=none echo tools"),
        &[(2, "--network host→none")],
    ),
    row(
        "the value of a secret",
        |project| {
            project.space.file("token", "another\n");
        },
        NOTHING,
    ),
    row(
        "an option of a cache mount",
        |project| project.replace("target=/cache", "sharing=locked,target=/cache"),
        &[(19, "mount /cache sharing shared→locked")],
    ),
    row(
        "the source of a bind mount",
        |project| project.write("bound/x", "y\n"),
        &[(19, "bound/x content #→#"), (20, "after last:19")],
    ),
    row(
        "the user of a step",
        |project| project.replace("RUN echo tools", "USER 0:0\nRUN echo tools"),
        &[(3, "user (nothing)→0:0")],
    ),
    row(
        "the directory of a step",
        |project| project.replace("WORKDIR /src", "WORKDIR /else"),
        &[(7, "path /src→/else"), (8, "after build:7"), (9, "directory /src→/else")],
    ),
    row(
        "the shell",
        |project| project.replace("RUN echo tools", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN echo tools"),
        &[(3, "shell /bin/sh -c→/bin/sh -ec")],
    ),
    row("a stage that nobody needs", |project| project.replace("echo other", "echo another"), NOTHING),
    row(
        "a stage that files are copied from",
        |project| project.replace("echo tools >", "echo new tools >"),
        &[
            (2, "command echo tools > /tools→echo new tools > /tools"),
            (16, "after tools:2"),
            (19, "after tools:2"),
            (20, "after tools:2"),
        ],
    ),
    row(
        "a file of the web",
        |project| project.web.put("/file", File::new("newer\n", "2")),
        &[(18, "http://HOST/file content #→#"), (19, "after last:18"), (20, "after last:18")],
    ),
    row(
        "the address of a file of the web",
        |project| project.replace("/file /file", "/other /file"),
        &[(18, "address http://HOST/file→http://HOST/other")],
    ),
    row(
        "an ignore file that hides less",
        |project| project.write(".dockerignore", ""),
        &[(8, "src/ignored.log +file"), (9, "after build:8")],
    ),
    row(
        "another context with the same files",
        |project| {
            project.flags[1] =
                format!("--build-context=extra={}", project.space.path("other-extra").display())
        },
        NOTHING,
    ),
    row(
        "a file of another context",
        |project| {
            project.space.file("extra/x", "new\n");
        },
        &[(23, "x content #→#")],
    ),
    row(
        "the time of files",
        |project| project.environment.push(("SOURCE_DATE_EPOCH".to_owned(), "1000000000".to_owned())),
        &[
            (2, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (7, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (8, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (9, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (16, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (17, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (18, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (19, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (20, "SOURCE_DATE_EPOCH 315532800→1000000000"),
            (23, "SOURCE_DATE_EPOCH 315532800→1000000000"),
        ],
    ),
    row(
        "compression",
        |project| project.flag("--compression=zstd"),
        &[
            (2, "compression gzip:5→zstd:3"),
            (7, "compression gzip:5→zstd:3"),
            (8, "compression gzip:5→zstd:3"),
            (9, "compression gzip:5→zstd:3"),
            (16, "compression gzip:5→zstd:3"),
            (17, "compression gzip:5→zstd:3"),
            (18, "compression gzip:5→zstd:3"),
            (19, "compression gzip:5→zstd:3"),
            (20, "compression gzip:5→zstd:3"),
            (23, "compression gzip:5→zstd:3"),
        ],
    ),
    row(
        "the platform that it is built for anyway",
        |project| project.flag("--platform=linux/amd64"),
        NOTHING,
    ),
    row(
        "a name of a host, for commands that do not use it",
        |project| project.flag("--add-host=x:1.2.3.4"),
        &[(2, "--add-host +x"), (9, "--add-host +x"), (19, "--add-host +x"), (20, "--add-host +x")],
    ),
    row(
        "a step put before another",
        |project| project.replace("RUN echo tools", "RUN true\nRUN echo tools"),
        &[(2, "command echo tools > /tools→true"), (3, "after tools:2")],
    ),
    row(
        "a step taken away",
        |project| project.replace("WORKDIR /src\n", ""),
        &[(8, "directory /src→/; step before")],
    ),
    row(
        "a base that moved",
        |project| {
            let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}});
            let mut more = busybox::images();
            let extra = busybox::archive_of("more", b"more\n");
            more.add_archives("library/busybox:latest", config, &[busybox::rootfs(), extra]);
            *project.base.lock().unwrap() = more;
        },
        &[
            (2, "base image busybox:latest #→#"),
            (7, "base image busybox:latest #→#"),
            (9, "after build:7"),
            (19, "base image busybox:latest #→#"),
            (20, "after last:19"),
        ],
    ),
    row(
        "a base that moved with the same layers",
        |project| {
            let labels = json!({"Cmd": ["sh"], "Labels": {"new": "label"}});
            let config = json!({"architecture": "amd64", "os": "linux", "config": labels});
            let mut same = busybox::images();
            same.add_archives("library/busybox:latest", config, &[busybox::rootfs()]);
            *project.base.lock().unwrap() = same;
        },
        NOTHING,
    ),
    row(
        "a step to be done again",
        |project| project.flag("--no-cache=tools"),
        &[(2, "asked by --no-cache=tools")],
    ),
];
