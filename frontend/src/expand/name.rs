//! What a variable's name is made of: letters and digits of any script, as Go's `unicode.IsLetter` and `unicode.IsDigit`
//! have them. One difference is left: vowel signs and circled letters count as letters here.

/// The zeros of all scripts but ASCII; the other nine digits follow each.
#[rustfmt::skip]
const ZEROS: [u32; 76] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x10d40, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730,
    0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50, 0x11da0, 0x11de0, 0x11f50, 0x16130, 0x16a60, 0x16ac0,
    0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0,
    0x1e5f1, 0x1e950, 0x1fbf0,
];

/// Tells whether a character is a decimal digit.
pub(super) fn is_digit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_digit();
    }
    let code = u32::from(character);
    let after = ZEROS.partition_point(|zero| *zero <= code);
    after > 0 && code - ZEROS[after - 1] < 10
}

/// Tells whether a character is a letter.
pub(super) fn is_letter(character: char) -> bool {
    character.is_ascii_alphabetic()
        || (!character.is_ascii() && character.is_alphabetic() && !character.is_numeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_decimal_digits_of_any_script_make_names() {
        let cases = [
            ('a', "letter"),
            ('é', "letter"),
            ('日', "letter"),
            ('三', "letter"),
            ('ª', "letter"),
            ('7', "digit"),
            ('٣', "digit"),
            ('９', "digit"),
            ('𝟿', "digit"),
            ('²', "other"),
            ('½', "other"),
            ('Ⅷ', "other"),
            ('_', "other"),
            ('\u{301}', "other"),
        ];
        for (character, expected) in cases {
            let found = match (is_letter(character), is_digit(character)) {
                (true, false) => "letter",
                (false, true) => "digit",
                _ => "other",
            };
            assert_eq!(found, expected, "{character}");
        }
        assert!(ZEROS.is_sorted());
    }
}
