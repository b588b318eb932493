//! What people type because other tools have it, and kiln does not have it yet: one row each, with what to do instead.
//!
//! The rows are asked only when an argument is unknown, so building a flag is deleting its row; a test sees to that.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::image_group::short_command;
use crate::failure::{Failure, Kind};

/// One flag that commands do not have yet.
struct Row {
    commands: &'static [&'static str],
    /// Long form first, then the short one.
    flags: &'static [&'static str],
    instead: &'static str,
}

const fn row(
    commands: &'static [&'static str],
    flags: &'static [&'static str],
    instead: &'static str,
) -> Row {
    Row { commands, flags, instead }
}

/// The commands that make a container.
const MAKING: &[&str] = &["run", "create", "from"];

/// Flags of docker, buildx, podman and buildah that are not built yet.
const FLAGS: &[Row] = &[
    row(&["build"], &["--sbom"], "run a scanner on the output of `-o type=oci,dest=FILE`"),
    row(&["build"], &["--provenance"], "no attestation is made, so `--provenance=false` can be left out"),
    row(&["build"], &["--attest"], "no attestation is made"),
    row(&["build"], &["--annotation"], "`--label` puts a value into the configuration"),
    row(
        &["build"],
        &["--allow"],
        "no entitlement exists; a step has the host's network unless `--network=none` is given",
    ),
    row(
        &["build"],
        &["--squash"],
        "copy the result into a last stage: `FROM scratch` and `COPY --from=… / /`",
    ),
    row(&["build"], &["--rm"], "no container is left over; leave the flag out"),
    row(&["build"], &["--force-rm"], "no container is left over; leave the flag out"),
    row(&["build"], &["--compress"], "the context is not sent anywhere; leave the flag out"),
    row(&["build"], &["--isolation"], "every RUN step has namespaces of its own"),
    row(&["build"], &["--security-opt"], "every RUN step has the same filter and capabilities"),
    row(&["build"], &["--cap-add", "--cap-drop"], "every RUN step has the same filter and capabilities"),
    row(&["build"], &["--device"], "steps see no devices of the host"),
    row(&["build"], &["--builder"], "there is no daemon to choose"),
    row(&["build"], &["--policy", "--source-policy-file"], "pin images by digest: `FROM name@sha256:…`"),
    row(
        &["build"],
        &["--cgroup-parent"],
        "limit the whole command: `systemd-run --user --scope -p MemoryMax=… kiln build …`",
    ),
    row(
        &["build"],
        &["--memory", "-m", "--memory-swap", "--resource"],
        "limit the whole command: `systemd-run --user --scope -p MemoryMax=… kiln build …`",
    ),
    row(
        &["build"],
        &["--cpu-shares", "-c", "--cpu-period", "--cpu-quota", "--cpuset-cpus", "--cpuset-mems"],
        "limit the whole command: `systemd-run --user --scope -p CPUQuota=… kiln build …`; `-j` bounds the steps",
    ),
    row(&["build"], &["--volume", "-v"], "use `RUN --mount=type=bind` with `--build-context`"),
    row(&["build"], &["--build-arg-file"], "give each value with `--build-arg`"),
    row(&["build"], &["--env", "--unsetenv"], "write ENV in the Dockerfile"),
    row(&["build"], &["--ignorefile"], "name it `Dockerfile.dockerignore`, beside the Dockerfile"),
    row(&["build"], &["--layers"], "every step is cached; leave the flag out"),
    row(
        &["build"],
        &["--source-date-epoch", "--rewrite-timestamp"],
        "give the time with `--timestamp` or SOURCE_DATE_EPOCH",
    ),
    row(&["build"], &["--authfile", "--creds"], "name the file in REGISTRY_AUTH_FILE, or use `kiln login`"),
    row(&["build"], &["--tls-verify", "--cert-dir"], "describe the registry in the configuration file"),
    row(&["build"], &["--ignore-file"], "name it `Dockerfile.dockerignore`, beside the Dockerfile"),
    row(&["images"], &["--tree"], "`kiln inspect` shows the platforms of an image"),
    row(&["inspect"], &["--size", "-s"], "its size is shown; leave the flag out"),
    row(&["rmi"], &["--platform"], "remove the whole image"),
    row(&["rmi"], &["--all", "-a"], "`kiln rmi $(kiln images -q)` removes all"),
    row(&["pull"], &["--policy"], "a pull always asks the registry"),
    row(&["pull"], &["--disable-content-trust"], "there is no content trust; leave the flag out"),
    row(&["pull"], &["--authfile", "--creds"], "name the file in REGISTRY_AUTH_FILE, or use `kiln login`"),
    row(&["pull"], &["--tls-verify", "--cert-dir"], "describe the registry in the configuration file"),
    row(&["manifest"], &["--insecure"], "describe the registry in the configuration file"),
    row(&["copy"], &["--all"], "all platforms are copied; leave the flag out"),
    row(&["push"], &["--disable-content-trust"], "there is no content trust; leave the flag out"),
    row(&["push"], &["--authfile", "--creds"], "name the file in REGISTRY_AUTH_FILE, or use `kiln login`"),
    row(&["push"], &["--tls-verify", "--cert-dir"], "describe the registry in the configuration file"),
    row(
        MAKING,
        &["--detach", "-d"],
        "there is no daemon that a container could be left to; put the command into the background: `kiln run … &`",
    ),
    row(
        MAKING,
        &["--publish", "-p", "--publish-all", "-P", "--expose"],
        "a container has the host's network, and its ports are the host's; leave the flag out",
    ),
    row(MAKING, &["--restart"], "there is no daemon; let the service manager start `kiln run`"),
    row(
        MAKING,
        &["--memory", "-m", "--memory-swap"],
        "limit the whole command: `systemd-run --user --scope -p MemoryMax=… kiln run …`",
    ),
    row(
        MAKING,
        &["--cpus", "--cpu-shares", "-c", "--cpuset-cpus"],
        "limit the whole command: `systemd-run --user --scope -p CPUQuota=… kiln run …`",
    ),
    row(
        MAKING,
        &["--privileged", "--cap-add", "--cap-drop", "--security-opt"],
        "every container has the same filter and capabilities",
    ),
    row(MAKING, &["--device", "--gpus"], "containers see no devices of the host"),
    row(
        MAKING,
        &["--link", "--network-alias", "--dns"],
        "a container has the host's network; `--add-host` names other machines",
    ),
    row(MAKING, &["--init"], "what is left of a command ends with it; leave the flag out"),
    row(MAKING, &["--read-only"], "what a command changes is thrown away with `--rm`"),
    row(MAKING, &["--attach", "-a"], "the output of a command is always shown; leave the flag out"),
    row(MAKING, &["--detach-keys"], "there is nothing to detach from; leave the flag out"),
    row(MAKING, &["--cidfile"], "`kiln create` prints the id, and `--name` gives a name"),
    row(
        MAKING,
        &["--log-driver", "--log-opt"],
        "the output of a command is that of its `kiln run`: send it where it is to go",
    ),
    row(
        MAKING,
        &["--pids-limit", "--cgroup-parent", "--blkio-weight", "--memory-reservation"],
        "limit the whole command: `systemd-run --user --scope -p TasksMax=… kiln run …`",
    ),
    row(MAKING, &["--ulimit"], "limit the whole command: `prlimit --nofile=… kiln run …`"),
    row(
        MAKING,
        &["--ipc", "--pid", "--uts", "--userns", "--cgroupns"],
        "every container has its own; leave the flag out",
    ),
    row(MAKING, &["--group-add"], "give a group with `--user USER:GROUP`"),
    row(MAKING, &["--volumes-from"], "name each directory with `--volume`"),
    row(
        MAKING,
        &["--health-cmd", "--health-interval", "--health-retries", "--health-timeout", "--no-healthcheck"],
        "nothing looks after the health of a command; leave the flag out",
    ),
    row(
        MAKING,
        &["--stop-signal", "--stop-timeout"],
        "signals that kiln gets go to the command; leave the flag out",
    ),
    row(
        MAKING,
        &["--ip", "--ip6", "--mac-address"],
        "a container has the host's network; leave the flag out",
    ),
    row(MAKING, &["--runtime"], "there is one way to run a command on each machine; leave the flag out"),
    row(MAKING, &["--sysctl"], "a container has the settings of this machine's kernel; leave the flag out"),
    row(
        &["create", "from"],
        &["--interactive", "-i", "--tty", "-t"],
        "`kiln start -ai` hands standard input to the command",
    ),
    row(&["create", "from"], &["--rm"], "`kiln run --rm` removes a container when its command has ended"),
    row(&["start"], &["--detach-keys"], "there is nothing to detach from; leave the flag out"),
    row(&["rm"], &["--volumes", "-v"], "what lies in volumes goes with the container; leave the flag out"),
    row(&["rm"], &["--link"], "there are no links"),
    row(&["cp"], &["--quiet", "-q"], "nothing is said; leave the flag out"),
];

