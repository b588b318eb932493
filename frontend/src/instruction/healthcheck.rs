//! HEALTHCHECK, and Go's notation of durations.

use std::time::Duration;

use super::Operands;
use crate::ast::{Command, Healthcheck, HealthcheckInstruction};
use crate::diagnostic::Diagnostic;
use crate::flags::{Checked, FlagKind};
use crate::suggest;
use crate::words;

const FLAGS: [(&str, FlagKind); 5] = [
    ("interval", FlagKind::Text),
    ("timeout", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("retries", FlagKind::Text),
];

/// The shortest time that is allowed, besides zero.
const DURATION_MIN: Duration = Duration::from_millis(1);

pub(super) fn read(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<HealthcheckInstruction> {
    let flags = operands.check_flags(&FLAGS, found);
    let text = operands.text();
    let kind_end = text.find(words::is_blank).unwrap_or(text.len());
    let rest = text.len() - text[kind_end..].trim_start_matches(words::is_blank).len();
    let command = operands.command(rest, found)?;
    match text[..kind_end].to_uppercase().as_str() {
        "" => operands.needs_an_argument(found),
        "NONE" if rest < text.len() => {
            operands.error("extra-argument", "HEALTHCHECK NONE takes no arguments", found)
        }
        "NONE" => flags.map(|_| HealthcheckInstruction::None),
        "CMD" => {
            if matches!(&command, Command::Shell(text) if text.text.is_empty())
                || command == Command::Exec(vec![])
            {
                return operands.error("missing-argument", "missing command after HEALTHCHECK CMD", found);
            }
            Some(HealthcheckInstruction::Check(check(command, &flags?, found)?))
        }
        other => {
            let message = format!("unknown type \"{other}\" in HEALTHCHECK (try CMD)");
            let near = suggest::nearest_in_case(&text[..kind_end], ["CMD", "NONE"]);
            let span = operands.part(0..kind_end).span;
            found.push(Diagnostic::error("healthcheck-type", span, message).with_suggestion(near));
            None
        }
    }
}

fn check(command: Command, flags: &Checked<'_>, found: &mut Vec<Diagnostic>) -> Option<Healthcheck> {
    let interval = time(flags, "interval", found);
    let timeout = time(flags, "timeout", found);
    let start_period = time(flags, "start-period", found);
    let start_interval = time(flags, "start-interval", found);
    let retries = retries(flags, found);
    Some(Healthcheck {
        command,
        interval: interval?,
        timeout: timeout?,
        start_period: start_period?,
        start_interval: start_interval?,
        retries: retries?,
    })
}

fn time(flags: &Checked<'_>, name: &str, found: &mut Vec<Diagnostic>) -> Option<Duration> {
    let Some(value) = flags.filled(name) else { return Some(Duration::ZERO) };
    let message = match parse_duration(&value.text) {
        None => format!("invalid duration \"{}\" for --{name}", value.text),
        Some(duration) if !duration.is_zero() && duration.is_below(DURATION_MIN) => {
            format!("interval \"{name}\" cannot be less than 1ms")
        }
        Some(duration) => return Some(duration.length),
    };
    found.push(
        Diagnostic::error("duration", value.span, message)
            .with_help("write a number with a unit, such as `30s`, `1m30s` or `500ms`"),
    );
    None
}

fn retries(flags: &Checked<'_>, found: &mut Vec<Diagnostic>) -> Option<u32> {
    let Some(value) = flags.filled("retries") else { return Some(0) };
    let message = match value.text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(retries)) => return Some(retries),
        Ok(Err(_)) => format!("--retries cannot be negative ({})", value.text),
        Err(_) => format!("invalid number \"{}\" for --retries", value.text),
    };
    found.push(Diagnostic::error("flag-value", value.span, message));
    None
}

/// A duration with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SignedDuration {
    is_negative: bool,
    length: Duration,
}

impl SignedDuration {
    fn is_zero(self) -> bool {
        self.length.is_zero()
    }

    fn is_below(self, least: Duration) -> bool {
        self.is_negative || self.length < least
    }
}

/// Reads Go's notation: a sign, then numbers with units (`ns us µs ms s m h`), or a lone `0`.
fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration { is_negative: false, length: Duration::ZERO });
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(number_end);
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        nanoseconds = nanoseconds.checked_add(part(number, unit_length(unit)?)?)?;
        rest = behind;
    }
    // Go's durations are signed.
    i64::try_from(nanoseconds).ok()?;
    Some(SignedDuration { is_negative, length: Duration::from_nanos(nanoseconds) })
}

fn unit_length(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Returns a number of units in nanoseconds; what is smaller than a nanosecond is cut off.
fn part(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = whole.checked_mul(unit)?;
    let mut place = u128::from(unit) * 1_000_000;
    let mut below: u128 = 0;
    for digit in fraction.bytes().take(24) {
        place /= 10;
        below += u128::from(digit - b'0') * place;
    }
    nanoseconds = nanoseconds.checked_add(u64::try_from(below / 1_000_000).ok()?)?;
    Some(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_gos_notation() {
        let cases = [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("1.0000000001s", Some(1_000_000_000)),
            ("10us", Some(10_000)),
            ("10µs", Some(10_000)),
            ("+3ms", Some(3_000_000)),
            ("2562047h", Some(9_223_369_200_000_000_000)),
            ("2562048h", None),
            ("99999999999999999999s", None),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("5 s", None),
            ("5d", None),
        ];
        for (text, expected) in cases {
            let found = parse_duration(text).map(|duration| duration.length.as_nanos());
            assert_eq!(found, expected, "{text}");
        }
        assert!(parse_duration("-5s").is_some_and(|duration| duration.is_negative));
    }
}
