//! `--ulimit`, `--shm-size` and `--add-host`, in Docker's forms.

use std::net::{IpAddr, Ipv4Addr};

use kiln_builder::plan::Ulimit;

use super::SpecError;
use crate::suggest::nearest;

/// Names of limits, as `docker run --ulimit` has them.
const LIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads `NAME=SOFT[:HARD]`; -1 is unlimited, and a missing hard limit is the soft one.
///
/// # Errors
/// [`SpecError`].
pub(super) fn ulimit(spec: &str) -> Result<Ulimit, SpecError> {
    let error = |reason: String| SpecError::new("--ulimit", spec, reason);
    let (name, limits) =
        spec.split_once('=').ok_or_else(|| error("it is not of the form NAME=SOFT[:HARD]".to_owned()))?;
    if !LIMITS.contains(&name) {
        let hint = match nearest(name, LIMITS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the limits are `{}`", LIMITS.join("`, `")),
        };
        return Err(error(format!("there is no limit `{name}`")).with_hint(hint));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| error(format!("`{text}` is no number, nor -1"))),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    let is_above = match (soft, hard) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(soft), Some(hard)) => soft > hard,
    };
    if is_above {
        return Err(error("the soft limit is above the hard one".to_owned()));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads the size of `--shm-size`.
///
/// # Errors
/// [`SpecError`].
pub(super) fn shm_size(text: &str) -> Result<u64, SpecError> {
    size("--shm-size", text)
}

/// Reads a size such as `64m`: binary units, as Docker has them for memory and for what a cache may keep.
///
/// # Errors
/// [`SpecError`].
pub(super) fn size(flag: &'static str, text: &str) -> Result<u64, SpecError> {
    let error = || {
        SpecError::new(flag, text, "it is no size")
            .with_hint("a size is a number of bytes, or with a unit: 512k, 64m, 1g")
    };
    let small = text.to_ascii_lowercase();
    let small = small.strip_suffix("ib").or_else(|| small.strip_suffix('b')).unwrap_or(&small);
    let (digits, shift) = match small.as_bytes().last() {
        Some(b'k') => (&small[..small.len() - 1], 10),
        Some(b'm') => (&small[..small.len() - 1], 20),
        Some(b'g') => (&small[..small.len() - 1], 30),
        Some(b't') => (&small[..small.len() - 1], 40),
        _ => (small, 0),
    };
    let number: u64 = digits.trim_end().parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(error)
}

/// What Docker takes for the address of the host.
const HOST_GATEWAY: &str = "host-gateway";

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`.
///
/// # Errors
/// [`SpecError`].
pub(super) fn host(spec: &str) -> Result<(String, String), SpecError> {
    let error = |reason: String| SpecError::new("--add-host", spec, reason);
    let (name, address) = spec
        .split_once('=')
        .or_else(|| spec.split_once(':'))
        .ok_or_else(|| error("it is not of the form NAME:ADDRESS".to_owned()))?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(error(format!("`{name}` is no host name")));
    }
    if address == HOST_GATEWAY {
        // Steps have the host's network, where the host is here.
        return Ok((name.to_owned(), Ipv4Addr::LOCALHOST.to_string()));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| error(format!("`{address}` is no address")))?;
    Ok((name.to_owned(), address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limit = |soft, hard| Ok(Ulimit { name: "nofile".to_owned(), soft, hard });
        for (spec, expected) in [
            ("nofile=1024", limit(Some(1024), Some(1024))),
            ("nofile=1:2", limit(Some(1), Some(2))),
            ("nofile=5:-1", limit(Some(5), None)),
            ("nofile=-1", limit(None, None)),
            ("nofile=3:2", Err("the soft limit is above the hard one")),
            ("nofile=-1:2", Err("the soft limit is above the hard one")),
            ("nofile", Err("it is not of the form NAME=SOFT[:HARD]")),
            ("nofile=x", Err("`x` is no number, nor -1")),
            ("nofiles=1", Err("there is no limit `nofiles`")),
        ] {
            assert_eq!(ulimit(spec).map_err(|error| error.reason), expected.map_err(str::to_owned), "{spec}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, size) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("2 k", Some(2048)),
            ("0", None),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999t", None),
        ] {
            assert_eq!(shm_size(text).ok(), size, "{text}");
        }
    }

    #[test]
    fn hosts_have_a_name_and_an_address() {
        let pair = |name: &str, address: &str| Ok((name.to_owned(), address.to_owned()));
        for (spec, expected) in [
            ("a:10.0.0.1", pair("a", "10.0.0.1")),
            ("a=::1", pair("a", "::1")),
            ("a:::1", pair("a", "::1")),
            ("a:[fe80::1]", pair("a", "fe80::1")),
            ("a", Err("it is not of the form NAME:ADDRESS".to_owned())),
            ("a b:1.1.1.1", Err("`a b` is no host name".to_owned())),
            ("a:b", Err("`b` is no address".to_owned())),
            ("a:host-gateway", pair("a", "127.0.0.1")),
        ] {
            assert_eq!(host(spec).map_err(|error| error.reason), expected, "{spec}");
        }
    }
}
