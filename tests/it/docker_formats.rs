//! `images`, `history` and `inspect` print what Docker's client prints of the same images. The client asks a server of ours, which
//! tells it what an independent reader found in the images' layouts.

use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::http::{HttpServer, Request, Response};
use crate::support::image::read_one;
use crate::support::peers;
use crate::support::requires::requires;
use crate::support::space::TestSpace;

/// What the server knows of one image.
struct Image {
    names: Vec<String>,
    manifest: String,
    id: String,
    created: i64,
    size: usize,
    config: Value,
}

/// A client of Docker, and what it is shown.
struct Docker {
    server: HttpServer,
    images: Arc<Mutex<Vec<Image>>>,
    settings: std::path::PathBuf,
    version: u32,
}

impl Docker {
    fn start(space: &TestSpace) -> Self {
        let images: Arc<Mutex<Vec<Image>>> = Arc::default();
        let shown = Arc::clone(&images);
        let server = HttpServer::start(move |request| answer(request, &shown.lock().unwrap()));
        let version = Command::new(peers::docker().unwrap()).arg("--version").output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let number = version.trim_start_matches("Docker version ").split('.').next().unwrap();
        Self { server, images, settings: space.path("docker"), version: number.parse().unwrap() }
    }

    /// Returns what the client prints to standard output, and whether that is success.
    fn run(&self, words: &[&str]) -> (String, bool) {
        let mut command = Command::new(peers::docker().unwrap());
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC");
        command
            .env("DOCKER_HOST", format!("tcp://{}", self.server.host()))
            .env("DOCKER_CONFIG", &self.settings);
        let output = command.output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }
}

fn answer(request: &Request, images: &[Image]) -> Response {
    let json =
        |value: Value| Response::new(200, value.to_string()).header("Content-Type", "application/json");
    let path = request.path.trim_start_matches("/v1.41");
    if path == "/_ping" {
        return Response::new(200, "OK").header("Api-Version", "1.41");
    }
    if path == "/images/json" {
        return json(images.iter().map(row).collect());
    }
    let known = path.strip_prefix("/images/").and_then(|rest| rest.rsplit_once('/'));
    let found = known.and_then(|(name, what)| {
        let image = images.iter().find(|image| image.names.iter().any(|own| own == name))?;
        Some(if what == "history" { history(image) } else { details(image) })
    });
    match found {
        Some(value) => json(value),
        None => Response::new(404, json!({"message": format!("No such image: {path}")}).to_string()),
    }
}

fn digests(image: &Image) -> Vec<String> {
    let repositories = image.names.iter().map(|name| name.rsplit_once(':').unwrap().0);
    let mut digests: Vec<String> = repositories.map(|name| format!("{name}@{}", image.manifest)).collect();
    digests.dedup();
    digests
}

fn row(image: &Image) -> Value {
    json!({
        "Id": image.id, "ParentId": "", "RepoTags": image.names, "RepoDigests": digests(image), "Created": image.created,
        "Size": image.size, "VirtualSize": image.size, "SharedSize": -1, "Containers": -1,
        "Labels": image.config["config"]["Labels"],
    })
}

fn details(image: &Image) -> Value {
    json!({
        "Id": image.id, "RepoTags": image.names, "RepoDigests": digests(image), "Created": image.config["created"],
        "Config": image.config["config"], "Architecture": image.config["architecture"], "Os": image.config["os"],
        "Size": image.size, "RootFS": {"Type": "layers", "Layers": image.config["rootfs"]["diff_ids"]},
        "Descriptor": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest},
    })
}

/// Only one instruction makes a layer.
fn history(image: &Image) -> Value {
    let lines = image.config["history"].as_array().unwrap().iter().rev().enumerate().map(|(index, line)| {
        let has_layer = line["empty_layer"] != json!(true);
        json!({
            "Id": if index == 0 { image.id.as_str() } else { "<missing>" }, "Created": image.created,
            "CreatedBy": line["created_by"], "Comment": line["comment"].as_str().unwrap_or(""),
            "Size": if has_layer { image.size } else { 0 }, "Tags": null,
        })
    });
    lines.collect()
}

