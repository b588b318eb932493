//! `kiln version`.

use kiln_oci::Platform;
use serde_json::json;

use super::print;
use crate::cli::{VersionArgs, VersionFormat};
use crate::failure::Failure;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version.
pub(super) fn run(args: &VersionArgs) -> Result<(), Failure> {
    print(&render(args.format, &Platform::host()))
}

/// The JSON's format is number 1; a new field is no new format.
fn render(format: VersionFormat, host: &Platform) -> String {
    match format {
        VersionFormat::Text => format!("kiln {VERSION}\nplatform {host}\n"),
        VersionFormat::Json => {
            format!("{}\n", json!({"format": 1, "version": VERSION, "platform": host.to_string()}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_to_people_and_programs() {
        let host: Platform = "linux/amd64".parse().unwrap();
        assert_eq!(render(VersionFormat::Text, &host), format!("kiln {VERSION}\nplatform linux/amd64\n"));
        let object: serde_json::Value = serde_json::from_str(&render(VersionFormat::Json, &host)).unwrap();
        assert_eq!(object, json!({"format": 1, "version": VERSION, "platform": "linux/amd64"}));
    }
}
