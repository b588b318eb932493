//! The protocol of EXPOSE in capitals: `80/TCP`.

use crate::lint::ports::{Port, in_same_order, ports};
use crate::lint::report::Report;
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    summary: "the protocol of EXPOSE is written in lower case",
    level: Level::On,
    page: "expose-proto-casing.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let source = scene.request.source;
    for step in scene.stages.iter().flat_map(|stage| &stage.steps) {
        let ports: Vec<_> =
            ports(step).into_iter().filter_map(|port| Some((capital(&port)?, port))).collect();
        let edits =
            ports.iter().filter_map(|(protocol, port)| port.edit(protocol, &protocol.to_lowercase(), source));
        let edits = if ports.is_empty() { Vec::new() } else { in_same_order(step, edits.collect(), source) };
        for (protocol, port) in ports {
            let message = format!("`{}` has its protocol in capitals", port.text);
            let mut found = report.warning(port.word.written.span, message);
            found = found.with_help(format!("write `{}`", protocol.to_lowercase()));
            found.fix.clone_from(&edits);
            report.push(step, found);
        }
    }
}

/// Returns the protocol of a port where it is known and not in lower case.
fn capital<'s>(port: &Port<'s>) -> Option<&'s str> {
    let protocol = port.protocol?;
    let lower = protocol.to_lowercase();
    (["tcp", "udp", "sctp"].contains(&lower.as_str()) && lower != protocol).then_some(protocol)
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check, fixed};

    #[test]
    fn a_protocol_in_capitals_is_found_also_behind_a_variable() {
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nEXPOSE 80 80/tcp 80/udp", &[]),
            ("FROM a\nEXPOSE 80/TCP", &["2 80/TCP | `80/TCP` has its protocol in capitals (write `tcp`)"]),
            (
                "FROM a\nENV P=80/Udp\nEXPOSE $P",
                &["3 $P | `80/Udp` has its protocol in capitals (write `udp`)"],
            ),
            ("FROM a\nEXPOSE 80/HTTP", &[]),
        ];
        check("ExposeProtoCasing", &World::default(), cases);
    }

    #[test]
    fn the_protocol_is_written_in_lower_case_where_ports_keep_their_order() {
        let cases = [
            ("FROM a\nEXPOSE 80/TCP 90/Udp", "FROM a\nEXPOSE 80/tcp 90/udp"),
            ("FROM a\nEXPOSE 80/TCP 80/UDP", "FROM a\nEXPOSE 80/tcp 80/udp"),
            // In capitals UDP comes first, and in lower case tcp.
            ("FROM a\nEXPOSE 80/UDP 80/tcp", "FROM a\nEXPOSE 80/UDP 80/tcp"),
            ("FROM a\nENV P=80/TCP\nEXPOSE $P \"81/TCP\"", "FROM a\nENV P=80/TCP\nEXPOSE $P \"81/TCP\""),
        ];
        for (text, expected) in cases {
            assert_eq!(fixed("ExposeProtoCasing", &World::default(), text), expected);
        }
    }
}