/// Commands of other tools that kiln does not have.
const COMMANDS: &[(&str, &str)] = &[
    (
        "buildx",
        "write `kiln build`, `kiln prune`, `kiln df` for its `du`, `kiln manifest` for its `imagetools`, without `buildx`",
    ),
    ("builder", "write `kiln build` or `kiln prune`, without `builder`"),
    ("buildah", "write `kiln build`"),
    ("bud", "write `kiln build`"),
    ("bake", "call `kiln build` for each target"),
    ("imagetools", "`kiln manifest` makes and shows lists of images for several platforms"),
    ("info", "`kiln doctor` tells what steps can use on this machine, `kiln df` what the store takes"),
    ("events", "there is no daemon to listen to; `kiln build --progress=json` tells what a build does"),
    ("context", "there is no daemon to choose"),
    ("plugin", "there are no plugins"),
    ("trust", "there is no content trust; name an image by its digest: `NAME@sha256:…`"),
    (
        "exec",
        "`kiln run -it IMAGE sh` opens a shell in a new container, `kiln enter` one in a step of the last build; `kiln cp` and `-v` \
         reach the files of one that runs",
    ),
    ("stop", "a container runs as long as its `kiln run`: end that"),
    (
        "kill",
        "a container runs as long as its `kiln run`: end that, or send that a signal, which the command gets",
    ),
    (
        "pause",
        "end its `kiln run`; `kiln start -a CONTAINER` runs the command again, over the files that are there",
    ),
    (
        "unpause",
        "end its `kiln run`; `kiln start -a CONTAINER` runs the command again, over the files that are there",
    ),
    (
        "restart",
        "end its `kiln run`; `kiln start -a CONTAINER` runs the command again, over the files that are there",
    ),
    (
        "attach",
        "a command is shown by its `kiln run`; `kiln start -ai CONTAINER` runs it again, and hands it standard input",
    ),
    (
        "wait",
        "`kiln run` and `kiln start -a` end with the command, and with its exit code, which `kiln ps -a` shows, too",
    ),
    (
        "rename",
        "`kiln run --name` gives a name; an image of the container can be run under another one: `kiln commit`",
    ),
    (
        "logs",
        "a command's output is that of its `kiln run`, and is not kept: `kiln run … | tee FILE`; `kiln log` tells of builds",
    ),
    ("top", "the processes of a container are among those of this machine: `ps f`"),
    ("stats", "run it as a unit, and look at that: `systemd-run --user --scope kiln run …`, `systemd-cgtop`"),
    ("update", "limit the whole command: `systemd-run --user --scope -p MemoryMax=… kiln run …`"),
    ("port", "a container has the host's network, and its ports are the host's"),
    ("network", "a container has the host's network, or with `--network=none` none"),
    ("volume", "there are no volumes with a name: `kiln run -v DIRECTORY:TARGET …`"),
    ("compose", "call `kiln run` for each service"),
    ("system", "`kiln df` shows what the store takes, `kiln prune` removes what is not needed"),
];

