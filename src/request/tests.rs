//! Command lines and the requests they become.

use std::ffi::OsString;
use std::path::Path;

use kiln_builder::git_reference::{GitReference, Standing};

use super::*;
use crate::cli::{Command, Parsed, parse};

fn request_with(
    flags: &[&str],
    variables: &[(&str, &str)],
    base: &Path,
) -> Result<(BuildRequest, FromStdin), Failure> {
    let words = ["kiln", "build"].iter().chain(flags).map(OsString::from);
    let Parsed::Command(cli) = parse(words)? else { panic!("{flags:?} is help") };
    let Command::Build(args) = cli.command else { panic!("{flags:?} is no build") };
    build(&args, &Settings::for_test(variables, base))
}

fn request(flags: &[&str]) -> Result<BuildRequest, String> {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<&str> = flags.iter().copied().chain(["."]).collect();
    request_with(&words, &[("FROM_ENV", "e")], folder.path())
        .map(|(request, _)| request)
        .map_err(|failure| failure.message)
}

#[test]
fn flags_become_values() {
    let plain = request(&[]).unwrap();
    assert!(plain.outputs.is_empty() && plain.jobs > 0);
    assert_eq!(plain.timestamp, Timestamp::Epoch(DEFAULT_EPOCH));
    let flags = "-t app -t localhost:5000/b:2 --build-arg A=1=2 --build-arg FROM_ENV --build-arg UNSET --label a=b \
        --label c --platform linux/arm64,linux/amd64 --platform linux/arm64/v8 --target out --pull --network none \
        --add-host h:1.2.3.4 --ulimit nofile=9 --shm-size 1k --timestamp preserve --compat buildkit \
        --compression zstd -j 3";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let request = request(&flags).unwrap();
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(request.tags, ["app:latest", "localhost:5000/b:2"].map(|name| name.parse().unwrap()));
    assert_eq!(request.build_args, map(&[("A", "1=2"), ("FROM_ENV", "e")]));
    assert_eq!(request.labels, map(&[("a", "b"), ("c", "")]));
    assert_eq!(request.platforms, ["linux/arm64", "linux/amd64"].map(|name| name.parse().unwrap()));
    assert_eq!((request.target.as_deref(), request.pull, request.jobs), (Some("out"), true, 3));
    assert_eq!(request.network, Network::None);
    assert_eq!(request.extra_hosts, [("h".to_owned(), "1.2.3.4".to_owned())]);
    assert_eq!((request.ulimits.len(), request.shm_size_bytes), (1, Some(1024)));
    assert_eq!(request.timestamp, Timestamp::Preserve { documents: DEFAULT_EPOCH });
    assert_eq!((request.compat, request.compression), (Compat::BuildKit, Compression::ZSTD));
}

#[test]
fn no_cache_is_everything_or_some_stages() {
    let stages = |names: &[&str]| NoCache::Stages(names.iter().map(|name| (*name).to_owned()).collect());
    for (flags, expected) in [
        (&[][..], NoCache::Nothing),
        (&["--no-cache"], NoCache::Everything),
        (&["--no-cache=true"], NoCache::Everything),
        (&["--no-cache=false"], NoCache::Nothing),
        (&["--no-cache=a,b"], stages(&["a", "b"])),
        (&["--no-cache-filter=a", "--no-cache=b"], stages(&["a", "b"])),
        (&["--no-cache", "--no-cache-filter=a"], NoCache::Everything),
    ] {
        assert_eq!(request(flags).unwrap().no_cache, expected, "{flags:?}");
    }
}

#[test]
fn push_and_load_are_outputs() {
    let image = |push| OutputSpec::Image { names: vec![], push };
    let cache = OutputSpec::CacheOnly;
    for (flags, expected) in [
        (&["--load"][..], Ok(vec![image(false)])),
        (&["--push", "-t", "a"], Ok(vec![image(true)])),
        (&["--push", "-t", "a", "-o", "type=image"], Ok(vec![image(true)])),
        (&["--push", "-t", "a", "-o", "type=cacheonly"], Ok(vec![cache, image(true)])),
        (&["--push"], Err("there is no name to push to")),
        (&["-o", "type=image,push=true"], Err("there is no name to push to")),
        (&["-o", "type=tar", "-o", "type=oci"], Err("two outputs go to `-`")),
        (&["-o", "type=oci,compression=zstd", "--compression=gzip"], Err("two compressions are asked for")),
    ] {
        let found = request(flags).map(|request| request.outputs);
        assert_eq!(found, expected.map_err(str::to_owned), "{flags:?}");
    }
}

