//! What refers to an image: signatures, inventories and the like, each a manifest with the image as its `subject`.

use http::Method;
use kiln_oci::{Descriptor, Digest, Index, Reference};
use reqwest::Url;

use crate::auth::Access;
use crate::client::{Call, Client};
use crate::error::Error;
use crate::mirror::Endpoint;
use crate::pages::is_unknown_to;

impl Client {
    /// Returns the manifests that refer to the manifest `subject` of the repository of `repository`; only those of one type, if
    /// one is given. A registry without a list of them has, by the specification, an index under the tag `sha256-<hex>` instead.
    /// The registry itself is asked, no mirror.
    ///
    /// # Errors
    /// The registry does not let us, cannot be reached, has more than can be, or answers with something else.
    pub async fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.listed_referrers(repository, subject, artifact_type).await {
            Ok(found) => found,
            Err(error) if is_unknown_to(&error) => self.tagged_referrers(repository, subject).await?,
            Err(error) => return Err(error),
        };
        // A registry need not select, and a tag cannot.
        found.retain(|one| artifact_type.is_none() || one.artifact_type.as_deref() == artifact_type);
        Ok(found)
    }

    async fn listed_referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let endpoint = Endpoint::upstream(repository.registry());
        let name = repository.repository();
        let mut path = format!("/v2/{name}/referrers/{subject}");
        if let Some(wanted) = artifact_type {
            let mut url = Url::parse("http://query.invalid").expect("a constant address");
            url.query_pairs_mut().append_pair("artifactType", wanted);
            path.extend(["?", url.query().unwrap_or_default()]);
        }
        let subject = format!("{}@{subject}", repository.familiar_name());
        let call = Call::new(Method::GET, path, Access::pull(name), subject);
        let mut found = Vec::new();
        let take = |_: &_, body: &[u8]| {
            let page: Index = serde_json::from_slice(body).map_err(|_| "what it lists is no index")?;
            found.extend(page.manifests);
            Ok(())
        };
        self.pages(&endpoint, call, take).await?;
        Ok(found)
    }

    async fn tagged_referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let tagged = repository.with_tag(&format!("sha256-{}", subject.hex())).expect("a digest makes a tag");
        let Some(index) = self.resolve_upstream(&tagged).await? else { return Ok(Vec::new()) };
        let index: Index = serde_json::from_slice(&index.bytes).map_err(|_| Error::NotAManifest {
            registry: repository.registry().to_owned(),
            subject: tagged.familiar(),
            reason: "it is no index".to_owned(),
        })?;
        Ok(index.manifests)
    }
}
