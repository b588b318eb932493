//! Instructions that only change the configuration: no step, one history line each.
//!
//! The texts of the history are BuildKit's: words in Go's `%v` and `%q` forms.

use std::time::Duration;

use kiln_frontend::ast::{
    ArgInstruction, Command, HealthcheckInstruction, Instruction, Operation, Pair, Word,
};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::suggest;
use kiln_frontend::variables::{ArgumentSources, read_argument};
use kiln_oci::config::{Empty, Healthcheck};

use super::attempt::Attempt;
use super::ports::parse_ports;
use super::scope::VariableList;
use super::stages::StageState;
use crate::plan::HistoryLine;

/// Shell of shell forms where no SHELL says otherwise.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// The same for images of Windows.
const WINDOWS_SHELL: [&str; 3] = ["cmd", "/S", "/C"];

impl StageState {
    /// Adds a history line of an instruction without a step.
    pub(super) fn note(&mut self, created_by: String) {
        self.history.push(HistoryLine { created_by, step: None });
    }

    /// Sets a variable of the image: in its place if it is there, else at the end.
    pub(super) fn set_env(&mut self, key: &str, value: &str) {
        let env = &mut self.config.config.env;
        let place = *self.env_places.entry(key.to_owned()).or_insert(env.len());
        let text = format!("{key}={value}");
        match env.get_mut(place) {
            Some(known) => *known = text,
            None => env.push(text),
        }
    }

    /// Returns the words of a command: the shell and its text, or the words as they are.
    pub(super) fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.iter().map(|word| word.text.clone()).collect(),
            Command::Shell(text) => self.in_shell(&text.text),
        }
    }

    /// Returns the words that give `text` to the shell.
    pub(super) fn in_shell(&self, text: &str) -> Vec<String> {
        let shell = &self.config.config.shell;
        let default: &[&str] = if self.config.os == "windows" { &WINDOWS_SHELL } else { &DEFAULT_SHELL };
        let mut words: Vec<String> = match shell.as_slice() {
            [] => default.iter().map(|&word| word.to_owned()).collect(),
            shell => shell.to_vec(),
        };
        words.push(text.to_owned());
        words
    }
}

