//! Looking for repositories.

use serde_json::json;

use super::registry;
use crate::support::http::{HttpServer, Response};
use crate::support::{TestSpace, requires};

/// A server that searches, as Docker's old index does.
fn server() -> HttpServer {
    HttpServer::start(|request| match (request.path.as_str(), request.query.as_str()) {
        ("/v1/search", query) if query.starts_with("q=web+server&n=") => {
            let hit = |name: &str, description: &str, stars: u64, is_official: bool| {
                json!({
                    "name": name, "description": description, "star_count": stars,
                    "is_official": is_official, "is_automated": false,
                })
            };
            let results = [
                hit("me/web", "mine\nand\u{1b}[31m red", 3, false),
                hit("web", "The official web server, with a description that does not fit", 12_000, true),
            ];
            Response::new(200, json!({"num_results": 2, "results": results}).to_string())
        }
        ("/v1/search", _) => Response::new(200, json!({"num_results": 0, "results": []}).to_string()),
        _ => Response::new(200, "{}"),
    })
}

#[test]
fn repositories_are_found_and_shown_as_docker_shows_them() {
    let space = TestSpace::new();
    let server = server();
    let host = server.host();
    space.config(&format!("[registry.\"{host}\"]\nhttp = true\n"));
    let term = format!("{host}/web server");
    let table = space.kiln(["search", &term]).run().success().text();
    assert_eq!(
        table,
        "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
         web       The official web server, with a description …   12000     [OK]\n\
         me/web    mine and [31m red                               3         \n"
    );
    let official = space.kiln(["search", "--filter", "is-official=true", "--format", "{{.Name}}", &term]);
    assert_eq!(official.run().success().text(), "web\n");
    let popular =
        space.kiln(["search", "-f", "stars=3", "--no-trunc", "--format", "json", &term]).run().success();
    let first = popular.text().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        r#"{"Description":"The official web server, with a description that does not fit","IsAutomated":"false","IsOfficial":"true","Name":"web","StarCount":"12000"}"#
    );
    assert_eq!(
        space.kiln(["search", "-f", "stars=13000", "--format", "{{.Name}}", &term]).run().success().text(),
        ""
    );
    space
        .kiln(["search", "--limit", "101", &term])
        .run()
        .fails_with(2)
        .says(&["outside the range of [1, 100]"]);
    space
        .kiln(["search", "-f", "color=red", &term])
        .run()
        .fails_with(2)
        .says(&["invalid filter `color=red`"]);
}

#[test]
fn a_registry_that_does_not_search_is_said_to_have_tags() {
    requires!("docker-registry");
    let space = TestSpace::new();
    let registry = registry(&space);
    let host = registry.host();
    let said = space.kiln(["search", &format!("{host}/web")]).run().fails_with(1);
    said.says(&[&format!("registry `{host}` does not search"), "kiln tags"]);
}
