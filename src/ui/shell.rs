//! What is said before a shell in a step has the screen.

use kiln_builder::plan::Origin;
use kiln_builder::progress::ShellReason;

use super::block;
use super::style::{Paint, Style};

/// Returns what whoever is given a command in a step should know.
pub(crate) fn banner(origin: &Origin, argv: &[String], reason: ShellReason<'_>, style: Style) -> String {
    let mut text = String::new();
    let note = style.paint(Paint::Help, "note");
    match reason {
        ShellReason::Failed { message } => {
            text.push_str(&format!("{}: {}\n", style.paint(Paint::Error, "error"), block(message)));
        }
        ShellReason::Entered { has_changed, is_command } => {
            if has_changed {
                text.push_str(&format!(
                    "{}: the Dockerfile has changed since the last build; its lines and steps are those of now\n",
                    style.paint(Paint::Warning, "warning")
                ));
            }
            if is_command {
                return text;
            }
        }
    }
    let stage = if origin.stage.is_empty() { String::new() } else { format!(" of stage `{}`", origin.stage) };
    text.push_str(&format!("{note}: line {}{stage}: {}\n", origin.line, block(&origin.text)));
    let state = match reason {
        ShellReason::Failed { .. } => "a shell in the step as it failed; when it ends, the build fails",
        ShellReason::Entered { .. } => "a shell where the step starts; what is changed is thrown away",
    };
    text.push_str(&format!("{note}: {state}\n"));
    if !argv.is_empty() {
        let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
        text.push_str(&format!("{note}: its command is: {}\n", block(&words.join(" "))));
    }
    text
}

/// Returns a word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_-.,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_which_step_and_how_to_run_it_again() {
        let origin = Origin {
            stage: "build".to_owned(),
            line: 7,
            text: "RUN it's make".to_owned(),
            ..Origin::default()
        };
        let argv = ["/bin/sh", "-c", "it's make"].map(str::to_owned);
        let failed = ShellReason::Failed { message: "RUN failed: exit code: 2" };
        let expected = "\
error: RUN failed: exit code: 2
note: line 7 of stage `build`: RUN it's make
note: a shell in the step as it failed; when it ends, the build fails
note: its command is: /bin/sh -c 'it'\\''s make'
";
        assert_eq!(banner(&origin, &argv, failed, Style::PLAIN), expected);
        let command = |has_changed| ShellReason::Entered { is_command: true, has_changed };
        assert_eq!(banner(&origin, &argv, command(false), Style::PLAIN), "");
        let changed = "warning: the Dockerfile has changed since the last build; its lines and steps are those of now\n";
        assert_eq!(banner(&origin, &argv, command(true), Style::PLAIN), changed);
    }
}