/// Returns the failure for a command line that could not be read.
pub(super) fn explain(error: &clap::Error, arguments: &[OsString]) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let known = match error.kind() {
        ErrorKind::UnknownArgument => {
            text(ContextKind::InvalidArg).and_then(|flag| unknown_flag(flag, arguments))
        }
        ErrorKind::InvalidSubcommand => text(ContextKind::InvalidSubcommand).and_then(unknown_command),
        _ => None,
    };
    known.unwrap_or_else(|| Failure::rendered(Kind::Usage, error.render().to_string()))
}

fn unknown_flag(flag: &str, arguments: &[OsString]) -> Option<Failure> {
    let flag = flag.split('=').next().unwrap_or(flag);
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let is_known = |word: &&str| FLAGS.iter().any(|row| row.commands.contains(word));
    // The words of the group of images are those of other commands elsewhere.
    let command = words.find_map(|word| match word {
        "image" => Some("image"),
        word => Some(word).filter(is_known),
    })?;
    let command = if command == "image" { words.map(short_command).find(is_known)? } else { command };
    let row = FLAGS.iter().find(|row| row.commands.contains(&command) && row.flags.contains(&flag))?;
    let message = format!("`kiln {command}` has no flag `{flag}` yet");
    Some(Failure::usage(message).with_hint(row.instead))
}

