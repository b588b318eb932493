//! Names of containers: as somebody asks, else an adjective and a surname, as Docker's are.

use std::collections::BTreeSet;

use kiln_store::ContainerId;

use super::ContainerError;

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brave", "bright", "busy", "calm", "clear", "clever", "cosy", "eager", "early", "fair",
    "gentle", "glad", "golden", "happy", "honest", "jolly", "keen", "kind", "lively", "lucid", "mellow",
    "nimble", "patient", "proud", "quick", "quiet", "steady", "sunny", "warm", "wise",
];
const SURNAMES: [&str; 32] = [
    "babbage", "bell", "bohr", "boole", "carson", "church", "curie", "darwin", "dijkstra", "euler",
    "faraday", "fermi", "franklin", "galois", "gauss", "goodall", "hamilton", "hopper", "hypatia", "kepler",
    "knuth", "lamarr", "lovelace", "maxwell", "meitner", "newton", "noether", "pasteur", "perlman", "ride",
    "turing", "wiles",
];

/// Refuses a name that Docker would refuse.
pub(super) fn check(name: &str) -> Result<(), ContainerError> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match begins && name.len() >= 2 && bytes.all(is_plain) {
        true => Ok(()),
        false => Err(ContainerError::InvalidName { name: name.to_owned() }),
    }
}

/// Returns a name that nobody has, made of an id.
pub(super) fn of(id: &ContainerId, taken: &BTreeSet<String>) -> String {
    let hex = id.to_string();
    let number = |at: usize| usize::from_str_radix(&hex[at..at + 4], 16).expect("an id is of hex digits");
    let name =
        format!("{}_{}", ADJECTIVES[number(0) % ADJECTIVES.len()], SURNAMES[number(4) % SURNAMES.len()]);
    let numbered = (1..).map(|number: u32| format!("{name}{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .expect("there is always a next number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_takes() {
        for (name, expected) in [
            ("web", true),
            ("a1", true),
            ("Web_1.x-y", true),
            ("", false),
            ("a", false),
            ("-web", false),
            (".web", false),
            ("web/1", false),
            ("we b", false),
            ("web\n1", false),
            ("wäb", false),
        ] {
            assert_eq!(check(name).is_ok(), expected, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let id = ContainerId::parse(&"0".repeat(64)).unwrap();
        let first = of(&id, &BTreeSet::new());
        assert_eq!(first, "amber_babbage");
        let taken = BTreeSet::from([first.clone(), format!("{first}1")]);
        assert_eq!(of(&id, &taken), "amber_babbage2");
        check(&first).unwrap();
    }
}
