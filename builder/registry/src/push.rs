//! Into a registry: what is there already, mounts from another repository, blobs, manifests. Never through a mirror.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use kiln_oci::{Descriptor, Digest, MediaType, Reference, VerifyError};

use crate::auth::Access;
use crate::client::{Call, Client};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;
use crate::route::{Target, location};
use crate::session::{Session, Upload};

impl Client {
    /// Whether the repository of `to` holds the blob `digest`.
    ///
    /// # Errors
    /// The registry cannot be reached or does not let us ask.
    pub async fn blob_exists(&self, to: &Reference, digest: &Digest) -> Result<bool, Error> {
        let path = format!("/v2/{}/blobs/{digest}", to.repository());
        let call = Call::new(Method::HEAD, path, Access::push(to.repository()), subject(to, digest));
        match self.fetch(&Endpoint::upstream(to.registry()), &call, 0).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the blob `digest` of the repository `from` appear in the repository of `to`, which is of the same registry.
    /// Returns whether that worked: a registry that cannot, may not, or does not have it says no.
    ///
    /// # Errors
    /// The registry cannot be reached or does not let us write.
    pub async fn mount(&self, to: &Reference, digest: &Digest, from: &str) -> Result<bool, Error> {
        let endpoint = Endpoint::upstream(to.registry());
        let path = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", to.repository());
        let access = Access::push(to.repository()).and_pull(from);
        let call = Call::new(Method::POST, path, access, subject(to, digest));
        let response = match self.send_retrying(&endpoint, &call).await {
            Ok(response) => response,
            // Some registries refuse a mount that they cannot do, each by a status of its own, instead of offering an upload. What
            // stands in the way of that, too, it will say.
            Err(Error::Status { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // An upload was begun instead; it is given up, so that none is left behind. If that fails, the registry
        // forgets it in its own time.
        if let Some(url) = location(response.url(), response.headers()) {
            let mut call = call.clone();
            call.method = Method::DELETE;
            call.target = Target::Address(url);
            self.send(&endpoint, &call, None).await.ok();
        }
        Ok(false)
    }

    /// Uploads a blob. A transfer that breaks is continued where the registry says it stands, or starts over; so is one that an
    /// earlier process left, where its address was kept.
    ///
    /// # Errors
    /// The registry cannot be reached, does not let us write, or refuses the content; or this cannot be read.
    pub async fn push_blob(&self, upload: Upload<'_>) -> Result<(), Error> {
        let endpoint = Endpoint::upstream(upload.to.registry());
        let _permit = self.permit(&endpoint.authority).await;
        let mut attempts = self.attempts();
        let mut resumes = 0u32;
        let mut session = Session::new(self, &endpoint, &upload, subject(upload.to, &upload.blob.digest));
        loop {
            let before = session.furthest();
            let Err(error) = session.run().await else {
                upload.keep.inspect(|keep| keep(None));
                return Ok(());
            };
            let moved = session.furthest() - before;
            if moved > 0 {
                attempts.progress();
                resumes += u32::from(moved < limit::RESUME_BYTES);
            }
            if resumes > limit::RESUMES_MAX {
                return Err(error);
            }
            if !session.may_go_on(&error) {
                self.wait(&mut attempts, error).await?;
            }
        }
    }

    /// Writes a manifest or index under the tag of `to`, or under its digest where there is no tag, and returns its
    /// digest. The blobs and manifests it names must be there. What refers to another image is listed there, too.
    ///
    /// # Errors
    /// The registry cannot be reached, does not let us write, or refuses the document; or `to` names another digest.
    pub async fn push_manifest(
        &self,
        to: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Digest, Error> {
        let endpoint = Endpoint::upstream(to.registry());
        let digest = Digest::of(&bytes);
        let name = match (to.tag(), to.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => "latest".to_owned(),
        };
        let path = format!("/v2/{}/manifests/{name}", to.repository());
        let subject = to.or_latest().familiar();
        let mut call = Call::new(Method::PUT, path, Access::push(to.repository()), &subject);
        if bytes.len() > limit::MANIFEST_BYTES_MAX {
            let registry = endpoint.name;
            return Err(Error::TooLarge { registry, subject, limit: limit::MANIFEST_BYTES_MAX });
        }
        let content_type = HeaderValue::from_str(media_type.as_str()).map_err(|_| Error::NotAManifest {
            registry: endpoint.name.clone(),
            subject: subject.clone(),
            reason: "its media type cannot stand in a header".to_owned(),
        })?;
        call.headers.insert(CONTENT_TYPE, content_type);
        call.body = Some(bytes.clone());
        check_digest(&endpoint, &subject, digest, to.digest())?;
        let (headers, _) = self.fetch(&endpoint, &call, limit::ERROR_BODY_BYTES_MAX).await?;
        check_digest(&endpoint, &subject, digest, named_digest(&headers))?;
        let written = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        self.list_referrer(to, &written, &bytes, &headers).await?;
        Ok(digest)
    }

    async fn send_retrying(&self, endpoint: &Endpoint, call: &Call) -> Result<reqwest::Response, Error> {
        let mut attempts = self.attempts();
        loop {
            match self.send(endpoint, call, None).await {
                Ok(response) => return Ok(response),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }
}

fn subject(to: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", to.familiar_name())
}

/// Returns the digest that an answer names, unless it is of an algorithm that is not known here.
pub(crate) fn named_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// Whether two descriptions of one content agree.
fn check_digest(
    endpoint: &Endpoint,
    subject: &str,
    expected: Digest,
    actual: Option<Digest>,
) -> Result<(), Error> {
    match actual {
        Some(actual) if actual != expected => Err(Error::Verify {
            registry: endpoint.name.clone(),
            subject: subject.to_owned(),
            source: VerifyError::WrongDigest { expected, actual },
        }),
        _ => Ok(()),
    }
}
