//! What is wrong with a cache is told, and makes the build do the work itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::places::Place;
use super::{build_in, project, ran};
use crate::support::ports::Port;
use crate::support::registry::Registry;
use crate::support::sha256;
use crate::support::{TestSpace, requires};

/// The files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A way to damage a cache in a directory, and what is said about it.
struct Damage {
    what: &'static str,
    does: fn(&Path),
    says: &'static str,
}

/// Writes an entry as whoever may write the cache can write it.
fn rewrite(path: &Path, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let document = change(text.split_once('\n').unwrap().1);
    fs::write(path, format!("kiln-entry sha256:{}\n{document}", sha256::of(document.as_bytes()))).unwrap();
}

fn each_entry(cache: &Path, change: impl Fn(&Path)) {
    files(&cache.join("entries")).iter().for_each(|path| change(path));
}

fn each_blob(cache: &Path, change: impl Fn(&Path)) {
    files(&cache.join("blobs/sha256")).iter().for_each(|path| change(path));
}

/// Replaces the value of each such field.
fn replaced(document: &str, field: &str, value: &str) -> String {
    let mut parts = document.split(field);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find([',', '}']).unwrap();
        text + field + value + &part[end..]
    })
}

const DAMAGES: &[Damage] = &[
    Damage {
        what: "no entries",
        does: |cache| each_entry(cache, |path| fs::remove_file(path).unwrap()),
        says: "",
    },
    Damage {
        what: "empty entries",
        does: |cache| each_entry(cache, |path| fs::write(path, "").unwrap()),
        says: "is damaged",
    },
    Damage {
        what: "entries that are directories",
        does: |cache| {
            each_entry(cache, |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            });
        },
        says: "",
    },
    Damage {
        what: "a flipped bit",
        does: |cache| {
            each_entry(cache, |path| {
                let mut bytes = fs::read(path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes).unwrap();
            });
        },
        says: "not what its digest says",
    },
    Damage {
        what: "no JSON",
        does: |cache| each_entry(cache, |path| rewrite(path, |_| "\u{1b}[31mgo away".to_owned())),
        says: "malformed",
    },
    Damage {
        what: "huge entries",
        does: |cache| {
            each_entry(cache, |path| {
                fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap()
            })
        },
        says: "too large",
    },
    Damage {
        what: "a later format",
        does: |cache| {
            each_entry(cache, |path| rewrite(path, |text| text.replace("\"format\":1", "\"format\":7")))
        },
        says: "format 7",
    },
    Damage {
        what: "all entries are one of them",
        does: |cache| {
            let paths = files(&cache.join("entries"));
            let one = fs::read(&paths[0]).unwrap();
            paths.iter().for_each(|path| fs::write(path, &one).unwrap());
            fs::remove_file(&paths[0]).unwrap();
        },
        says: "belongs to another key",
    },
    Damage {
        what: "layers of another type",
        does: |cache| {
            each_entry(cache, |path| rewrite(path, |text| replaced(text, "\"mediaType\":", "\"text/html\"")));
        },
        says: "no layer",
    },
    Damage {
        what: "layers of another size",
        does: |cache| {
            each_entry(cache, |path| rewrite(path, |text| replaced(text, "\"size\":", "999999999999")))
        },
        says: "is not there",
    },
    Damage {
        what: "layers of a size that no layer has",
        does: |cache| {
            each_entry(cache, |path| {
                rewrite(path, |text| replaced(text, "\"size\":", "9223372036854775808"))
            });
        },
        says: "a size that none has",
    },
    Damage {
        what: "layers compressed otherwise than their type says",
        does: |cache| {
            each_entry(cache, |path| rewrite(path, |text| text.replace(".tar+gzip", ".tar+zstd")));
        },
        says: "its media type says otherwise",
    },
    Damage {
        what: "JSON that is nested without end",
        does: |cache| each_entry(cache, |path| rewrite(path, |_| "[".repeat(1 << 20))),
        says: "malformed",
    },
    Damage {
        what: "entries that are links to themselves",
        does: |cache| {
            each_entry(cache, |path| {
                fs::remove_file(path).unwrap();
                symlink(path, path).unwrap();
            });
        },
        says: "cannot be used, and is not asked again",
    },
    Damage {
        what: "other diff ids",
        does: |cache| {
            let wrong = format!("\"sha256:{}\"", "0".repeat(64));
            each_entry(cache, |path| rewrite(path, |text| replaced(text, "\"diffId\":", &wrong)));
        },
        says: "is another layer than its entry says",
    },
    Damage {
        what: "no blobs",
        does: |cache| each_blob(cache, |path| fs::remove_file(path).unwrap()),
        says: "is not there",
    },
    Damage {
        what: "blobs cut short",
        does: |cache| each_blob(cache, |path| fs::write(path, "short").unwrap()),
        says: "is not there",
    },
    Damage {
        what: "blobs of other bytes",
        does: |cache| {
            each_blob(cache, |path| {
                let size = fs::metadata(path).unwrap().len();
                fs::write(path, "x".repeat(usize::try_from(size).unwrap())).unwrap();
            });
        },
        says: "does not give blob",
    },
    Damage {
        what: "a file in the place of the directory",
        does: |cache| {
            fs::remove_dir_all(cache).unwrap();
            fs::write(cache, "").unwrap();
        },
        says: "",
    },
    Damage {
        what: "no directory",
        does: |cache| fs::remove_dir_all(cache).unwrap(),
        says: "cannot be used, and is not asked again",
    },
];

