//! How much of a blob one request of an upload carries. Pure.
//!
//! | The registry | One request carries |
//! |---|---|
//! | says nothing of it | 64 MiB: less than what usual proxies before registries let through, and than what is lost where one of them passes on whole requests only |
//! | says `OCI-Chunk-Min-Length` | at least that |
//! | answers 413 | a quarter of that, down to 1 MiB |
//! | takes no parts (Google's Artifact Registry) | everything that is left, as docker sends it |

use http::{HeaderMap, HeaderName};

use crate::limit;

/// Where a registry says how small parts may be.
const MINIMUM_HEADER: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What is known of a registry's liking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// `None` for everything at once.
    bytes: Option<u64>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { bytes: Some(limit::CHUNK_BYTES) }
    }
}

impl Chunks {
    /// Returns how much of the `rest` the next request carries, where the registry wants `minimum`.
    pub(crate) fn length(self, rest: u64, minimum: u64) -> u64 {
        self.bytes.map_or(rest, |bytes| bytes.max(minimum).min(rest))
    }

    /// Returns what to send where `length` bytes were too many, if fewer can be sent.
    pub(crate) fn smaller(self, length: u64, minimum: u64) -> Option<Self> {
        let bytes = (length / 4).max(limit::CHUNK_BYTES_MIN);
        (bytes < length && bytes >= minimum).then_some(Self { bytes: Some(bytes) })
    }

    /// Returns what to send where parts are refused, if parts were sent.
    pub(crate) fn whole(self) -> Option<Self> {
        self.bytes.map(|_| Self { bytes: None })
    }
}

/// Returns the smallest part that a registry takes, besides the last.
pub(crate) fn minimum(headers: &HeaderMap) -> u64 {
    let text = headers.get(MINIMUM_HEADER).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_request_carries_what_the_registry_likes() {
        let usual = Chunks::default();
        for (chunks, rest, minimum, expected) in [
            (usual, 10, 0, 10),
            (usual, 200 * MIB, 0, 64 * MIB),
            (usual, 200 * MIB, MIB, 64 * MIB),
            (usual, 200 * MIB, 100 * MIB, 100 * MIB),
            (usual, 50 * MIB, 100 * MIB, 50 * MIB),
            (usual, 200 * MIB, u64::MAX, 200 * MIB),
            (usual.whole().unwrap(), 200 * MIB, 0, 200 * MIB),
        ] {
            assert_eq!(chunks.length(rest, minimum), expected, "{chunks:?} {rest} {minimum}");
        }
    }

    #[test]
    fn what_is_too_much_is_quartered_to_an_end() {
        let mut chunks = Chunks::default();
        let mut lengths = Vec::new();
        while let Some(smaller) = chunks.smaller(chunks.length(200 * MIB, 0), 0) {
            chunks = smaller;
            lengths.push(chunks.length(200 * MIB, 0) / MIB);
        }
        assert_eq!(lengths, [16, 4, 1]);
        assert_eq!(Chunks::default().smaller(64 * MIB, 32 * MIB), None, "fewer are not taken either");
        assert_eq!(chunks.whole().unwrap().whole(), None);
    }

    #[test]
    fn the_smallest_part_is_read_from_its_header() {
        for (text, expected) in [("5242880", 5 * MIB), (" 7 ", 7), ("-1", 0), ("much", 0)] {
            let headers = [(MINIMUM_HEADER, text.parse().unwrap())].into_iter().collect();
            assert_eq!(minimum(&headers), expected, "{text}");
        }
        assert_eq!(minimum(&HeaderMap::new()), 0);
    }
}
