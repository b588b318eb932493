//! CONTEXT, `-f` and `--build-context`: which places they name. Standard input is looked at in [`super::stdin`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_builder::request::{ContextPlace, DockerfilePlace, NamedContext, WebUrl};

use super::SpecError;
use crate::failure::Kind;

/// What the CONTEXT operand names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A directory, or an address of the web.
    Place(ContextPlace),
    /// Standard input.
    Stdin,
}

const CONTEXT: &str = "CONTEXT";
const NAMED: &str = "--build-context";

/// Reads the CONTEXT operand.
///
/// # Errors
/// [`SpecError`] when it is no directory and no address of the web, or a place that is not built yet.
pub(super) fn operand(text: &OsStr, base: &Path) -> Result<Operand, SpecError> {
    let shown = text.to_string_lossy();
    let error = |reason: &str| SpecError::new(CONTEXT, &shown, reason);
    if text == "-" {
        return Ok(Operand::Stdin);
    }
    if text.is_empty() {
        return Err(error("it is empty").with_hint("`kiln build .` builds the current directory"));
    }
    let path = base.join(text);
    if path.is_dir() {
        return Ok(Operand::Place(ContextPlace::Directory(path)));
    }
    if is_web(text.as_bytes()) {
        return web(CONTEXT, text).map(|url| Operand::Place(ContextPlace::Web(url)));
    }
    if let Some(remote) = remote(text) {
        return Err(error(remote.reason).with_hint(remote.instead));
    }
    match fs_err::metadata(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Err(SpecError { kind: Kind::Failed, ..error("there is no such directory") })
        }
        Err(cause) => Err(SpecError { kind: Kind::Failed, ..error(&cause.to_string()) }),
        Ok(_) => Err(error("it is no directory").with_hint(format!(
            "`kiln build - < {shown}` reads an archive or a Dockerfile; `-f {shown} .` names a Dockerfile"
        ))),
    }
}

/// A kind of place that is not built yet.
struct Remote {
    reason: &'static str,
    instead: &'static str,
}

fn remote(text: &OsStr) -> Option<Remote> {
    let text = text.to_str()?;
    if is_git(text) {
        return Some(Remote {
            reason: "git repositories as a context are not built yet",
            instead: "clone it, and give the directory",
        });
    }
    let is_image = text.starts_with("docker-image://") || text.starts_with("oci-layout://");
    is_image.then_some(Remote {
        reason: "an image as the main context is not built yet",
        instead: "name it: `--build-context NAME=…`, and `COPY --from=NAME`",
    })
}

fn is_git(text: &str) -> bool {
    let is_web = text.starts_with("http://") || text.starts_with("https://");
    let path = text.split(['#', '?']).next().unwrap_or(text);
    text.starts_with("git@")
        || text.starts_with("git://")
        || text.starts_with("ssh://")
        || text.starts_with("github.com/")
        || (is_web && path.ends_with(".git"))
}

/// Whether a place is a file of the web: what git would clone is none.
fn is_web(text: &[u8]) -> bool {
    let is_git = std::str::from_utf8(text).is_ok_and(is_git);
    !is_git && (text.starts_with(b"http://") || text.starts_with(b"https://"))
}

/// Reads an address. It may hold a password, so that no message repeats it.
fn web(flag: &'static str, text: &OsStr) -> Result<WebUrl, SpecError> {
    let parsed = text.to_string_lossy().parse::<WebUrl>();
    parsed.map_err(|error| SpecError::new(flag, "http…", error.to_string()))
}