#[test]
fn a_damaged_cache_is_told_and_changes_no_byte() {
    for damage in DAMAGES {
        let space = TestSpace::new();
        let place = Place::directory(&space, "cache");
        let context = project(&space, "project");
        let first = place.filling(build_in(&space, &context, "first")).run().success();
        (damage.does)(place.directory.as_ref().unwrap());
        // What goes to files needs all layers.
        let (layout, expected) = (space.path("layout"), first.digest());
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let call = place.asking(build_in(&space, &context, "second")).args(["-o", &output]);
        let outcome = call.run().success().says(&[damage.says]);
        assert_eq!(outcome.digest(), expected, "{}: {outcome}", damage.what);
        assert_eq!(
            outcome.stderr.contains("warning:"),
            !damage.says.is_empty(),
            "{}: {outcome}",
            damage.what
        );
        assert!(!outcome.stderr.contains('\u{1b}'), "{}: {outcome}", damage.what);
        // And what was made is right for the next build.
        let again = build_in(&space, &context, "second").args(["-o", &output]).run().success();
        assert_eq!((ran(&again), again.digest()), (Vec::new(), expected), "{}: {again}", damage.what);
    }
}

#[test]
fn a_writer_makes_a_damaged_cache_whole_again() {
    let space = TestSpace::new();
    let place = Place::directory(&space, "cache");
    let cache = place.directory.clone().unwrap();
    let context = project(&space, "project");
    place.filling(build_in(&space, &context, "first")).run().success();
    each_blob(&cache, |path| {
        let size = fs::metadata(path).unwrap().len();
        fs::write(path, "x".repeat(usize::try_from(size).unwrap())).unwrap();
    });
    let files = format!("type=local,dest={}", space.path("files").display());
    let call = place.filling(place.asking(build_in(&space, &context, "second")));
    let second = call.args(["-o", &files]).run().success().says(&["does not give blob"]);
    let third = place.asking(build_in(&space, &context, "third")).args(["-o", &files]).run().success();
    assert_eq!(ran(&third), Vec::<String>::new(), "{second}{third}");
    third.never_says(&["warning"]);
}

#[test]
fn blobs_that_a_registry_has_lost_are_made_again() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let place = Place::registry(&space, "registry");
    let context = project(&space, "project");
    let first = place.filling(build_in(&space, &context, "first")).run().success();
    let blobs = files(&space.store().with_file_name("first").join("blobs/sha256"));
    let registry = place.registry.as_ref().unwrap();
    for blob in blobs {
        let digest = format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap());
        // Some are documents of the image, which the registry does not have.
        fs::remove_file(registry.blob(&digest)).ok();
    }
    let output = format!("type=oci,dest={}", space.path("app.tar").display());
    let call = place.asking(build_in(&space, &context, "second")).args(["-o", &output]);
    let outcome = call.run().success().says(&["does not give blob", "is made again"]);
    assert_eq!(outcome.digest(), first.digest());
}

