//! `--cache-from SPEC` and `--cache-to SPEC`, as buildx reads them: `type=registry,ref=host/cache,mode=max`, or a repository alone.
//!
//! Keys and types that buildx has and that are not built here are rows of tables: an error that names them.

use kiln_builder::request::{
    Bucket, BucketCache, CacheExtent, CachePlace, CacheSource, CacheTarget, RepositoryCache,
};
use kiln_oci::Reference;

use super::SpecError;
use super::csv;
use crate::settings::Settings;
use crate::suggest::nearest;

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";

const TYPES: &[&str] = &["registry", "local", "s3"];

/// Types of buildx that are not built here, and what to do instead.
const OTHER_TYPES: &[(&str, &str)] = &[
    (
        "inline",
        "an image does not carry its cache: `type=registry` keeps it beside the image, in any repository",
    ),
    ("gha", "`type=local` with a step that keeps the directory does the same"),
    ("azblob", "use `type=registry`, `type=local` or `type=s3`"),
];

/// Keys of buildx that are not built here, and what to do instead.
const OTHER_KEYS: &[(&str, &str)] = &[
    ("compression", "layers are stored as they were made: `--compression` decides"),
    ("compression-level", "layers are stored as they were made: `--compression` decides"),
    ("force-compression", "layers are stored as they were made: `--compression` decides"),
    ("registry.insecure", "describe the registry in the configuration file"),
    ("tag", "every entry has its own name, so there is nothing to choose; leave it out"),
    ("digest", "every entry has its own name, so there is nothing to choose; leave it out"),
    ("reset", "remove the directory to begin anew"),
    (
        "access_key_id",
        "set AWS_ACCESS_KEY_ID, or name a profile in AWS_PROFILE: a command line is seen by others",
    ),
    ("secret_access_key", "set AWS_SECRET_ACCESS_KEY: a command line is seen by others"),
    ("session_token", "set AWS_SESSION_TOKEN: a command line is seen by others"),
    ("touch_refresh", "let a rule of the bucket remove entries before blobs"),
    ("upload_parallelism", "several layers leave at once by themselves; leave it out"),
    ("retry_mode", "what fails for a moment is tried again by itself; leave it out"),
    ("retry_max_attempts", "what fails for a moment is tried again by itself; leave it out"),
    ("disable_accept_encoding", "nothing is asked for in another encoding; leave it out"),
];

/// The key that has cache mounts travel, too. buildx has none like it.
const MOUNTS: &str = "mounts";

/// Keys of buildx whose only value here is the one that it has by itself.
const FIXED_KEYS: &[&str] = &["image-manifest", "oci-mediatypes"];

/// Reads the caches to ask, in order.
pub(super) fn sources(lines: &[String], settings: &Settings) -> Result<Vec<CacheSource>, SpecError> {
    let source = |line: &String| Spec::read(FROM, line)?.source(settings);
    lines.iter().map(source).collect()
}

/// Reads the caches to fill.
pub(super) fn targets(lines: &[String], settings: &Settings) -> Result<Vec<CacheTarget>, SpecError> {
    let mut targets: Vec<CacheTarget> = Vec::new();
    for line in lines {
        let target = Spec::read(TO, line)?.target(settings)?;
        if targets.iter().any(|other| other.place == target.place) {
            return Err(SpecError::new(TO, line, "two of them go to the same place"));
        }
        targets.push(target);
    }
    Ok(targets)
}

const ENDPOINTS: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
const REGIONS: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const DEFAULT_REGION: &str = "us-east-1";

/// One line, split into its keys.
struct Spec<'a> {
    flag: &'static str,
    line: &'a str,
    kind: &'static str,
    pairs: Vec<(String, String)>,
}

/// Which keys a type has, as a source or as a target.
fn keys_of(flag: &str, kind: &str) -> Vec<&'static str> {
    let mut keys = vec!["type", MOUNTS];
    keys.extend(match (kind, flag) {
        ("registry", _) => &["ref"][..],
        ("local", FROM) => &["src"],
        ("local", _) => &["dest"],
        _ => &[
            "region",
            "bucket",
            "endpoint_url",
            "use_path_style",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "name",
        ],
    });
    if flag == TO {
        keys.extend(["mode", "ignore-error"]);
        if kind == "registry" {
            keys.extend(FIXED_KEYS);
        }
    }
    keys
}

