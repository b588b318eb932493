//! What holds the house together and no compiler checks: each test is one rule, and says what to do about a finding.
#![expect(
    clippy::unwrap_used,
    reason = "a file that cannot be read ends the test, and the message says which"
)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/error_codes.rs"]
mod error_codes;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/lint_rules.rs"]
mod lint_rules;
#[path = "tidy/order.rs"]
mod order;
#[path = "tidy/places.rs"]
mod places;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

/// Fails with every finding and what to do about them.
#[track_caller]
fn expect_none(findings: &[String], advice: &str) {
    assert!(
        findings.is_empty(),
        "{} findings:\n  {}\nwhat to do: {advice}\n",
        findings.len(),
        findings.join("\n  ")
    );
}
