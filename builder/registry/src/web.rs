//! A file of the web, asked for with conditions: its headers first, its bytes as [`WebBody`]. Certificates, proxies, time
//! limits and retries are those of registries.

use http::{HeaderMap, StatusCode};

use crate::client::Client;
use crate::web_body::WebBody;
use crate::web_error::WebError;
use crate::web_head::WebHead;
use crate::web_request::{WebRequest, host_of};

/// What a server answers.
#[derive(Debug)]
pub enum WebAnswer {
    /// The file is what it was.
    Unchanged,
    /// The file, whether changed or not.
    File(Box<WebBody>),
}

impl Client {
    /// Asks for a file of the web.
    ///
    /// # Errors
    /// [`WebError`] when the host does not give it, after as many attempts as a registry gets.
    pub async fn web(&self, request: WebRequest) -> Result<WebAnswer, WebError> {
        let permit = self.permit(request.url.url().authority()).await;
        let mut attempts = self.attempts();
        let mut conditions = request.known.conditions();
        loop {
            let response = match self.web_response(&request, &conditions).await {
                Ok(response) => response,
                Err(error) => {
                    self.web_wait(&request, &mut attempts, error).await?;
                    continue;
                }
            };
            let head = WebHead::of(response.headers());
            let is_known = head.etag.as_deref().map(|etag| request.known.has(etag));
            match (response.status(), is_known) {
                // Some servers do not look at conditions, and say with the whole file that it is the same.
                (StatusCode::OK, Some(true)) => return Ok(WebAnswer::Unchanged),
                // Some say of a file that it is unchanged without saying which: it can only be what they were asked for.
                (StatusCode::NOT_MODIFIED, None | Some(true)) if !conditions.is_empty() => {
                    return Ok(WebAnswer::Unchanged);
                }
                // It means a version that is not here.
                (StatusCode::NOT_MODIFIED, _) if !conditions.is_empty() => conditions = HeaderMap::new(),
                (StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT, _) => {
                    let reason = "it sends what was not asked for";
                    return Err(WebError::Protocol { host: host_of(&response), reason });
                }
                _ => {
                    let body = WebBody::new(self.clone(), request, response, head, attempts, permit);
                    return Ok(WebAnswer::File(Box::new(body)));
                }
            }
        }
    }
}
