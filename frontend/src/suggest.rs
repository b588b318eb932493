//! "Did you mean": the nearest of a few known words.

/// The largest distance at which two words still count as near; short words must be nearer.
const DISTANCE_MAX: usize = 2;

/// Returns the option nearest to a word that is not one of them; nothing where none is near, or where the word itself is
/// among them (then the word is not what is wrong).
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = DISTANCE_MAX.min(word.chars().count() / 2);
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        if option == word {
            return None;
        }
        // Lengths that differ by more are never near, and long hostile words cost nothing.
        if option.len().abs_diff(word.len()) > DISTANCE_MAX * 4 {
            continue;
        }
        let distance = distance(word, option);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option)
}

/// As [`nearest`], without regard to case; the answer is written in the case of the word.
pub fn nearest_in_case<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    let options: Vec<String> = options.into_iter().map(str::to_lowercase).collect();
    let found = nearest(&lower, options.iter().map(String::as_str))?;
    if word == word.to_uppercase() { Some(found.to_uppercase()) } else { Some(found.to_owned()) }
}

/// The number of letters to insert, delete or replace, or of neighbours to swap.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != other);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let is_swapped = row > 0 && column > 0 && left[row - 1] == *other && right[column - 1] == *letter;
            if is_swapped {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_only_when_it_is_near() {
        let options = ["from", "run", "copy", "chown", "chmod"];
        let cases = [
            ("form", Some("from")),
            ("runn", Some("run")),
            ("chwon", Some("chown")),
            ("rnu", Some("run")),
            ("rux", Some("run")),
            ("abc", None),
            ("copy", None),
            ("elephant", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, options), expected, "{word}");
        }
    }

    #[test]
    fn a_suggestion_follows_the_case_of_the_word() {
        assert_eq!(nearest_in_case("FORM", ["from"]), Some("FROM".to_owned()));
        assert_eq!(nearest_in_case("Form", ["FROM"]), Some("from".to_owned()));
    }
}
