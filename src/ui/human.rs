//! Sizes, durations and times as Docker writes them. Pure functions; the present is an argument.

use std::time::Duration;

const SIZE_UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// Returns a size in decimal units with three significant digits: `4.27MB`, `124MB`, `0B`.
pub(crate) fn size(bytes: u64) -> String {
    size_of_digits(bytes, 3)
}

/// Returns a size in decimal units with so many significant digits.
pub(crate) fn size_of_digits(bytes: u64, digits: usize) -> String {
    // Where so many digits would round to 1000, the next unit is taken.
    let decimals_max = digits.saturating_sub(3);
    let rounded_up = 1000.0 - 0.5 / 10_f64.powi(i32::try_from(decimals_max).unwrap_or(0));
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= rounded_up && unit + 1 < SIZE_UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        value if value >= 100.0 - 0.1 * (1000.0 - rounded_up) => decimals_max,
        value if value >= 10.0 - 0.01 * (1000.0 - rounded_up) => decimals_max + 1,
        _ => decimals_max + 2,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", SIZE_UNITS[unit])
}

/// Returns how much has come: `3MB of 45MB`, or `3MB` at the end and where the whole is unknown.
pub(crate) fn amount(done: u64, total: Option<u64>) -> String {
    match total.filter(|total| done < *total) {
        Some(total) => format!("{} of {}", size(done), size(total)),
        None => size(done),
    }
}

/// Returns a duration in seconds with one digit: `0.4s`; from a minute on `1m02s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns how long ago an instant was, both in seconds since 1970: `3 weeks ago`.
pub(crate) fn ago(then: i64, now: i64) -> String {
    let seconds = now.saturating_sub(then).max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let text = match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    };
    format!("{text} ago")
}

const DAY: i64 = 86_400;

/// Returns an instant as `2024-05-06T07:08:09Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Returns an instant as `2024-05-06 07:08:09 +0000 UTC`, as Go prints one.
pub(crate) fn go_time(seconds: i64) -> String {
    let text = rfc3339(seconds).replace('T', " ");
    format!("{} +0000 UTC", text.trim_end_matches('Z'))
}

/// Returns the instant of an RFC 3339 text in seconds since 1970; parts of seconds are dropped.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let sign = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte));
    let signs = sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":");
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !signs
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 24
        || minute > 59
        || second > 60
    {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches('.').trim_start_matches(|c: char| c.is_ascii_digit());
    let offset = zone_offset(zone)?;
    Some(days_of(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset)
}

fn zone_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

/// Returns days since 1970 of a date (Hinnant, "chrono-compatible low-level date algorithms").
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Returns year, month and day of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_whole_until_it_is_there() {
        for (done, total, text) in [
            (0, Some(45_000_000), "0B of 45MB"),
            (7, Some(7), "7B"),
            (3_000_000, None, "3MB"),
            (9, Some(7), "9B"),
        ] {
            assert_eq!(amount(done, total), text);
        }
    }

    #[test]
    fn sizes_have_three_significant_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (4_270_000, "4.27MB"),
            (4_200_000, "4.2MB"),
            (12_345_678, "12.3MB"),
            (124_400_000, "124MB"),
            (999_949, "1MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn sizes_can_have_more_digits() {
        for (bytes, text) in
            [(999, "999B"), (1_234_567, "1.235MB"), (12_345_678, "12.35MB"), (123_456_789, "123.5MB")]
        {
            assert_eq!(size_of_digits(bytes, 4), text);
        }
    }

    #[test]
    fn durations_are_short() {
        for (millis, text) in
            [(0, "0.0s"), (449, "0.4s"), (59_999, "59.9s"), (62_000, "1m02s"), (3_660_000, "1h01m")]
        {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn times_past_are_told_as_docker_tells_them() {
        const HOUR: i64 = 3600;
        for (seconds, text) in [
            (-5, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (61, "About a minute ago"),
            (150, "2 minutes ago"),
            (59 * 60, "59 minutes ago"),
            (HOUR, "About an hour ago"),
            (47 * HOUR, "47 hours ago"),
            (49 * HOUR, "2 days ago"),
            (13 * 24 * HOUR, "13 days ago"),
            (21 * 24 * HOUR, "3 weeks ago"),
            (60 * 24 * HOUR, "2 months ago"),
            (365 * 3 * 24 * HOUR, "3 years ago"),
        ] {
            assert_eq!(ago(1_000_000_000 - seconds, 1_000_000_000), text, "{seconds}");
        }
    }

    #[test]
    fn instants_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1980-01-01T00:00:00Z", 315_532_800),
            ("2024-02-29T12:34:56Z", 1_709_210_096),
            ("2000-12-31T23:59:59Z", 978_307_199),
        ] {
            assert_eq!(parse_rfc3339(text), Some(seconds), "{text}");
            assert_eq!(rfc3339(seconds), text);
        }
        assert_eq!(parse_rfc3339("2024-02-29T13:34:56.789+01:00"), Some(1_709_210_096));
        for text in [
            "",
            "yesterday",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01",
            "2024-é1-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
