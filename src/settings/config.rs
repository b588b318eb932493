//! The configuration file: registries as in buildkitd.toml, and a little of our own.
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["127.0.0.1:5000"]
//!
//! [registry."127.0.0.1:5000"]
//! http = true
//! ca = ["ca.pem"]            # beside the configuration file
//!
//! [build]
//! jobs = 4
//! root = "copy"              # roots of steps: "overlay", "copy"; what the machine can when absent
//!
//! [store]
//! max = "20G"                # or "15%" of the disk, or "none"
//! ```
//!
//! A key that is not known is an error. Relative paths start at the folder of the file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::suggest::nearest;

/// What a configuration file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Registries that need something said about them.
    #[serde(rename = "registry")]
    pub(crate) registries: BTreeMap<String, Registry>,
    /// How builds run.
    pub(crate) build: Build,
    /// How the store is kept.
    pub(crate) store: Store,
}

/// How the store is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Store {
    /// What may go takes no more than this: `20G`, `15%` of the disk, or `none`.
    pub(crate) max: Option<String>,
}

/// How builds run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Build {
    /// Steps that run at once.
    pub(crate) jobs: Option<NonZeroUsize>,
    /// What the roots of steps are made of.
    pub(crate) root: Option<Root>,
}

/// What the roots of steps are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Root {
    /// Overlays over the layers.
    Overlay,
    /// Copies of the layers' files.
    Copy,
}

/// What is special about one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Registry {
    /// Hosts that are asked first, in order.
    pub(crate) mirrors: Vec<String>,
    /// Whether plain HTTP is spoken.
    pub(crate) http: Option<bool>,
    /// Whether the certificate goes unchecked.
    pub(crate) insecure: bool,
    /// Files of certificate authorities.
    pub(crate) ca: Vec<PathBuf>,
    /// Client certificates.
    pub(crate) keypair: Vec<Keypair>,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Keypair {
    /// The private key.
    pub(crate) key: PathBuf,
    /// The certificate chain.
    pub(crate) cert: PathBuf,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file")]
    Read(#[source] std::io::Error),
    /// It is too large to be one.
    #[error("the configuration file `{}` is larger than {CONFIG_SIZE_MAX} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or a value has the wrong type.
    #[error("the configuration file `{}` is malformed: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// It has a key that means nothing here.
    #[error("the configuration file `{}` has a key that means nothing to kiln: `{key}`", .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key with the tables around it.
        key: String,
        /// What may have been meant, or what there is.
        hint: String,
    },
}

const CONFIG_SIZE_MAX: u64 = 1 << 20;

