//! `kiln inspect`: Docker's JSON array.

use std::collections::BTreeMap;

use kiln_oci::config::{Empty, Healthcheck, RunConfig};
use kiln_oci::{Descriptor, Reference};
use kiln_template::{MissingKey, Struct, Value};
use serde::Serialize;

use super::{Context, platform, print};
use crate::cli::InspectArgs;
use crate::failure::{Failure, Kind};
use crate::listing::Format;
use crate::ui::{show_failure, stderr_style};
use kiln_builder::catalog::{self, ImageDetails};

/// Shows images: those that are there, also when another is not.
pub(super) fn run(args: &InspectArgs, context: Context) -> Result<(), Failure> {
    let platform = platform(args.platform.as_ref())?;
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(template) => Some(Format::read(template)?),
    };
    let (workshop, settings) = context.open(1)?;
    let mut failures = Vec::new();
    let mut found = Vec::new();
    for image in &args.images {
        match catalog::inspect(&workshop, image, platform.as_ref()) {
            Ok(details) => found.push(details),
            Err(error) => failures.push(Failure::of(Kind::Failed, &error)),
        }
    }
    let text = match &template {
        Some(template) => {
            let (texts, refused) = filled_in(template, &found);
            failures.extend(refused);
            texts
        }
        None if args.format.as_deref() == Some("json") => compact(&found),
        None => render(&found),
    };
    print(&text)?;
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(|failure| show_failure(failure, stderr_style(&settings)));
    Err(last)
}

/// Returns a line for each image, as far as the template can be filled in. Like Docker, it prints an empty line where there is none.
fn filled_in(template: &Format, images: &[ImageDetails]) -> (String, Vec<Failure>) {
    let mut text = String::new();
    let mut failures = Vec::new();
    for image in images {
        // What Docker's own fields have not, the JSON may have: a field of another tool, or one under its name in JSON.
        let raw =
            || Value::from_json(&serde_json::to_value(json(image)).expect("this type always serializes"));
        let filled_in = template.fill_in(&value(image), MissingKey::IsMissing);
        match filled_in.or_else(|_| template.fill_in(&raw(), MissingKey::IsError)) {
            Ok(line) => text += &(line + "\n"),
            Err(failure) => failures.push(failure),
        }
    }
    if text.is_empty() {
        text.push('\n');
    }
    (text, failures)
}

/// Returns an image as a record with Docker's fields.
fn value(image: &ImageDetails) -> Value {
    let json = json(image);
    let size = i64::try_from(json.size).unwrap_or(i64::MAX);
    let text = |text: Option<&str>| Value::from(text.unwrap_or_default());
    let root = Struct::new("root file system")
        .field("Type", json.root_fs.r#type)
        .field("Layers", Value::texts(&json.root_fs.layers));
    Struct::new("image")
        .field("Id", json.id.as_str())
        .hidden("ID", json.id.as_str())
        .field("RepoTags", json.repo_tags.iter().map(|tag| tag.as_str().into()).collect::<Value>())
        .field("RepoDigests", json.repo_digests.iter().map(|name| name.as_str().into()).collect::<Value>())
        .hidden("Parent", "")
        .optional("Comment", text(json.comment))
        .optional("Created", text(json.created))
        .hidden("DockerVersion", "")
        .optional("Author", text(json.author))
        .field("Config", config(json.config))
        .field("Architecture", json.architecture)
        .optional("Variant", text(json.variant))
        .field("Os", json.os)
        .optional("OsVersion", text(json.os_version))
        .field("Size", size)
        .hidden("VirtualSize", size)
        .field("RootFS", root)
        .field("Descriptor", descriptor(json.descriptor))
        .into()
}

fn config(config: &RunConfig) -> Struct {
    let labels = config.labels.iter().map(|(key, value)| (key.as_str(), Value::from(value.as_str())));
    let labels = if config.labels.is_empty() { Value::NoMap } else { Value::map(labels, Value::from("")) };
    Struct::new("configuration")
        .optional("User", config.user.as_str())
        .optional("ExposedPorts", set(&config.exposed_ports))
        .optional("Env", Value::texts(&config.env))
        .optional("Entrypoint", Value::texts(&config.entrypoint))
        .optional("Cmd", Value::texts(&config.cmd))
        .optional("Volumes", set(&config.volumes))
        .optional("WorkingDir", config.working_dir.as_str())
        .optional("Labels", labels)
        .optional("StopSignal", config.stop_signal.as_str())
        .optional("ArgsEscaped", config.args_escaped)
        .optional("Healthcheck", config.healthcheck.as_ref().map_or(Value::Nil, healthcheck))
        .optional("OnBuild", Value::texts(&config.on_build))
        .optional("Shell", Value::texts(&config.shell))
}

/// Returns a set that is written as an object.
fn set(names: &BTreeMap<String, Empty>) -> Value {
    if names.is_empty() {
        return Value::NoMap;
    }
    let member = || Value::from(Struct::new("struct {}"));
    Value::map(names.keys().map(|name| (name.as_str(), member())), member())
}

fn healthcheck(check: &Healthcheck) -> Value {
    Struct::new("health check")
        .optional("Test", Value::texts(&check.test))
        .optional("Interval", check.interval)
        .optional("Timeout", check.timeout)
        .optional("StartPeriod", check.start_period)
        .optional("StartInterval", check.start_interval)
        .optional("Retries", check.retries)
        .into()
}

fn descriptor(descriptor: &Descriptor) -> Struct {
    Struct::new("descriptor")
        .renamed("MediaType", "mediaType", descriptor.media_type.to_string())
        .renamed("Digest", "digest", descriptor.digest.to_string())
        .renamed("Size", "size", i64::try_from(descriptor.size).unwrap_or(i64::MAX))
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

/// Returns the images in one line.
fn compact(images: &[ImageDetails]) -> String {
    let values: Vec<Json<'_>> = images.iter().map(json).collect();
    format!("{}\n", serde_json::to_string(&values).expect("these types always serialize"))
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
