//! Searching for repositories: `/v1/search`, which Docker Hub has and few others. It is older than the distribution protocol.

use http::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use crate::auth::Access;
use crate::client::{Call, Client, protocol};
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;

/// The name of Docker's registry, and the host of it that searches.
const HUB: (&str, &str) = ("docker.io", "index.docker.io");

/// A repository that was found, as the registry describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SearchHit {
    /// Its name within the registry.
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: Option<String>,
    /// How many people like it.
    #[serde(default)]
    pub star_count: u64,
    /// Whether the registry itself looks after it.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it is built from a repository of sources.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Option<Vec<SearchHit>>,
}

impl Client {
    /// Asks a registry for at most `count` repositories that have to do with `term`, in its own order; `None` where it does not
    /// search.
    ///
    /// # Errors
    /// The registry cannot be reached, does not let us, or answers with something else.
    pub async fn search(
        &self,
        registry: &str,
        term: &str,
        count: usize,
    ) -> Result<Option<Vec<SearchHit>>, Error> {
        let mut endpoint = Endpoint::upstream(registry);
        if registry == HUB.0 {
            HUB.1.clone_into(&mut endpoint.authority);
        }
        let mut address = Url::parse("http://registry.invalid/v1/search").expect("a constant address");
        address.query_pairs_mut().append_pair("q", term).append_pair("n", &count.to_string());
        let query = address.query().unwrap_or_default();
        let call = Call::new(Method::GET, format!("/v1/search?{query}"), Access::default(), "/v1/search");
        let (_, body) = match self.fetch(&endpoint, &call, limit::PAGE_BYTES_MAX).await {
            Ok(answer) => answer,
            Err(error) if does_not_search(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| protocol(&endpoint, &call, "its answer to a search is not what it should be"))?;
        let mut hits = answer.results.unwrap_or_default();
        hits.truncate(count);
        Ok(Some(hits))
    }
}

fn does_not_search(error: &Error) -> bool {
    let unknown = [
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::GONE,
        StatusCode::NOT_IMPLEMENTED,
    ];
    matches!(error, Error::Status { status, .. } if unknown.iter().any(|unknown| unknown.as_u16() == *status))
}
