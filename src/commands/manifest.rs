//! `kiln manifest`: lists of images for several platforms.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::catalog::{self, Annotation, CatalogError, Existing};
use kiln_builder::progress::Progress;
use kiln_builder::remote::{self, RemoteError};
use kiln_oci::{Descriptor, Reference};
use serde_json::{Value, json};

use super::{
    Context, failed, interrupt, name, print, print_bytes, transfer_display, with_display_abandoning,
};
use crate::cli::{ManifestAnnotateArgs, ManifestCommand, ManifestInspectArgs, ManifestPushArgs};
use crate::failure::{Failure, Kind};
use crate::settings::Settings;
use crate::ui::{show_failure, stderr_style};

/// Does one thing with a list.
pub(super) async fn run(command: ManifestCommand, context: Context) -> Result<(), Failure> {
    let is_quiet = matches!(command, ManifestCommand::Inspect(_) | ManifestCommand::Rm(_));
    let display = transfer_display(is_quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, settings) = context.open_telling(1, &progress)?;
    let work = async {
        match command {
            ManifestCommand::Create(args) => {
                let existing = if args.amend { Existing::Extended } else { Existing::Refused };
                let (list, _) = extend(&workshop, &args.list, &args.images, existing, &progress).await?;
                Ok(format!("Created manifest list {list}\n").into_bytes())
            }
            ManifestCommand::Add(args) => {
                let added = extend(&workshop, &args.list, &args.images, Existing::Needed, &progress);
                Ok(format!("{}\n", added.await?.1.digest).into_bytes())
            }
            ManifestCommand::Annotate(args) => annotate(&workshop, &args).await,
            ManifestCommand::Inspect(args) => inspect(&workshop, &args).await,
            ManifestCommand::Push(args) => push(&workshop, &args, &progress).await,
            ManifestCommand::Rm(args) => remove(&workshop, &args.lists, &settings),
        }
    };
    let bytes = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    match std::str::from_utf8(&bytes) {
        Ok(text) => print(text),
        Err(_) if io::stdout().is_terminal() => print(&String::from_utf8_lossy(&bytes)),
        // To the byte, as the registry has it.
        Err(_) => print_bytes(&bytes).map(drop),
    }
}

async fn extend(
    workshop: &Arc<Workshop>,
    list: &str,
    images: &[String],
    existing: Existing,
    progress: &Arc<dyn Progress>,
) -> Result<(Reference, Descriptor), Failure> {
    let list = name(list)?;
    let made = catalog::extend_list(workshop, &list, images, existing, progress).await.map_err(failed)?;
    Ok((list, made))
}

async fn annotate(workshop: &Arc<Workshop>, args: &ManifestAnnotateArgs) -> Result<Vec<u8>, Failure> {
    let annotation = Annotation {
        architecture: args.arch.clone(),
        os: args.os.clone(),
        variant: args.variant.clone(),
        os_version: args.os_version.clone(),
        os_features: args.os_features.clone(),
    };
    if annotation == Annotation::default() {
        return Err(Failure::usage("nothing is said of the image")
            .with_hint("the flags are `--os`, `--arch`, `--variant`, `--os-version` and `--os-features`"));
    }
    catalog::annotate(workshop, &name(&args.list)?, &args.image, &annotation).await.map_err(failed)?;
    Ok(Vec::new())
}

async fn push(
    workshop: &Arc<Workshop>,
    args: &ManifestPushArgs,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<u8>, Failure> {
    let list = name(&args.list)?;
    let pushed = catalog::push_list(workshop, &list, progress).await.map_err(failed)?;
    if args.purge {
        catalog::remove_list(workshop, &list).map_err(failed)?;
    }
    Ok(format!("{}\n", pushed.digest).into_bytes())
}

/// Removes lists. What is the matter with one is told, and the others go.
fn remove(workshop: &Workshop, lists: &[String], settings: &Settings) -> Result<Vec<u8>, Failure> {
    let names = lists.iter().map(|list| name(list)).collect::<Result<Vec<Reference>, _>>()?;
    let mut last = None;
    for name in &names {
        if let Err(error) = catalog::remove_list(workshop, name) {
            let earlier = last.replace(failed(error));
            earlier.inspect(|failure| show_failure(failure, stderr_style(settings)));
        }
    }
    last.map_or(Ok(Vec::new()), Err)
}

/// Returns a document as it is: of a list of the store, else of the registry.
async fn inspect(workshop: &Arc<Workshop>, args: &ManifestInspectArgs) -> Result<Vec<u8>, Failure> {
    let name = name(&args.name)?;
    let of_registry = |error: RemoteError| Failure::of(Kind::Failed, &error);
    let (descriptor, bytes) = match catalog::list_document(workshop, &name) {
        Ok(list) => (catalog::descriptor(workshop, &name).map_err(failed)?, list.bytes().to_vec()),
        Err(CatalogError::NoList { .. }) => {
            let found = remote::manifest(&workshop.registry, &name).await.map_err(of_registry)?;
            (found.descriptor, found.bytes.to_vec())
        }
        Err(error) => return Err(failed(error)),
    };
    let mut shown = match args.verbose {
        true => verbose(workshop, &name, &descriptor, &bytes).await?,
        false => bytes,
    };
    // Other programs get the very bytes.
    if args.verbose || std::io::stdout().is_terminal() {
        shown.push(b'\n');
    }
    Ok(shown)
}

/// Returns Docker's form: an object of a single image, a list of objects of several.
async fn verbose(
    workshop: &Arc<Workshop>,
    name: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<Vec<u8>, Failure> {
    let document: Value = serde_json::from_slice(bytes).expect("the document was read as JSON before");
    let shown = match descriptor.media_type.is_index() {
        false => member(name, &to_json(descriptor), &document),
        true => {
            let mut members = Vec::new();
            for entry in document["manifests"].as_array().into_iter().flatten() {
                members.push(listed_member(workshop, name, entry).await?);
            }
            Value::Array(members)
        }
    };
    Ok(serde_json::to_vec_pretty(&shown).expect("JSON values always serialize"))
}

/// Returns what is known of an image of a list; its manifest is that of the store, else the registry's.
async fn listed_member(workshop: &Arc<Workshop>, list: &Reference, entry: &Value) -> Result<Value, Failure> {
    let digest: Option<kiln_oci::Digest> = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
    let Some(digest) = digest else { return Ok(member(list, entry, &Value::Null)) };
    let name = list.with_digest(digest);
    let bytes = match catalog::member_document(workshop, &digest).map_err(failed)? {
        Some(bytes) => bytes,
        None => {
            let found = remote::manifest(&workshop.registry, &name).await;
            found.map_err(|error| Failure::of(Kind::Failed, &error))?.bytes
        }
    };
    // What is no JSON cannot be shown as JSON, and is none of an image.
    Ok(member(&name, entry, &serde_json::from_slice(&bytes).unwrap_or_default()))
}

fn member(name: &Reference, descriptor: &Value, document: &Value) -> Value {
    let is_docker = descriptor["mediaType"].as_str().is_some_and(|text| text.contains("docker"));
    let key = if is_docker { "SchemaV2Manifest" } else { "OCIManifest" };
    json!({ "Ref": name.to_string(), "Descriptor": descriptor, key: document })
}

fn to_json(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).expect("these types always serialize")
}