fn unknown_command(command: &str) -> Option<Failure> {
    let (_, instead) = COMMANDS.iter().find(|(name, _)| *name == command)?;
    Some(Failure::usage(format!("there is no command `{command}`")).with_hint(*instead))
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, parse};
    use super::*;
    use clap::CommandFactory;

    fn failure(words: &[&str]) -> Failure {
        match parse(words.iter().map(OsString::from)) {
            Err(failure) => failure,
            Ok(_) => panic!("{words:?} is accepted"),
        }
    }

    #[test]
    fn every_flag_of_the_table_fails_with_its_name_and_what_to_do_instead() {
        let rows = FLAGS.iter().flat_map(|row| row.commands.iter().map(move |command| (command, row)));
        for (command, row) in rows {
            for flag in row.flags {
                for word in [(*flag).to_owned(), format!("{flag}=x")] {
                    let failure = failure(&["kiln", command, &word, "operand"]);
                    let message = format!("`kiln {command}` has no flag `{flag}` yet");
                    assert_eq!(
                        (failure.message.as_str(), failure.exit_code()),
                        (message.as_str(), 2),
                        "{word}"
                    );
                    assert_eq!(failure.hints, [row.instead]);
                }
            }
        }
    }

    #[test]
    fn every_command_of_the_table_fails_with_its_name_and_what_to_do_instead() {
        for (command, instead) in COMMANDS {
            let failure = failure(&["kiln", command]);
            assert_eq!(failure.message, format!("there is no command `{command}`"));
            assert_eq!((failure.hints, failure.kind), (vec![(*instead).to_owned()], Kind::Usage));
        }
    }

    #[test]
    fn flags_in_a_bundle_and_operands_named_like_a_command_are_told_apart() {
        for (words, message) in [
            (["kiln", "rmi", "-fa", "x"], "`kiln rmi` has no flag `-a` yet"),
            (["kiln", "pull", "--policy", "build"], "`kiln pull` has no flag `--policy` yet"),
            (["kiln", "build", "-m512m", "."], "`kiln build` has no flag `-m` yet"),
            (["kiln", "image", "ls", "--tree"], "`kiln images` has no flag `--tree` yet"),
        ] {
            assert_eq!(failure(&words).message, message);
        }
    }

    #[test]
    fn no_row_speaks_of_a_flag_that_exists() {
        let mut cli = Cli::command();
        cli.build();
        let rows = FLAGS.iter().flat_map(|row| row.commands.iter().map(move |command| (command, row)));
        for (name, row) in rows {
            let command = cli.find_subcommand(name).expect(name);
            for argument in command.get_arguments() {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let short = argument.get_short().map(|short| format!("-{short}"));
                for own in [long, short].into_iter().flatten() {
                    assert!(!row.flags.contains(&own.as_str()), "{name} {own}");
                }
            }
        }
    }

    #[test]
    fn a_misspelt_flag_or_command_says_what_was_meant() {
        for (words, says) in [
            (["kiln", "build", "--targt=x"], "--target"),
            (["kiln", "buidl", "."], "build"),
            (["kiln", "images", "--digest"], "--digests"),
            (["kiln", "image", "lst"], "list"),
        ] {
            let failure = failure(&words);
            assert!(failure.message.contains(says), "{words:?}: {}", failure.message);
            assert_eq!(failure.exit_code(), 2);
        }
    }
}
