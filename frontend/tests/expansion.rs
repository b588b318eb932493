//! Expansion against a slow reference: words are made of pieces whose meaning is known from the table of forms.

use std::collections::BTreeMap;

use kiln_frontend::expand::Lexer;
use proptest::prelude::*;

/// A piece of a word.
#[derive(Debug, Clone)]
enum Piece {
    Plain(String),
    Escaped(char),
    Single(String),
    Double(Vec<Piece>),
    /// `$name`, always followed by something that is no part of a name.
    Bare(&'static str),
    Braced(&'static str),
    Default {
        name: &'static str,
        colon: bool,
        word: Vec<Piece>,
    },
    Alternate {
        name: &'static str,
        colon: bool,
        word: Vec<Piece>,
    },
}

/// `FULL` has a value, `EMPTY` is empty, `UNSET` is not set.
const NAMES: [&str; 3] = ["FULL", "EMPTY", "UNSET"];

fn value(name: &str) -> Option<&'static str> {
    match name {
        "FULL" => Some("a $b 'c'"),
        "EMPTY" => Some(""),
        _ => None,
    }
}

fn written(pieces: &[Piece]) -> String {
    pieces.iter().map(Piece::written).collect()
}

fn meant(pieces: &[Piece]) -> String {
    pieces.iter().map(Piece::meant).collect()
}

impl Piece {
    fn written(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Escaped(character) => format!("\\{character}"),
            Self::Single(text) => format!("'{text}'"),
            Self::Double(pieces) => format!("\"{}\"", written(pieces)),
            Self::Bare(name) => format!("${name}."),
            Self::Braced(name) => format!("${{{name}}}"),
            Self::Default { name, colon, word } => {
                format!("${{{name}{}-{}}}", if *colon { ":" } else { "" }, written(word))
            }
            Self::Alternate { name, colon, word } => {
                format!("${{{name}{}+{}}}", if *colon { ":" } else { "" }, written(word))
            }
        }
    }

    fn meant(&self) -> String {
        let is_given =
            |name: &str, colon: bool| value(name).is_some_and(|value| !(colon && value.is_empty()));
        let plain = |name: &str| value(name).unwrap_or("").to_owned();
        match self {
            Self::Plain(text) | Self::Single(text) => text.clone(),
            Self::Escaped(character) => character.to_string(),
            Self::Double(pieces) => meant(pieces),
            Self::Bare(name) => plain(name) + ".",
            Self::Braced(name) => plain(name),
            Self::Default { name, colon, word } => {
                if is_given(name, *colon) {
                    plain(name)
                } else {
                    meant(word)
                }
            }
            Self::Alternate { name, colon, word } => {
                if is_given(name, *colon) {
                    meant(word)
                } else {
                    String::new()
                }
            }
        }
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(NAMES.as_slice())
}

/// What may stand inside double quotes, too.
fn inner() -> impl Strategy<Value = Piece> {
    prop_oneof![
        "[a-zé /:.-]{1,4}".prop_map(Piece::Plain),
        proptest::sample::select(vec!['"', '$', '\\']).prop_map(Piece::Escaped),
        name().prop_map(Piece::Bare),
        name().prop_map(Piece::Braced),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let leaf = prop_oneof![
        3 => inner(),
        1 => "[a-z$\"\\\\ ]{0,4}".prop_map(Piece::Single),
        1 => proptest::collection::vec(inner(), 0..3).prop_map(Piece::Double),
    ];
    let nested = leaf.prop_recursive(3, 16, 4, |inner| {
        let word = proptest::collection::vec(inner, 0..4);
        prop_oneof![
            (name(), any::<bool>(), word.clone()).prop_map(|(name, colon, word)| Piece::Default {
                name,
                colon,
                word
            }),
            (name(), any::<bool>(), word).prop_map(|(name, colon, word)| Piece::Alternate {
                name,
                colon,
                word
            }),
        ]
    });
    proptest::collection::vec(nested, 0..6)
}

proptest! {
    #[test]
    fn a_word_means_what_its_pieces_mean(pieces in pieces()) {
        let variables: BTreeMap<String, String> =
            NAMES.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?.to_owned()))).collect();
        let expanded = Lexer::new('\\').expand(&written(&pieces), &variables).map(|expanded| expanded.text);
        prop_assert_eq!(expanded, Ok(meant(&pieces)), "{}", written(&pieces));
    }

    #[test]
    fn text_without_a_dollar_quote_or_escape_is_unchanged(text in "[^$'\"\\\\\u{feff}]{0,40}") {
        let expanded = Lexer::new('\\').expand(&text, &BTreeMap::new()).map(|expanded| expanded.text);
        prop_assert_eq!(expanded, Ok(text));
    }
}
