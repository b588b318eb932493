//! Chooses a display, feeds it, redraws it while work goes on, and turns signals into cancellation.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_builder::interrupt::Interrupt;
use kiln_builder::progress::{Notice, Progress, ProgressEvent};
use kiln_sandbox::Streams;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::diagnostic;
use super::frame::Size;
use super::json::Json;
use super::lines::heading;
use super::plain::Plain;
use super::quiet::Quiet;
use super::shell::banner;
use super::style::{Paint, Style};
use super::tty::Tty;
use super::{Explains, ProgressWord};
use crate::failure::{Failure, Kind};
use crate::settings::Settings;

/// Time between two looks whether the view must be redrawn.
const TICK: Duration = Duration::from_millis(100);

/// Which display is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines.
    Plain,
    /// A live view.
    Tty,
    /// JSON objects.
    Json,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// Returns the display for a flag, or for the variable `BUILDKIT_PROGRESS`, or for this terminal.
    ///
    /// # Errors
    /// Where a live view is asked for and there is no terminal, or the variable means nothing.
    pub(crate) fn choose(
        flag: Option<ProgressWord>,
        is_quiet: bool,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        if is_quiet {
            return Ok(Self::Quiet);
        }
        let is_terminal = io::stderr().is_terminal() && settings.is_terminal_capable();
        Self::pick(flag, settings, is_terminal)
    }

    fn pick(flag: Option<ProgressWord>, settings: &Settings, is_terminal: bool) -> Result<Self, Failure> {
        let word = match (flag, settings.environment.get("BUILDKIT_PROGRESS")) {
            (Some(word), _) => word,
            (None, None) => ProgressWord::Auto,
            (None, Some(value)) => {
                let text = value.to_string_lossy();
                <ProgressWord as clap::ValueEnum>::from_str(&text, false).map_err(|_| {
                    Failure::usage(format!("variable `BUILDKIT_PROGRESS` has the value `{text}`"))
                        .with_hint("it can be `auto`, `plain`, `tty`, `json` or `quiet`")
                })?
            }
        };
        match (word, is_terminal) {
            (ProgressWord::Plain, _) | (ProgressWord::Auto, false) => Ok(Self::Plain),
            (ProgressWord::Tty | ProgressWord::Auto, true) => Ok(Self::Tty),
            (ProgressWord::Json, _) => Ok(Self::Json),
            (ProgressWord::Quiet, _) => Ok(Self::Quiet),
            (ProgressWord::Tty, false) => {
                Err(Failure::usage("`--progress=tty` needs a terminal on standard error")
                    .with_hint("`--progress=plain` writes lines"))
            }
        }
    }
}

enum Screen {
    Plain(Plain<io::Stderr>),
    Tty(Box<Tty<io::Stderr>>),
    Json(Json<io::Stderr>),
    Quiet(Quiet<io::Stderr>),
}

/// A display of what goes on, from its beginning to its end.
pub(crate) struct Display {
    screen: Mutex<Screen>,
    /// What was found in the Dockerfile, until it is shown.
    findings: Mutex<Vec<Notice>>,
    style: Style,
    started: Instant,
    /// The terminal, while it is somebody else's.
    lent: Mutex<Option<Streams>>,
}

impl fmt::Debug for Display {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Display").finish_non_exhaustive()
    }
}

impl Progress for Display {
    fn on(&self, event: &ProgressEvent<'_>) {
        let at = self.started.elapsed();
        if let ProgressEvent::Noticed { findings, .. } = event {
            self.findings().extend_from_slice(findings);
        }
        match event {
            ProgressEvent::ShellOpened { origin, argv, reason, streams } => {
                self.end();
                show_text(&banner(origin, argv, *reason, self.style));
                *self.lent() = Some(Streams::clone(streams));
            }
            ProgressEvent::ShellClosed => *self.lent() = None,
            _ => {}
        }
        match &mut *self.screen() {
            Screen::Plain(plain) => plain.on(event, at),
            Screen::Tty(tty) => tty.on(event, at),
            Screen::Json(json) => json.on(event, at),
            Screen::Quiet(quiet) => quiet.on(event, at),
        }
    }
}

