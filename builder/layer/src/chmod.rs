//! `--chmod`: octal, or symbolic as `chmod(1)` writes it, applied to modes.

/// A change of modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Set(u32),
    Symbolic(Vec<Clause>),
}

/// One `ugo+rwx` of a symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// Bits 0o4 user, 0o2 group, 0o1 others.
    who: u32,
    operator: u8,
    permissions: Permissions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Permissions {
    /// `rwx` bits, and what else was named.
    Bits { rwx: u32, execute_if_any: bool, set_id: bool, sticky: bool },
    /// A copy of what this class has: shift to its bits.
    Copy(u32),
}

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
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clause(part.as_bytes(), &mut clauses)
                .ok_or_else(|| ChmodError::Malformed { text: text.to_owned() })?;
        }
        Ok(Self(Change::Symbolic(clauses)))
    }

    /// Returns what becomes of `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Set(mode) => *mode,
            Change::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let (rwx, set_id, sticky) = match &self.permissions {
            Permissions::Copy(shift) => (mode >> shift & 7, false, false),
            Permissions::Bits { rwx, execute_if_any, set_id, sticky } => {
                let execute = *execute_if_any && (is_directory || mode & 0o111 != 0);
                (rwx | u32::from(execute), *set_id, *sticky)
            }
        };
        let mut bits = 0;
        let mut mask = 0;
        for (class, shift, set_bit) in [(4, 6, 0o4000), (2, 3, 0o2000), (1, 0, 0)] {
            if self.who & class != 0 {
                bits |= rwx << shift | if set_id { set_bit } else { 0 };
                mask |= 7 << shift | set_bit;
            }
        }
        if sticky {
            bits |= 0o1000;
        }
        match self.operator {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            // As in chmod(1), directories keep set-id bits that are not named.
            _ if is_directory && !set_id => mode & !(mask & 0o777) | bits,
            _ => mode & !mask & !(if self.who == 7 { 0o1000 } else { 0 }) | bits,
        }
    }
}

fn clause(part: &[u8], clauses: &mut Vec<Clause>) -> Option<()> {
    let end = part.iter().position(|byte| matches!(byte, b'+' | b'-' | b'='))?;
    let mut who = 0;
    for byte in &part[..end] {
        who |= match byte {
            b'u' => 4,
            b'g' => 2,
            b'o' => 1,
            b'a' => 7,
            _ => return None,
        };
    }
    let who = if who == 0 { 7 } else { who };
    let mut rest = &part[end..];
    while let Some((operator, after)) = rest.split_first() {
        let length = after.iter().position(|byte| matches!(byte, b'+' | b'-' | b'=')).unwrap_or(after.len());
        clauses.push(Clause { who, operator: *operator, permissions: permissions(&after[..length])? });
        rest = &after[length..];
    }
    Some(())
}

fn permissions(text: &[u8]) -> Option<Permissions> {
    match text {
        b"u" => return Some(Permissions::Copy(6)),
        b"g" => return Some(Permissions::Copy(3)),
        b"o" => return Some(Permissions::Copy(0)),
        _ => {}
    }
    let (mut rwx, mut execute_if_any, mut set_id, mut sticky) = (0, false, false, false);
    for byte in text {
        match byte {
            b'r' => rwx |= 4,
            b'w' => rwx |= 2,
            b'x' => rwx |= 1,
            b'X' => execute_if_any = true,
            b's' => set_id = true,
            b't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Bits { rwx, execute_if_any, set_id, sticky })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
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
            ("g=rx", 0o2775, true, 0o2755),
            ("a-w+x", 0o666, false, 0o555),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(chmod.apply(before, is_directory), after, "{text} on {before:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "u?x", "x", "u", "rwx", "u+q", ",", "u+x,", "789", "u+ug"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::Malformed { .. })), "{text}");
        }
        for text in ["17777", "777777777777"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::OutOfRange { .. })), "{text}");
        }
    }
}
