//! Flags of `kiln run` and `kiln create` → a [`ContainerRequest`].

use std::time::Duration;

use kiln_builder::container_record::{ContainerMount, ContainerMountKind, ContainerNetwork};
use kiln_builder::containers::{ContainerRequest, PullPolicy};

use super::{SpecError, csv, labels, limits, platforms, upkeep};
use crate::cli::{ContainerArgs, PullWord};
use crate::failure::{Failure, Kind};
use crate::settings::Settings;

/// Largest file of variables that is read, in bytes.
const ENV_FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the flags that say what a container is.
///
/// # Errors
/// Of wrong usage, which names the flag.
pub(crate) fn container(args: &ContainerArgs, settings: &Settings) -> Result<ContainerRequest, Failure> {
    let (volumes, mut mounts) = volumes(&args.volume, settings)?;
    for spec in &args.mount {
        mounts.push(mount(spec, settings)?);
    }
    for spec in &args.tmpfs {
        mounts.push(tmpfs(spec)?);
    }
    if let Some(directory) = args.workdir.as_deref().filter(|directory| !directory.starts_with('/')) {
        return Err(SpecError::new("--workdir", directory, "it needs to be an absolute path").into());
    }
    Ok(ContainerRequest {
        image: args.image.clone(),
        pull: match args.pull {
            PullWord::Always => PullPolicy::Always,
            PullWord::Missing => PullPolicy::Missing,
            PullWord::Never => PullPolicy::Never,
        },
        platform: platforms(args.platform.as_slice())?.into_iter().next(),
        name: args.name.clone(),
        command: args.command.clone(),
        entrypoint: args.entrypoint.clone(),
        env: env(args, settings)?,
        labels: labels(&args.label)?,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        hostname: args.hostname.clone(),
        network: network(&args.network)?,
        mounts,
        volumes,
        extra_hosts: args.add_host.iter().map(|host| limits::host(host)).collect::<Result<_, _>>()?,
        shm_size_bytes: args.shm_size.as_deref().map(limits::shm_size).transpose()?,
    })
}

/// Reads the filters of `kiln container prune`: how long a container must have been unused.
///
/// # Errors
/// [`SpecError`].
pub(crate) fn unused_for(filters: &[String], now: i64) -> Result<Duration, SpecError> {
    let mut longest = Duration::ZERO;
    for spec in filters {
        let error = |reason: &str| SpecError::new("--filter", spec, reason);
        let Some(("until" | "unused-for", value)) = spec.split_once('=') else {
            return Err(error("there is no such filter")
                .with_hint("the filters are `until=TIME` and `unused-for=TIME`"));
        };
        let age = upkeep::age(value, now).ok_or_else(|| error("it is no time").with_hint(upkeep::TIMES))?;
        longest = longest.max(age);
    }
    Ok(longest)
}

fn network(text: &str) -> Result<ContainerNetwork, SpecError> {
    match text {
        "host" => Ok(ContainerNetwork::Host),
        "none" => Ok(ContainerNetwork::None),
        _ => Err(SpecError::new("--network", text, "there is no such network")
            .with_hint("the networks are `host`, which is the default, and `none`")),
    }
}

fn env(args: &ContainerArgs, settings: &Settings) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    let mut add = |flag: &'static str, text: &str| -> Result<(), SpecError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => {
                (text, settings.environment.raw(text).and_then(|value| value.to_str()).map(str::to_owned))
            }
        };
        if name.is_empty() {
            return Err(SpecError::new(flag, text, "the name is empty"));
        }
        // One that the environment does not have either is left out, as Docker does.
        variables.extend(value.map(|value| (name.to_owned(), value)));
        Ok(())
    };
    for file in &args.env_file {
        let path = settings.working_directory.join(file);
        let unreadable = |reason: String| {
            let error = SpecError::new("--env-file", &file.to_string_lossy(), reason);
            SpecError { kind: Kind::Failed, ..error }
        };
        let size = path.metadata().map_err(|error| unreadable(error.to_string()))?.len();
        if size > ENV_FILE_BYTES_MAX {
            return Err(unreadable(format!("it is larger than {ENV_FILE_BYTES_MAX} bytes")).into());
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            add("--env-file", line)?;
        }
    }
    args.env.iter().try_for_each(|text| add("--env", text))?;
    Ok(variables)
}