impl Display {
    /// Begins a display on standard error.
    pub(crate) fn new(mode: Mode, settings: &Settings) -> Arc<Self> {
        Self::explaining(mode, Explains::No, settings)
    }

    /// Begins a display on standard error that may say why steps run.
    pub(crate) fn explaining(mode: Mode, explains: Explains, settings: &Settings) -> Arc<Self> {
        let style = stderr_style(settings);
        let screen = match mode {
            Mode::Plain => Screen::Plain(Plain::new(io::stderr(), explains, style)),
            Mode::Tty => Screen::Tty(Box::new(Tty::new(io::stderr(), terminal_size, explains, style))),
            Mode::Json => Screen::Json(Json::new(io::stderr())),
            Mode::Quiet => Screen::Quiet(Quiet::new(io::stderr(), style)),
        };
        Arc::new(Self {
            screen: Mutex::new(screen),
            findings: Mutex::default(),
            style,
            started: Instant::now(),
            lent: Mutex::default(),
        })
    }

    /// Does `work` to its end, while the view is redrawn. The first signal raises `interrupt`, the second ends the program.
    pub(crate) async fn drive<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = T>,
    ) -> io::Result<T> {
        let mut signals = Signals::listen()?;
        let mut ticks = tokio::time::interval(TICK);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return Ok(result),
                () = signals.next() => {
                    if interrupt.is_raised() {
                        self.end();
                        if let Some(Streams::Terminal(terminal)) = &*self.lent() {
                            terminal.restore();
                        }
                        std::process::exit(i32::from(Kind::Interrupted.exit_code()));
                    }
                    interrupt.raise();
                }
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    /// Ends the display, and tells it how things went.
    pub(crate) fn finish(&self, failure: Option<&Failure>) {
        self.end();
        let at = self.started.elapsed();
        match &mut *self.screen() {
            Screen::Json(json) => json.finish(failure, at),
            Screen::Plain(_) | Screen::Tty(_) => show_text(&summary(&self.findings(), self.style)),
            Screen::Quiet(_) => {}
        }
        self.findings().clear();
    }

    /// Whether a failure that it is told is thereby shown.
    pub(crate) fn shows_failures(&self) -> bool {
        matches!(&*self.screen(), Screen::Json(_))
    }

    fn end(&self) {
        if let Screen::Tty(tty) = &mut *self.screen() {
            tty.finish();
        }
    }

    fn tick(&self) {
        if self.lent().is_some() {
            return;
        }
        if let Screen::Tty(tty) = &mut *self.screen() {
            tty.tick(self.started.elapsed());
        }
    }

    fn lent(&self) -> MutexGuard<'_, Option<Streams>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> MutexGuard<'_, Vec<Notice>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        // A panic while drawing leaves nothing that the next drawing could not replace.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signals that ask the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it was ignored when the program started: `nohup` means that a build goes on without its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = async { self.hangup.as_mut().expect("asked for where there is one").recv().await },
                if self.hangup.is_some() => {}
        }
    }
}

/// Whether this program was started so that it outlives its terminal, and has not listened for the end of that since.
pub(crate) fn is_hangup_ignored() -> bool {
    // Where it cannot be told, the program ends with its terminal, as most do.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Returns the style of standard error.
pub(crate) fn stderr_style(settings: &Settings) -> Style {
    Style::new(settings.is_colour_wanted && io::stderr().is_terminal())
}

fn terminal_size() -> Size {
    const FALLBACK: Size = Size { columns: 80, rows: 24 };
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        Ok(_) | Err(_) => FALLBACK,
    }
}

/// Most findings that a build shows.
const FINDINGS_SHOWN_MAX: usize = 20;

