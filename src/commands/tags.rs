//! `kiln tags`.

use std::sync::Arc;

use kiln_builder::progress::Progress;
use kiln_builder::remote::{Group, RemoteError, TagFilter, TagFilterError, TagList, TagOrder, by_digest};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::Client;
use kiln_template::{Struct, Value};

use super::{
    Context, client_config_telling, interrupt, print, reference, tags_rm, transfer_display,
    with_display_abandoning,
};
use crate::cli::{TagSort, TagsArgs, TagsCommand};
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, is_table, render};
use crate::ui::short;

/// Lists the tags of a repository, or removes some.
pub(super) async fn run(args: &TagsArgs, context: Context) -> Result<(), Failure> {
    match (&args.command, &args.repository) {
        (Some(TagsCommand::Rm(args)), _) => tags_rm::run(args, context).await,
        (None, Some(repository)) => list(repository, args, context).await,
        (None, None) => unreachable!("the command line has one or the other"),
    }
}

async fn list(name: &str, args: &TagsArgs, context: Context) -> Result<(), Failure> {
    let repository = repository(name)?;
    let filters: Result<Vec<TagFilter>, TagFilterError> =
        args.filter.iter().map(|text| text.parse()).collect();
    let filters = filters.map_err(|error| Failure::of(Kind::Usage, &error))?;
    let display = transfer_display(true, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let client = Client::new(client_config_telling(&context.settings, &progress));
    let order = match args.sort {
        TagSort::Name => TagOrder::Name,
        TagSort::Semver => TagOrder::Version,
    };
    let asks_digests = !(args.quiet && args.format.is_none());
    let work = async {
        let failed = |error: RemoteError| Failure::of(Kind::Failed, &error);
        let mut list = TagList::fetch(&client, &repository, order).await.map_err(failed)?;
        list.keep(&filters);
        list.tags.truncate(args.limit.unwrap_or(usize::MAX));
        match asks_digests {
            true => by_digest(&client, &list).await.map_err(failed),
            false => Ok(list.tags.into_iter().map(|tag| Group { tags: vec![tag], image: None }).collect()),
        }
    };
    let groups = with_display_abandoning(&display, &interrupt()?, work).await?;
    display.finish(None);
    print(&listed(&groups, args)?)
}

/// Reads the name of a repository, which is no tag's.
fn repository(text: &str) -> Result<Reference, Failure> {
    let name = reference(text)?;
    match name.tag().is_some() || name.digest().is_some() {
        true => Err(Failure::usage(format!("`{text}` is an image: the tags of a repository are listed"))
            .with_hint(format!("write `kiln tags {}`", name.familiar_name()))),
        false => Ok(name),
    }
}

const TABLE: &str = "{{join .Tags \", \"}}\t{{.Digest}}\t{{.Type}}";
const HEADINGS: [(&str, &str); 4] =
    [("Digest", "DIGEST"), ("MediaType", "MEDIA TYPE"), ("Tags", "TAGS"), ("Type", "TYPE")];

fn listed(groups: &[Group], args: &TagsArgs) -> Result<String, Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    if args.quiet && format == "table" {
        return Ok(groups.iter().flat_map(|group| &group.tags).map(|tag| format!("{tag}\n")).collect());
    }
    let is_short = is_table(format) && !args.no_trunc;
    let rows: Vec<Value> = groups.iter().map(|group| value(group, is_short)).collect();
    render(format, &Listing { table: TABLE, headings: &HEADINGS }, &rows)
}

fn value(group: &Group, is_short: bool) -> Value {
    let image = group.image.as_ref();
    let digest = |image: &Descriptor| match is_short {
        true => short(image.digest),
        false => image.digest.to_string(),
    };
    let none = || "<none>".to_owned();
    let media_type = image.map_or_else(none, |image| image.media_type.as_str().to_owned());
    Struct::new("tag")
        .field("Digest", image.map_or_else(none, digest))
        .field("MediaType", media_type)
        .field("Tags", Value::texts(&group.tags))
        .field("Type", image.map_or("<none>", noun))
        .into()
}

fn noun(image: &Descriptor) -> &'static str {
    match image.media_type.is_index() {
        true => "index",
        false if image.media_type.is_manifest() => "image",
        false => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, MediaType};

    use super::*;

    fn args(flags: &str) -> TagsArgs {
        let words = format!("kiln tags {flags} app");
        match crate::cli::parse(words.split_whitespace().map(Into::into)) {
            Ok(crate::cli::Parsed::Command(cli)) => match cli.command {
                crate::cli::Command::Tags(args) => args.into_inner(),
                _ => panic!("{words}"),
            },
            _ => panic!("{words}"),
        }
    }

    #[test]
    fn tags_of_one_image_share_a_line() {
        let index = Descriptor::new(MediaType::OCI_INDEX, Digest::of(b"index"), 1);
        let groups = [
            Group { tags: vec!["1.2".to_owned(), "latest".to_owned()], image: Some(index.clone()) },
            Group { tags: vec!["gone".to_owned()], image: None },
        ];
        let short = short(index.digest);
        let table = format!(
            "TAGS          DIGEST         TYPE\n1.2, latest   {short}   index\ngone          <none>         <none>\n"
        );
        assert_eq!(listed(&groups, &args("")).unwrap(), table);
        assert_eq!(listed(&groups, &args("-q")).unwrap(), "1.2\nlatest\ngone\n");
        let json = format!(
            r#"{{"Digest":"{}","MediaType":"application/vnd.oci.image.index.v1+json","Tags":["1.2","latest"],"Type":"index"}}"#,
            index.digest
        );
        assert_eq!(listed(&groups[..1], &args("--format json")).unwrap(), json + "\n");
    }

    #[test]
    fn a_repository_is_asked_for_and_no_image() {
        assert!(repository("localhost:5000/app").is_ok());
        let failure = repository("app:1").unwrap_err();
        assert_eq!((failure.hints, failure.kind), (vec!["write `kiln tags app`".to_owned()], Kind::Usage));
    }
}
