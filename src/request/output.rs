//! `-o SPEC`, as buildx reads it: `type=oci,dest=app.tar`, a directory, or `-`.
//!
//! Keys that buildx has and that are not built here are rows of a table: an error that names them.

use std::path::{Path, PathBuf};

use kiln_builder::request::{Compression, Destination, OutputSpec};
use kiln_oci::Reference;

use super::SpecError;
use super::csv;
use crate::suggest::nearest;

const FLAG: &str = "-o";

/// One `-o`, and what it says about all layers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Where the result goes.
    pub(crate) spec: OutputSpec,
    /// Compression of new layers.
    pub(crate) compression: Option<Compression>,
}

const TYPES: &[&str] = &["oci", "docker", "image", "registry", "local", "tar", "cacheonly"];

/// Which keys a type has.
fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "oci" => &["type", "name", "dest", "tar", "compression", "compression-level"],
        "docker" => &["type", "name", "dest", "compression", "compression-level"],
        "image" => &["type", "name", "push", "compression", "compression-level"],
        "registry" => &["type", "name", "compression", "compression-level"],
        "local" | "tar" => &["type", "dest"],
        _ => &["type"],
    }
}

/// Keys of buildx that are not built here, and what to do instead.
const NOT_YET: &[(&str, &str)] = &[
    ("force-compression", "layers of a base image keep their bytes"),
    ("rewrite-timestamp", "times are always set; leave it out"),
    ("source-date-epoch", "use SOURCE_DATE_EPOCH or `--timestamp`"),
    ("oci-mediatypes", "documents are OCI's; leave it out"),
    ("oci-artifact", "leave it out"),
    ("attestation-inline", "no attestation is made"),
    ("unpack", "nothing has to be unpacked; leave it out"),
    ("store", "the result is kept in the store; leave it out"),
    ("push-by-digest", "give the result a name with `-t`"),
    ("name-canonical", "give the result a name with `-t`"),
    ("dangling-name-prefix", "give the result a name with `-t`"),
    ("registry.insecure", "describe the registry in the configuration file"),
    ("prefer-nondist-layers", "layers of a base image keep their place"),
    (
        "context",
        "there is no docker daemon to hand the image to; `dest=FILE` writes an archive for `docker load`",
    ),
    ("platform-split", "build one platform into each directory"),
    ("mode", "files are added to the directory; empty it first"),
    ("compatibility-version", "`--compat=buildkit` writes BuildKit's history texts"),
];

/// Reads one `-o`.
///
/// # Errors
/// [`SpecError`], naming the key or value.
pub(crate) fn parse(line: &str, base: &Path) -> Result<Output, SpecError> {
    let error = |reason: String| SpecError::new(FLAG, line, reason);
    let fields = csv::fields(FLAG, line)?;
    if let [place] = fields.as_slice()
        && !place.contains('=')
    {
        return bare(place, base).ok_or_else(|| error("it is empty".to_owned()));
    }
    let mut pairs = Vec::new();
    for field in &fields {
        let (key, value) =
            csv::pair(field).ok_or_else(|| error(format!("`{field}` is not of the form key=value")))?;
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(error(format!("`{key}` is given twice")));
        }
        pairs.push((key, value));
    }
    let Some((_, kind)) = pairs.iter().find(|(key, _)| key == "type") else {
        return Err(error("`type=` is missing".to_owned()).with_hint(types_hint()));
    };
    if !TYPES.contains(kind) {
        let hint =
            nearest(kind, TYPES).map_or_else(types_hint, |meant| format!("did you mean `type={meant}`?"));
        return Err(error(format!("there is no type `{kind}`")).with_hint(hint));
    }
    for (key, _) in &pairs {
        check_key(key, kind).map_err(|(reason, hint)| error(reason).with_hint(hint))?;
    }
    Keys { line, pairs: &pairs, base }.output(kind)
}

fn bare(place: &str, base: &Path) -> Option<Output> {
    let spec = match place {
        "" => return None,
        "-" => OutputSpec::Tar { destination: Destination::Stdout },
        directory => OutputSpec::Local { directory: base.join(directory) },
    };
    Some(Output { spec, compression: None })
}