/// Builds an image with a file of so many bytes, made at this instant.
fn build(space: &TestSpace, names: &[&str], size: usize, created: i64, dockerfile: &str) -> Image {
    let file = "x".repeat(size);
    let context = space.context(&format!("context-{size}"), &[("Dockerfile", dockerfile), ("file", &file)]);
    let layout = format!("layout-{size}");
    let time = format!("--timestamp={created}");
    let mut more = vec![time.as_str()];
    more.extend(names.iter().flat_map(|name| ["-t", name]));
    space.build(&context).args(&more).run().success();
    let (layout, _) = space.build_layout(&context, &layout, &[&time]);
    let image = read_one(&layout);
    Image {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        id: image.manifest["config"]["digest"].as_str().unwrap().to_owned(),
        manifest: image.digest.clone(),
        created,
        size,
        config: image.config,
    }
}

const DOCKERFILE: &str = "FROM scratch\nLABEL one=1 two=\"a b\"\nENV A=b C=\"d e\"\nWORKDIR /\nEXPOSE 80 53/udp\nVOLUME /data\nUSER 7:8\n\
    COPY file /a-name-that-is-so-long-that-docker-does-not-show-all-of-it/file\nENTRYPOINT [\"/sh\", \"-c\"]\nCMD [\"echo\", \"<&>\"]\n";

