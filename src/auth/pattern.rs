//! Patterns of subjects and backends.

/// A text in which `*` stands for any characters, none included. A `*` at the end stands for all that follows; one
/// before that stays within a part between slashes, so that `spiffe://example.com/ns/*/sa/deploy` means one
/// namespace, and nobody is let in by a name with more parts than its author thought of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern(Box<str>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let (pattern, open_end) = match self.0.strip_suffix('*') {
            Some(rest) => (rest.as_bytes(), true),
            None => (self.0.as_bytes(), false),
        };
        let text = text.as_bytes();
        let (mut at, mut in_pattern) = (0, 0);
        // The last `*`: where the pattern goes on after it, and what of the text it has taken up to.
        let mut star: Option<(usize, usize)> = None;
        loop {
            if in_pattern == pattern.len() && (open_end || at == text.len()) {
                return true;
            }
            match (pattern.get(in_pattern), text.get(at)) {
                (Some(b'*'), _) => {
                    in_pattern += 1;
                    star = Some((in_pattern, at));
                }
                (Some(expected), Some(found)) if expected == found => {
                    in_pattern += 1;
                    at += 1;
                }
                // An earlier `*` need not be tried: it can't take a slash either, and the first place where the
                // part between the two fits leaves the most to the last one.
                _ => match star {
                    Some((after, taken)) if text.get(taken).is_some_and(|byte| *byte != b'/') => {
                        (in_pattern, at) = (after, taken + 1);
                        star = Some((after, taken + 1));
                    }
                    _ => return false,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text)
    }

    /// The same by definition, in exponential time.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', [])) => true,
            Some((b'*', rest)) => {
                by_definition(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(first, left)| *first != b'/' && by_definition(pattern, left))
            }
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, left)| first == byte && by_definition(rest, left))
            }
        }
    }

    #[test]
    fn a_text_without_a_star_matches_itself_only() {
        assert!(matches("token:ci", "token:ci"));
        for other in ["token:c", "token:cix", "Token:ci", "", "xtoken:ci"] {
            assert!(!matches("token:ci", other), "{other}");
        }
    }

    #[test]
    fn a_star_at_the_end_takes_everything_and_one_before_stays_within_its_part() {
        assert!(matches("*", "") && matches("*", "jwt:https://login.example.com/#a/b"));
        assert!(matches("jwt:https://login.example.com/#svc-*", "jwt:https://login.example.com/#svc-a/b"));
        let one_namespace = "mtls:spiffe://example.com/ns/*/sa/deploy";
        assert!(matches(one_namespace, "mtls:spiffe://example.com/ns/prod/sa/deploy"));
        for other in [
            "mtls:spiffe://example.com/ns/a/b/sa/deploy",
            "mtls:spiffe://example.com/ns/a/sa/deploy/sa/deploy",
            "mtls:spiffe://example.com/ns/a/sa/deployer",
            "mtls:spiffe://example.org/ns/a/sa/deploy",
        ] {
            assert!(!matches(one_namespace, other), "{other}");
        }
    }

    #[test]
    fn a_hostile_text_takes_no_time() {
        let pattern = "*a".repeat(100);
        assert!(!matches(&pattern, &"b".repeat(100_000)));
        assert!(!matches(&format!("{pattern}!"), &"a".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn the_quick_way_is_the_definition(pattern in "[ab/*]{0,8}", text in "[ab/]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_text_is_matched_by_itself_and_by_its_beginning(text in "[^*]{0,40}", cut in 0usize..40) {
            prop_assert!(matches(&text, &text));
            let beginning: String = text.chars().take(cut).collect();
            let pattern = format!("{beginning}*");
            prop_assert!(matches(&pattern, &text));
        }
    }
}
