//! EXPOSE with an address or a port of the host, as `docker run -p` has it: EXPOSE names ports of the container only.

use crate::lint::ports::{Port, in_same_order, ports};
use crate::lint::report::Report;
use crate::lint::scene::Scene;
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    summary: "EXPOSE names ports of the container, and nothing of the host",
    level: Level::On,
    page: "expose-invalid-format.md",
    check,
};

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let source = scene.request.source;
    for step in scene.stages.iter().flat_map(|stage| &stage.steps) {
        // A lone colon names nothing, and without a port of the container it is an error of another kind.
        let is_of_host = |port: &Port<'_>| {
            let container = &port.text[port.host.len()..];
            port.host.len() > 1 && !container.is_empty() && !container.starts_with('/')
        };
        let ports: Vec<_> = ports(step).into_iter().filter(is_of_host).collect();
        let edits = ports.iter().filter_map(|port| port.edit(port.host, "", source));
        let edits = if ports.is_empty() { Vec::new() } else { in_same_order(step, edits.collect(), source) };
        for port in ports {
            let message = format!("`{}` names an address or a port of the host", port.text);
            let mut found = report.warning(port.word.written.span, message);
            found = found.with_help(format!("write `{}`", &port.text[port.host.len()..]));
            found.fix.clone_from(&edits);
            report.push(step, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lint::tests::{World, check, fixed};

    #[test]
    fn ports_and_addresses_of_the_host_are_found() {
        let found = |text: &str| {
            format!("2 {text} | `{text}` names an address or a port of the host (write `80/tcp`)")
        };
        let (host, address, six) =
            (found("8080:80/tcp"), found("127.0.0.1:8080:80/tcp"), found("[::1]:8080:80/tcp"));
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nEXPOSE 80 81/tcp 90-92", &[]),
            ("FROM a\nEXPOSE 8080:80/tcp", &[&host]),
            ("FROM a\nEXPOSE 127.0.0.1:8080:80/tcp", &[&address]),
            ("FROM a\nEXPOSE [::1]:8080:80/tcp", &[&six]),
            ("FROM a\nEXPOSE :80", &[]),
            ("FROM a\nEXPOSE 80: 80:/tcp", &[]),
        ];
        check("ExposeInvalidFormat", &World::default(), cases);
    }

    #[test]
    fn what_is_of_the_host_goes_where_ports_keep_their_order() {
        let cases = [
            ("FROM a\nEXPOSE 80 8080:90/tcp", "FROM a\nEXPOSE 80 90/tcp"),
            ("FROM a\nEXPOSE 85 8080:80", "FROM a\nEXPOSE 85 80"),
            ("FROM a\nEXPOSE 8090:85 8180:80", "FROM a\nEXPOSE 8090:85 8180:80"),
        ];
        for (text, expected) in cases {
            assert_eq!(fixed("ExposeInvalidFormat", &World::default(), text), expected);
        }
    }
}
