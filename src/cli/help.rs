//! Help for people: the commands in groups, and examples of the main ones.
//!
//! The plain definition knows nothing of this: a text is put together only when somebody asks for help, so that no other call
//! pays for it.

use clap::{Command as Definition, CommandFactory};

use super::Cli;

/// The commands, as people look for them. Each is in one group; a test sees to that.
const GROUPS: &[(&str, &[&str])] = &[
    ("Building", &["build", "lint", "enter", "log", "explain", "cache"]),
    (
        "Images",
        &[
            "images", "inspect", "history", "diff", "ls", "cat", "tag", "rmi", "image", "save", "load",
            "import",
        ],
    ),
    ("Containers", &["run", "create", "start", "ps", "rm", "commit", "export", "cp", "container"]),
    ("Registries", &["pull", "push", "tags", "search", "copy", "manifest", "login", "logout"]),
    ("The store", &["df", "prune", "fsck"]),
    ("The program", &["doctor", "completions", "man", "version", "help"]),
];

/// Examples, below the help of a command.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "build",
        "\
  kiln build -t app .                              Build the Dockerfile of this directory
  kiln build -f docker/web.Dockerfile -t web .     … another one
  kiln build --target test .                       … up to a stage
  kiln build -o out .                              Write the files of the result to `out`
  kiln build -t registry.example/app:1 --push .    Build and push",
    ),
    (
        "images",
        "\
  kiln images                       All images
  kiln images debian                Those of one repository
  kiln images -q                    Only their ids, for other commands",
    ),
    (
        "pull",
        "\
  kiln pull debian                          docker.io/library/debian:latest
  kiln pull debian:12                       … by another tag
  kiln pull debian@sha256:…                 … by digest: always the same image
  kiln pull registry.example:5000/team/app  From another registry",
    ),
    (
        "push",
        "\
  kiln tag app registry.example/team/app:1   Give the image the name that it is to have there
  kiln push registry.example/team/app:1      Send it",
    ),
    (
        "rmi",
        "\
  kiln rmi app:1                   Remove a name, and the image with its last one
  kiln rmi -f 0123456789ab         Remove an image with all its names
  kiln rmi -f $(kiln images -q)    Remove all images",
    ),
    (
        "save",
        "\
  kiln save -o images.tar app:1 app:2            Write two images, their common layers once
  kiln save app:1 | ssh host docker load         Hand one over",
    ),
    (
        "load",
        "\
  kiln load -i images.tar.gz
  docker save app | kiln load",
    ),
    (
        "import",
        "\
  kiln import rootfs.tar.xz base:1
  kiln import -c 'CMD [\"sh\"]' https://host.example/rootfs.tar.gz base:1
  tar -C rootfs -c . | kiln import - base:1",
    ),
    (
        "completions",
        "\
  source <(kiln completions bash)                                           In this shell
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln   In all to come
  kiln completions zsh > ~/.zfunc/_kiln
  kiln completions fish > ~/.config/fish/completions/kiln.fish",
    ),
];

/// Returns the definition with all that help says. Man pages are made of it, too.
pub(crate) fn definition() -> Definition {
    let mut definition = Cli::command();
    for (command, text) in EXAMPLES {
        // The first line has lost its blanks: the text begins behind the end of a line that was taken away.
        let lines: String = text.lines().map(|line| format!("\n  {}", line.trim_start())).collect();
        definition =
            definition.mut_subcommand(command, |command| command.after_help(format!("Examples:{lines}")));
    }
    let groups = groups(&definition);
    definition.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}\n\n`kiln help COMMAND` explains a command.\n"
    ))
}

/// Returns the commands in their groups, with what they are for.
fn groups(definition: &Definition) -> String {
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or_default();
    let line = |name: &&str| {
        let about = match definition.find_subcommand(name) {
            Some(command) => command.get_about().map(ToString::to_string).unwrap_or_default(),
            // Clap's own command.
            None => "Explain a command".to_owned(),
        };
        format!("  {name:width$}  {about}\n")
    };
    let group = |(title, names): &(&str, &[&str])| {
        format!("{title}:\n{}\n", names.iter().map(line).collect::<String>())
    };
    GROUPS.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.sort_unstable();
        let mut cli = Cli::command();
        cli.build();
        let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names: Vec<&str> = shown.map(Definition::get_name).collect();
        names.sort_unstable();
        assert_eq!(grouped, names);
    }

    #[test]
    fn examples_stand_in_line_below_their_heading() {
        let definition = definition();
        for (command, _) in EXAMPLES {
            let command = definition.find_subcommand(command).unwrap();
            let text = command.get_after_help().unwrap().to_string();
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("Examples:"), "{text}");
            assert!(lines.all(|line| line.starts_with("  ") && !line.starts_with("   ")), "{text}");
        }
    }

    #[test]
    fn help_names_the_commands() {
        let text = definition().term_width(100).render_help().to_string();
        snapbox::assert_data_eq!(text, snapbox::file!["testdata/help.txt"]);
    }
}
