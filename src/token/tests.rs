use proptest::prelude::*;

use super::*;

fn key() -> TokenKey {
    TokenKey::from_bytes([7; 32])
}

fn pages() -> PageTokens {
    PageTokens::new(&key())
}

fn resumes() -> ResumeTokens {
    ResumeTokens::new(&key(), Epoch([3; 16]))
}

fn list(caller: &str, parent: &str) -> Bound {
    Binding::new(caller, "ListTests").and(parent).and("filter").finish()
}

const POINT: ResumePoint =
    ResumePoint { position: 42, opened_at_ms: 1_700_000_000_123, covered_ms: 1_700_000_060_123, view: 7 };

#[test]
fn a_page_token_opens_only_for_its_caller_method_and_arguments() {
    let token = pages().seal(&list("ann", "backends/a"), b"next");
    assert_eq!(pages().open(&list("ann", "backends/a"), &token).unwrap(), b"next");
    for other in [
        list("bob", "backends/a"),
        list("ann", "backends/b"),
        Binding::new("ann", "ListExecutions").and("backends/a").and("filter").finish(),
        Binding::new("ann", "ListTests").and("backends/afilter").and("").finish(),
        Binding::new("ann", "ListTests").and("backends/a").and("filter").and("").finish(),
    ] {
        assert_eq!(pages().open(&other, &token), Err(TokenInvalid));
    }
}

#[test]
fn a_page_token_holds_connects_longest() {
    let long = "x".repeat(100_000);
    let token = pages().seal(&list("", ""), long.as_bytes());
    assert!(token.len() < MAX_TOKEN_CHARS);
    assert_eq!(pages().open(&list("", ""), &token).unwrap(), long.as_bytes());
}

#[test]
fn a_token_shows_nothing_of_its_content_and_is_never_the_same_twice() {
    let (one, two) = (pages().seal(&list("", ""), &[0; 64]), pages().seal(&list("", ""), &[0; 64]));
    assert_ne!(one, two);
    assert!(!one.contains("AAAAAAAA"));
}

#[test]
fn another_key_opens_nothing() {
    let token = pages().seal(&list("", ""), b"next");
    let others = PageTokens::new(&TokenKey::from_bytes([8; 32]));
    assert_eq!(others.open(&list("", ""), &token), Err(TokenInvalid));
}

#[test]
fn a_resume_token_survives_the_process_with_key_and_epoch() {
    let bound = Binding::watch_parent("ann", "backends/-/tests/-", "").finish();
    let token = resumes().seal(&bound, POINT);
    assert_eq!(resumes().open(&bound, &token), Ok(Resume::Known(POINT)));
}

#[test]
fn a_resume_token_of_another_store_is_told_apart_from_a_bad_one() {
    let bound = Binding::watch_names("ann", ["a"]).finish();
    let foreign = ResumeTokens::new(&TokenKey::generate(), Epoch::generate()).seal(&bound, POINT);
    assert_eq!(resumes().open(&bound, &foreign), Ok(Resume::OtherEpoch));
    let forged = ResumeTokens::new(&TokenKey::generate(), Epoch([3; 16])).seal(&bound, POINT);
    assert_eq!(resumes().open(&bound, &forged), Err(TokenInvalid));
    let page = pages().seal(&bound, b"next");
    assert_eq!(resumes().open(&bound, &page), Err(TokenInvalid));
    for formless in ["", "resume", "====", "a b"] {
        assert_eq!(resumes().open(&bound, formless), Err(TokenInvalid), "{formless:?}");
    }
}

#[test]
fn a_selection_by_names_has_no_order_and_no_duplicates() {
    let bound = |names: &[&str]| Binding::watch_names("ann", names.iter().copied()).finish();
    assert_eq!(bound(&["a", "b"]), bound(&["b", "a", "b"]));
    assert_ne!(bound(&["a", "b"]), bound(&["ab"]));
    assert_ne!(bound(&["a"]), Binding::watch_names("bob", ["a"]).finish());
    assert_ne!(bound(&["a"]), Binding::watch_parent("ann", "a", "").finish());
}

#[test]
fn the_key_is_not_shown() {
    let shown = format!("{:?} {:?} {:?}", key(), pages(), resumes());
    assert!(!shown.contains('7'), "{shown}");
}

proptest! {
    #[test]
    fn any_payload_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..300), parent in ".{0,20}") {
        let bound = list("ann", &parent);
        prop_assert_eq!(pages().open(&bound, &pages().seal(&bound, &payload)).unwrap(), payload);
    }

    #[test]
    fn any_point_comes_back(position: u64, opened_at_ms: i64, covered_ms: i64, view: u64) {
        let bound = list("ann", "");
        let point = ResumePoint { position, opened_at_ms, covered_ms, view };
        prop_assert_eq!(resumes().open(&bound, &resumes().seal(&bound, point)), Ok(Resume::Known(point)));
    }

    #[test]
    fn any_altered_byte_is_found(at: prop::sample::Index, flip in 1u8..) {
        let bound = list("ann", "");
        let alter = |token: String| {
            let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            (at, URL_SAFE_NO_PAD.encode(bytes))
        };
        let (_, page) = alter(pages().seal(&bound, b"next"));
        prop_assert_eq!(pages().open(&bound, &page), Err(TokenInvalid));
        let (at, resume) = alter(resumes().seal(&bound, POINT));
        let expected = if (1..=16).contains(&at) { Ok(Resume::OtherEpoch) } else { Err(TokenInvalid) };
        prop_assert_eq!(resumes().open(&bound, &resume), expected);
    }

    #[test]
    fn arbitrary_text_never_opens(text in "\\PC{0,100}") {
        prop_assert_eq!(pages().open(&list("", ""), &text), Err(TokenInvalid));
        prop_assert!(!matches!(resumes().open(&list("", ""), &text), Ok(Resume::Known(_))));
    }

    #[test]
    fn arbitrary_bytes_in_form_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let text = URL_SAFE_NO_PAD.encode(bytes);
        prop_assert_eq!(pages().open(&list("", ""), &text), Err(TokenInvalid));
        prop_assert!(!matches!(resumes().open(&list("", ""), &text), Ok(Resume::Known(_))));
    }
}
