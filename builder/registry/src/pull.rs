//! From names to manifests.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use kiln_oci::{Descriptor, Digest, MediaType, Reference, VerifyError};
use serde_json::Value;

use crate::auth::Access;
use crate::cause::printable;
use crate::client::{Call, Client};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;

/// All types of documents an image name can lead to.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Where a registry names the digest of a manifest.
const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

/// What an image name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Type, digest and size of the manifest or index.
    pub descriptor: Descriptor,
    /// The document itself, as it came.
    pub bytes: Bytes,
    /// The host it came from, which may be a mirror.
    pub from: String,
}

impl Client {
    /// Returns the manifest or index that `reference` names; by its digest if it has one, else by its tag or `latest`.
    /// Mirrors are asked first.
    ///
    /// # Errors
    /// The registry does not have it ([`Error::is_not_found`]), does not let us ([`Error::is_unauthorized`]), cannot be
    /// reached, or sends something that is not what was asked for.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        // What the last mirror said that does not have it.
        let mut absent: Option<Arc<Error>> = None;
        for endpoint in self.endpoints(reference.registry())? {
            let call = Call { is_doubtful: absent.is_some(), ..manifest_call(&endpoint, reference) };
            let error = match self.resolve_at(&endpoint, reference, &call).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => error,
            };
            match self.pass_over(&endpoint, reference.registry(), error) {
                Ok(error) => absent = Some(error).filter(|error| error.is_not_found()).or(absent),
                Err(error) => return Err(error.after_absence(absent)),
            }
        }
        unreachable!("the last endpoint is the registry itself, which is not passed over")
    }

    /// Returns what `reference` names at the registry itself, and at no mirror; `None` when it is not there.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub async fn resolve_upstream(&self, reference: &Reference) -> Result<Option<Resolved>, Error> {
        let endpoint = Endpoint::upstream(reference.registry());
        match self.resolve_at(&endpoint, reference, &manifest_call(&endpoint, reference)).await {
            Ok(resolved) => Ok(Some(resolved)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry itself, and no mirror, what `reference` names there, without fetching it. `None` when it is
    /// not there, or the registry does not say its digest.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub async fn head(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let endpoint = Endpoint::upstream(reference.registry());
        let mut call = manifest_call(&endpoint, reference);
        call.method = Method::HEAD;
        let headers = match self.fetch(&endpoint, &call, 0).await {
            Ok((headers, _)) => headers,
            Err(error) if error.is_not_found() => return Ok(None),
            // It tells nothing without sending the manifest.
            Err(Error::Status { status: 405 | 501, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let digest = text(DIGEST_HEADER).and_then(|digest| digest.parse().ok());
        let size = text(CONTENT_LENGTH).and_then(|size| size.parse().ok());
        let (Some(digest), Some(size), Some(media_type)) = (digest, size, content_type(&headers)) else {
            return Ok(None);
        };
        Ok(Some(Descriptor::new(media_type, digest, size)))
    }

    /// Asks once more where other bytes came than were promised: they may have been changed on the way.
    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        call: &Call,
    ) -> Result<Resolved, Error> {
        match self.resolve_once(endpoint, reference, call).await {
            Err(error @ Error::Verify { .. }) if !endpoint.is_mirror => {
                self.wait_once(&mut self.attempts(), error).await?;
                self.resolve_once(endpoint, reference, call).await
            }
            answer => answer,
        }
    }

    async fn resolve_once(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        call: &Call,
    ) -> Result<Resolved, Error> {
        let (headers, bytes) = self.fetch(endpoint, call, limit::MANIFEST_BYTES_MAX).await?;
        let actual = Digest::of(&bytes);
        let promised = headers.get(DIGEST_HEADER).and_then(|digest| digest.to_str().ok()?.parse().ok());
        for expected in [reference.digest(), promised].into_iter().flatten() {
            if actual != expected {
                return Err(Error::Verify {
                    registry: endpoint.name.clone(),
                    subject: call.subject.clone(),
                    source: VerifyError::WrongDigest { expected, actual },
                });
            }
        }
        let media_type = media_type(content_type(&headers), &bytes).map_err(|problem| match problem {
            Problem::Schema1 => {
                Error::Schema1 { registry: endpoint.name.clone(), subject: call.subject.clone() }
            }
            Problem::Other(reason) => {
                Error::NotAManifest { registry: endpoint.name.clone(), subject: call.subject.clone(), reason }
            }
        })?;
        let descriptor = Descriptor::new(media_type, actual, bytes.len() as u64);
        Ok(Resolved { descriptor, bytes, from: endpoint.name.clone() })
    }
}

fn manifest_call(endpoint: &Endpoint, reference: &Reference) -> Call {
    let repository = endpoint.repository(reference.repository());
    let path = format!("/v2/{repository}/manifests/{}", manifest_name(reference));
    let mut call = Call::new(Method::GET, path, Access::pull(&repository), reference.or_latest().familiar());
    call.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    call
}

fn manifest_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}

fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(MediaType::new(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
}

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Schema1,
    Other(String),
}

/// Finds out what a document is: what it says itself, else what the answer says, else what its fields show. A document
/// that could be read both as a manifest and as an index is refused, since two readers could see two images in it.
fn media_type(said: Option<MediaType>, bytes: &[u8]) -> Result<MediaType, Problem> {
    let is_schema1 = |media_type: &MediaType| {
        media_type.as_str().starts_with("application/vnd.docker.distribution.manifest.v1+")
    };
    let document: Value = serde_json::from_slice(bytes).map_err(|error| {
        Problem::Other(format!("it is not JSON (line {}, column {})", error.line(), error.column()))
    })?;
    let own = document.get("mediaType").and_then(Value::as_str).map(MediaType::new);
    let version = document.get("schemaVersion").and_then(Value::as_u64);
    if version == Some(1) || [&own, &said].into_iter().flatten().any(is_schema1) {
        return Err(Problem::Schema1);
    }
    let has = |key: &str| document.get(key).is_some_and(|value| !value.is_null());
    let shown = match (has("manifests"), has("config") || has("layers")) {
        (true, true) => {
            return Err(Problem::Other("it has the fields of a manifest and of an index".to_owned()));
        }
        (true, false) => MediaType::OCI_INDEX,
        (false, true) => MediaType::OCI_MANIFEST,
        (false, false) => {
            return Err(Problem::Other("it has neither `config` and `layers` nor `manifests`".to_owned()));
        }
    };
    let is_known = |media_type: &MediaType| media_type.is_manifest() || media_type.is_index();
    if let Some(own) = own.as_ref().filter(|own| !is_known(own)) {
        return Err(Problem::Other(format!("its type is `{}`", printable(own.as_str()))));
    }
    let found = own.or(said.filter(is_known)).unwrap_or_else(|| shown.clone());
    if found.is_index() != shown.is_index() {
        return Err(Problem::Other(format!("its type `{found}` does not fit its fields")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_document_is_found_and_contradictions_are_refused() {
        let docker = MediaType::DOCKER_MANIFEST;
        let manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let typed = format!(r#"{{"schemaVersion":2,"mediaType":"{docker}","config":{{}},"layers":[]}}"#);
        let lying = format!(r#"{{"schemaVersion":2,"mediaType":"{docker}","manifests":[]}}"#);
        let refused = |reason: &str| Err(Problem::Other(reason.to_owned()));
        for (said, body, expected) in [
            (Some(docker.clone()), manifest, Ok(docker.clone())),
            (None, manifest, Ok(MediaType::OCI_MANIFEST)),
            (Some(MediaType::new("application/json")), index, Ok(MediaType::OCI_INDEX)),
            (Some(MediaType::DOCKER_INDEX), index, Ok(MediaType::DOCKER_INDEX)),
            (Some(MediaType::OCI_MANIFEST), &typed, Ok(docker.clone())),
            (
                Some(MediaType::OCI_INDEX),
                manifest,
                refused("its type `application/vnd.oci.image.index.v1+json` does not fit its fields"),
            ),
            (
                None,
                &lying,
                refused(
                    "its type `application/vnd.docker.distribution.manifest.v2+json` does not fit its fields",
                ),
            ),
            (
                None,
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
                refused("it has the fields of a manifest and of an index"),
            ),
            (None, r#"{"schemaVersion":1,"fsLayers":[]}"#, Err(Problem::Schema1)),
            (
                Some(MediaType::new("application/vnd.docker.distribution.manifest.v1+prettyjws")),
                "{}",
                Err(Problem::Schema1),
            ),
            (None, "<html>", refused("it is not JSON (line 1, column 1)")),
            (None, "{}", refused("it has neither `config` and `layers` nor `manifests`")),
            (None, r#"{"mediaType":"text/x","layers":[]}"#, refused("its type is `text/x`")),
        ] {
            assert_eq!(media_type(said, body.as_bytes()), expected, "{body}");
        }
    }
}