impl Config {
    /// Reads a configuration file. One that is not required and does not exist says nothing.
    pub(super) fn read(path: &Path, is_required: bool) -> Result<Self, ConfigError> {
        match fs_err::metadata(path) {
            Ok(metadata) if metadata.len() > CONFIG_SIZE_MAX => {
                return Err(ConfigError::TooLarge { path: path.to_owned() });
            }
            Err(error) if !is_required && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Ok(_) | Err(_) => {}
        }
        Self::parse(&fs_err::read_to_string(path).map_err(ConfigError::Read)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let malformed = |error: toml::de::Error| ConfigError::Malformed {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        };
        let table: Table = toml::from_str(text).map_err(malformed)?;
        check_keys(&table).map_err(|(key, hint)| ConfigError::UnknownKey {
            path: path.to_owned(),
            key,
            hint,
        })?;
        let mut config: Self = toml::from_str(text).map_err(malformed)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        for registry in self.registries.values_mut() {
            let pairs = registry.keypair.iter_mut().flat_map(|pair| [&mut pair.key, &mut pair.cert]);
            for path in registry.ca.iter_mut().chain(pairs) {
                *path = folder.join(&path);
            }
        }
    }
}

const TOP_KEYS: &[&str] = &["registry", "build", "store"];
const STORE_KEYS: &[&str] = &["max"];
const BUILD_KEYS: &[&str] = &["jobs", "root"];
const REGISTRY_KEYS: &[&str] = &["mirrors", "http", "insecure", "ca", "keypair"];
const KEYPAIR_KEYS: &[&str] = &["key", "cert"];

/// Returns the first key that is not known, and what to say about it.
fn check_keys(table: &Table) -> Result<(), (String, String)> {
    check_table(table, TOP_KEYS, "")?;
    if let Some(Value::Table(build)) = table.get("build") {
        check_table(build, BUILD_KEYS, "build.")?;
    }
    if let Some(Value::Table(store)) = table.get("store") {
        check_table(store, STORE_KEYS, "store.")?;
    }
    let Some(Value::Table(registries)) = table.get("registry") else { return Ok(()) };
    for (name, registry) in registries {
        let Value::Table(registry) = registry else { continue };
        check_table(registry, REGISTRY_KEYS, &format!("registry.\"{name}\"."))?;
        let Some(Value::Array(pairs)) = registry.get("keypair") else { continue };
        for pair in pairs.iter().filter_map(Value::as_table) {
            check_table(pair, KEYPAIR_KEYS, &format!("registry.\"{name}\".keypair."))?;
        }
    }
    Ok(())
}

fn check_table(table: &Table, known: &[&str], place: &str) -> Result<(), (String, String)> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let hint = match nearest(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the keys here are `{}`", known.join("`, `")),
    };
    Err((format!("{place}{key}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/kiln/config.toml";

    #[test]
    fn registries_are_described_as_in_buildkitd_toml() {
        let text = r#"
            [registry."docker.io"]
            mirrors = ["127.0.0.1:5000"]
            [registry."127.0.0.1:5000"]
            http = true
            ca = ["ca.pem", "/abs.pem"]
            [[registry."127.0.0.1:5000".keypair]]
            key = "k.pem"
            cert = "c.pem"
            [build]
            jobs = 3
            root = "copy"
            [store]
            max = "20G"
        "#;
        let config = Config::parse(text, Path::new(FILE)).unwrap();
        let hub = Registry { mirrors: vec!["127.0.0.1:5000".to_owned()], ..Registry::default() };
        let local = Registry {
            http: Some(true),
            ca: vec!["/etc/kiln/ca.pem".into(), "/abs.pem".into()],
            keypair: vec![Keypair { key: "/etc/kiln/k.pem".into(), cert: "/etc/kiln/c.pem".into() }],
            ..Registry::default()
        };
        let registries =
            BTreeMap::from([("docker.io".to_owned(), hub), ("127.0.0.1:5000".to_owned(), local)]);
        assert_eq!(
            config,
            Config {
                registries,
                build: Build { jobs: NonZeroUsize::new(3), root: Some(Root::Copy) },
                store: Store { max: Some("20G".to_owned()) }
            }
        );
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        for (text, key, hint) in [
            ("[registri.x]", "registri", "did you mean `registry`?"),
            ("[worker.oci]", "worker", "the keys here are `registry`, `build`, `store`"),
            ("[registry.x]\nmirors=[]", "registry.\"x\".mirors", "did you mean `mirrors`?"),
            (
                "[[registry.x.keypair]]\nkey='a'\ncrt='b'",
                "registry.\"x\".keypair.crt",
                "did you mean `cert`?",
            ),
            ("[build]\njob=2", "build.job", "did you mean `jobs`?"),
        ] {
            match Config::parse(text, Path::new(FILE)) {
                Err(ConfigError::UnknownKey { key: found, hint: said, .. }) => {
                    assert_eq!((found.as_str(), said.as_str()), (key, hint));
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn malformed_files_are_errors_that_name_the_file() {
        for text in
            ["[registry", "[build]\njobs = 0", "[build]\njobs = 'x'", "[build]\nroot = 'zfs'", "registry = 1"]
        {
            let error = Config::parse(text, Path::new(FILE)).expect_err(text).to_string();
            assert!(
                error.starts_with("the configuration file `/etc/kiln/config.toml` is malformed: "),
                "{error}"
            );
        }
    }

    #[test]
    fn only_a_file_that_was_named_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(Config::read(&path, false).unwrap(), Config::default());
        assert!(matches!(Config::read(&path, true), Err(ConfigError::Read(_))));
    }
}