/// Reads `-v`: paths that are kept out of images, and what is mounted.
fn volumes(specs: &[String], settings: &Settings) -> Result<(Vec<String>, Vec<ContainerMount>), SpecError> {
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for spec in specs {
        let error = |reason: &str| SpecError::new("--volume", spec, reason);
        let parts: Vec<&str> = spec.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => {
                volumes.push(absolute("--volume", spec, target)?);
                continue;
            }
            [source, target] => (*source, *target, ""),
            [source, target, options] => (*source, *target, *options),
            _ => return Err(error("it is not of the form SOURCE:TARGET[:ro]")),
        };
        if !source.starts_with(['/', '.']) {
            return Err(error("volumes with a name are not built yet")
                .with_hint("name a directory of this machine: `-v ./data:/data`"));
        }
        let mut is_read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => is_read_only = true,
                // Labels of SELinux, which nothing here needs.
                "rw" | "z" | "Z" => {}
                _ => {
                    return Err(error(&format!("there is no option `{option}`"))
                        .with_hint("the options are `ro` and `rw`"));
                }
            }
        }
        mounts.push(bind(source, absolute("--volume", spec, target)?, is_read_only, settings));
    }
    Ok((volumes, mounts))
}

fn mount(spec: &str, settings: &Settings) -> Result<ContainerMount, SpecError> {
    let error = |reason: String| SpecError::new("--mount", spec, reason);
    let (mut kind, mut source, mut target, mut is_read_only, mut size) =
        ("volume".to_owned(), None, None, false, None);
    for field in csv::fields("--mount", spec)? {
        let (key, value) = csv::pair(&field).map_or((field.clone(), ""), |(key, value)| (key, value));
        match key.as_str() {
            "type" => kind = value.to_owned(),
            "source" | "src" => source = Some(value.to_owned()),
            "target" | "dst" | "destination" => target = Some(absolute("--mount", spec, value)?),
            "readonly" | "ro" => is_read_only = !matches!(value, "false" | "0"),
            "tmpfs-size" => size = Some(limits::size("--mount", value)?),
            _ => {
                return Err(error(format!("there is no key `{key}`"))
                    .with_hint("the keys are type, source, target, readonly and tmpfs-size"));
            }
        }
    }
    let target = target.ok_or_else(|| error("it has no `target`".to_owned()))?;
    match (kind.as_str(), source) {
        ("bind", Some(source)) => Ok(bind(&source, target, is_read_only, settings)),
        ("bind", None) => Err(error("it has no `source`".to_owned())),
        ("tmpfs", _) => Ok(ContainerMount { target, kind: ContainerMountKind::Tmpfs { size_bytes: size } }),
        _ => Err(error(format!("the type `{kind}` is not built yet"))
            .with_hint("the types are `bind` and `tmpfs`")),
    }
}

fn tmpfs(spec: &str) -> Result<ContainerMount, SpecError> {
    let (target, options) = spec.split_once(':').unwrap_or((spec, ""));
    let mut size_bytes = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) => size_bytes = Some(limits::size("--tmpfs", size)?),
            _ if option == "rw" => {}
            _ => {
                return Err(SpecError::new("--tmpfs", spec, format!("there is no option `{option}`"))
                    .with_hint("the option is `size=SIZE`"));
            }
        }
    }
    let target = absolute("--tmpfs", spec, target)?;
    Ok(ContainerMount { target, kind: ContainerMountKind::Tmpfs { size_bytes } })
}

fn bind(source: &str, target: String, is_read_only: bool, settings: &Settings) -> ContainerMount {
    let source = settings.working_directory.join(source).into_os_string();
    ContainerMount { target, kind: ContainerMountKind::Bind { source, is_read_only } }
}

fn absolute(flag: &'static str, spec: &str, path: &str) -> Result<String, SpecError> {
    match path.starts_with('/') && !path.trim_matches('/').is_empty() {
        true => Ok(path.to_owned()),
        false => Err(SpecError::new(flag, spec, format!("`{path}` is no absolute path below the root"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_prune_that_is_wrong_has_the_hint_that_all_times_have() {
        let unused_for = |spec: &str| unused_for(&[spec.to_owned()], 1_000_000);
        assert_eq!(unused_for("until=24h").unwrap(), Duration::from_secs(24 * 3600));
        assert_eq!(unused_for("unused-for=yesterday").unwrap_err().hint.as_deref(), Some(upkeep::TIMES));
        assert!(unused_for("label=a").unwrap_err().hint.unwrap().contains("until=TIME"));
    }
}
