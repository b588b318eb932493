//! When a failed request is tried again, and after which wait. Pure: it sleeps nowhere and rolls no dice; the jitter
//! comes from a seed.

use std::time::Duration;

use crate::limit;

/// How often and after which time a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most attempts in all. At least one is made.
    pub attempts_max: u32,
    /// Most attempts where no connection comes about in time, each of which takes long; or where none comes about to a registry
    /// whose mirror has said that it does not have what is asked for.
    pub costly_attempts_max: u32,
    /// Wait before the second attempt; it doubles from there.
    pub first_delay: Duration,
    /// Longest wait of our own choice.
    pub delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            costly_attempts_max: 2,
            first_delay: Duration::from_millis(250),
            delay_max: Duration::from_secs(8),
        }
    }
}

/// What may be hoped for from another attempt, by what the last one failed with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outlook {
    /// Whether the same request may succeed a little later.
    pub(crate) is_retryable: bool,
    /// Whether another attempt takes long, or is for what is probably not there.
    pub(crate) is_costly: bool,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// The attempts at one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    jitter: Jitter,
    made: u32,
}

impl Attempts {
    /// Starts with no attempt made.
    pub(crate) fn new(policy: RetryPolicy, jitter: Jitter) -> Self {
        Self { policy, jitter, made: 0 }
    }

    /// Returns how many attempts have failed so far.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// Forgets the failures: the last attempt got further, or the next is made elsewhere.
    pub(crate) fn progress(&mut self) {
        self.made = 0;
    }

    /// Counts a failed attempt. Returns how long to wait before the next, or `None` where there is none.
    pub(crate) fn next(&mut self, outlook: Outlook) -> Option<Duration> {
        self.made += 1;
        let attempts_max =
            if outlook.is_costly { self.policy.costly_attempts_max } else { self.policy.attempts_max };
        if !outlook.is_retryable || self.made >= attempts_max {
            return None;
        }
        let doublings = (self.made - 1).min(16);
        let backoff = self.policy.first_delay.saturating_mul(1 << doublings).min(self.policy.delay_max);
        let own = self.jitter.spread(backoff);
        match outlook.retry_after {
            Some(asked) if asked > limit::RETRY_AFTER_MAX => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

/// Spreads waits, so that clients that failed together do not come back together (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// Starts a sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns something between three quarters of `delay` and five quarters of it.
    fn spread(&mut self, delay: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let thousandths = 750 + u32::try_from(word % 501).expect("a remainder below 501 fits");
        delay * thousandths / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const AGAIN: Outlook = Outlook { is_retryable: true, is_costly: false, retry_after: None };

    fn waits(outlook: Outlook) -> Vec<Duration> {
        let mut attempts = Attempts::new(RetryPolicy::default(), Jitter::new(1));
        std::iter::from_fn(|| attempts.next(outlook)).collect()
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_only_so_often() {
        let patience = |seconds| Outlook { retry_after: Some(Duration::from_secs(seconds)), ..AGAIN };
        for (outlook, retries) in [
            (AGAIN, 4),
            (Outlook::default(), 0),
            (patience(7), 4),
            (patience(3600), 0),
            (Outlook { is_costly: true, ..AGAIN }, 1),
        ] {
            assert_eq!(waits(outlook).len(), retries, "{outlook:?}");
        }
    }

    #[test]
    fn waits_double_and_are_spread_by_a_quarter() {
        for (wait, middle) in waits(AGAIN).into_iter().zip([250u64, 500, 1000, 2000]) {
            let wait = u64::try_from(wait.as_millis()).unwrap();
            assert!((middle * 3 / 4..=middle * 5 / 4).contains(&wait), "{wait} around {middle}");
        }
    }

    #[test]
    fn the_server_s_retry_after_is_kept() {
        assert!(
            waits(Outlook { retry_after: Some(Duration::from_secs(7)), ..AGAIN })
                .iter()
                .all(|wait| *wait == Duration::from_secs(7))
        );
    }

    #[test]
    fn seeds_give_different_waits() {
        let first = |seed| Attempts::new(RetryPolicy::default(), Jitter::new(seed)).next(AGAIN).unwrap();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
