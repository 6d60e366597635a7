//! Bearer tokens.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderValue;

use super::{MAX_CREDENTIAL_BYTES, Refusal};

/// How many tokens one file may hold, so that an old and a new one hold side by side.
const MAX_TOKENS: usize = 16;

/// What is kept of a token: enough to know it again.
pub(super) type Digest = [u8; 32];

/// Every known token's digest, with whose it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Vec<(Digest, Arc<str>)>);

impl Tokens {
    pub(super) fn add(&mut self, digests: &[Digest], subject: &Arc<str>) {
        self.0.extend(digests.iter().map(|digest| (*digest, subject.clone())));
    }

    /// Whose token has this digest. Takes as long for a token that nobody has as for any other.
    pub(super) fn find(&self, shown: &Digest) -> Option<Arc<str>> {
        let mut found = None;
        for (known, subject) in &self.0 {
            if same(known, shown) {
                found = Some(subject);
            }
        }
        found.cloned()
    }
}

/// Compares without telling by the time where two texts differ. A word at a time: a signed token has a thousand bytes, and
/// is compared at each call.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((words, tail), (other_words, other_tail)) = (one.as_chunks(), other.as_chunks());
    // What is made opaque here lets nobody, the compiler neither, stop at the first word that differs.
    let differs = |all: u64, (one, other): (&[u8; 8], &[u8; 8])| {
        black_box(all | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other)))
    };
    let words = words.iter().zip(other_words).fold(0, differs);
    let tail = tail.iter().zip(other_tail).fold(0, |all, (one, other)| black_box(all | (one ^ other)));
    words == 0 && tail == 0
}

pub(super) fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// The token of an authorization header.
pub(super) fn bearer(header: &HeaderValue) -> Result<Arc<[u8]>, Refusal> {
    let bytes = header.as_bytes();
    let (scheme, token) =
        bytes.split_at_checked(7).ok_or(Refusal("authorization must be `Bearer` and a token"))?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Refusal("authorization must be `Bearer` and a token"));
    }
    let token = token.trim_ascii();
    if token.len() > MAX_CREDENTIAL_BYTES || !is_token(token) {
        return Err(Refusal("the authorization header holds no token"));
    }
    Ok(token.into())
}

/// The digests of the tokens that a file or variable holds, one a line.
pub(super) fn digests(content: &[u8]) -> Result<Vec<Digest>, &'static str> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let tokens: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    if tokens.is_empty() {
        return Err("is empty");
    }
    if tokens.len() > MAX_TOKENS {
        return Err("holds more than 16 tokens");
    }
    if !tokens.iter().all(|token| token.len() <= MAX_CREDENTIAL_BYTES && is_token(token)) {
        return Err(
            "holds something that no header can carry as a token: a token is up to 8 KiB of visible ASCII",
        );
    }
    Ok(tokens.into_iter().map(digest_of).collect())
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_may_hold_an_old_and_a_new_token() {
        let mut tokens = Tokens::default();
        tokens.add(&digests(b"old\n\n new \r\n").unwrap(), &Arc::from("token:ci"));
        for known in ["old", "new"] {
            assert_eq!(tokens.find(&digest_of(known.as_bytes())).as_deref(), Some("token:ci"));
        }
        for unknown in ["", "ol", "olds", "OLD", "old\n"] {
            assert_eq!(tokens.find(&digest_of(unknown.as_bytes())), None, "{unknown:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_the_same_where_every_byte_is(text in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>()) {
            prop_assert!(same(&text, &text.clone()));
            prop_assert!(!same(&text, &[&text[..], b"x"].concat()));
            if !text.is_empty() {
                let mut other = text.clone();
                other[at.index(text.len())] ^= 1;
                prop_assert!(!same(&text, &other));
            }
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        for content in ["", "\n \n", "two words", "sécret", "a\0b", &"x\n".repeat(17), &"x".repeat(8193)] {
            assert!(digests(content.as_bytes()).is_err(), "{content:?}");
        }
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        let token = |text: &str| bearer(&HeaderValue::from_str(text).unwrap());
        assert_eq!(&*token("Bearer abc").unwrap(), b"abc");
        assert_eq!(&*token("bearer  abc").unwrap(), b"abc");
        for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearer a b", "Bearerabc"] {
            assert!(token(wrong).is_err(), "{wrong:?}");
        }
        assert!(bearer(&HeaderValue::from_bytes(b"Bearer \xff").unwrap()).is_err());
    }
}