/// Reads one `--build-context NAME=SOURCE`.
///
/// # Errors
/// [`SpecError`], naming what cannot be used.
pub(super) fn named(spec: &OsStr, base: &Path) -> Result<(String, NamedContext), SpecError> {
    let shown = spec.to_string_lossy().into_owned();
    let error = |reason: String| SpecError::new(NAMED, &shown, reason);
    let bytes = spec.as_bytes();
    let form = || error("it is not of the form NAME=SOURCE".to_owned());
    let at = bytes.iter().position(|byte| *byte == b'=').ok_or_else(form)?;
    let name = std::str::from_utf8(&bytes[..at]).map_err(|_| error("the name is not UTF-8".to_owned()))?;
    let source = OsStr::from_bytes(&bytes[at + 1..]);
    if name.is_empty() || source.is_empty() {
        return Err(form());
    }
    if name.eq_ignore_ascii_case("scratch") {
        return Err(error("`scratch` always is the empty image".to_owned()));
    }
    if name.contains("::") {
        return Err(error("contexts for one platform (`NAME::PLATFORM`) are not built yet".to_owned()));
    }
    if is_web(source.as_bytes()) {
        return Ok((name.to_owned(), NamedContext::Web(web(NAMED, source)?)));
    }
    Ok((
        name.to_owned(),
        source_of(source, base).map_err(|(reason, hint)| SpecError { hint, ..error(reason) })?,
    ))
}

type Refusal = (String, Option<String>);

fn source_of(source: &OsStr, base: &Path) -> Result<NamedContext, Refusal> {
    if let Some(image) = source.to_str().and_then(|text| text.strip_prefix("docker-image://")) {
        return super::name(image).map(NamedContext::Image).map_err(|reason| (reason, None));
    }
    if let Some(layout) = source.as_bytes().strip_prefix(b"oci-layout://") {
        return layout_of(OsStr::from_bytes(layout), base);
    }
    if let Some(target) = source.to_str().and_then(|text| text.strip_prefix("target:")) {
        let reason = format!("`target:{target}` needs a file of several builds, which is not built yet");
        return Err((
            reason,
            Some("build that target first, with `-t`, and name it with docker-image://".to_owned()),
        ));
    }
    let path = base.join(source);
    match fs_err::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(NamedContext::Directory(path)),
        Ok(_) => Ok(NamedContext::Archive(path)),
        Err(cause) => Err(match remote(source) {
            Some(remote) => (remote.reason.to_owned(), Some(remote.instead.to_owned())),
            None => (cause.to_string(), None),
        }),
    }
}