/// Returns what was found in the Dockerfile in short, one line each.
fn summary(findings: &[Notice], style: Style) -> String {
    let count = match findings.len() {
        0 => return String::new(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let word = style.paint(Paint::Warning, "warning");
    let mut text = format!("{word}: {count} in the Dockerfile; `kiln lint` shows more about them\n");
    for finding in findings.iter().take(FINDINGS_SHOWN_MAX) {
        let line = finding.place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
        let message = heading(&finding.message, usize::MAX);
        text.push_str(&format!("  {}: {message}{line}\n", finding.code));
    }
    if findings.len() > FINDINGS_SHOWN_MAX {
        text.push_str(&format!("  and {} more\n", findings.len() - FINDINGS_SHOWN_MAX));
    }
    text
}

/// Returns a failure as the user reads it.
pub(crate) fn render_failure(failure: &Failure, style: Style) -> String {
    if failure.is_rendered {
        return failure.message.clone();
    }
    let mut text = String::new();
    match &failure.report {
        Some(report) => {
            text.push_str(&diagnostic::render_all(&report.source, &report.diagnostics, style));
        }
        None => {
            let heading = super::block(&failure.message);
            text.push_str(&format!("{}: {heading}\n", style.paint(Paint::Error, "error")));
        }
    }
    for cause in &failure.causes {
        text.push_str(&format!("  because: {}\n", super::block(cause)));
    }
    for hint in &failure.hints {
        text.push_str(&format!("{}: {}\n", style.paint(Paint::Help, "help"), super::block(hint)));
    }
    text
}

/// Shows a failure on standard error.
pub(crate) fn show_failure(failure: &Failure, style: Style) {
    if !failure.is_shown {
        show_text(&render_failure(failure, style));
    }
}

/// Writes a text to standard error.
pub(crate) fn show_text(text: &str) {
    // There is nowhere left to say that standard error cannot be written; the exit code says how things went.
    io::stderr().write_all(text.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kiln_builder::progress::NoticePlace;

    use super::*;

    #[test]
    fn the_display_follows_flag_variable_and_terminal() {
        use ProgressWord as Word;
        for (flag, variable, is_terminal, expected) in [
            (None, "", true, Ok(Mode::Tty)),
            (None, "", false, Ok(Mode::Plain)),
            (None, "plain", true, Ok(Mode::Plain)),
            (None, "none", true, Ok(Mode::Quiet)),
            (Some(Word::Json), "plain", true, Ok(Mode::Json)),
            (Some(Word::Auto), "", true, Ok(Mode::Tty)),
            (Some(Word::Tty), "", false, Err("`--progress=tty` needs a terminal on standard error")),
            (None, "rawjson", true, Err("variable `BUILDKIT_PROGRESS` has the value `rawjson`")),
        ] {
            let settings = Settings::for_test(&[("BUILDKIT_PROGRESS", variable)], Path::new("/"));
            let mode = Mode::pick(flag, &settings, is_terminal).map_err(|failure| failure.message);
            assert_eq!(mode, expected.map_err(str::to_owned), "{flag:?} {variable}");
        }
    }

    #[test]
    fn findings_of_a_build_are_one_line_each_and_not_too_many() {
        let place = NoticePlace { line: 3, column: 1, end_line: 3, end_column: 2, start: 9, end: 10 };
        let finding = |place| Notice {
            code: "Rule",
            message: "a\x1b[2Jb".to_owned(),
            file: "Dockerfile".to_owned(),
            place,
            help: None,
            fix: Vec::new(),
        };
        let expected = "\
warning: 2 findings in the Dockerfile; `kiln lint` shows more about them
  Rule: ab (line 3)
  Rule: ab
";
        assert_eq!(summary(&[finding(Some(place)), finding(None)], Style::PLAIN), expected);
        assert_eq!(summary(&[], Style::PLAIN), "");
        let many = vec![finding(None); 50];
        assert!(summary(&many, Style::PLAIN).ends_with("  Rule: ab\n  and 30 more\n"));
    }

    #[test]
    fn failures_have_message_causes_and_hints() {
        let mut failure = Failure::usage("cannot open `a\nb`").with_hint("try again");
        failure.causes.push("it is gone".to_owned());
        let text = render_failure(&failure, Style::PLAIN);
        assert_eq!(text, "error: cannot open `a\n  b`\n  because: it is gone\nhelp: try again\n");
    }
}
