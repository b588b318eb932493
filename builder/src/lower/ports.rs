//! EXPOSE: `[ip:][host:]port[-port][/protocol]`, as BuildKit reads it.

/// Returns the `port/protocol` names that one word of EXPOSE means, a range port by port.
///
/// Addresses and host ports are checked and then ignored, as in BuildKit.
pub(super) fn parse_ports(word: &str) -> Result<Vec<String>, String> {
    let mut parts: Vec<&str> = word.split(':').collect();
    let container = parts.pop().unwrap_or_default();
    let host = parts.pop().unwrap_or_default();
    let address = parts.join(":");
    let (ports, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    if ports.is_empty() {
        return Err(format!("invalid port: `{word}`: no port specified"));
    }
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid port: `{word}`: invalid proto: `{protocol}`; it is tcp, udp or sctp"));
    }
    check_address(&address)?;
    let (first, last) =
        range(ports).map_err(|reason| format!("invalid containerPort: `{ports}`: {reason}"))?;
    if !host.is_empty() {
        let (host_first, host_last) =
            range(host).map_err(|reason| format!("invalid hostPort: `{host}`: {reason}"))?;
        if last != first && last - first != host_last - host_first {
            return Err(format!(
                "invalid ranges specified for container and host ports: `{ports}` and `{host}`"
            ));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn check_address(address: &str) -> Result<(), String> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare.is_empty() || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("invalid IP address: `{address}`"))
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
    fn wrong_words_are_refused() {
        for word in ["", "a", "80/http", "70000", "90-80", "80-", "300.1.1.1:80:80", "x:80", "/tcp"] {
            assert!(parse_ports(word).is_err(), "{word}");
        }
    }
}