impl Attempt<'_> {
    /// Applies an instruction that makes no step.
    pub(super) fn metadata(&mut self, state: &mut StageState, instruction: &Instruction) {
        match &instruction.operation {
            Operation::Env(pairs) => self.env(state, pairs),
            Operation::Label(pairs) => self.label(state, pairs),
            Operation::Arg(arg) => self.argument(state, arg),
            Operation::Expose(words) => self.expose(state, words),
            Operation::Volume(words) => self.volume(state, words),
            Operation::User(word) => {
                state.config.config.user = self.expander.word(word, &state.variables);
                state.note(format!("USER {}", state.config.config.user));
            }
            Operation::Cmd(command) => {
                let words = state.command(command);
                state.note(format!("CMD {}", go_quoted_list(&words)));
                state.config.config.cmd = words;
                state.config.config.args_escaped = true;
                state.cmd_is_set = true;
            }
            Operation::Entrypoint(command) => entrypoint(state, command),
            Operation::Shell(words) => {
                state.config.config.shell = words.iter().map(|word| word.text.clone()).collect();
                state.note(format!("SHELL [{}]", state.config.config.shell.join(" ")));
            }
            Operation::StopSignal(word) => self.stop_signal(state, word),
            Operation::Healthcheck(check) => healthcheck(state, check),
            Operation::Onbuild(onbuild) => state.config.config.on_build.push(onbuild.trigger.clone()),
            Operation::Maintainer(word) => {
                state.config.author = Some(word.text.clone());
                state.note(format!("MAINTAINER {}", word.text));
            }
            Operation::Run(_) | Operation::Copy(_) | Operation::Add(_) | Operation::Workdir(_) => {
                unreachable!("these make steps")
            }
        }
    }

    fn pairs(&mut self, state: &StageState, pairs: &[Pair]) -> Vec<(String, String)> {
        // All words see the variables as they were before the instruction.
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let key = self.expander.word(&pair.key, &state.variables);
            expanded.push((key, self.expander.word(&pair.value, &state.variables)));
        }
        expanded
    }

    fn env(&mut self, state: &mut StageState, pairs: &[Pair]) {
        let pairs = self.pairs(state, pairs);
        state.note(pair_list("ENV", &pairs));
        for (key, value) in pairs {
            state.variables.set(&key, &value);
            state.set_env(&key, &value);
        }
    }

    fn label(&mut self, state: &mut StageState, pairs: &[Pair]) {
        let pairs = self.pairs(state, pairs);
        state.note(pair_list("LABEL", &pairs));
        state.config.config.labels.extend(pairs);
    }

    fn argument(&mut self, state: &mut StageState, arg: &ArgInstruction) {
        let sources = ArgumentSources { globals: &self.globals, build_arguments: &self.options.build_args };
        let mut texts = Vec::new();
        for declaration in &arg.declarations {
            let mut expand = |word: &Word, variables: &VariableList| self.expander.expansion(word, variables);
            let argument = read_argument(declaration, sources, &mut state.variables, &mut expand);
            let (name, value) = (argument.name, argument.value);
            texts.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            self.declared.insert(name.clone());
            state.arguments.push((name, value));
        }
        state.note(format!("ARG {}", texts.join(" ")));
    }

    fn expose(&mut self, state: &mut StageState, words: &[Word]) {
        let mut ports = Vec::new();
        for word in words {
            for text in self.expander.words(word, &state.variables) {
                match parse_ports(&text) {
                    Ok(parsed) if self.grow(parsed.len(), word.span) => ports.extend(parsed),
                    Ok(_) => return,
                    Err(problem) => {
                        let span = if text == word.text { word.part(problem.range) } else { word.span };
                        let near = problem.near.map(str::to_owned);
                        let found = Diagnostic::error("expose", span, problem.message);
                        self.expander.push(found.with_suggestion(near));
                    }
                }
            }
        }
        state.note(format!("EXPOSE [{}]", ports.join(" ")));
        state.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
    }

    fn volume(&mut self, state: &mut StageState, words: &[Word]) {
        let mut volumes = Vec::new();
        for word in words {
            let volume = self.expander.word(word, &state.variables);
            if volume.is_empty() {
                self.expander.error("volume", word.span, "VOLUME specified can not be an empty string");
            }
            volumes.push(volume);
        }
        state.note(format!("VOLUME [{}]", volumes.join(" ")));
        state.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
    }

    fn stop_signal(&mut self, state: &mut StageState, word: &Word) {
        let signal = self.expander.word(word, &state.variables);
        if !is_signal(&signal) {
            let message = format!("invalid signal: `{signal}`: a name like SIGTERM or a number is expected");
            let found = Diagnostic::error("stop-signal", word.span, message);
            self.expander.push(found.with_suggestion(near_signal(&signal)));
        }
        state.note(format!("STOPSIGNAL {signal}"));
        state.config.config.stop_signal = signal;
    }
}

fn entrypoint(state: &mut StageState, command: &Command) {
    let words = state.command(command);
    state.note(format!("ENTRYPOINT {}", go_quoted_list(&words)));
    state.config.config.entrypoint = words;
    if !state.cmd_is_set {
        state.config.config.cmd.clear();
    }
}

fn healthcheck(state: &mut StageState, check: &HealthcheckInstruction) {
    let (health, durations) = match check {
        HealthcheckInstruction::None => {
            let health = Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() };
            (health, [Duration::ZERO; 4])
        }
        HealthcheckInstruction::Check(check) => {
            let test = match &check.command {
                Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.text.clone()],
                Command::Exec(words) => std::iter::once("CMD".to_owned())
                    .chain(words.iter().map(|word| word.text.clone()))
                    .collect(),
            };
            let durations = [check.interval, check.timeout, check.start_period, check.start_interval];
            let [interval, timeout, start_period, start_interval] =
                durations.map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
            let retries = i64::from(check.retries);
            (Healthcheck { test, interval, timeout, start_period, start_interval, retries }, durations)
        }
    };
    let [interval, timeout, start_period, start_interval] = durations.map(go_duration);
    state.note(format!(
        "HEALTHCHECK {{Test:[{}] Interval:{interval} Timeout:{timeout} StartPeriod:{start_period} \
         StartInterval:{start_interval} Retries:{}}}",
        health.test.join(" "),
        health.retries
    ));
    state.config.config.healthcheck = Some(health);
}

