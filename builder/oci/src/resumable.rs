//! SHA-256 that can be interrupted: its state after some bytes, to go on from there without these bytes.
//!
//! A [`HasherState`] is as good as the bytes it stands for: whoever keeps one must be sure that it was not changed meanwhile,
//! and that what is left out are the same bytes. Unaware of what is being hashed.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::digest::{Digest as _, Update};

use crate::{Digest, Hasher};

/// Bytes of a serialized state that say something between two blocks of SHA-256: eight words and the number of blocks.
const WORDS_BYTES: usize = 32;
const STATE_BYTES: usize = 40;

/// The state of SHA-256 after whole blocks of 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasherState {
    words: [u8; WORDS_BYTES],
    blocks: u64,
}

/// Computes a [`Digest`] of bytes that arrive in pieces, and tells its state on the way.
#[derive(Clone)]
pub struct ResumableHasher(Engine);

#[derive(Clone)]
enum Engine {
    Open(Sha256),
    /// Where the processor has no instructions for SHA-256, this one is a third faster, and keeps its state to itself.
    Closed(Hasher),
}

impl ResumableHasher {
    /// Starts an empty digest.
    pub fn new() -> Self {
        Self(if has_instructions() { Engine::Open(Sha256::new()) } else { Engine::Closed(Hasher::new()) })
    }

    /// Goes on after the bytes that a state stands for.
    pub fn resume(state: &HasherState) -> Self {
        let mut serialized = Sha256::new().serialize();
        serialized[..WORDS_BYTES].copy_from_slice(&state.words);
        serialized[WORDS_BYTES..STATE_BYTES].copy_from_slice(&state.blocks.to_le_bytes());
        let hasher = Sha256::deserialize(&serialized).expect("every state with an empty buffer is one");
        Self(Engine::Open(hasher))
    }

    /// Returns the state, if it can be told: after whole blocks of 64 bytes, and not on every processor.
    pub fn state(&self) -> Option<HasherState> {
        let Engine::Open(hasher) = &self.0 else { return None };
        let serialized: SerializedState<Sha256> = hasher.serialize();
        // What is behind the numbers is the buffer.
        if serialized[STATE_BYTES..] != Sha256::new().serialize()[STATE_BYTES..] {
            return None;
        }
        let (words, rest) = serialized.split_first_chunk::<WORDS_BYTES>()?;
        let blocks = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        Some(HasherState { words: *words, blocks })
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Engine::Open(hasher) => Update::update(hasher, bytes),
            Engine::Closed(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Engine::Open(hasher) => Digest::from_bytes(hasher.finalize().into()),
            Engine::Closed(hasher) => hasher.finish(),
        }
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_instructions() -> bool {
    std::arch::is_x86_feature_detected!("sha")
}

#[cfg(target_arch = "aarch64")]
fn has_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_instructions() -> bool {
    false
}

impl Default for ResumableHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ResumableHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResumableHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn a_digest_is_the_same_wherever_it_was_interrupted() {
        let whole = bytes(1000);
        for cut in (0..=1000).step_by(64) {
            let mut first = ResumableHasher(Engine::Open(Sha256::new()));
            first.update(&whole[..cut]);
            let mut second = ResumableHasher::resume(&first.state().unwrap());
            assert_eq!(second.state(), first.state());
            second.update(&whole[cut..]);
            assert_eq!(second.finish(), Digest::of(&whole), "{cut}");
        }
    }

    #[test]
    fn no_state_is_told_within_a_block_or_by_a_hasher_that_keeps_it_to_itself() {
        for count in [1, 63, 65, 127] {
            let mut hasher = ResumableHasher(Engine::Open(Sha256::new()));
            hasher.update(&bytes(count));
            assert_eq!(hasher.state(), None, "{count}");
        }
        let mut closed = ResumableHasher(Engine::Closed(Hasher::new()));
        closed.update(&bytes(128));
        assert_eq!(closed.state(), None);
        assert_eq!(closed.finish(), Digest::of(&bytes(128)));
    }
}
