//! `kiln container inspect`: all that is known of containers, in the words of `docker inspect`.

use kiln_builder::container_record::{
    ContainerMount, ContainerMountKind, ContainerNetwork, ContainerRecord, ContainerState, RootForm,
};
use kiln_builder::containers::{self, ContainerRow};
use serde_json::{Value, json};

use super::failed;
use super::ps_filter::state_word;
use crate::cli::ContainerInspectArgs;
use crate::commands::{Context, print};
use crate::failure::{Failure, Kind};
use crate::ui::human;

/// Shows all that is known of containers.
pub(crate) fn inspect(args: &ContainerInspectArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let mut found = Vec::new();
    for container in &args.containers {
        let row = containers::inspect(&workshop, container).map_err(failed)?;
        found.push(document(&row)?);
    }
    let text = serde_json::to_string_pretty(&found).expect("values always serialize");
    print(&format!("{text}\n"))
}

fn document(row: &ContainerRow) -> Result<Value, Failure> {
    let (record, state) = row.known.as_ref().map_err(|reason| {
        Failure::new(Kind::Failed, format!("the record of container `{}` is damaged: {reason}", row.id))
    })?;
    let config = serde_json::to_value(&record.config).expect("configurations serialize to memory");
    Ok(json!({
        "Id": row.id.to_string(),
        "Created": human::rfc3339(record.created()),
        "Path": record.argv.first(),
        "Args": record.argv.get(1..).unwrap_or_default(),
        "State": state_document(record, *state),
        "Image": record.image_id.to_string(),
        "Name": format!("/{}", record.name),
        "Platform": record.platform.os,
        "Driver": match record.root.form {
            RootForm::Overlay { .. } => "overlay",
            RootForm::Copy { .. } => "copy",
        },
        "Mounts": record.surroundings.mounts.iter().map(mount_document).collect::<Vec<_>>(),
        "Config": config,
        "HostConfig": {
            "NetworkMode": match record.surroundings.network {
                ContainerNetwork::Host => "host",
                ContainerNetwork::None => "none",
            },
            "ShmSize": record.surroundings.shm_size_bytes,
        },
        "ImageName": record.image_name,
        "Hostname": record.surroundings.hostname,
    }))
}

fn state_document(record: &ContainerRecord, state: ContainerState) -> Value {
    json!({
        "Status": state_word(state),
        "Running": state == ContainerState::Running,
        "ExitCode": match state {
            ContainerState::Exited(code) => code,
            _ => record.exit_code.unwrap_or_default(),
        },
        "Error": record.error.clone().unwrap_or_default(),
        "StartedAt": record.started.map(human::rfc3339),
        "FinishedAt": record.ended.map(human::rfc3339),
    })
}

fn mount_document(mount: &ContainerMount) -> Value {
    match &mount.kind {
        ContainerMountKind::Bind { source, is_read_only } => json!({
            "Type": "bind", "Source": source.to_string_lossy(), "Destination": mount.target, "RW": !is_read_only,
        }),
        ContainerMountKind::Tmpfs { .. } => {
            json!({ "Type": "tmpfs", "Destination": mount.target, "RW": true })
        }
    }
}
