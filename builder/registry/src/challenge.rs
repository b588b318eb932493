//! `WWW-Authenticate`: several challenges, each a scheme with parameters (RFC 9110, section 11). Pure, and forgiving:
//! what cannot be read is passed over, since another challenge may be one that can be met.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::limit;

/// One way of authentication that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// The parameters, names in lower case. The first of a name counts.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// Returns all challenges of an answer, in order.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter(|value| value.len() <= limit::CHALLENGE_BYTES_MAX);
    let parsed = texts.flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes())));
    parsed.take(limit::CHALLENGES_MAX).collect()
}

/// Parses one header's text.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut scanner = Scanner { rest: text };
    loop {
        scanner.skip(|c| c.is_whitespace() || c == ',');
        let word = scanner.token();
        if word.is_empty() {
            // A character that no token starts with: pass over it, unless that was the end.
            match scanner.next() {
                Some(_) => continue,
                None => return found,
            }
        }
        match (scanner.value(), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            }
            (Some(_), None) => {}
            (None, _) => {
                found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            }
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(is_skipped);
    }

    /// Takes a token, possibly empty.
    fn token(&mut self) -> &'a str {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let length = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        token
    }

    /// Takes `= value` if it is there. Blanks around the `=` are tolerated.
    fn value(&mut self) -> Option<String> {
        let after = self.rest.trim_start().strip_prefix('=')?;
        self.rest = after.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            self.rest = quoted;
            return Some(self.quoted());
        }
        let length = self.rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(value.to_owned())
    }

    /// Takes the rest of a quoted string. A missing closing quote is supplied.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        while let Some(c) = self.next() {
            match c {
                '"' => break,
                '\\' => value.extend(self.next()),
                other => value.push(other),
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let challenge = |challenge: Challenge| {
            let parameters: Vec<_> =
                challenge.parameters.iter().map(|(name, value)| format!("{name}=<{value}>")).collect();
            format!("{}({})", challenge.scheme, parameters.join(" "))
        };
        parse(text).into_iter().map(challenge).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_are_read_with_their_parameters() {
        for (text, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#,
                "bearer(realm=<https://auth.example/token> scope=<repository:a/b:pull,push> service=<r.example>)",
            ),
            (r#"Basic realm="Registry Realm""#, "basic(realm=<Registry Realm>)"),
            (
                r#"Basic realm="a", Bearer realm="b" , service = c"#,
                "basic(realm=<a>) bearer(realm=<b> service=<c>)",
            ),
            (r#"BEARER REALM="a \"b\" \\c",x=y"#, r#"bearer(realm=<a "b" \c> x=<y>)"#),
            ("Negotiate, Basic realm=x", "negotiate() basic(realm=<x>)"),
            ("Negotiate YII==, Basic realm=x", "negotiate(yii=<=>) basic(realm=<x>)"),
            (r#"Bearer realm="open"#, "bearer(realm=<open>)"),
            (r#"Bearer realm="a",realm="b""#, "bearer(realm=<a>)"),
            ("realm=x", ""),
            ("", ""),
            (",,;;,\"", ""),
            ("Bearer é realm=x", "bearer(realm=<x>)"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        let pieces = ["Bearer", " ", ",", "=", "\"", "\\", "realm", "é", "\u{7f}", "a=b"];
        for seed in 0..2000usize {
            let text: String =
                (0..8).map(|place| pieces[(seed * 7 + place * seed / 3) % pieces.len()]).collect();
            assert!(parse(&text).len() <= text.len());
        }
    }
}
