//! Dates as HTTP writes them, in the three forms of RFC 9110, section 5.6.7. Pure.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a date as seconds since 1970: `Sun, 06 Nov 1994 08:49:37 GMT`, or one of the two older forms.
pub(crate) fn seconds_since_1970(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split([' ', ',', ':', '-']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, clock) = match words.as_slice() {
        [_, day, month, year, hour, minute, second, "GMT"] => (day, month, year, [hour, minute, second]),
        [_, month, day, hour, minute, second, year] => (day, month, year, [hour, minute, second]),
        _ => return None,
    };
    let month = i64::try_from(MONTHS.iter().position(|name| name == month)?).ok()? + 1;
    let day = number(day, 1..=31)?;
    let year = match number(year, 0..=9999)? {
        // Two digits, as in Go: no server's files are older than 1969.
        short @ 69..=99 => 1900 + short,
        short @ 0..=68 => 2000 + short,
        year => year,
    };
    let (hour, minute, second) =
        (number(clock[0], 0..=23)?, number(clock[1], 0..=59)?, number(clock[2], 0..=60)?);
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(text: &str, allowed: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && allowed.contains(number))
}

/// Counts days to a civil date, after Howard Hinnant's `days_from_civil`: years start in March, so that the leap day is
/// the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_their_three_forms() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("Fri, 01 Mar 2024 00:00:00 GMT", Some(1_709_251_200)),
            ("Tuesday, 19-Jan-38 03:14:08 GMT", Some(2_147_483_648)),
            ("Fri, 31 Dec 9999 23:59:60 GMT", Some(253_402_300_800)),
            ("yesterday", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Brumaire 1994 08:49:37 GMT", None),
            ("Fri, 99 Mar 99999999999999 00:00:00 GMT", None),
        ] {
            assert_eq!(seconds_since_1970(text), expected, "{text}");
        }
    }
}
