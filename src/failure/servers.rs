//! Servers: registries, buckets, files of the web.

use std::error::Error;

use kiln_builder::build::BuildError;
use kiln_builder::catalog::CatalogError;
use kiln_builder::export::ExportError;
use kiln_builder::far::FarError;
use kiln_builder::remote::RemoteError;
use kiln_registry::WebError;

use super::unboxed;

/// Docker's registry, which nobody reaches without TLS.
const HUB: &str = "docker.io";

/// Whether a mirror could have answered in place of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mirrors {
    /// Manifests and blobs of images come from mirrors, too.
    Asked,
    /// Whatever else is asked of a registry, or sent to it, is asked of none.
    Useless,
}

impl Mirrors {
    /// Returns what is known when only the outermost error was seen.
    pub(super) fn of(outermost: &(dyn Error + 'static)) -> Self {
        match outermost.is::<kiln_registry::Error>() {
            // What nothing more is said about is a search or a login.
            true => Self::Useless,
            false => Self::Asked,
        }
    }

    /// Returns what is known when another error of the chain was seen, too.
    pub(super) fn within(self, error: &(dyn Error + 'static)) -> Self {
        if asks_no_mirror(error) { Self::Useless } else { self }
    }
}

/// Whether an error is of work that only the registry itself can do.
fn asks_no_mirror(error: &(dyn Error + 'static)) -> bool {
    let is_push = |error: &ExportError| matches!(error, ExportError::Registry { .. });
    error.is::<RemoteError>()
        || error.is::<FarError>()
        || matches!(unboxed(error), Some(BuildError::Export(error)) if is_push(error))
        || match unboxed(error) {
            Some(CatalogError::Export(error)) => is_push(error),
            Some(CatalogError::Remote(_)) => true,
            _ => false,
        }
}

/// Returns what to do about an answer of a server, or none.
pub(super) fn hint(error: &(dyn Error + 'static), mirrors: Mirrors) -> Option<String> {
    let of_registry = unboxed(error).and_then(|error| hint_of_registry(error, mirrors));
    let of_removal = || error.downcast_ref().and_then(hint_of_removal);
    let of_web = || error.downcast_ref().and_then(hint_of_web);
    of_registry.or_else(of_removal).or_else(of_web)
}

fn hint_of_registry(error: &kiln_registry::Error, mirrors: Mirrors) -> Option<String> {
    if let kiln_registry::Error::Bucket(_) = error {
        let hint = "the key is that of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of AWS_PROFILE in ~/.aws/credentials; it \
            must be allowed to list, read and write";
        return error.is_unauthorized().then(|| hint.to_owned());
    }
    if error.is_unauthorized() {
        return Some(
            "`kiln login REGISTRY` keeps credentials; a name that does not exist can look like this too"
                .to_owned(),
        );
    }
    if let Some(wait) = error.retry_after().filter(|wait| !wait.is_zero()) {
        return Some(format!("the registry asks to be left alone for {} s", wait.as_secs()));
    }
    if let kiln_registry::Error::OnlyMirror { .. } = error {
        let hint =
            "if the name is right, the registry itself has to be reached; a proxy is taken from HTTPS_PROXY";
        return Some(hint.to_owned());
    }
    let kiln_registry::Error::Transport { registry, .. } = error else { return None };
    let mirror = "the configuration file can name a mirror";
    let proxy = "a proxy is taken from HTTPS_PROXY";
    let http = "`http = true` in the configuration file is for registries without TLS";
    let hint = match (mirrors, registry.ends_with(HUB)) {
        (Mirrors::Asked, true) => format!("{mirror}; {proxy}"),
        (Mirrors::Asked, false) => format!("{mirror}; {proxy}; {http}"),
        (Mirrors::Useless, true) => proxy.to_owned(),
        (Mirrors::Useless, false) => format!("{proxy}; {http}"),
    };
    error.is_unreachable().then_some(hint)
}

fn hint_of_removal(error: &RemoteError) -> Option<String> {
    let hint = "the registry lets nobody remove anything this way, and its tags are as they were; `docker-registry` does with \
        `delete: {enabled: true}` in its storage settings, others in their own interface";
    error.is_removal_unsupported().then(|| hint.to_owned())
}

fn hint_of_web(error: &WebError) -> Option<String> {
    let hint = match (error.status(), error) {
        (Some(401 | 403), _) => {
            "`--secret id=HTTP_AUTH_TOKEN_HOST,src=FILE` gives a bearer token for HOST (without its port), \
             HTTP_AUTH_HEADER_HOST the whole value of the header"
        }
        (_, WebError::Downgrade { .. }) => {
            "with `ADD --checksum=sha256:…` it does not matter where the bytes come from; or name the http address itself"
        }
        _ if error.is_unreachable() => "a proxy is taken from HTTP_PROXY and HTTPS_PROXY",
        _ => return None,
    };
    Some(hint.to_owned())
}
