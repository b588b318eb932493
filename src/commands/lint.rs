//! `kiln lint`.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::check::{CheckOptions, Checked, ImageSources, check};
use kiln_builder::progress::Progress;
use kiln_builder::request::DockerfilePlace;
use kiln_frontend::diagnostic::Edit;
use kiln_frontend::lint::fix;

use super::{Context, interrupt, print, rewrite, with_display};
use crate::cli::{LintArgs, LintFormat};
use crate::failure::{Failure, Kind};
use crate::findings::{Tally, entries, json, sarif, text};
use crate::request::lint::{Subject, options, subjects};
use crate::request::stdin;
use crate::settings::Settings;
use crate::ui::style::Style;
use crate::ui::{Display, Mode, heading, show_text};

/// Most rounds of mending one file: what one fix uncovers another may mend.
const ROUNDS_MAX: usize = 10;

/// Looks at Dockerfiles.
pub(super) async fn run(args: LintArgs, context: Context) -> Result<(), Failure> {
    if args.rules {
        return match args.format {
            LintFormat::Text => print(&text::rules()),
            LintFormat::Json => print(&json::rules()),
            LintFormat::Sarif => print(&sarif::render(&[])),
        };
    }
    let options = options(&args)?;
    let mut subjects = subjects(&args, &context.settings)?;
    for subject in subjects.iter_mut().filter(|subject| subject.path.is_none()) {
        let read = stdin::dockerfile(io::stdin()).map_err(|error| Failure::of(Kind::Failed, &error))?;
        subject.request.dockerfile = DockerfilePlace::Text(read);
    }
    let style = stdout_style(&context.settings);
    let display = Display::new(Mode::Quiet, &context.settings);
    let progress: Arc<dyn Progress> = display.clone();
    let bench = Bench { workshop: workshop(context, &options, &progress), options, progress };
    let interrupt = interrupt()?;
    let work = async {
        let mut files = Vec::new();
        for subject in &subjects {
            files.push(match (&subject.path, args.fix) {
                (Some(path), true) => bench.mend(subject, path).await?,
                _ => bench.check(subject).await?,
            });
        }
        Ok(files)
    };
    let files = with_display(&display, &interrupt, work).await?;
    print(&match args.format {
        LintFormat::Text => text::render(&files, style),
        LintFormat::Json => json::render(&files),
        LintFormat::Sarif => sarif::render(&files),
    })?;
    Tally::of(&files).outcome()
}

/// Opens the store for images. A machine without one, or one that cannot be opened, is no obstacle: images are then unknown.
fn workshop(context: Context, options: &CheckOptions, progress: &Arc<dyn Progress>) -> Option<Arc<Workshop>> {
    let is_worth_it = options.sources == ImageSources::Registries || context.settings.store.exists();
    is_worth_it.then(|| context.open_telling(1, progress).ok()).flatten().map(|(workshop, _)| workshop)
}

/// Returns the style of standard output.
pub(super) fn stdout_style(settings: &Settings) -> Style {
    Style::new(settings.is_colour_wanted && io::stdout().is_terminal())
}

/// What files are checked with.
struct Bench {
    workshop: Option<Arc<Workshop>>,
    options: CheckOptions,
    progress: Arc<dyn Progress>,
}

impl Bench {
    async fn check(&self, subject: &Subject) -> Result<Checked, Failure> {
        let workshop = self.workshop.as_ref();
        check(workshop, &subject.request, &self.options, &self.progress).await.map_err(Failure::from)
    }

    /// Mends a file until nothing is left that can be mended, and returns what is left.
    async fn mend(&self, subject: &Subject, path: &Path) -> Result<Checked, Failure> {
        let mut checked = self.check(subject).await?;
        if !checked.source.replaced().is_empty() {
            show_text(&format!("{}: not mended, because it is not UTF-8\n", shown(path)));
            return Ok(checked);
        }
        for _ in 0..ROUNDS_MAX {
            let Some(Mended { text, report }) = mended(&checked, path) else { break };
            rewrite::replace(path, checked.source.text().as_bytes(), text.as_bytes())?;
            show_text(&report);
            checked = self.check(subject).await?;
        }
        Ok(checked)
    }
}

/// A text after one round of mending, and what was mended.
struct Mended {
    text: String,
    report: String,
}

/// Makes the changes that all findings ask for together; nothing where there are none.
fn mended(checked: &Checked, path: &Path) -> Option<Mended> {
    let entries: Vec<_> = entries(checked).into_iter().filter(|entry| entry.is_fixable()).collect();
    let fixes: Vec<&[Edit]> = entries.iter().map(|entry| entry.diagnostic.fix.as_slice()).collect();
    let applied = fix::apply(checked.source.text(), fixes);
    if applied.text == checked.source.text() {
        return None;
    }
    let made = entries.iter().zip(&applied.made).filter(|(_, is_made)| **is_made);
    let line = |entry: &crate::findings::Entry<'_>| {
        let line = entry.diagnostic.primary().map_or(1, |span| checked.source.position(span.start).line);
        let message = heading(&entry.diagnostic.message, usize::MAX);
        format!("mended {}:{line}: {}: {message}\n", shown(path), entry.name())
    };
    Some(Mended { report: made.map(|(entry, _)| line(entry)).collect(), text: applied.text })
}

fn shown(path: &Path) -> String {
    heading(&path.to_string_lossy(), usize::MAX)
}
