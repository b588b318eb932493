//! `printf` with the verbs and mistakes of Go's `fmt`: what does not fit is said in the text, as `%!d(string=x)`.

use crate::Value;
use crate::print::{self, Style, exponent_text, not_finite, shortest};
use crate::quote::{is_printable, quoted, quoted_with};

/// Widest and most precise that is written, as in Go.
const WIDTH_MAX: usize = 1_000_000;

/// Flags, width and precision of a verb.
#[derive(Debug, Clone, Copy, Default)]
struct Spec {
    is_left: bool,
    is_zero: bool,
    is_plus: bool,
    is_sharp: bool,
    is_space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Returns the text of a format and its arguments, or `None` when it grows beyond `bytes_max`.
pub(crate) fn sprintf(format: &str, arguments: &[Value], bytes_max: usize) -> Option<String> {
    let mut printer = Printer {
        arguments,
        next: 0,
        is_reordered: false,
        is_good_index: true,
        out: String::new(),
        bytes_max,
    };
    let mut rest = format;
    while let Some(begin) = rest.find('%') {
        printer.out.push_str(&rest[..begin]);
        rest = printer.verb(&rest[begin + 1..]);
        if printer.out.len() > bytes_max {
            return None;
        }
    }
    printer.out.push_str(rest);
    printer.left_over();
    (printer.out.len() <= bytes_max).then_some(printer.out)
}

struct Printer<'a> {
    arguments: &'a [Value],
    /// The argument of the next verb.
    next: usize,
    /// Whether some verb chose its argument, so that others may be left over.
    is_reordered: bool,
    is_good_index: bool,
    out: String,
    bytes_max: usize,
}

impl Printer<'_> {
    /// Writes one verb; returns what follows it.
    fn verb<'f>(&mut self, format: &'f str) -> &'f str {
        self.is_good_index = true;
        let (mut spec, rest) = flags(format);
        let rest = self.index(rest);
        let (width, mut rest) = self.number(rest, "%!(BADWIDTH)");
        spec.width = width.map(|width| usize::try_from(width.unsigned_abs()).unwrap_or(WIDTH_MAX));
        if width.is_some_and(|width| width < 0) {
            (spec.is_left, spec.is_zero) = (true, false);
        }
        if let Some(after) = rest.strip_prefix('.') {
            let after = self.index(after);
            let (precision, after) = self.number(after, "%!(BADPREC)");
            spec.precision = Some(usize::try_from(precision.unwrap_or(0)).unwrap_or(0));
            rest = after;
        }
        let rest = self.index(rest);
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return "";
        };
        match (verb, self.arguments.get(self.next)) {
            ('%', _) => self.out.push('%'),
            _ if !self.is_good_index => self.out.push_str(&format!("%!{verb}(BADINDEX)")),
            (_, None) => self.out.push_str(&format!("%!{verb}(MISSING)")),
            (_, Some(argument)) => {
                self.next += 1;
                argument_text(argument, verb, &spec, self.bytes_max, &mut self.out);
            }
        }
        &rest[verb.len_utf8()..]
    }

    /// `[3]`: the verb's argument is the third.
    fn index<'f>(&mut self, format: &'f str) -> &'f str {
        let Some(after) = format.strip_prefix('[') else { return format };
        self.is_reordered = true;
        let Some((digits, after)) = after.split_once(']') else {
            self.is_good_index = false;
            return after;
        };
        match digits.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
            Some(index) if index < self.arguments.len() => self.next = index,
            _ => self.is_good_index = false,
        }
        after
    }

    /// A width or precision: digits, or a star for the next argument.
    fn number<'f>(&mut self, format: &'f str, bad: &str) -> (Option<i64>, &'f str) {
        if let Some(after) = format.strip_prefix('*') {
            let argument = self.arguments.get(self.next);
            self.next += 1;
            let fits =
                |number: &i64| usize::try_from(number.unsigned_abs()).is_ok_and(|number| number <= WIDTH_MAX);
            return match argument {
                Some(Value::Int(number)) if fits(number) => (Some(*number), after),
                _ => {
                    self.out.push_str(bad);
                    (None, after)
                }
            };
        }
        let digits = format.bytes().take_while(u8::is_ascii_digit).count();
        let number = format[..digits].parse::<i64>().ok().filter(|number| *number <= WIDTH_MAX as i64);
        (number, &format[digits..])
    }

    fn left_over(&mut self) {
        if self.is_reordered || self.next >= self.arguments.len() {
            return;
        }
        self.out.push_str("%!(EXTRA ");
        for (index, value) in self.arguments[self.next..].iter().enumerate() {
            self.out.push_str(if index > 0 { ", " } else { "" });
            described(value, self.bytes_max, &mut self.out);
        }
        self.out.push(')');
    }
}