/// What both print to the byte. The number is the oldest client that has it: Debian's is 20.
const CASES: &[(u32, &[&str])] = &[
    (20, &["images"]),
    (20, &["images", "-q"]),
    (20, &["images", "-q", "--no-trunc"]),
    (20, &["images", "--no-trunc"]),
    (20, &["images", "--digests"]),
    (20, &["images", "--digests", "-q"]),
    (20, &["images", "--format", "table"]),
    (20, &["images", "--format", ""]),
    (20, &["images", "-q", "--format", "table"]),
    (20, &["images", "-q", "--format", "{{.Tag}}"]),
    (20, &["images", "-q", "--format", "table {{.Tag}}"]),
    (20, &["images", "--format", "{{.ID}}: {{.Repository}}"]),
    (20, &["images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"]),
    (20, &["images", "--format", "table {{.ID}}\\t{{.Digest}}\\t{{.Size}}"]),
    (20, &["images", "--format", "table{{.Repository}}"]),
    (20, &["images", "--format", " table {{.ID}}"]),
    (20, &["images", "--format", "plain"]),
    (20, &["images", "--no-trunc", "--format", "{{.ID}}\\t{{.CreatedSince}}\\n-"]),
    (
        20,
        &[
            "images",
            "--format",
            "table {{.CreatedAt}}\\t{{.CreatedSince}}\\t{{.Containers}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.VirtualSize}}\\t{{.Size}}\\t{{.Tag}}",
        ],
    ),
    (
        20,
        &[
            "images",
            "--format",
            "table {{upper .Repository}}\\t{{json .Tag}}\\t{{title .Repository}}\\t{{truncate .ID 4}}|{{pad .Tag 1 2}}|{{lower .Repository}}",
        ],
    ),
    (
        20,
        &[
            "images",
            "--format",
            "{{join (split .Repository \"/\") \"+\"}} {{len .Tag}} {{slice .ID 0 3}} {{printf \"%-8s|%8s\" .Tag .Size}}",
        ],
    ),
    (20, &["images", "--format", "table {{.Repository}}\\t{{println .Tag}}{{.ID}}"]),
    (20, &["images", "--format", "{{if eq .Tag \"1\"}}one{{else}}{{.Tag | printf \"%q\"}}{{end}}"]),
    (20, &["images", "--format", "{{range $i, $part := split .Repository \"/\"}}{{$i}}={{$part}} {{end}}"]),
    (20, &["images", "--format", "{{with .Tag}}{{.}}{{end}}{{- /* c */ -}}  ."]),
    (20, &["history", "app:1"]),
    (20, &["history", "--no-trunc", "app:1"]),
    (20, &["history", "-H=false", "app:1"]),
    (20, &["history", "--human=false", "--no-trunc", "app:1"]),
    (20, &["history", "-q", "app:1"]),
    (20, &["history", "-q", "--no-trunc", "app:1"]),
    (
        20,
        &[
            "history",
            "--format",
            "{{.ID}} {{.CreatedSince}} {{.CreatedAt}} {{.CreatedBy}} {{.Size}} {{.Comment}}",
            "app:1",
        ],
    ),
    (20, &["history", "--format", "table {{.ID}}\\t{{.CreatedAt}}\\t{{.Comment}}", "app:1"]),
    (20, &["history", "-H=false", "--format", "table {{.CreatedSince}}\\t{{.Size}}", "app:1"]),
    (20, &["history", "-q", "--format", "table {{.Size}}", "app:1"]),
    (20, &["inspect", "-f", "{{.Id}}", "app:1", "localhost:5000/team/tool:v3"]),
    (20, &["inspect", "-f", "{{.ID}}", "app:1"]),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{.Config.Cmd}} {{.Config.Env}} {{.Config.Labels}} {{.Config.ExposedPorts}} {{.Config.WorkingDir}}",
            "app:1",
        ],
    ),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{.Size}} {{.RootFS.Layers}} {{.RootFS.Type}} {{.Created}} {{.RepoTags}} {{.Os}}/{{.Architecture}}",
            "app:1",
        ],
    ),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{json .Config.Labels}} {{json .RepoTags}} {{json .RootFS}} {{json .Config.Env}}",
            "app:1",
        ],
    ),
    (20, &["inspect", "-f", "{{json .Config.Cmd}}", "app:1"]),
    (
        23,
        &[
            "inspect",
            "-f",
            "{{json .Config.OnBuild}} {{json .Config.Volumes}} {{.Config.StopSignal}}|{{.Config.Shell}}",
            "localhost:5000/team/tool:v3",
        ],
    ),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{.Config.Labels.one}} {{.Config.Labels.none}}|{{index .Config.Labels \"two\"}}|{{index .Config.Labels \"none\"}}|",
            "app:1",
        ],
    ),
    (20, &["inspect", "-f", "{{range .RepoTags}}{{println .}}{{end}}", "app:1"]),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{join .Config.Entrypoint \" \"}} {{range $key, $value := .Config.Labels}}{{$key}}={{$value}};{{end}}",
            "app:1",
        ],
    ),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{range .Config.Env}}{{$pair := split . \"=\"}}{{index $pair 0}}->{{index $pair 1}} {{end}}",
            "app:1",
        ],
    ),
    (
        20,
        &[
            "inspect",
            "-f",
            "{{if gt .Size 5}}big{{end}}{{.Author}}{{.Comment}}{{.Variant}}{{.Parent}}{{.DockerVersion}}",
            "app:1",
        ],
    ),
    (20, &["inspect", "-f", "{{.Descriptor.digest}}", "app:1"]),
    (20, &["inspect", "-f", "a\\tb {{(index .RootFS.Layers 0) | len}}", "app:1"]),
    (20, &["inspect", "-f", "{{.Config.User}} {{.Config.Volumes}} {{.Config.Healthcheck | print}}", "app:1"]),
    (20, &["inspect", "-f", "{{.Foo}}", "app:1"]),
    (20, &["inspect", "-f", "{{.Id}}", "app:1", "none:1"]),
    (20, &["inspect", "none:1"]),
];

/// What both print, where the order of keys is each one's own.
const JSON_CASES: &[(u32, &[&str])] = &[
    (23, &["images", "--format", "json"]),
    (20, &["images", "--format", "{{json .}}"]),
    (23, &["history", "--format", "json", "app:1"]),
    (20, &["history", "--no-trunc", "--format", "{{json .}}", "app:1"]),
    (20, &["inspect", "app:1", "localhost:5000/team/tool:v3"]),
    (23, &["inspect", "-f", "json", "app:1"]),
    (23, &["inspect", "-f", "{{json .Config}}", "app:1"]),
];

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Returns what our program prints, and whether that is success.
fn kiln(space: &TestSpace, words: &[&str]) -> (String, bool) {
    let outcome = space.kiln(words).run();
    (String::from_utf8(outcome.stdout).unwrap(), outcome.status.success())
}