impl<'a> Spec<'a> {
    fn read(flag: &'static str, line: &'a str) -> Result<Self, SpecError> {
        let error = |reason: String| SpecError::new(flag, line, reason);
        if line.is_empty() {
            return Err(error("it is empty".to_owned()));
        }
        // As in docker: what has no key is the name of a repository.
        if !line.contains('=') {
            let pairs = vec![("ref".to_owned(), line.to_owned())];
            return Ok(Self { flag, line, kind: "registry", pairs });
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for field in csv::fields(flag, line)? {
            let Some((key, value)) = csv::pair(&field) else {
                return Err(error(format!("`{field}` is not of the form key=value")));
            };
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(error(format!("`{key}` is given twice")));
            }
            pairs.push((key, value.to_owned()));
        }
        let types = format!("the types are `{}`", TYPES.join("`, `"));
        let Some((_, named)) = pairs.iter().find(|(key, _)| key == "type") else {
            return Err(error("`type=` is missing".to_owned()).with_hint(types));
        };
        let Some(kind) = TYPES.iter().find(|known| *known == named) else {
            if let Some((_, instead)) = OTHER_TYPES.iter().find(|(name, _)| name == named) {
                return Err(error(format!("the type `{named}` is not built")).with_hint(*instead));
            }
            let hint = nearest(named, TYPES).map_or(types, |meant| format!("did you mean `type={meant}`?"));
            return Err(error(format!("there is no type `{named}`")).with_hint(hint));
        };
        let spec = Self { flag, line, kind, pairs };
        spec.pairs.iter().try_for_each(|(key, _)| spec.check_key(key))?;
        Ok(spec)
    }

    fn check_key(&self, key: &str) -> Result<(), SpecError> {
        let known = keys_of(self.flag, self.kind);
        if known.contains(&key) {
            return Ok(());
        }
        if let Some((_, instead)) = OTHER_KEYS.iter().find(|(name, _)| *name == key) {
            return Err(self.error(format!("the key `{key}` is not built")).with_hint(*instead));
        }
        let hint = match nearest(key, &known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("its keys are `{}`", known.join("`, `")),
        };
        Err(self.error(format!("type `{}` has no key `{key}` here", self.kind)).with_hint(hint))
    }

    fn source(&self, settings: &Settings) -> Result<CacheSource, SpecError> {
        Ok(CacheSource { place: self.place("src", settings)?, has_mounts: self.has_mounts()? })
    }

    fn has_mounts(&self) -> Result<bool, SpecError> {
        Ok(self.truth(MOUNTS)?.unwrap_or(false))
    }

    fn target(&self, settings: &Settings) -> Result<CacheTarget, SpecError> {
        for key in FIXED_KEYS {
            if self.truth(key)? == Some(false) {
                return Err(
                    self.error(format!("`{key}=false` is not built: entries are OCI image manifests"))
                );
            }
        }
        Ok(CacheTarget {
            place: self.place("dest", settings)?,
            extent: match self.get("mode") {
                None | Some("min") => CacheExtent::Results,
                Some("max") => CacheExtent::Everything,
                Some(other) => return Err(self.error(format!("`mode` is `min` or `max`, not `{other}`"))),
            },
            ignores_errors: self.truth("ignore-error")?.unwrap_or(false),
            takes_mounts: self.has_mounts()?,
        })
    }

    fn place(&self, directory: &str, settings: &Settings) -> Result<CachePlace, SpecError> {
        match self.kind {
            "local" => Ok(CachePlace::Local(settings.working_directory.join(self.required(directory)?))),
            "s3" => self.bucket(settings).map(CachePlace::S3),
            _ => {
                let reference: Result<Reference, _> = self.required("ref")?.parse();
                let reference = reference.map_err(|error| self.error(error.to_string()))?;
                let cache = RepositoryCache::new(&reference).map_err(|reason| self.error(reason))?;
                Ok(CachePlace::Registry(cache))
            }
        }
    }