fn flags(format: &str) -> (Spec, &str) {
    let mut spec = Spec::default();
    let mut rest = format;
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => spec.is_left = true,
            Some(b'0') => spec.is_zero = true,
            Some(b'+') => spec.is_plus = true,
            Some(b'#') => spec.is_sharp = true,
            Some(b' ') => spec.is_space = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    // Zeros go before a number, never after it.
    spec.is_zero &= !spec.is_left;
    (spec, rest)
}

/// A value with its type, as what does not fit is shown.
fn described(value: &Value, bytes_max: usize, out: &mut String) {
    if !value.is_nil() {
        out.push_str(value.type_name());
        out.push('=');
    }
    print::write(value, Style::Plain, bytes_max, out);
}

fn argument_text(value: &Value, verb: char, spec: &Spec, bytes_max: usize, out: &mut String) {
    match (verb, value) {
        ('T', _) => padded(value.type_name(), spec, out),
        ('v', _) if spec.is_sharp || spec.is_plus => {
            let style = if spec.is_sharp { Style::Source } else { Style::Named };
            let mut text = String::new();
            print::write(value, style, bytes_max, &mut text);
            padded(&text, spec, out);
        }
        ('v', Value::Missing | Value::Nil) => padded("<nil>", spec, out),
        (_, Value::NoList | Value::NoMap) => print::write(value, Style::Plain, bytes_max, out),
        (_, Value::List(items)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if out.len() > bytes_max {
                    return;
                }
                out.push_str(if index > 0 { " " } else { "" });
                argument_text(item, verb, spec, bytes_max, out);
            }
            out.push(']');
        }
        (_, Value::Map(map)) => {
            out.push_str("map[");
            for (index, (name, item)) in map.entries.iter().enumerate() {
                if out.len() > bytes_max {
                    return;
                }
                out.push_str(if index > 0 { " " } else { "" });
                argument_text(&Value::Text(name.clone()), verb, spec, bytes_max, out);
                out.push(':');
                argument_text(item, verb, spec, bytes_max, out);
            }
            out.push(']');
        }
        (_, Value::Struct(record)) => {
            out.push('{');
            for (index, (_, item)) in record.fields().enumerate() {
                out.push_str(if index > 0 { " " } else { "" });
                argument_text(item, verb, spec, bytes_max, out);
            }
            out.push('}');
        }
        _ => match scalar(value, verb, spec) {
            Some(text) => out.push_str(&text),
            None => {
                out.push_str(&format!("%!{verb}("));
                described(value, bytes_max, out);
                out.push(')');
            }
        },
    }
}

/// Returns the text of a single value, or `None` where the verb does not fit it.
fn scalar(value: &Value, verb: char, spec: &Spec) -> Option<String> {
    let mut out = String::new();
    match (value, verb) {
        (Value::Bool(value), 't' | 'v') => padded(&value.to_string(), spec, &mut out),
        (Value::Text(text), _) => padded(&text_verb(text, verb, spec)?, spec, &mut out),
        (Value::Int(number), 'c') => padded(&character(*number).to_string(), spec, &mut out),
        (Value::Int(number), 'q') => {
            padded(&quoted_with(&character(*number).to_string(), '\'', spec.is_plus), spec, &mut out);
        }
        (Value::Int(number), 'U') => {
            let character =
                Some(character(*number)).filter(|character| spec.is_sharp && is_printable(*character));
            let shown = character.map_or_else(String::new, |character| format!(" '{character}'"));
            padded(&format!("U+{number:04X}{shown}"), spec, &mut out);
        }
        (Value::Int(number), _) => {
            let (prefix, digits) = digits(number.unsigned_abs(), verb, spec)?;
            numeral(&(sign(*number < 0, spec) + prefix), &digits, spec, &mut out);
        }
        (Value::Float(number), _) => {
            let text = float_verb(number.abs(), verb, spec)?;
            // Go puts no zeros before infinity.
            let spec = Spec { is_zero: spec.is_zero && number.is_finite(), precision: None, ..*spec };
            let text = text.trim_start_matches('+');
            let sign = match number.is_infinite() && !number.is_sign_negative() {
                true => "+".to_owned(),
                false => sign(number.is_sign_negative() && !number.is_nan(), &spec),
            };
            numeral(&sign, text, &spec, &mut out);
        }
        _ => return None,
    }
    Some(out)
}

