//! `kiln cp`.

use std::io::{self, IsTerminal};
use std::path::Path;

use kiln_builder::containers::{
    CopyInSource, CopyOutDestination, CopyOutOptions, Purpose, copy_in, copy_out,
};

use super::with_container;
use crate::cli::CpArgs;
use crate::commands::{Context, refuse_terminal, transfer_display};
use crate::failure::Failure;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End<'a> {
    Container { name: &'a str, path: &'a str },
    Host(&'a str),
    Stream,
}

/// Copies files into a container or out of one.
pub(crate) async fn cp(args: &CpArgs, context: Context) -> Result<(), Failure> {
    let display = transfer_display(false, &context.settings)?;
    let host = |text: &str| context.settings.working_directory.join(text);
    let (source, target) = (end(&args.source), end(&args.target));
    match (source, target) {
        (End::Container { name, path }, target) => {
            let destination = match target {
                End::Container { .. } => {
                    return Err(Failure::usage("files are not copied between containers")
                        .with_hint("send them on: `kiln cp FROM:PATH - | kiln cp - TO:PATH`"));
                }
                End::Stream => {
                    refuse_terminal("send it on: `kiln cp CONTAINER:PATH - | tar -x`")?;
                    CopyOutDestination::Stdout
                }
                End::Host(text) => CopyOutDestination::Path { path: host(text), text: text.to_owned() },
            };
            let options = CopyOutOptions { follows: args.follow_link, keeps_owners: args.archive };
            let container = (name, Purpose::Read);
            with_container(context, &display, container, async |open| {
                copy_out(&open, path, destination, options).await
            })
            .await
        }
        (source, End::Container { name, path }) => {
            let source = match source {
                End::Stream if io::stdin().is_terminal() => {
                    return Err(Failure::usage("an archive is not read from a terminal"));
                }
                End::Host(text) => {
                    CopyInSource::Path { path: host(text), text: text.to_owned(), follows: args.follow_link }
                }
                _ => CopyInSource::Stdin,
            };
            let container = (name, Purpose::CopyInto);
            with_container(context, &display, container, async |open| {
                copy_in(&open, source, path, args.archive).await
            })
            .await
        }
        _ => Err(Failure::usage("neither end of the copy is in a container").with_hint(
            "write CONTAINER:PATH; a path of this machine that has a colon begins with `/` or `./`",
        )),
    }
}

/// Reads `CONTAINER:PATH`, a path of this machine, or `-`, as Docker does.
fn end(text: &str) -> End<'_> {
    if text == "-" {
        return End::Stream;
    }
    match text.split_once(':') {
        Some((name, path))
            if !Path::new(text).is_absolute() && !name.starts_with('.') && !name.is_empty() =>
        {
            End::Container { name, path }
        }
        _ => End::Host(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_a_copy_are_told_apart_as_docker_does() {
        for (text, expected) in [
            ("web:/etc", End::Container { name: "web", path: "/etc" }),
            ("web:", End::Container { name: "web", path: "" }),
            ("web:a:b", End::Container { name: "web", path: "a:b" }),
            ("./web:/etc", End::Host("./web:/etc")),
            ("/web:/etc", End::Host("/web:/etc")),
            ("../web:etc", End::Host("../web:etc")),
            ("web", End::Host("web")),
            (":x", End::Host(":x")),
            ("-", End::Stream),
        ] {
            assert_eq!(end(text), expected, "{text}");
        }
    }
}
