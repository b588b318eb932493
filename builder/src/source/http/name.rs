//! What a file of the web is called in an image: a function of its address alone, so that a known file needs no request.
//!
//! BuildKit's ADD passes the name on to what fetches (`dockerfile2llb/convert_copy.go`), so that `Content-Disposition` and
//! the addresses of redirects do not count. It is Go's `path.Base` of the path without escapes.

use kiln_registry::{WebUrl, percent_decoded};

/// Name of a file whose address has none (BuildKit's).
const UNNAMED: &[u8] = b"__unnamed__";
/// Longest name of a file that Linux has.
const NAME_BYTES_MAX: usize = 255;

/// Returns the name that an address gives a file. It is a name and no path, whatever the address says.
pub(super) fn file_name(url: &WebUrl) -> Vec<u8> {
    let path = percent_decoded(url.path());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let name = path[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is_name = !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_BYTES_MAX && !name.contains(&0);
    if is_name { name.to_vec() } else { UNNAMED.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_path_of_the_address() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for (text, name) in [
            ("http://h/a/b.tar.gz?x=/1", &b"b.tar.gz"[..]),
            ("http://h/a/b#/c", b"b"),
            ("http://h/a%20b", b"a b"),
            ("http://h/a%2fb", b"b"),
            ("http://h/a/%2e%2e%2f", UNNAMED),
            ("http://h/%ff%fe", b"\xff\xfe"),
            ("http://h/a%0ab", b"a\nb"),
            ("http://h/a%00b", UNNAMED),
            ("http://h/50%", b"50%"),
            ("http://h/dir/", b"dir"),
            ("http://h/", UNNAMED),
            ("http://h", UNNAMED),
            ("http://h?x/y", UNNAMED),
            ("http://h/a/..", UNNAMED),
            ("http://h/.", UNNAMED),
            ("http://me:x@h/y", b"y"),
            (&format!("http://h/{longest}"), longest.as_bytes()),
            (&format!("http://h/{longest}x"), UNNAMED),
        ] {
            assert_eq!(file_name(&text.parse().unwrap()), name, "{text}");
        }
    }
}
