//! `kiln search`, as Docker has it.

use std::cmp::Reverse;
use std::sync::Arc;

use kiln_builder::progress::Progress;
use kiln_registry::{Client, SearchHit};
use kiln_template::{Struct, Value};

use super::history::shortened;
use super::{Context, client_config_telling, interrupt, print, transfer_display, with_display_abandoning};
use crate::cli::SearchArgs;
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, in_cell, render};

/// Docker's registry, which is asked where none is named.
const HUB: &str = "docker.io";
/// Most repositories that can be asked for, as with Docker.
const LIMIT_MAX: usize = 100;
/// How many are asked for with `--limit 0`, as with Docker.
const LIMIT: usize = 25;
/// Widest description that is shown, in columns, as with Docker.
const DESCRIPTION_WIDTH_MAX: usize = 45;

/// Looks for repositories.
pub(super) async fn run(args: &SearchArgs, context: Context) -> Result<(), Failure> {
    let filters: Vec<Filter> = args.filter.iter().map(|text| Filter::read(text)).collect::<Result<_, _>>()?;
    let limit = match args.limit {
        0 => LIMIT,
        limit if limit <= LIMIT_MAX => limit,
        limit => {
            return Err(Failure::usage(format!("limit {limit} is outside the range of [1, {LIMIT_MAX}]")));
        }
    };
    let (registry, term) = split(&args.term)?;
    let display = transfer_display(true, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let client = Client::new(client_config_telling(&context.settings, &progress));
    let work = async {
        let hits = client.search(registry, term, limit).await;
        hits.map_err(|error| Failure::of(Kind::Failed, &error))?.ok_or_else(|| {
            Failure::new(Kind::Failed, format!("registry `{registry}` does not search")).with_hint(format!(
                "`kiln tags {registry}/NAME` lists the tags of a repository whose name is known"
            ))
        })
    };
    let mut hits = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    hits.retain(|hit| filters.iter().all(|filter| filter.wants(hit)));
    hits.sort_by_key(|hit| Reverse(hit.star_count));
    print(&listed(&hits, args)?)
}

/// Returns the registry to ask, and what to ask it for.
fn split(text: &str) -> Result<(&str, &str), Failure> {
    let (registry, term) = match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (HUB, text),
    };
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    // What the hub calls `library/alpine` it knows as `alpine`.
    let term = if registry == HUB { term.strip_prefix("library/").unwrap_or(term) } else { term };
    let host: Result<kiln_oci::Reference, _> = format!("{registry}/x").parse();
    match host {
        Ok(host) if host.registry() == registry && !term.is_empty() => Ok((registry, term)),
        _ => Err(Failure::usage(format!("`{}` is nothing to search for", text.escape_debug()))),
    }
}

enum Filter {
    Stars(u64),
    Official(bool),
    Automated(bool),
}

impl Filter {
    fn read(text: &str) -> Result<Self, Failure> {
        let invalid = || {
            Failure::usage(format!("invalid filter `{}`", text.escape_debug()))
                .with_hint("the filters are `stars=COUNT`, `is-official=BOOL` and `is-automated=BOOL`")
        };
        let (name, value) = text.split_once('=').ok_or_else(invalid)?;
        let truth = match value.trim() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(invalid()),
        };
        match name.trim() {
            "stars" => value.trim().parse().map(Self::Stars).map_err(|_| invalid()),
            "is-official" => truth.map(Self::Official),
            "is-automated" => truth.map(Self::Automated),
            _ => Err(invalid()),
        }
    }

    fn wants(&self, hit: &SearchHit) -> bool {
        match self {
            Self::Stars(stars) => hit.star_count >= *stars,
            Self::Official(is_official) => hit.is_official == *is_official,
            Self::Automated(is_automated) => hit.is_automated == *is_automated,
        }
    }
}

/// Docker's table and headings.
const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const HEADINGS: [(&str, &str); 5] = [
    ("Description", "DESCRIPTION"),
    ("IsAutomated", "AUTOMATED"),
    ("IsOfficial", "OFFICIAL"),
    ("Name", "NAME"),
    ("StarCount", "STARS"),
];

fn listed(hits: &[SearchHit], args: &SearchArgs) -> Result<String, Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    let rows: Vec<Value> = hits.iter().map(|hit| value(hit, args.no_trunc, format == "json")).collect();
    render(format, &Listing { table: TABLE, headings: &HEADINGS }, &rows)
}

fn value(hit: &SearchHit, is_whole: bool, is_json: bool) -> Value {
    let truth = |is_so: bool| match (is_json, is_so) {
        (true, true) => "true",
        (true, false) => "false",
        (false, true) => "[OK]",
        (false, false) => "",
    };
    // What a server says cannot end a line.
    let description = in_cell(hit.description.as_deref().unwrap_or_default());
    Struct::new("repository")
        .field(
            "Description",
            if is_whole { description } else { shortened(&description, DESCRIPTION_WIDTH_MAX) },
        )
        .field("IsAutomated", truth(hit.is_automated))
        .field("IsOfficial", truth(hit.is_official))
        .field("Name", in_cell(&hit.name))
        .field("StarCount", hit.star_count.to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_stand_behind_the_registry_that_is_asked() {
        for (text, expected) in [
            ("alpine", Some(("docker.io", "alpine"))),
            ("library/alpine", Some(("docker.io", "alpine"))),
            ("me/app", Some(("docker.io", "me/app"))),
            ("docker.io/me/app", Some(("docker.io", "me/app"))),
            ("index.docker.io/library/app", Some(("docker.io", "app"))),
            ("localhost:5000/a/b", Some(("localhost:5000", "a/b"))),
            ("registry.example/", None),
            ("", None),
            ("a b.c/x", None),
        ] {
            assert_eq!(split(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn filters_are_those_of_docker() {
        for text in ["stars=3", "is-official=true", "is-automated=0"] {
            assert!(Filter::read(text).is_ok(), "{text}");
        }
        for text in ["stars", "stars=-1", "is-official=yes", "name=x", ""] {
            assert_eq!(Filter::read(text).err().map(|failure| failure.kind), Some(Kind::Usage), "{text}");
        }
    }
}
