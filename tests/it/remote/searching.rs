//! Looking for repositories.

use super::registry;
use crate::support::http::{HttpServer, plain_config};
use crate::support::search::{self, repository};
use crate::support::{TestSpace, requires};

/// A server that knows two repositories, if it is asked as Docker asks.
fn server() -> HttpServer {
    search::start(|query| {
        if !query.starts_with("q=web+server&n=") {
            return Vec::new();
        }
        let description = "The official web server, with a description that does not fit";
        vec![
            repository("me/web", "mine\nand\u{1b}[31m red", 3, false),
            repository("web", description, 12_000, true),
        ]
    })
}

#[test]
fn repositories_are_found_and_shown_as_docker_shows_them() {
    let space = TestSpace::new();
    let server = server();
    let host = server.host();
    space.config(&plain_config(&host));
    let term = format!("{host}/web server");
    let table = space.kiln(["search", &term]).run().success().text();
    assert_eq!(
        table,
        "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
         web       The official web server, with a description …   12000     [OK]\n\
         me/web    mine and red                                    3         \n"
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
