//! EXPOSE: `[ip:][host:]port[-port][/protocol]`, as BuildKit reads it.

use std::ops::Range;

use kiln_frontend::suggest;

/// What is wrong with a word of EXPOSE, and which bytes of it that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortProblem {
    pub(super) message: String,
    pub(super) range: Range<usize>,
    /// What may have been meant.
    pub(super) near: Option<&'static str>,
}

/// Returns the `port/protocol` names that one word of EXPOSE means, a range port by port.
///
/// Addresses and host ports are checked and then ignored, as in BuildKit.
pub(super) fn parse_ports(word: &str) -> Result<Vec<String>, PortProblem> {
    let (before, container) = word.rsplit_once(':').unwrap_or(("", word));
    let (address, host) = before.rsplit_once(':').unwrap_or(("", before));
    let (ports, written) = container.split_once('/').unwrap_or((container, ""));
    let at = word.len() - container.len();
    let problem = |message: String, range: Range<usize>| PortProblem { message, range, near: None };
    if ports.is_empty() {
        return Err(problem(format!("invalid port: `{word}`: no port specified"), 0..word.len()));
    }
    let protocol = if written.is_empty() { "tcp".to_owned() } else { written.to_ascii_lowercase() };
    if !PROTOCOLS.contains(&protocol.as_str()) {
        let message = format!("invalid port: `{word}`: invalid proto: `{protocol}`; it is tcp, udp or sctp");
        let near = suggest::nearest(&protocol, PROTOCOLS);
        return Err(PortProblem { near, ..problem(message, word.len() - written.len()..word.len()) });
    }
    if !is_address(address) {
        return Err(problem(format!("invalid IP address: `{address}`"), 0..address.len()));
    }
    let (first, last) = range(ports).map_err(|reason| {
        problem(format!("invalid containerPort: `{ports}`: {reason}"), at..at + ports.len())
    })?;
    if !host.is_empty() {
        let place = before.len() - host.len()..before.len();
        let (host_first, host_last) = range(host)
            .map_err(|reason| problem(format!("invalid hostPort: `{host}`: {reason}"), place.clone()))?;
        if last != first && last - first != host_last - host_first {
            let message =
                format!("invalid ranges specified for container and host ports: `{ports}` and `{host}`");
            return Err(problem(message, place.start..at + ports.len()));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

fn is_address(address: &str) -> bool {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.is_empty() || bare.parse::<std::net::IpAddr>().is_ok()
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let number = |text: &str| {
        if text.is_empty() {
            return Err("a port is missing");
        }
        text.parse::<u16>().map_err(|_| "a port is a number from 0 to 65535")
    };
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok((first, last)),
            _ => Err("the range ends before it begins"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_their_ports() {
        for (word, ports) in [
            ("80", "80/tcp"),
            ("80/", "80/tcp"),
            ("53/UDP", "53/udp"),
            ("7000-7002/sctp", "7000/sctp 7001/sctp 7002/sctp"),
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/tcp", "80/tcp"),
            ("[::1]:8080:80", "80/tcp"),
        ] {
            assert_eq!(parse_ports(word).unwrap().join(" "), ports, "{word}");
        }
    }

    #[test]
    fn wrong_words_are_refused_at_the_part_that_is_wrong() {
        for (word, part) in [
            ("", ""),
            ("a", "a"),
            ("80/http", "http"),
            ("70000/udp", "70000"),
            ("90-80", "90-80"),
            ("80-", "80-"),
            ("300.1.1.1:80:81", "300.1.1.1"),
            ("x:80", "x"),
            ("1-2:3-5/tcp", "1-2:3-5"),
            ("127.0.0.1::99999", "99999"),
            ("/tcp", "/tcp"),
        ] {
            let problem = parse_ports(word).unwrap_err();
            assert_eq!(&word[problem.range], part, "{word}: {}", problem.message);
        }
        assert_eq!(parse_ports("80/tpc").unwrap_err().near, Some("tcp"));
    }
}
