//! Servers: registries, buckets, files of the web.

use std::error::Error;

use kiln_builder::remote::RemoteError;
use kiln_registry::WebError;

/// Returns what to do about an answer of a server, or none.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    // An error that holds another one in a box gives the box as its source.
    let boxed = || error.downcast_ref::<Box<kiln_registry::Error>>().map(|boxed| &**boxed);
    let of_registry = error.downcast_ref().or_else(boxed).and_then(hint_of_registry);
    let of_removal = || error.downcast_ref().and_then(hint_of_removal);
    let of_web = || error.downcast_ref().and_then(hint_of_web);
    of_registry.or_else(of_removal).or_else(of_web)
}

fn hint_of_registry(error: &kiln_registry::Error) -> Option<String> {
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
    let hint = "the configuration file can name a mirror, a proxy is taken from HTTPS_PROXY, and `http = true` is for \
        registries without TLS";
    error.is_unreachable().then(|| hint.to_owned())
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
