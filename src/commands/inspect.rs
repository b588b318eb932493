//! `kiln inspect`: Docker's JSON array.

use kiln_oci::config::RunConfig;
use kiln_oci::{Descriptor, Reference};
use serde::Serialize;

use super::{Context, platform, print};
use crate::cli::InspectArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::{self, ImageDetails};

/// Shows images.
pub(super) fn run(args: &InspectArgs, context: Context) -> Result<(), Failure> {
    let platform = platform(args.platform.as_ref())?;
    let (workshop, _) = context.open(1)?;
    let find = |image: &String| catalog::inspect(&workshop, image, platform.as_ref());
    let found: Result<Vec<_>, _> = args.images.iter().map(find).collect();
    print(&render(&found.map_err(|error| Failure::of(Kind::Failed, &error))?))
}

/// An image under Docker's keys; fields that are empty are left out, as newer versions of its API do.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Json<'a> {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    config: &'a RunConfig,
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<&'a str>,
    size: u64,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    descriptor: &'a Descriptor,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    r#type: &'static str,
    layers: Vec<String>,
}

fn render(images: &[ImageDetails]) -> String {
    let values: Vec<Json<'_>> = images.iter().map(json).collect();
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, indent);
    values.serialize(&mut serializer).expect("these types always serialize");
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    format!("{text}\n")
}

fn json(image: &ImageDetails) -> Json<'_> {
    let config = &image.config;
    let tagged = image.names.iter().filter(|name| name.tag().is_some());
    let mut digests: Vec<String> =
        image.names.iter().map(|name| name.with_digest(image.descriptor.digest).familiar()).collect();
    digests.sort();
    digests.dedup();
    Json {
        id: image.id.to_string(),
        repo_tags: tagged.map(Reference::familiar).collect(),
        repo_digests: digests,
        comment: config
            .history
            .last()
            .and_then(|line| line.comment.as_deref())
            .filter(|text| !text.is_empty()),
        created: config.created.as_deref(),
        author: config.author.as_deref().filter(|text| !text.is_empty()),
        config: &config.config,
        architecture: &config.architecture,
        variant: config.variant.as_deref(),
        os: &config.os,
        os_version: config.os_version.as_deref(),
        size: image.size_bytes,
        root_fs: RootFs {
            r#type: "layers",
            layers: config.rootfs.diff_ids.iter().map(|layer| layer.0.to_string()).collect(),
        },
        descriptor: &image.descriptor,
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, ImageConfig, MediaType, Platform};

    use super::*;

    #[test]
    fn images_are_shown_under_the_keys_of_docker() {
        let mut config = ImageConfig::empty(&Platform::linux("amd64"));
        config.created = Some("1980-01-01T00:00:00Z".to_owned());
        config.config.cmd = vec!["sh".to_owned()];
        let media_type = MediaType::OCI_MANIFEST;
        let digest = Digest::of(b"m");
        let details = ImageDetails {
            names: vec!["app:1".parse().unwrap(), "app:2".parse().unwrap()],
            descriptor: Descriptor::new(media_type, digest, 2),
            id: Digest::of(b"config"),
            config,
            size_bytes: 7,
        };
        let expected = format!(
            r#"[
    {{
        "Id": "{}",
        "RepoTags": [
            "app:1",
            "app:2"
        ],
        "RepoDigests": [
            "app@{digest}"
        ],
        "Created": "1980-01-01T00:00:00Z",
        "Config": {{
            "Cmd": [
                "sh"
            ]
        }},
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 7,
        "RootFS": {{
            "Type": "layers",
            "Layers": []
        }},
        "Descriptor": {{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "{digest}",
            "size": 2
        }}
    }}
]
"#,
            Digest::of(b"config")
        );
        assert_eq!(render(&[details]), expected);
        assert_eq!(render(&[]), "[]\n");
    }
}
