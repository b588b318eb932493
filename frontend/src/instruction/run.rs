//! RUN.

use super::{Operands, mount};
use crate::ast::{Device, MountFlag, Network, RunInstruction, Security};
use crate::diagnostic::Diagnostic;
use crate::flags::FlagKind;
use crate::source::{Spanned, Word};
use crate::suggest;

const FLAGS: [(&str, FlagKind); 4] = [
    ("mount", FlagKind::List),
    ("network", FlagKind::Text),
    ("security", FlagKind::Text),
    ("device", FlagKind::List),
];

pub(super) fn read(operands: &Operands<'_>, found: &mut Vec<Diagnostic>) -> Option<RunInstruction> {
    let flags = operands.check_flags(&FLAGS, found);
    let command = operands.command(0, found);
    let flags = flags?;
    let errors = found.len();
    let mounts = flags.list("mount").into_iter().filter_map(|value| mount_flag(value, found)).collect();
    let devices = flags.list("device").iter().filter_map(|value| device(value, found)).collect();
    let network = flags.text("network").and_then(|value| network(&value, found));
    let security = flags.text("security").and_then(|value| security(&value, found));
    if found.len() > errors {
        return None;
    }
    Some(RunInstruction { command: command?, mounts, network, security, devices })
}

fn mount_flag(value: Word, found: &mut Vec<Diagnostic>) -> Option<MountFlag> {
    match mount::source_stage(&value.text) {
        Ok(from) => {
            let from = from.map(|(text, range)| Word { text, span: value.part(range) });
            Some(MountFlag { value, from })
        }
        Err(problem) => {
            found.push(problem.diagnostic("mount", &value));
            None
        }
    }
}

fn network(value: &Word, found: &mut Vec<Diagnostic>) -> Option<Spanned<Network>> {
    let network = match value.text.as_str() {
        "default" => Network::Default,
        "none" => Network::None,
        "host" => Network::Host,
        other => {
            let near = suggest::nearest(other, ["default", "none", "host"]);
            let message = format!("invalid network mode \"{other}\"");
            found.push(
                Diagnostic::error("flag-value", value.span, message)
                    .with_suggestion(near.map(ToOwned::to_owned)),
            );
            return None;
        }
    };
    Some(Spanned { value: network, span: value.span })
}

fn security(value: &Word, found: &mut Vec<Diagnostic>) -> Option<Spanned<Security>> {
    let security = match value.text.as_str() {
        "sandbox" => Security::Sandbox,
        "insecure" => Security::Insecure,
        other => {
            let near = suggest::nearest(other, ["sandbox", "insecure"]);
            let message = format!("security \"{other}\" is not valid");
            found.push(
                Diagnostic::error("flag-value", value.span, message)
                    .with_suggestion(near.map(ToOwned::to_owned)),
            );
            return None;
        }
    };
    Some(Spanned { value: security, span: value.span })
}

fn device(value: &Word, found: &mut Vec<Diagnostic>) -> Option<Device> {
    match mount::parse_device(&value.text) {
        Ok((name, is_required)) => Some(Device { name, is_required, span: value.span }),
        Err(problem) => {
            found.push(problem.diagnostic("device", value));
            None
        }
    }
}