    /// Reads a bucket. As with BuildKit, keys are `prefix`, `blobs_prefix` or `manifests_prefix`, and what is there.
    fn bucket(&self, settings: &Settings) -> Result<BucketCache, SpecError> {
        let text = |key: &str| self.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
        let endpoint = text("endpoint_url").or_else(|| settings.first_of(ENDPOINTS));
        let region = text("region").or_else(|| settings.first_of(REGIONS));
        // Servers of one's own mostly have no regions, and a signature must name one.
        let region = region.or_else(|| endpoint.is_some().then(|| DEFAULT_REGION.to_owned()));
        let region = region.ok_or_else(|| self.error("`region=` is missing, and AWS_REGION is not set"))?;
        let is_path_style = self.truth("use_path_style")?.unwrap_or(false);
        let bucket = Bucket { name: self.required("bucket")?.to_owned(), region, endpoint, is_path_style };
        bucket.check().map_err(|error| self.error(error.to_string()))?;
        let prefix = text("prefix").unwrap_or_default();
        let name = match text("name") {
            Some(name) if name.contains([';', '/']) => {
                return Err(self.error("`name` is one name here, without `;` and `/`"));
            }
            Some(name) => format!("{name}/"),
            None => String::new(),
        };
        let entries = text("manifests_prefix").unwrap_or_else(|| "entries/".to_owned());
        let blobs = text("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned());
        Ok(BucketCache {
            bucket,
            entries: format!("{prefix}{entries}{name}"),
            blobs: format!("{prefix}{blobs}"),
        })
    }

    fn required(&self, key: &str) -> Result<&str, SpecError> {
        self.get(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| self.error(format!("`{key}=` is missing")))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, SpecError> {
        csv::truth(key, self.get(key)).map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: impl Into<String>) -> SpecError {
        SpecError::new(self.flag, self.line, reason)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings() -> Settings {
        Settings::for_test(&[], Path::new("/base"))
    }

    fn said(error: SpecError) -> String {
        match error.hint {
            Some(hint) => format!("{} ({hint})", error.reason),
            None => error.reason,
        }
    }

    fn source(line: &str) -> Result<CachePlace, String> {
        sourced(line).map(|source| source.place)
    }

    fn sourced(line: &str) -> Result<CacheSource, String> {
        let sources = sources(&[line.to_owned()], &settings()).map_err(said)?;
        Ok(sources.into_iter().next().unwrap())
    }

    fn target(line: &str) -> Result<CacheTarget, String> {
        let targets = targets(&[line.to_owned()], &settings()).map_err(said)?;
        Ok(targets.into_iter().next().unwrap())
    }

    fn registry(text: &str) -> CachePlace {
        CachePlace::Registry(RepositoryCache::new(&text.parse().unwrap()).unwrap())
    }

    #[test]
    fn sources_are_read_as_buildx_reads_them() {
        for (line, place) in [
            ("type=registry,ref=host:5000/app/cache", registry("host:5000/app/cache")),
            ("type=registry,ref=user/app:main", registry("docker.io/user/app:main")),
            ("user/app", registry("docker.io/user/app")),
            ("type=local,src=cache", CachePlace::Local("/base/cache".into())),
            ("type=local,\"src=/a,b\"", CachePlace::Local("/a,b".into())),
        ] {
            assert_eq!(source(line), Ok(place), "{line}");
        }
    }

    #[test]
    fn targets_have_a_mode_and_may_ignore_errors() {
        let wanted = |place, extent, ignores_errors| CacheTarget {
            place,
            extent,
            ignores_errors,
            takes_mounts: false,
        };
        for (line, expected) in [
            ("type=local,dest=/c", wanted(CachePlace::Local("/c".into()), CacheExtent::Results, false)),
            ("type=registry,ref=a,mode=min", wanted(registry("a"), CacheExtent::Results, false)),
            (
                "type=registry,ref=a,mode=max,ignore-error=true,image-manifest=true,oci-mediatypes=true",
                wanted(registry("a"), CacheExtent::Everything, true),
            ),
            ("host/a:x", wanted(registry("host/a:x"), CacheExtent::Results, false)),
        ] {
            assert_eq!(target(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn mounts_travel_where_that_is_asked_for() {
        for (keys, expected) in [("", Ok(false)), (",mounts=true", Ok(true)), (",mounts=0", Ok(false))] {
            for kind in ["registry,ref=a", "local,src=/c", "s3,region=r,bucket=b"] {
                let line = format!("type={kind}{keys}");
                assert_eq!(sourced(&line).map(|source| source.has_mounts), expected, "{line}");
                let line = line.replace("src=", "dest=");
                assert_eq!(target(&line).map(|target| target.takes_mounts), expected, "{line}");
            }
        }
        let says = Err("`mounts` is `true` or `false`, not `all`".to_owned());
        assert_eq!(sourced("type=registry,ref=a,mounts=all").map(drop), says);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, says) in [
            ("", "it is empty"),
            ("src=x", "`type=` is missing (the types are `registry`, `local`, `s3`)"),
            ("type=locl,src=x", "there is no type `locl` (did you mean `type=local`?)"),
            ("type=local", "`src=` is missing"),
            ("type=local,src=", "`src=` is missing"),
            ("type=local,src=a,src=b", "`src` is given twice"),
            ("type=local,oops", "`oops` is not of the form key=value"),
            (
                "type=local,dest=x",
                "type `local` has no key `dest` here (its keys are `type`, `mounts`, `src`)",
            ),
            (
                "type=registry,ref=a,mode=max",
                "type `registry` has no key `mode` here (its keys are `type`, `mounts`, `ref`)",
            ),
            ("type=registry", "`ref=` is missing"),
            ("type=s3,bucket=b", "`region=` is missing, and AWS_REGION is not set"),
            ("type=s3,region=r", "`bucket=` is missing"),
            ("type=s3,region=r,bucket=b,name=a;b", "`name` is one name here, without `;` and `/`"),
            (
                "type=s3,region=r,bucket=b,endpoint_url=h:9000",
                "bucket `b`: the address of its server begins with neither https:// nor http://",
            ),
        ] {
            assert_eq!(source(line), Err(says.to_owned()), "{line}");
        }
        for (line, says) in [
            ("type=local,dest=x,mode=most", "`mode` is `min` or `max`, not `most`"),
            ("type=local,dest=x,ignore-error=yes", "`ignore-error` is `true` or `false`, not `yes`"),
            (
                "type=registry,ref=a,image-manifest=false",
                "`image-manifest=false` is not built: entries are OCI image manifests",
            ),
        ] {
            assert_eq!(target(line), Err(says.to_owned()), "{line}");
        }
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert_eq!(source(&digest), Err("a cache cannot be named by a digest".to_owned()));
        assert!(source("host/UPPER").unwrap_err().contains("lowercase"));
        let twice = ["type=local,dest=x".to_owned(), "type=local,dest=/base/x,mode=max".to_owned()];
        assert_eq!(
            targets(&twice, &settings()).map_err(said),
            Err("two of them go to the same place".to_owned())
        );
    }

    #[test]
    fn buckets_have_their_region_and_server_from_keys_or_variables() {
        let bucket = |region: &str, endpoint: Option<&str>, is_path_style| Bucket {
            name: "b".to_owned(),
            region: region.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            is_path_style,
        };
        let cache = |bucket, entries: &str, blobs: &str| BucketCache {
            bucket,
            entries: entries.to_owned(),
            blobs: blobs.to_owned(),
        };
        let variables = [("AWS_DEFAULT_REGION", "of-variable"), ("AWS_ENDPOINT_URL_S3", "http://variable")];
        for (line, variables, expected) in [
            ("type=s3,bucket=b,region=r", &[][..], cache(bucket("r", None, false), "entries/", "blobs/")),
            (
                "type=s3,bucket=b,endpoint_url=http://h:9,use_path_style=true,prefix=p/,name=n",
                &[],
                cache(bucket("us-east-1", Some("http://h:9"), true), "p/entries/n/", "p/blobs/"),
            ),
            (
                "type=s3,bucket=b,manifests_prefix=m-,blobs_prefix=",
                &variables,
                cache(bucket("of-variable", Some("http://variable"), false), "m-", "blobs/"),
            ),
        ] {
            let settings = Settings::for_test(variables, Path::new("/"));
            let source = CacheSource { place: CachePlace::S3(expected), has_mounts: false };
            assert_eq!(sources(&[line.to_owned()], &settings).map_err(said), Ok(vec![source]), "{line}");
        }
    }

    #[test]
    fn every_type_and_key_that_is_not_built_is_an_error_that_names_it() {
        for (kind, instead) in OTHER_TYPES {
            let says = format!("the type `{kind}` is not built ({instead})");
            assert_eq!(source(&format!("type={kind},x=y")), Err(says));
        }
        for (key, instead) in OTHER_KEYS {
            let says = format!("the key `{key}` is not built ({instead})");
            assert_eq!(target(&format!("type=registry,ref=a,{key}=x")), Err(says));
        }
    }
}