#[test]
fn objects_that_a_bucket_has_lost_or_damaged_are_made_again() {
    requires!("s3rver");
    let space = TestSpace::new();
    let place = Place::bucket(&space, "bucket");
    let store = place.store.as_ref().unwrap();
    let context = project(&space, "project");
    let first = place.filling(build_in(&space, &context, "first")).run().success();
    let mut blobs = files(store.object("team/blobs/sha256/x").parent().unwrap());
    blobs.retain(|path| path.extension().is_some_and(|name| name == "_S3rver_object"));
    assert_eq!(blobs.len(), 5);
    let damages: [fn(&Path); 2] = [
        |blob| {
            fs::write(blob, "x".repeat(usize::try_from(fs::metadata(blob).unwrap().len()).unwrap())).unwrap()
        },
        |blob| fs::remove_file(blob).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        blobs.iter().for_each(|blob| damage(blob));
        let output = format!("type=oci,dest={}", space.path("app.tar").display());
        let call = place.filling(place.asking(build_in(&space, &context, &format!("reader-{number}"))));
        let outcome =
            call.args(["-o", &output]).run().success().says(&["does not give blob", "is made again"]);
        assert_eq!(outcome.digest(), first.digest());
        // It is whole again.
        let call = place.asking(build_in(&space, &context, &format!("after-{number}"))).args(["-o", &output]);
        let outcome = call.run().success().never_says(&["warning"]);
        assert_eq!(ran(&outcome), Vec::<String>::new(), "{outcome}");
    }
}

#[test]
fn an_entry_of_a_bucket_that_lies_about_a_size_costs_that_layer_and_no_other() {
    requires!("s3rver");
    let space = TestSpace::new();
    let place = Place::bucket(&space, "bucket");
    let context = project(&space, "project");
    let first = place.filling(build_in(&space, &context, "first")).run().success();
    let entries = files(place.store.as_ref().unwrap().object("team/entries/x").parent().unwrap());
    let is_entry = |path: &&PathBuf| path.extension().is_some_and(|name| name == "_S3rver_object");
    for path in entries.iter().filter(is_entry) {
        rewrite(path, |text| replaced(text, "\"size\":", "1000000"));
    }
    let output = format!("type=oci,dest={}", space.path("app.tar").display());
    let call = place.asking(build_in(&space, &context, "second")).args(["-o", &output]);
    let outcome = call.run().success().says(&["does not give blob", "the object has another size"]);
    let outcome = outcome.never_says(&["is not asked again", "trying again"]);
    assert_eq!(outcome.digest(), first.digest());
}

#[test]
fn a_bucket_that_is_not_there_is_told_and_a_large_layer_goes_in_parts() {
    requires!("s3rver");
    let space = TestSpace::new();
    let place = Place::bucket(&space, "bucket");
    let context = project(&space, "project");
    let elsewhere = place.from.replace("bucket=team-caches", "bucket=nobody-s");
    let call = build_in(&space, &context, "first").env("AWS_PROFILE", "builders");
    let outcome = call.arg(format!("--cache-from={elsewhere}")).arg(format!("--cache-to={elsewhere}")).run();
    outcome.fails_with(1).says(&[
        "cannot be used, and is not asked again",
        "cannot write the cache",
        "NoSuchBucket",
    ]);
    // More than one part.
    fs::write(context.join("src"), vec![7; 66 << 20]).unwrap();
    let none = ["--compression", "none"];
    let first = place.filling(build_in(&space, &context, "first")).args(none).run().success();
    let output = format!("type=oci,dest={}", space.path("app.tar").display());
    let call = place.asking(build_in(&space, &context, "second")).args(none).args(["-o", &output]);
    let second = call.run().success();
    assert_eq!((ran(&second), second.digest()), (Vec::new(), first.digest()), "{second}");
}

#[test]
fn a_cache_that_is_down_is_told_and_the_build_goes_on() {
    let space = TestSpace::new();
    let context = project(&space, "project");
    let nobody = Port::claim();
    let down = format!("{}/team/cache", nobody.host());
    let from = format!("--cache-from={down}");
    let to = format!("--cache-to=type=registry,ref={down}");
    // Both wait and try again for some seconds.
    let strict = build_in(&space, &context, "first").args([from.as_str(), &to, "-t", "app"]).start();
    let to = format!("{to},ignore-error=true");
    let lenient = build_in(&space, &context, "second").args([from.as_str(), &to, "-t", "app"]).start();
    // The image is there; that the cache is not is the error.
    let failed = strict.wait().fails_with(1);
    assert_eq!(failed.stderr.matches("cannot be used, and is not asked again").count(), 1, "{failed}");
    failed.says(&["named app:latest", "cannot write the cache", "ignore-error=true"]);
    lenient.wait().success().says(&["warning: cannot write the cache"]);
}

#[test]
fn a_cache_that_may_not_be_written_fails_the_build_at_its_end() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = Registry::start_with_password(&space.path("registry"));
    let place = Place::repository(&space, registry);
    let context = project(&space, "project");
    let call = place.filling(build_in(&space, &context, "first"));
    call.args(["-t", "app"]).run().fails_with(1).says(&["named app:latest", "there are no credentials"]);
    place.asking(build_in(&space, &context, "second")).run().success().says(&["there are no credentials"]);
}
