//! Objects in a cache mount: what depends on a changed source is made again, and nothing else is; with make, ninja and cargo.

mod caches;
mod killed;
mod tools;
mod travel;

use std::fs;
use std::path::PathBuf;

use crate::support::http::HttpServer;
use crate::support::users::{self, User};
use crate::support::waiting::until;
use crate::support::{Invocation, Outcome, TestSpace, busybox, requires};

/// A project that is built again and again, each time with the same store.
struct Project {
    space: TestSpace,
    context: PathBuf,
    tools: PathBuf,
    user: Option<User>,
    builds: u32,
    _server: HttpServer,
}

/// What happens to the files of a project before it is built: a name, and the new content or none.
type Edits<'a> = &'a [(&'a str, Option<&'a str>)];

impl Project {
    fn new(dockerfile: &str, programs: &[&str], files: &[(&str, &str)]) -> Self {
        let space = TestSpace::shared();
        let server = busybox::serve(&space);
        let context = space.context("context", files);
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let tools = space.path("tools");
        tools::install(programs, &tools);
        Self { space, context, tools, user: None, builds: 0, _server: server }
    }

    fn by(mut self, user: impl FnOnce(&TestSpace) -> User) -> Self {
        self.user = Some(user(&self.space));
        self
    }

    fn store(&self) -> PathBuf {
        self.user.as_ref().map_or_else(|| self.space.store(), |user| user.path("store"))
    }

    fn call(&self) -> Invocation {
        let tools = format!("tools={}", self.tools.display());
        let call = self.space.build(&self.context).args(["--build-context", &tools, "-o", "type=cacheonly"]);
        let call = call.args(["--compression", "uncompressed"]);
        match &self.user {
            Some(user) => call.user(user).store(&self.store()),
            None => call,
        }
    }