/// Splits `DIR[:TAG|@DIGEST]`. A tag has no slash, so a colon before one belongs to the path.
fn layout_of(text: &OsStr, base: &Path) -> Result<NamedContext, Refusal> {
    let bytes = text.as_bytes();
    let sign = bytes.iter().position(|byte| *byte == b'@');
    let sign = sign.or_else(|| {
        let colon = bytes.iter().rposition(|byte| *byte == b':')?;
        (!bytes[colon..].contains(&b'/')).then_some(colon)
    });
    let (path, name) = match sign {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let name = name.map(|name| String::from_utf8(name.to_vec())).transpose();
    let name = name.map_err(|_| ("the tag is not UTF-8".to_owned(), None))?;
    let path = base.join(OsStr::from_bytes(path));
    if !path.join("oci-layout").is_file() {
        return Err((format!("`{}` is no OCI layout: it has no file `oci-layout`", path.display()), None));
    }
    Ok(NamedContext::OciLayout { path, name })
}

/// Returns where the Dockerfile of `-f` is: at an address; as named, else beneath the context; or, when the context is an
/// archive, in there, unless its path is absolute.
///
/// # Errors
/// [`SpecError`] when there is none.
pub(super) fn dockerfile(file: &Path, context: &Operand, base: &Path) -> Result<DockerfilePlace, SpecError> {
    match context {
        _ if is_web(file.as_os_str().as_bytes()) => web("-f", file.as_os_str()).map(DockerfilePlace::Web),
        Operand::Place(ContextPlace::Directory(context)) => {
            dockerfile_beside(file, context, base).map(DockerfilePlace::Path)
        }
        _ => Ok(DockerfilePlace::Path(file.to_owned())),
    }
}

/// Returns where a Dockerfile is: as named, else beneath the context.
///
/// # Errors
/// [`SpecError`] when neither exists.
pub(super) fn dockerfile_beside(file: &Path, context: &Path, base: &Path) -> Result<PathBuf, SpecError> {
    let (here, there) = (base.join(file), context.join(file));
    match [&here, &there].into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => {
            let shown = file.to_string_lossy();
            let reason = match here == there {
                true => format!("there is no file `{}`", here.display()),
                false => format!("there is neither a file `{}` nor `{}`", here.display(), there.display()),
            };
            Err(SpecError::new("-f", &shown, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_a_directory_an_address_or_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::create_dir(base.join("dir")).unwrap();
        std::fs::write(base.join("file"), "").unwrap();
        let outcome = |text: &str| operand(OsStr::new(text), base).map_err(|error| error.reason);
        assert_eq!(outcome("dir"), Ok(Operand::Place(ContextPlace::Directory(base.join("dir")))));
        assert_eq!(outcome("-"), Ok(Operand::Stdin));
        let git = "git repositories as a context are not built yet";
        let url = "https://example.com/a.tar.gz".parse().unwrap();
        assert_eq!(outcome("https://example.com/a.tar.gz"), Ok(Operand::Place(ContextPlace::Web(url))));
        for (text, says) in [
            ("", "it is empty"),
            ("missing", "there is no such directory"),
            ("file", "it is no directory"),
            ("git@example.com:a/b", git),
            ("https://example.com/a/b.git#main:sub", git),
            ("github.com/a/b", git),
            ("https://me:pass@host:x/a", "it is no address: invalid port number"),
            ("docker-image://alpine", "an image as the main context is not built yet"),
        ] {
            assert_eq!(outcome(text), Err(says.to_owned()), "{text}");
        }
    }

    #[test]
    fn named_contexts_are_directories_archives_images_and_layouts() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::create_dir(base.join("dir")).unwrap();
        std::fs::write(base.join("a.tar"), "").unwrap();
        std::fs::write(base.join("dir/oci-layout"), "").unwrap();
        let outcome = |text: &str| named(OsStr::new(text), base).map_err(|error| error.reason);
        let layout = |name: Option<&str>| NamedContext::OciLayout {
            path: base.join("dir"),
            name: name.map(str::to_owned),
        };
        for (text, context) in [
            ("x=dir", NamedContext::Directory(base.join("dir"))),
            ("x=a.tar", NamedContext::Archive(base.join("a.tar"))),
            ("x=http://host/a", NamedContext::Web("http://host/a".parse().unwrap())),
            ("x=docker-image://alpine", NamedContext::Image("alpine:latest".parse().unwrap())),
            ("x=oci-layout://dir", layout(None)),
            ("x=oci-layout://dir:v1", layout(Some("v1"))),
            ("x=oci-layout://dir@sha256:ab", layout(Some("sha256:ab"))),
        ] {
            assert_eq!(outcome(text), Ok(("x".to_owned(), context)), "{text}");
        }
        for (text, says) in [
            ("dir", "it is not of the form NAME=SOURCE"),
            ("=dir", "it is not of the form NAME=SOURCE"),
            ("scratch=dir", "`scratch` always is the empty image"),
            ("x::linux/arm64=dir", "contexts for one platform (`NAME::PLATFORM`) are not built yet"),
            ("x=git@example.com:a/b", "git repositories as a context are not built yet"),
            ("x=https://example.com/a.git", "git repositories as a context are not built yet"),
            ("x=target:base", "`target:base` needs a file of several builds, which is not built yet"),
        ] {
            assert_eq!(outcome(text), Err(says.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_dockerfile_is_looked_for_here_and_then_in_the_context() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::create_dir(base.join("ctx")).unwrap();
        std::fs::write(base.join("ctx/A"), "").unwrap();
        std::fs::write(base.join("B"), "").unwrap();
        let context = Operand::Place(ContextPlace::Directory(base.join("ctx")));
        let find = |name: &str, context: &Operand| dockerfile(Path::new(name), context, base);
        let path = |path: PathBuf| DockerfilePlace::Path(path);
        assert_eq!(find("A", &context).unwrap(), path(base.join("ctx/A")));
        assert_eq!(find("B", &context).unwrap(), path(base.join("B")));
        assert!(find("C", &context).is_err());
        let url = "https://host/D";
        assert_eq!(find(url, &context).unwrap(), DockerfilePlace::Web(url.parse().unwrap()));
        let archives = [Operand::Stdin, Operand::Place(ContextPlace::Web(url.parse().unwrap()))];
        for archive in archives {
            assert_eq!(find("B", &archive).unwrap(), path("B".into()));
            assert_eq!(find("/D", &archive).unwrap(), path("/D".into()));
        }
    }
}
