//! Platforms: operating system, architecture, variant.
//!
//! Aliases and defaults are containerd's (`platforms/database.go`): `x86_64` is `amd64`, `aarch64` is `arm64`, `arm` means
//! `arm/v7`, and `arm64/v8` is written `arm64`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform, in the form of the OCI image index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOOS name: `linux`.
    #[serde(default)]
    pub os: String,
    /// GOARCH name: `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system (Windows images have it).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Required features of the operating system.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform `{text}` is malformed: {reason}")]
pub struct PlatformError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Platform {
    /// Returns `linux/<architecture>` without a variant.
    pub fn linux(architecture: &str) -> Self {
        Self::new("linux", architecture, None)
    }

    /// Returns a normalised platform of three parts.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, variant) = normalize(architecture, variant.unwrap_or_default());
        Self {
            os,
            architecture,
            variant: (!variant.is_empty()).then_some(variant),
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// Returns the platform this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// Returns the normal form of a platform from a foreign document.
    pub fn normalized(&self) -> Self {
        Self {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Self::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// Whether an image for `self` can be used where `wanted` is asked for: same system and architecture, and a variant
    /// that is equal or lower for `arm`.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let (own, wanted) = (self.normalized(), wanted.normalized());
        if own.os != wanted.os || own.architecture != wanted.architecture {
            return false;
        }
        if own.architecture == "arm" {
            return arm_level(&own) <= arm_level(&wanted);
        }
        own.variant == wanted.variant
    }

    /// Returns how well an image for `self` fits `wanted`: `None` when it cannot be used, else higher is better.
    pub fn fitness(&self, wanted: &Self) -> Option<u32> {
        self.satisfies(wanted)
            .then(|| if self.architecture == "arm" { arm_level(&self.normalized()) } else { 1 })
    }
}

fn arm_level(platform: &Platform) -> u32 {
    match platform.variant.as_deref() {
        Some("v5") => 5,
        Some("v6") => 6,
        Some("v8") => 8,
        _ => 7,
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`. A single word is an operating system
    /// when it is one, else an architecture of Linux.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fail = |reason| PlatformError { text: text.chars().take(100).collect(), reason };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(fail("a part is empty; write os/architecture[/variant]"));
        }
        if !text.chars().all(|c| allowed(c) || c == '/') {
            return Err(fail("only letters, digits, `_`, `.` and `-` are allowed in a part"));
        }
        match parts.as_slice() {
            ["local"] => Ok(Self::host()),
            [os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd")] => {
                Ok(Self::new(os, std::env::consts::ARCH, None))
            }
            [architecture] => known_architecture(architecture)
                .then(|| Self::new("linux", architecture, None))
                .ok_or_else(|| fail("neither an operating system nor an architecture that is known")),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(fail("it has more than three parts")),
        }
    }
}

fn known_architecture(name: &str) -> bool {
    const KNOWN: [&str; 10] =
        ["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm"];
    KNOWN.contains(&normalize(name, "").0.as_str())
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_normalised() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("Linux/ARMHF", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["", "linux/", "a/b/c/d", "linux/am d64", "plan9000"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn arm_images_of_a_lower_variant_can_be_used() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm/v6").satisfies(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v7").satisfies(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm64").satisfies(&platform("linux/amd64")));
    }
}
