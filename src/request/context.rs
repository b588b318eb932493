//! CONTEXT, `-f` and `--build-context`: which places they name. Standard input is looked at in [`super::stdin`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_builder::git_reference::{GitReference, GitReferenceError, KEYS, Standing};
use kiln_builder::request::{ContextPlace, DockerfilePlace, NamedContext, WebUrl};
use kiln_builder::secrets::without_logins;

use super::SpecError;
use crate::failure::Kind;
use crate::suggest::nearest;

/// What the CONTEXT operand names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A directory, an address of the web, or a git repository.
    Place(ContextPlace),
    /// Standard input.
    Stdin,
}

const CONTEXT: &str = "CONTEXT";
const NAMED: &str = "--build-context";

/// Reads the CONTEXT operand.
///
/// # Errors
/// [`SpecError`] when it is no directory, address of the web or git repository, or a place that is not built yet.
pub(super) fn operand(text: &OsStr, base: &Path) -> Result<Operand, SpecError> {
    let shown = without_logins(&text.to_string_lossy());
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
    if is_web(text) {
        return web(CONTEXT, text).map(|url| Operand::Place(ContextPlace::Web(url)));
    }
    if let Some(repository) = repository(text) {
        return repository
            .map(|reference| Operand::Place(ContextPlace::Git(reference)))
            .map_err(|(reason, hint)| SpecError { hint, ..error(&reason) });
    }
    if ["docker-image://", "oci-layout://"].iter().any(|scheme| shown.starts_with(scheme)) {
        return Err(error("an image as the main context is not built yet")
            .with_hint("name it: `--build-context NAME=…`, and `COPY --from=NAME`"));
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

/// Reads what may be a git repository, and says what is wrong with it.
fn repository(text: &OsStr) -> Option<Result<Box<GitReference>, Refusal>> {
    let parsed = GitReference::parse(text.to_str()?, Standing::Context)?;
    let hint = |error: &GitReferenceError| match error {
        GitReferenceError::UnknownKey { key } => Some(match nearest(key, &KEYS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys are {}", KEYS.join(", ")),
        }),
        _ => None,
    };
    let checked = parsed.and_then(GitReference::checked);
    Some(checked.map(Box::new).map_err(|error| (error.to_string(), hint(&error))))
}

/// Whether a place is a file of the web: what git would clone is none.
fn is_web(text: &OsStr) -> bool {
    let bytes = text.as_bytes();
    let is_git = || text.to_str().is_some_and(|text| GitReference::parse(text, Standing::Context).is_some());
    (bytes.starts_with(b"http://") || bytes.starts_with(b"https://")) && !is_git()
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
    let shown = without_logins(&spec.to_string_lossy());
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
    if is_web(source) {
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
        Err(cause) => match repository(source) {
            Some(repository) => repository.map(NamedContext::Git),
            None => Err((cause.to_string(), None)),
        },
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
/// archive, in there, unless its path is absolute. In a git repository it is always a file of that, as in BuildKit.
///
/// # Errors
/// [`SpecError`] when there is none.
pub(super) fn dockerfile(file: &Path, context: &Operand, base: &Path) -> Result<DockerfilePlace, SpecError> {
    match context {
        _ if is_web(file.as_os_str()) => web("-f", file.as_os_str()).map(DockerfilePlace::Web),
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
        let url = "https://example.com/a.tar.gz".parse().unwrap();
        assert_eq!(outcome("https://example.com/a.tar.gz"), Ok(Operand::Place(ContextPlace::Web(url))));
        for (text, says) in [
            ("", "it is empty"),
            ("missing", "there is no such directory"),
            ("file", "it is no directory"),
            ("https://example.com/a.git?tga=v1", "unexpected query `tga`"),
            ("file:///a.git", "there is no such directory"),
            ("https://me:pass@host:x/a", "it is no address: invalid port number"),
            ("docker-image://alpine", "an image as the main context is not built yet"),
        ] {
            assert_eq!(outcome(text), Err(says.to_owned()), "{text}");
        }
        for text in ["git@example.com:a/b", "https://example.com/a/b.git#main:sub", "github.com/a/b"] {
            assert!(matches!(outcome(text), Ok(Operand::Place(ContextPlace::Git(_)))), "{text}");
        }
        let wrong = operand(OsStr::new("https://me:pass@host/a.git?tga=v1"), base).unwrap_err();
        assert!(!format!("{wrong:?}").contains("pass"), "{wrong:?}");
        std::fs::create_dir_all(base.join("github.com/a/b")).unwrap();
        assert!(matches!(outcome("github.com/a/b"), Ok(Operand::Place(ContextPlace::Directory(_)))));
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
        assert!(matches!(outcome("x=git@example.com:a/b"), Ok((_, NamedContext::Git(_)))));
        for (text, says) in [
            ("dir", "it is not of the form NAME=SOURCE"),
            ("=dir", "it is not of the form NAME=SOURCE"),
            ("scratch=dir", "`scratch` always is the empty image"),
            ("x::linux/arm64=dir", "contexts for one platform (`NAME::PLATFORM`) are not built yet"),
            ("x=git@example.com:a/b#-u", "invalid git ref `-u`"),
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
