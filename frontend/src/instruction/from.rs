//! FROM.

use super::Operands;
use crate::ast::{FromInstruction, StageName};
use crate::diagnostic::Diagnostic;
use crate::flags::FlagKind;
use crate::source::Word;
use crate::words;

pub(super) fn read(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<FromInstruction> {
    let flags = operands.check_flags(&[("platform", FlagKind::Text)], found);
    let mut words = operands.words().into_iter();
    let (base, as_keyword, name) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(base), None, None, None) => (base, None, None),
        (Some(base), Some(keyword), Some(name), None) if is_as(&keyword.text) => {
            (base, Some(keyword), Some(name))
        }
        _ => {
            let message = "FROM requires either one or three arguments";
            found.push(
                Diagnostic::error("from-arguments", operands.span(), message)
                    .with_help("write `FROM image` or `FROM image AS name`"),
            );
            return None;
        }
    };
    let name = match name {
        Some(written) => Some(stage_name(written, found)?),
        None => None,
    };
    Some(FromInstruction { base, platform: flags?.filled("platform"), as_keyword, name })
}

/// `AS` in any case; Go folds `ſ` to `s`.
fn is_as(keyword: &str) -> bool {
    keyword.replace('ſ', "s").eq_ignore_ascii_case("as")
}

fn stage_name(written: Word, found: &mut Vec<Diagnostic>) -> Option<StageName> {
    let lower = words::lower(&written.text);
    let is_letter = |c: char| c.is_ascii_lowercase();
    let is_allowed = |c: char| is_letter(c) || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if lower.starts_with(is_letter) && lower.chars().all(is_allowed) {
        return Some(StageName { written, lower });
    }
    let message = format!(
        "invalid name for build stage: \"{}\", name can't start with a number or contain symbols",
        written.text
    );
    found.push(Diagnostic::error("stage-name", written.span, message));
    None
}