fn text_verb(text: &str, verb: char, spec: &Spec) -> Option<String> {
    let cut = || match spec.precision.and_then(|most| text.char_indices().nth(most)) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let hex = |is_upper: bool| {
        let bytes = &text.as_bytes()[..spec.precision.unwrap_or(usize::MAX).min(text.len())];
        let separator = if spec.is_space { " " } else { "" };
        let prefix = match (spec.is_sharp, is_upper) {
            (true, true) => "0X",
            (true, false) => "0x",
            (false, _) => "",
        };
        let digits = bytes.iter().enumerate().map(|(index, byte)| {
            let digits = if is_upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
            let repeated = if index == 0 || spec.is_space { prefix } else { "" };
            format!("{}{repeated}{digits}", if index == 0 { "" } else { separator })
        });
        digits.collect::<String>()
    };
    match verb {
        's' | 'v' => Some(cut().to_owned()),
        'q' if spec.is_sharp
            && !cut().contains('`')
            && cut().chars().all(|c| is_printable(c) || c == '\t') =>
        {
            Some(format!("`{}`", cut()))
        }
        'q' if spec.is_plus => Some(quoted_with(cut(), '"', true)),
        'q' => Some(quoted(cut())),
        'x' => Some(hex(false)),
        'X' => Some(hex(true)),
        _ => None,
    }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn sign(is_negative: bool, spec: &Spec) -> String {
    let sign = match (is_negative, spec.is_plus, spec.is_space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    sign.to_owned()
}

/// Returns what goes before the digits of a whole number, and the digits.
fn digits(number: u64, verb: char, spec: &Spec) -> Option<(&'static str, String)> {
    let prefix = |prefix| if spec.is_sharp { prefix } else { "" };
    Some(match verb {
        'd' | 'v' => ("", number.to_string()),
        'b' => (prefix("0b"), format!("{number:b}")),
        'o' => (prefix("0"), format!("{number:o}")),
        'O' => ("0o", format!("{number:o}")),
        'x' => (prefix("0x"), format!("{number:x}")),
        'X' => (prefix("0X"), format!("{number:X}")),
        _ => return None,
    })
}

/// Writes a number: zeros go between its sign and its digits.
fn numeral(before: &str, digits: &str, spec: &Spec, out: &mut String) {
    let taken = before.chars().count();
    let zeros = match (spec.precision, spec.is_zero, spec.width) {
        (Some(precision), ..) => precision,
        (None, true, Some(width)) => width.saturating_sub(taken),
        _ => 0,
    };
    let zeros = "0".repeat(zeros.saturating_sub(digits.len()));
    padded(&format!("{before}{zeros}{digits}"), &Spec { is_zero: false, ..*spec }, out);
}

fn padded(text: &str, spec: &Spec, out: &mut String) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.is_left {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        out.extend(std::iter::repeat_n(if spec.is_zero { '0' } else { ' ' }, missing));
        out.push_str(text);
    }
}

/// Returns the text of a float without its sign.
fn float_verb(number: f64, verb: char, spec: &Spec) -> Option<String> {
    if !number.is_finite() {
        return matches!(verb, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v').then(|| not_finite(number));
    }
    let precision = spec.precision.unwrap_or(6);
    let text = match verb {
        'f' | 'F' => format!("{number:.precision$}"),
        'e' | 'E' => scientific(number, precision),
        'g' | 'G' | 'v' => match spec.precision {
            None => shortest(number),
            Some(precision) => general(number, precision.max(1)),
        },
        _ => return None,
    };
    Some(if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text })
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}{}", exponent_text(exponent.parse().unwrap_or(0))),
        None => text,
    }
}

/// Returns so many significant digits, without zeros at their end.
fn general(number: f64, digits: usize) -> String {
    let text = scientific(number, digits - 1);
    let exponent: i64 = text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let digits = i64::try_from(digits).unwrap_or(i64::MAX);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match text.split_once('e') {
        Some((mantissa, _)) if exponent < -4 || exponent >= digits => {
            format!("{}{}", trimmed(mantissa), exponent_text(i32::try_from(exponent).unwrap_or(0)))
        }
        _ => {
            let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
            trimmed(&format!("{number:.decimals$}"))
        }
    }
}
