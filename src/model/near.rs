//! What somebody who typed an unknown word probably meant.

/// Longer words are not compared: nobody mistypes those, and comparing costs the product of the lengths.
const MAX_BYTES: usize = 128;

/// The known word that is nearest to an unknown one, if any is near.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A letter in three may be wrong, but never all of them.
    let most = (typed.len() / 3).clamp(2, 4).min(typed.len().saturating_sub(1));
    let near = known.into_iter().map(|word| (distance(typed, word), word));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// `; did you mean WORD?`, or nothing.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

/// How many letters must change to make one word of the other, whatever their case.
fn distance(one: &str, other: &str) -> usize {
    if one.len().max(other.len()) > MAX_BYTES {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_meant_and_nothing_that_is_far() {
        let known = ["greeting", "holiday-closure", "timeout"];
        assert_eq!(nearest("greting", known), Some("greeting"));
        assert_eq!(nearest("Greeting", known), Some("greeting"));
        assert_eq!(nearest("holiday closures", known), Some("holiday-closure"));
        assert_eq!(nearest("transfer", known), None);
        assert_eq!(nearest("x", ["y"]), None, "another word altogether");
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"a".repeat(1000), ["a"]), None);
        assert_eq!(did_you_mean("timeot", known), "; did you mean timeout?");
        assert_eq!(did_you_mean("nothing like it", known), "");
    }

    #[test]
    fn letters_outside_ascii_are_no_trouble() {
        assert_eq!(nearest("grüße", ["gruesse", "grüsse"]), Some("grüsse"));
    }
}
