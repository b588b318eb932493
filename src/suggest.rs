//! "Did you mean": the nearest of some words.

/// Returns the candidate that is most like `word`, if one is alike enough: a third of its letters may differ.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    if letters > WORD_LENGTH_MAX {
        return None;
    }
    let scored = candidates.iter().map(|candidate| (distance(&word, candidate), *candidate));
    let (score, best) = scored.min_by_key(|(score, _)| *score)?;
    (score <= letters.max(best.chars().count()).div_ceil(3)).then_some(best)
}

const WORD_LENGTH_MAX: usize = 100;

/// Returns how many letters must be put, taken or changed, or neighbours swapped.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut best = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_when_it_is_near() {
        for (word, nearest_word) in [
            ("tpye", Some("type")),
            ("Dest", Some("dest")),
            ("destination", None),
            ("tra", Some("tar")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &["type", "dest", "tar"]), nearest_word, "{word}");
        }
    }
}