#[test]
fn values_that_mean_nothing_are_named() {
    for (flags, says) in [
        (&["-t", "UPPER"][..], "lowercase"),
        (&["-t", "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"], "by a digest"),
        (&["--build-arg", "=x"], "the name is empty"),
        (&["--label", "=x"], "the name is empty"),
        (&["--platform", "plan9000"], "plan9000"),
        (&["--timestamp", "now"], "neither `preserve` nor whole seconds"),
        (&["--build-arg", "SOURCE_DATE_EPOCH=x"], "whole seconds since 1970"),
        (&["-j", "0"], "0"),
        (&["--network", "bridge"], "bridge"),
        (&["--secret", "id=a,env=NONE"], "the variable `NONE` is not set"),
        (&["-o", "type=oic"], "there is no type `oic`"),
    ] {
        let message = request(flags).expect_err("it means nothing");
        assert!(message.contains(says), "{flags:?}: {message}");
    }
}

#[test]
fn time_comes_from_the_flag_then_the_argument_then_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("SOURCE_DATE_EPOCH", "3"), ("http_proxy", "http://p")];
    for (flags, expected) in [
        (&["."][..], 3),
        (&["--build-arg", "SOURCE_DATE_EPOCH=2", "."], 2),
        (&["--build-arg", "SOURCE_DATE_EPOCH=2", "--timestamp", "1", "."], 1),
        (&["--build-arg", "SOURCE_DATE_EPOCH=", "."], DEFAULT_EPOCH),
    ] {
        let (request, _) = request_with(flags, &variables, folder.path()).unwrap();
        assert_eq!(request.timestamp, Timestamp::Epoch(expected), "{flags:?}");
        assert_eq!(request.build_args.get("http_proxy").map(String::as_str), Some("http://p"));
    }
}

#[test]
fn context_and_dockerfile_come_from_directories_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    std::fs::write(base.join("D"), "").unwrap();
    let directory = || ContextPlace::Directory(base.join("."));
    let text = DockerfilePlace::Text(Vec::new());
    for (flags, expected) in [
        (&["."][..], (directory(), DockerfilePlace::Default, FromStdin::Nothing)),
        (&["-f", "D", "."], (directory(), DockerfilePlace::Path(base.join("D")), FromStdin::Nothing)),
        (&["-f", "-", "."], (directory(), text, FromStdin::Dockerfile)),
        (&["-"], (ContextPlace::Empty, DockerfilePlace::Default, FromStdin::Context)),
    ] {
        let (request, from_stdin) = request_with(flags, &[], base).unwrap();
        assert_eq!((request.context, request.dockerfile, from_stdin), expected, "{flags:?}");
    }
    let url = "https://h/a.git#main";
    let repository = GitReference::parse(url, Standing::Context).unwrap().unwrap();
    for (flags, dockerfile, expected) in [
        (&[url][..], DockerfilePlace::Default, FromStdin::Nothing),
        (&["-f", "D", url], DockerfilePlace::Path("D".into()), FromStdin::Nothing),
        (&["-f", "-", url], DockerfilePlace::Text(Vec::new()), FromStdin::Dockerfile),
        (
            &["-f", "https://h/D", url],
            DockerfilePlace::Web("https://h/D".parse().unwrap()),
            FromStdin::Nothing,
        ),
    ] {
        let (request, from_stdin) = request_with(flags, &[], base).unwrap();
        let context = ContextPlace::Git(Box::new(repository.clone()));
        assert_eq!((request.context, request.dockerfile, from_stdin), (context, dockerfile, expected));
    }
    for (flags, says) in [
        (&["-f", "-", "-"][..], "both CONTEXT and `-f` are `-`: standard input can be only one of them"),
        (&[], "CONTEXT is missing: the directory with the files to copy from"),
    ] {
        let failure = request_with(flags, &[], base).expect_err("it is ambiguous");
        assert_eq!((failure.message.as_str(), failure.exit_code()), (says, 2));
    }
}
