//! A server that searches for repositories, as Docker's old index does.

use serde_json::{Value, json};

use super::http::{HttpServer, Response};

/// Starts the server; `find` is given the query as sent.
pub(crate) fn start(find: impl Fn(&str) -> Vec<Value> + Send + Sync + 'static) -> HttpServer {
    HttpServer::start(move |request| {
        if request.path != "/v1/search" {
            return Response::new(200, "{}");
        }
        let results = find(&request.query);
        Response::new(200, json!({"num_results": results.len(), "results": results}).to_string())
    })
}

/// Returns a repository as the index tells of it.
pub(crate) fn repository(name: &str, description: &str, stars: u32, is_official: bool) -> Value {
    json!({
        "name": name, "description": description, "star_count": stars,
        "is_official": is_official, "is_automated": false,
    })
}
