//! What refers to an image: signatures, inventories and the like, each a manifest with the image as its `subject`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, Method};
use kiln_oci::{Descriptor, Digest, Document, Index, MediaType, Reference};
use reqwest::Url;
use serde::Deserialize;

use crate::auth::Access;
use crate::client::{Call, Client};
use crate::error::Error;
use crate::limit;
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
        let index = self.tagged_index(&list_tag(repository, subject)).await?;
        Ok(index.map(|index| index.manifests).unwrap_or_default())
    }

    async fn tagged_index(&self, tagged: &Reference) -> Result<Option<Index>, Error> {
        let Some(index) = self.resolve_upstream(tagged).await? else { return Ok(None) };
        serde_json::from_slice(&index.bytes).map(Some).map_err(|_| Error::NotAManifest {
            registry: tagged.registry().to_owned(),
            subject: tagged.familiar(),
            reason: "it is no index".to_owned(),
        })
    }

    /// Puts a document that was written into the list of what refers to its subject, where it has one and the registry keeps no such
    /// lists itself: then it does not say `OCI-Subject` (distribution specification 1.1, "Pushing Manifests with Subject"). Others may
    /// change the list meanwhile, so it is looked at again afterwards.
    pub(crate) async fn list_referrer(
        &self,
        to: &Reference,
        written: &Descriptor,
        bytes: &[u8],
        answer: &HeaderMap,
    ) -> Result<(), Error> {
        // What is no such document, a registry has taken all the same.
        let Ok(Referrer { subject: Some(subject), artifact_type, config, annotations }) =
            serde_json::from_slice(bytes)
        else {
            return Ok(());
        };
        if answer.contains_key(SUBJECT_HEADER) {
            return Ok(());
        }
        let mut entry = written.clone();
        entry.artifact_type = artifact_type.or(config.map(|config| config.media_type.as_str().to_owned()));
        entry.annotations = annotations;
        let tagged = list_tag(to, &subject.digest);
        let _turn = self.referrers_turn().await;
        for _ in 0..limit::REFERRER_PUTS_MAX {
            let mut index = self.tagged_index(&tagged).await?.unwrap_or_else(|| Index::oci(Vec::new()));
            if index.manifests.iter().any(|listed| listed.digest == entry.digest) {
                return Ok(());
            }
            index.manifests.push(entry.clone());
            let bytes = Document::write(index).bytes().clone();
            // A list has no subject: this is the end of it.
            Box::pin(self.push_manifest(&tagged, &MediaType::OCI_INDEX, bytes)).await?;
        }
        let registry = to.registry().to_owned();
        let reason = "the list of what refers to an image is not as it was written";
        Err(Error::Protocol { registry, subject: tagged.familiar(), reason })
    }
}

/// Where a registry says that it lists a document itself.
const SUBJECT_HEADER: HeaderName = HeaderName::from_static("oci-subject");

/// What a manifest or index says of itself as one that refers to another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Returns the tag under which a registry without lists has what refers to `subject`.
fn list_tag(repository: &Reference, subject: &Digest) -> Reference {
    repository.with_tag(&format!("sha256-{}", subject.hex())).expect("a digest makes a tag")
}