    /// Edits the project and one file that no tool reads, so that the step is done again.
    fn edited(&mut self, edits: Edits<'_>) -> Invocation {
        self.builds += 1;
        let unrelated = self.builds.to_string();
        for (name, content) in edits.iter().chain(&[("notes", Some(&*unrelated))]) {
            let path = self.context.join(name);
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        self.call()
    }

    /// Edits and builds; the tool must make exactly what is `expected`, and the result must be `result`.
    #[track_caller]
    fn makes(&mut self, why: &str, edits: Edits<'_>, expected: &[&str], result: &str) {
        let outcome = self.edited(edits).run().success();
        assert_eq!(made(&outcome), expected, "{why}: {outcome}");
        assert_eq!(words(&outcome, "result-"), [result], "{why}: {outcome}");
    }
}

/// Returns what the tool said it made, sorted.
fn made(outcome: &Outcome) -> Vec<String> {
    words(outcome, "made-")
}

/// Returns the rest of each word of the output that begins so.
fn words(outcome: &Outcome, beginning: &str) -> Vec<String> {
    let lines = outcome.stderr.lines().filter(|line| !line.contains("RUN"));
    let mut found: Vec<String> = lines
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.strip_prefix(beginning))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

const MAKEFILE: &str = "out/program: $(patsubst %.c,out/%.o,$(wildcard *.c)) .\n\
    \t@cat $(filter %.o,$^) > $@ && echo made-program\n\
    \t@! grep -q broken $@\n\
    out/%.o: %.c common.h\n\t@cat $< common.h > $@ && echo made-$*\n";
/// Shows the result, and copies up what the step does not change: it must not reach the layer.
const SHOW: &str =
    "touch a.c . && chmod 600 a.c && chmod 644 a.c && echo result-$(cat /src/out/program | tr -d '\\n')";

const FILES: [(&str, &str); 4] = [("Makefile", MAKEFILE), ("a.c", "a1"), ("b.c", "b1"), ("common.h", "-")];

fn copied(tool: &str) -> String {
    format!(
        "FROM busybox AS base\nCOPY --from=tools / /\nWORKDIR /src\nFROM base\nCOPY --chown=7:8 . .\n\
         RUN --mount=type=cache,id=objects,target=/src/out {tool} && {SHOW}\n"
    )
}

fn bound(tool: &str) -> String {
    format!(
        "FROM busybox AS base\nCOPY --from=tools / /\nWORKDIR /src\n\
         RUN --mount=type=bind,target=/src,rw --mount=type=cache,id=objects,target=/src/out {tool} && {SHOW}\n"
    )
}

/// Everything that can happen to the sources of a project.
fn check_make(mut project: Project) {
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    project.makes("unrelated change", &[], &[], "a1-b1-");
    project.makes(
        "the same content, written anew",
        &[("a.c", Some("a1")), ("common.h", Some("-"))],
        &[],
        "a1-b1-",
    );
    project.makes("a source changes", &[("a.c", Some("a2"))], &["a", "program"], "a2-b1-");
    project.makes("unrelated change", &[], &[], "a2-b1-");
    project.makes("it changes back", &[("a.c", Some("a1"))], &["a", "program"], "a1-b1-");
    project.makes("a header changes", &[("common.h", Some("+"))], &["a", "b", "program"], "a1+b1+");
    project.makes("a source comes", &[("c.c", Some("c1"))], &["c", "program"], "a1+b1+c1+");
    project.makes("a source goes", &[("b.c", None)], &["program"], "a1+c1+");
    project.makes("it comes back", &[("b.c", Some("b1"))], &["b", "program"], "a1+b1+c1+");
    project.makes("unrelated change", &[], &[], "a1+b1+c1+");
    let failed = project.edited(&[("c.c", Some("broken"))]).run().fails_with(1);
    assert_eq!(made(&failed), ["c", "program"], "{failed}");
    project.makes("the failed step is mended", &[("c.c", Some("c1"))], &["c", "program"], "a1+b1+c1+");
    fs::remove_dir_all(project.store().join("cachemounts")).unwrap();
    project.makes("the cache is gone", &[], &["a", "b", "c", "program"], "a1+b1+c1+");
    project.makes("a source changes again", &[("a.c", Some("a3"))], &["a", "program"], "a3+b1+c1+");
    let image = project.call().run().success().digest();
    let elsewhere = match &project.user {
        Some(user) => project.call().store(&user.path("elsewhere")),
        None => project.call().store(&project.space.path("elsewhere")),
    };
    assert_eq!(elsewhere.run().success().digest(), image, "the times reach no layer");
}

const TOOLS: [&str; 2] = ["make", "ninja"];

#[test]
fn make_makes_what_changed_and_nothing_else() {
    requires!("root", "busybox", "make", "ninja");
    check_make(Project::new(&copied("make -s"), &TOOLS, &FILES));
}

#[test]
fn make_makes_what_changed_in_sources_of_a_bind_mount() {
    requires!("root", "busybox", "make", "ninja");
    check_make(Project::new(&bound("make -s"), &TOOLS, &FILES));
}

#[test]
fn make_does_so_for_users_with_subordinate_ids_and_with_a_single_one() {
    requires!("root", "busybox", "make", "ninja", "setpriv", "newuidmap");
    check_make(Project::new(&copied("make -s"), &TOOLS, &FILES).by(users::with_subordinate_ids));
    check_make(Project::new(&copied("make -s"), &TOOLS, &FILES).by(users::with_single_id));
}

/// Two steps with one cache: the first sees a source that stands in for the real one, as is usual for what takes long to make.
#[test]
fn a_source_that_replaces_another_in_a_later_step_is_made_again() {
    requires!("root", "busybox", "make");
    let first = "FROM busybox AS base\nCOPY --from=tools / /\nWORKDIR /src\nFROM base\nCOPY Makefile common.h /src/\n\
        RUN --mount=type=cache,id=objects,target=/src/out echo dummy > a.c && make -s && rm a.c\n";
    let dockerfile =
        format!("{first}COPY . .\nRUN --mount=type=cache,id=objects,target=/src/out make -s && {SHOW}\n");
    let mut project = Project::new(&dockerfile, &["make"], &FILES);
    project.makes("first", &[], &["a", "a", "b", "program", "program"], "a1-b1-");
    project.makes("unrelated change", &[], &[], "a1-b1-");
    project.makes(
        "the header changes",
        &[("common.h", Some("+"))],
        &["a", "a", "b", "program", "program"],
        "a1+b1+",
    );
}

#[test]
fn what_a_run_or_the_base_changes_is_new() {
    requires!("root", "busybox", "make");
    let makefile = "out/program: /generated /etc/installed a.c\n\t@cat $^ > $@ && echo made-program\n";
    let dockerfile = |installed: &str| {
        format!(
            "FROM busybox AS base\nCOPY --from=tools / /\nRUN echo {installed} > /etc/installed\nWORKDIR /src\n\
             FROM base\nCOPY seed .\nRUN sort seed > /generated && ln /generated /linked\nCOPY . .\n\
             RUN --mount=type=cache,id=objects,target=/src/out test /generated -ef /linked && make -s && echo result-$(cat /src/out/program | tr -d '\\n')\n"
        )
    };
    let files = [("Makefile", makefile), ("seed", "x"), ("a.c", "a1")];
    let mut project = Project::new(&dockerfile("1"), &["make"], &files);
    project.makes("first", &[], &["program"], "x1a1");
    project.makes("the generated file stays", &[], &[], "x1a1");
    project.makes("it is generated from something else", &[("seed", Some("y"))], &["program"], "y1a1");
    project.makes("another base", &[("Dockerfile", Some(&dockerfile("2")))], &["program"], "y2a1");
    project.makes("unrelated change", &[], &[], "y2a1");
}

/// While one build makes objects from an old source, another begins that sees the new one: the next must not take the objects
/// that were made meanwhile for those of the new source.
#[test]
fn objects_made_beside_another_build_are_not_taken_for_new_ones() {
    requires!("root", "busybox", "make");
    let dockerfile = |command: &str| copied("make -s").replace("make -s", command);
    let mut project = Project::new(&dockerfile("make -s"), &["make"], &FILES);
    project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
    let wait = "touch out/begun && while [ ! -e out/go ]; do sleep 0.1; done && touch a.c && make -s";
    let slow = project.edited(&[("Dockerfile", Some(&dockerfile(wait)))]).start();
    let cache = walk_to(&project.store().join("cachemounts"), "begun");
    let quick = "touch out/go && while [ ! -e out/done ]; do sleep 0.1; done";
    let beside = project.edited(&[("Dockerfile", Some(&dockerfile(quick))), ("a.c", Some("a2"))]).start();
    slow.wait().success();
    fs::write(cache.join("done"), "").unwrap();
    beside.wait().success();
    project.makes(
        "the new source",
        &[("Dockerfile", Some(&dockerfile("make -s")))],
        &["a", "program"],
        "a2-b1-",
    );
    project.makes("unrelated change", &[], &[], "a2-b1-");
}

/// Waits until there is a file of this name in a slot of a cache mount, and returns the slot.
fn walk_to(mounts: &std::path::Path, name: &str) -> PathBuf {
    let mut slot = None;
    until(&format!("a step makes `{name}`"), || {
        let found = fs::read_dir(mounts).into_iter().flatten().map(|mount| mount.unwrap().path().join("0"));
        slot = found.into_iter().find(|slot| slot.join(name).exists());
        slot.is_some()
    });
    slot.unwrap()
}

const NINJA: &str = "builddir = out\nrule compile\n command = cat $in common.h > $out && echo $out: $in common.h > $out.d && echo made-$name\n \
    depfile = $out.d\n deps = gcc\nrule link\n command = cat $in > $out && echo made-program\n\
    build out/a.o: compile a.c\n name = a\nbuild out/b.o: compile b.c\n name = b\nbuild out/program: link out/a.o out/b.o\n";

#[test]
fn ninja_makes_what_changed_and_nothing_else() {
    requires!("root", "busybox", "make", "ninja", "setpriv", "newuidmap");
    let files = [("build.ninja", NINJA), ("a.c", "a1"), ("b.c", "b1"), ("common.h", "-")];
    for is_user in [false, true] {
        let project = Project::new(&copied("ninja --quiet"), &TOOLS, &files);
        let mut project = if is_user { project.by(users::with_subordinate_ids) } else { project };
        project.makes("first", &[], &["a", "b", "program"], "a1-b1-");
        project.makes("unrelated change", &[("a.c", Some("a1"))], &[], "a1-b1-");
        project.makes("a source changes", &[("a.c", Some("a2"))], &["a", "program"], "a2-b1-");
        project.makes("it changes back", &[("a.c", Some("a1"))], &["a", "program"], "a1-b1-");
        project.makes("unrelated change", &[], &[], "a1-b1-");
        project.makes(
            "what only a depfile names changes",
            &[("common.h", Some("+"))],
            &["a", "b", "program"],
            "a1+b1+",
        );
        project.makes("unrelated change", &[], &[], "a1+b1+");
    }
}

const CARGO: &str = "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\npart = { path = \"part\" }\n\
    [profile.dev]\npanic = \"abort\"\n[workspace]\n";
const PART: &str =
    "[package]\nname = \"part\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[profile.dev]\npanic = \"abort\"\n";

/// Returns a source without the standard library, so that neither it nor a linker is needed.
fn source(more: &str, text: &str) -> String {
    let length = text.len();
    format!(
        "#![no_std]\n{more}\n#[no_mangle]\npub static TEXT_{more_length}: [u8; {length}] = *b\"{text}\";\n",
        more_length = more.len()
    )
}

#[test]
fn cargo_compiles_what_changed_and_nothing_else() {
    requires!("root", "busybox", "make", "cargo", "rustc");
    let dockerfile = "FROM busybox AS base\nCOPY --from=tools / /\nWORKDIR /src\nENV PATH=/bin:/rust/bin CARGO_HOME=/tmp CARGO_TARGET_DIR=/target\n\
        FROM base\nCOPY . .\nRUN --mount=type=cache,id=objects,target=/target cargo build --offline 2>&1 \
        && echo result-$(cat /target/debug/libdemo.rlib /target/debug/deps/libpart*.rlib | grep -ao 'text-of-[a-z0-9]*' | sort -u | tr -d '\\n')\n";
    let (demo, part) = (source("pub use part::*;", "text-of-demo1"), source("", "text-of-part1"));
    let files = [
        ("Cargo.toml", CARGO),
        ("src/lib.rs", &*demo),
        ("part/Cargo.toml", PART),
        ("part/src/lib.rs", &*part),
    ];
    let mut project = Project::new(dockerfile, &["grep"], &files);
    tools::install_rust(&project.tools);
    let mut compiles = |why: &str, edits: Edits<'_>, expected: &[&str], result: &str| {
        let outcome = project.edited(edits).run().success();
        let lines =
            outcome.stderr.lines().filter_map(|line| line.split_once(" Compiling ")).map(|(_, rest)| rest);
        let mut compiled: Vec<&str> = lines.filter_map(|rest| rest.split_whitespace().next()).collect();
        compiled.sort_unstable();
        assert_eq!(compiled, expected, "{why}: {outcome}");
        assert_eq!(words(&outcome, "result-"), [result], "{why}: {outcome}");
    };
    let first = "text-of-demo1text-of-part1";
    compiles("first", &[], &["demo", "part"], first);
    compiles("unrelated change, and the same content", &[("src/lib.rs", Some(&demo))], &[], first);
    let changed = source("pub use part::*;", "text-of-demo2");
    compiles("a source changes", &[("src/lib.rs", Some(&changed))], &["demo"], "text-of-demo2text-of-part1");
    compiles("unrelated change", &[], &[], "text-of-demo2text-of-part1");
    compiles("it changes back", &[("src/lib.rs", Some(&demo))], &["demo"], first);
    let changed = source("", "text-of-part2");
    compiles(
        "a dependency changes",
        &[("part/src/lib.rs", Some(&changed))],
        &["demo", "part"],
        "text-of-demo1text-of-part2",
    );
    compiles("unrelated change", &[], &[], "text-of-demo1text-of-part2");
}
