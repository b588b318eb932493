//! `--chmod`: octal, or symbolic as BSD's `setmode(3)` reads it, applied to modes.
//!
//! That is the reading of BuildKit (`github.com/tonistiigi/dchapes-mode`). It differs from GNU's `chmod` in corners: `=` clears the
//! set-id bits of directories too; `o+t` does nothing; `+st` without a class sets only the sticky bit; several classes may be
//! copied at once (`u=go`); `X` looks at the mode before any change.

/// A change of modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Set(u32),
    Symbolic(Vec<Command>),
}

/// One thing that a symbolic mode does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Add(u32),
    Remove(u32),
    /// Adds to directories and to what could be executed.
    AddExecute(u32),
    /// Gives the classes `to` what the class at `shift` has.
    Copy {
        operator: u8,
        shift: u32,
        to: u32,
    },
}

const STICKY: u32 = 0o1000;
const SET_IDS: u32 = 0o6000;
/// All that `a` stands for.
const EVERYONE: u32 = 0o6777;

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChmodError {
    /// Octal digits beyond 07777.
    #[error("`--chmod={text}` is out of range: modes go from 0 to 07777")]
    OutOfRange {
        /// The text as given.
        text: String,
    },
    /// Neither octal nor symbolic.
    #[error(
        "`--chmod={text}` is not a mode: expected octal digits as in `755`, or changes as in `u=rwX,go=rX`"
    )]
    Malformed {
        /// The text as given.
        text: String,
    },
}

impl Chmod {
    /// Parses the value of `--chmod`.
    ///
    /// # Errors
    /// Says whether it is out of range or malformed.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Self(Change::Set(mode))),
                Ok(_) => Err(ChmodError::OutOfRange { text: text.to_owned() }),
                Err(_) if text.bytes().all(|byte| byte < b'8') => {
                    Err(ChmodError::OutOfRange { text: text.to_owned() })
                }
                Err(_) => Err(ChmodError::Malformed { text: text.to_owned() }),
            };
        }
        let mut commands = Vec::new();
        for part in text.split(',') {
            clause(part.as_bytes(), &mut commands)
                .ok_or_else(|| ChmodError::Malformed { text: text.to_owned() })?;
        }
        Ok(Self(Change::Symbolic(commands)))
    }

    /// Returns what becomes of `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let commands = match &self.0 {
            Change::Set(mode) => return *mode,
            Change::Symbolic(commands) => commands,
        };
        let runs = is_directory || mode & 0o111 != 0;
        commands.iter().fold(mode, |now, command| match *command {
            Command::Add(bits) => now | bits,
            Command::Remove(bits) => now & !bits,
            Command::AddExecute(bits) => now | if runs { bits } else { 0 },
            Command::Copy { operator, shift, to } => {
                let copied = ((now >> shift & 7) * 0o111) & to;
                match operator {
                    b'+' => now | copied,
                    b'-' => now & !copied,
                    _ => now & !(to & 0o777) | copied,
                }
            }
        })
    }

    /// Returns the mode of a directory that no source describes: octal permissions count, without set-id and sticky bits;
    /// symbolic ones have nothing that they could change.
    pub fn of_implied_directory(&self) -> Option<u32> {
        match &self.0 {
            Change::Set(mode) => Some(mode & 0o777),
            Change::Symbolic(_) => None,
        }
    }
}

/// Reads one `ug+rwx-t`.
fn clause(part: &[u8], commands: &mut Vec<Command>) -> Option<()> {
    let end = part.iter().position(|byte| matches!(byte, b'+' | b'-' | b'='))?;
    let mut who = 0;
    for byte in &part[..end] {
        who |= match byte {
            b'u' => 0o4700,
            b'g' => 0o2070,
            b'o' => 0o0007,
            b'a' => EVERYONE,
            _ => return None,
        };
    }
    let mut rest = &part[end..];
    while let Some((operator, after)) = rest.split_first() {
        let length = after.iter().position(|byte| matches!(byte, b'+' | b'-' | b'=')).unwrap_or(after.len());
        permissions(who, *operator, &after[..length], commands)?;
        rest = &after[length..];
    }
    Some(())
}

/// Reads what follows an operator. Bits and copies take effect in the order in which they stand there.
fn permissions(mut who: u32, operator: u8, text: &[u8], commands: &mut Vec<Command>) -> Option<()> {
    let (mut bits, mut execute, mut is_set) = (0, 0, false);
    let only_others = who != 0 && who & !0o7 == 0;
    for byte in text {
        match byte {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b'X' if operator == b'-' => bits |= 0o111,
            b'X' => execute |= 0o111,
            b's' | b't' if only_others => {}
            b's' => bits |= SET_IDS,
            b't' => {
                who |= STICKY;
                bits |= STICKY;
            }
            b'u' | b'g' | b'o' => {
                if bits != 0 {
                    change(who, operator, bits, commands);
                }
                commands.push(Command::AddExecute(chosen(who, execute)));
                let shift = [(b'u', 6), (b'g', 3), (b'o', 0)].iter().find(|(class, _)| class == byte)?.1;
                commands.push(Command::Copy { operator, shift, to: chosen(who, 0o777) });
                (bits, execute, is_set) = (0, 0, true);
            }
            _ => return None,
        }
    }
    if bits != 0 || !is_set {
        change(who, operator, bits, commands);
    }
    commands.push(Command::AddExecute(chosen(who, execute)));
    Some(())
}

fn change(who: u32, operator: u8, bits: u32, commands: &mut Vec<Command>) {
    let bits = chosen(who, bits);
    match operator {
        b'+' => commands.push(Command::Add(bits)),
        b'-' => commands.push(Command::Remove(bits)),
        _ => commands.extend([Command::Remove(if who == 0 { EVERYONE } else { who }), Command::Add(bits)]),
    }
}

/// Returns the bits that belong to the classes named; all where none was named.
fn chosen(who: u32, bits: u32) -> u32 {
    if who == 0 { bits } else { bits & who }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_setmode_changes_them() {
        for (text, before, is_directory, after) in [
            ("755", 0o600, false, 0o755),
            ("04755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("go-r", 0o644, false, 0o600),
            ("a=rw", 0o644, false, 0o666),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("g=u", 0o644, false, 0o664),
            ("u+s,+t", 0o644, false, 0o5644),
            ("u=rw,g=r,o=", 0o777, false, 0o640),
            ("u=rw", 0o4755, false, 0o655),
            ("g=rx", 0o2775, true, 0o755),
            ("=rx", 0o7777, true, 0o1555),
            ("a=,+X", 0o644, true, 0o111),
            ("a-x+X", 0o711, false, 0o711),
            ("u=rwX", 0o061, false, 0o761),
            ("u=go", 0o024, false, 0o424),
            ("u=rg", 0o640, false, 0o440),
            ("g=u-w", 0o640, false, 0o640),
            ("o-u", 0o746, false, 0o740),
            ("o+t", 0o644, false, 0o644),
            ("o+s", 0o644, false, 0o644),
            ("g+s", 0o755, false, 0o2755),
            ("+st", 0o644, false, 0o1644),
            ("a+st", 0o644, false, 0o7644),
            ("=t", 0o644, false, 0o1644),
            ("a-w+x", 0o666, false, 0o555),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(chmod.apply(before, is_directory), after, "{text} on {before:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "u?x", "x", "u", "rwx", "u+q", ",", "u+x,", "789", "0o755", "u+x go-w"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::Malformed { .. })), "{text}");
        }
        for text in ["17777", "777777777777"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::OutOfRange { .. })), "{text}");
        }
    }
}