fn types_hint() -> String {
    format!("the types are `{}`", TYPES.join("`, `"))
}

fn check_key(key: &str, kind: &str) -> Result<(), (String, String)> {
    let known = keys_of(kind);
    if known.contains(&key) {
        return Ok(());
    }
    if key.starts_with("annotation") {
        let hint = "`--label` puts a value into the configuration".to_owned();
        return Err((format!("the key `{key}` is not built yet"), hint));
    }
    if let Some((_, instead)) = NOT_YET.iter().find(|(name, _)| *name == key) {
        return Err((format!("the key `{key}` is not built yet"), (*instead).to_owned()));
    }
    let hint = match nearest(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("its keys are `{}`", known.join("`, `")),
    };
    Err((format!("type `{kind}` has no key `{key}`"), hint))
}

struct Keys<'a> {
    line: &'a str,
    pairs: &'a [(String, &'a str)],
    base: &'a Path,
}

impl Keys<'_> {
    fn output(&self, kind: &str) -> Result<Output, SpecError> {
        let spec = match kind {
            "image" => OutputSpec::Image { names: self.names()?, push: self.truth("push")?.unwrap_or(false) },
            "registry" => OutputSpec::Image { names: self.names()?, push: true },
            "local" => OutputSpec::Local { directory: self.directory()? },
            "tar" => OutputSpec::Tar { destination: self.destination().unwrap_or(Destination::Stdout) },
            "cacheonly" => OutputSpec::CacheOnly,
            "docker" => OutputSpec::Docker { names: self.names()?, destination: self.docker_destination()? },
            _ => self.oci()?,
        };
        Ok(Output { spec, compression: self.compression()? })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    fn error(&self, reason: impl Into<String>) -> SpecError {
        SpecError::new(FLAG, self.line, reason)
    }

    fn oci(&self) -> Result<OutputSpec, SpecError> {
        let tar = self.truth("tar")?.unwrap_or(true);
        let destination = match self.destination() {
            Some(Destination::Stdout) | None if !tar => {
                return Err(self.error("a directory needs `dest=DIR`"));
            }
            destination => destination.unwrap_or(Destination::Stdout),
        };
        Ok(OutputSpec::Oci { names: self.names()?, destination, tar })
    }

    fn docker_destination(&self) -> Result<Destination, SpecError> {
        self.destination().ok_or_else(|| {
            self.error("`dest=` is missing: there is no docker daemon to hand the image to").with_hint(
                "`dest=FILE` writes an archive for `docker load`; without -o the image is kept in the store",
            )
        })
    }

    fn destination(&self) -> Option<Destination> {
        match self.get("dest").filter(|path| !path.is_empty())? {
            "-" => Some(Destination::Stdout),
            path => Some(Destination::Path(self.base.join(path))),
        }
    }

    fn directory(&self) -> Result<PathBuf, SpecError> {
        match self.destination() {
            Some(Destination::Path(path)) => Ok(path),
            Some(Destination::Stdout) => Err(self
                .error("files cannot go to standard output")
                .with_hint("`type=tar,dest=-` writes an archive")),
            None => Err(self.error("`dest=DIR` is missing")),
        }
    }

    fn names(&self) -> Result<Vec<Reference>, SpecError> {
        let Some(names) = self.get("name") else { return Ok(Vec::new()) };
        let parse = |name: &str| super::name(name).map_err(|reason| self.error(reason));
        names.split(',').map(parse).collect()
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, SpecError> {
        csv::truth(key, self.get(key)).map_err(|reason| self.error(reason))
    }

    fn compression(&self) -> Result<Option<Compression>, SpecError> {
        let (name, level) = (self.get("compression"), self.get("compression-level"));
        if name.is_none() && level.is_none() {
            return Ok(None);
        }
        // A level alone is one of gzip, as with buildx.
        let named = super::compression::named(name.unwrap_or("gzip"), level);
        named.map(Some).map_err(|(reason, hint)| self.error(reason).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Result<OutputSpec, String> {
        parse(line, Path::new("/base")).map(|output| output.spec).map_err(|error| match &error.hint {
            Some(hint) => format!("{} ({hint})", error.reason),
            None => error.reason.clone(),
        })
    }

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let path = |path: &str| Destination::Path(PathBuf::from(path));
        let name = |text: &str| text.parse::<Reference>().unwrap();
        for (line, spec) in [
            (
                "type=oci,dest=app.tar",
                OutputSpec::Oci { names: Vec::new(), destination: path("/base/app.tar"), tar: true },
            ),
            (
                "type=oci,dest=-",
                OutputSpec::Oci { names: Vec::new(), destination: Destination::Stdout, tar: true },
            ),
            ("type=oci", OutputSpec::Oci { names: Vec::new(), destination: Destination::Stdout, tar: true }),
            (
                "TYPE=oci,tar=false,dest=/x",
                OutputSpec::Oci { names: Vec::new(), destination: path("/x"), tar: false },
            ),
            (
                "type=oci,\"dest=a,b\"",
                OutputSpec::Oci { names: Vec::new(), destination: path("/base/a,b"), tar: true },
            ),
            (
                "type=docker,dest=d.tar",
                OutputSpec::Docker { names: Vec::new(), destination: path("/base/d.tar") },
            ),
            ("type=tar", OutputSpec::Tar { destination: Destination::Stdout }),
            ("-", OutputSpec::Tar { destination: Destination::Stdout }),
            ("out", OutputSpec::Local { directory: "/base/out".into() }),
            ("type=local,dest=out", OutputSpec::Local { directory: "/base/out".into() }),
            ("type=cacheonly", OutputSpec::CacheOnly),
            ("type=image,push=true", OutputSpec::Image { names: vec![], push: true }),
            (
                "type=registry,\"name=a,localhost:5000/b:1\"",
                OutputSpec::Image { names: vec![name("a:latest"), name("localhost:5000/b:1")], push: true },
            ),
        ] {
            assert_eq!(outcome(line), Ok(spec), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, says) in [
            ("", "it is empty"),
            (
                "dest=x",
                "`type=` is missing (the types are `oci`, `docker`, `image`, `registry`, `local`, `tar`, `cacheonly`)",
            ),
            ("type=oic", "there is no type `oic` (did you mean `type=oci`?)"),
            ("type=oci,dst=x", "type `oci` has no key `dst` (did you mean `dest`?)"),
            ("type=tar,tar=false", "type `tar` has no key `tar` (its keys are `type`, `dest`)"),
            ("type=oci,oops", "`oops` is not of the form key=value"),
            ("type=oci,dest=a,dest=b", "`dest` is given twice"),
            ("type=oci,tar=maybe", "`tar` is `true` or `false`, not `maybe`"),
            ("type=oci,tar=false", "a directory needs `dest=DIR`"),
            ("type=local", "`dest=DIR` is missing"),
            ("type=local,dest=-", "files cannot go to standard output (`type=tar,dest=-` writes an archive)"),
            (
                "type=oci,compression=lz4",
                "there is no compression `lz4` (the compressions are `gzip`, `zstd` and `none`)",
            ),
            (
                "type=oci,annotation.a=b",
                "the key `annotation.a` is not built yet (`--label` puts a value into the configuration)",
            ),
        ] {
            assert_eq!(outcome(line), Err(says.to_owned()), "{line}");
        }
        assert!(
            outcome("type=docker").unwrap_err().starts_with("`dest=` is missing: there is no docker daemon")
        );
        assert!(outcome("type=image,name=UPPER").unwrap_err().contains("lowercase"));
    }

    #[test]
    fn every_key_that_is_not_built_is_an_error_that_names_it() {
        for (key, instead) in NOT_YET {
            let says = format!("the key `{key}` is not built yet ({instead})");
            assert_eq!(outcome(&format!("type=image,{key}=true")), Err(says));
        }
    }
}
