//! The tags of a repository.

use http::Method;
use kiln_oci::Reference;
use serde::Deserialize;

use crate::auth::Access;
use crate::client::{Call, Client};
use crate::error::Error;
use crate::mirror::Endpoint;

/// Tags asked for at a time. Registries may give fewer.
const PAGE: usize = 1000;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Returns all tags of the repository of `reference`, sorted. The registry itself is asked, no mirror.
    ///
    /// # Errors
    /// The repository does not exist, the registry does not let us, cannot be reached, has more than can be, or lists what is no
    /// tag.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let endpoint = Endpoint::upstream(reference.registry());
        let repository = reference.repository();
        let path = format!("/v2/{repository}/tags/list?n={PAGE}");
        let call = Call::new(Method::GET, path, Access::pull(repository), reference.familiar_name());
        let mut tags = Vec::new();
        let take = |_: &_, body: &[u8]| {
            let page: Page =
                serde_json::from_slice(body).map_err(|_| "the list of tags is not what it should be")?;
            let page = page.tags.unwrap_or_default();
            // Names that are shown, and asked for again.
            if page.iter().any(|tag| reference.with_tag(tag).is_err()) {
                return Err("its list of tags holds what is no tag");
            }
            tags.extend(page);
            Ok(())
        };
        self.pages(&endpoint, call, take).await?;
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }
}