fn of_docker(docker: &Docker, words: &[&str]) -> (String, bool) {
    match words {
        ["inspect", rest @ ..] => docker.run(&[&["inspect", "--type", "image"], rest].concat()),
        words => docker.run(words),
    }
}

/// Returns the documents of a text, one a line or one in all, without what only one of the two knows: Docker tells the digest only
/// where it is asked for by a flag, and has the size of the manifest from elsewhere.
fn documents(text: &str) -> Vec<Value> {
    let whole = serde_json::from_str(text).map(|value| vec![value]);
    let mut values: Vec<Value> =
        whole.unwrap_or_else(|_| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
    for value in values.iter_mut().flat_map(|value| match value {
        Value::Array(items) => items.iter_mut().collect(),
        other => vec![other],
    }) {
        let object = value.as_object_mut().unwrap();
        object.remove("Digest");
        if let Some(descriptor) = object.get_mut("Descriptor") {
            descriptor.as_object_mut().unwrap().remove("size");
        }
    }
    values
}

#[test]
fn what_docker_prints_of_images_is_printed_here_too() {
    requires!("docker");
    let space = TestSpace::new();
    let docker = Docker::start(&space);
    let now = now();
    let day = 86_400;
    let images = [
        build(&space, &["app:1", "app:2"], 4_275, now - 22 * day, DOCKERFILE),
        build(
            &space,
            &["localhost:5000/team/tool:v3"],
            999_000,
            now - 400 * day,
            "FROM scratch\nCOPY file /\n",
        ),
    ];
    docker.images.lock().unwrap().extend(images);
    let mut wrong = String::new();
    let is_here = |case: &&(u32, &[&str])| case.0 <= docker.version;
    for (_, words) in CASES.iter().filter(is_here) {
        let (theirs, ours) = (of_docker(&docker, words), kiln(&space, words));
        if theirs != ours {
            wrong += &format!("{words:?}\n  docker: {theirs:?}\n  kiln:   {ours:?}\n");
        }
    }
    for (_, words) in JSON_CASES.iter().filter(is_here) {
        let (theirs, ours) = (of_docker(&docker, words), kiln(&space, words));
        if documents(&theirs.0) != documents(&ours.0) {
            wrong += &format!("{words:?}\n  docker: {theirs:?}\n  kiln:   {ours:?}\n");
        }
    }
    assert!(wrong.is_empty(), "Docker {}:\n{wrong}", docker.version);
}

#[test]
fn an_image_that_lost_its_name_is_listed_as_docker_lists_it() {
    requires!("docker");
    let space = TestSpace::new();
    let docker = Docker::start(&space);
    // Ages that are told in the same words for half an hour, however long it is until both have told them.
    let now = now();
    let mut first = build(&space, &["app:1"], 100, now - 7_300, "FROM scratch\nCOPY file /\n");
    let second = build(&space, &["app:1"], 200, now - 3_700, "FROM scratch\nCOPY file /\n");
    first.names.clear();
    docker.images.lock().unwrap().extend([second, first]);
    for words in [
        &["images"][..],
        &["images", "-a"],
        &["images", "-q"],
        &["images", "--format", "{{.Repository}}|{{.Tag}}|{{.CreatedSince}}"],
        &["images", "--format", "table {{.Tag}}\\t{{.ID}}"],
    ] {
        assert_eq!(of_docker(&docker, words), kiln(&space, words), "{words:?}");
    }
    let listed = |filter: &str| kiln(&space, &["images", "--format", "{{.Tag}}", "--filter", filter]).0;
    for (filter, expected) in [
        ("dangling=true", "<none>\n"),
        ("dangling=false", "1\n"),
        ("reference=a*", "1\n"),
        ("reference=b*", ""),
        ("before=app:1", "<none>\n"),
        ("since=app:1", ""),
    ] {
        assert_eq!(listed(filter), expected, "{filter}");
    }
    space.kiln(["images", "--filter", "color=red"]).run().fails_with(2).says(&["there is no filter `color`"]);
    space.kiln(["images", "--filter", "before=none"]).run().fails_with(1).says(&["no such image: `none`"]);
}