fn pair_list(keyword: &str, pairs: &[(String, String)]) -> String {
    let mut text = keyword.to_owned();
    for (key, value) in pairs {
        text.push_str(&format!(" {key}={value}"));
    }
    text
}

/// Returns the words as Go's `%q` writes a list.
fn go_quoted_list(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| go_quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

fn go_quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{b}' => text.push_str("\\v"),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => text.push(c),
            c if u32::from(c) < 0x10000 => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    text.push('"');
    text
}

/// Whether Go's `strconv.IsPrint` has the character: letters, marks, numbers, signs and the ASCII blank. That is what the
/// standard library leaves alone inside of a text.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    c.is_ascii() || text.escape_debug().eq(text.chars())
}

/// Returns a duration as Go writes it: `1h0m0s`, `1m30s`, `1.5s`, `100ms`.
fn go_duration(duration: Duration) -> String {
    let fraction = |whole: u64, nanos: u32| {
        let digits = format!("{nanos:09}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { whole.to_string() } else { format!("{whole}.{digits}") }
    };
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, nanos) {
        (0, 0) => "0s".to_owned(),
        (0, 1_000_000..) => format!("{}ms", fraction(u64::from(nanos / 1_000_000), nanos % 1_000_000 * 1000)),
        (0, 1000..) => format!("{}µs", fraction(u64::from(nanos / 1000), nanos % 1000 * 1_000_000)),
        (0, _) => format!("{nanos}ns"),
        (..60, _) => format!("{}s", fraction(seconds, nanos)),
        (..3600, _) => format!("{}m{}s", seconds / 60, fraction(seconds % 60, nanos)),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, fraction(seconds % 60, nanos)),
    }
}

/// Names of signals without `SIG`.
const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Returns the signal that may have been meant, with `SIG` if it was written with it.
fn near_signal(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    if upper.len() > 3 && upper.starts_with(['S', 'I', 'G']) {
        let names = SIGNALS.map(|name| format!("SIG{name}"));
        return suggest::nearest(&upper, names.iter().map(String::as_str)).map(str::to_owned);
    }
    suggest::nearest(&upper, SIGNALS).map(str::to_owned)
}

/// Whether Docker's runtimes know the signal (`moby/sys/signal`): any number but zero, or a name with or without `SIG`.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = || SIGNALS.contains(&name);
    let real_time = |prefix: &str, most: u32| {
        name.strip_prefix(prefix).is_some_and(|text| (1..=most).any(|number| number.to_string() == text))
    };
    known() || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1500, "1.5s"),
            (100, "100ms"),
            (300_000, "5m0s"),
            (3_661_500, "1h1m1.5s"),
            (90_000, "1m30s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn words_are_quoted_as_go_quotes_them() {
        assert_eq!(go_quoted_list(&["a\"b".into(), "\t\u{1}é".into()]), r#"["a\"b" "\t\x01é"]"#);
        let unseen = "\u{a0}\u{ad}\u{85}\u{200b}\u{feff}\u{e0001}".to_owned();
        assert_eq!(go_quoted(&unseen), r#""\u00a0\u00ad\u0085\u200b\ufeff\U000e0001""#);
        assert_eq!(go_quoted("e\u{301}'\u{1f600}"), "\"e\u{301}'\u{1f600}\"");
    }

    #[test]
    fn a_signal_that_may_have_been_meant_is_near() {
        for (text, near) in
            [("SIGTREM", Some("SIGTERM")), ("sigusr3", Some("SIGUSR1")), ("HPU", Some("HUP")), ("X", None)]
        {
            assert_eq!(near_signal(text).as_deref(), near, "{text}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, known) in [
            ("SIGTERM", true),
            ("kill", true),
            ("9", true),
            ("RTMIN+3", true),
            ("0", false),
            ("-1", true),
            ("+9", true),
            ("RTMIN+03", false),
            ("RTMIN++3", false),
            ("RTMIN+16", false),
            ("RTMAX-14", true),
            ("SIGFOO", false),
            ("", false),
        ] {
            assert_eq!(is_signal(text), known, "{text}");
        }
    }
}
