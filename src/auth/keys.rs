//! An issuer's public keys: what of a JSON web key set can verify a signature, and by which algorithms.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// No key set is larger.
const MAX_KEYS: usize = 100;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys of a set that can verify.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// One of them.
pub(super) struct Key {
    id: Option<String>,
    pub(super) decoding: DecodingKey,
    /// What it may be used with. It follows from the key; a token can only choose among these.
    algorithms: Vec<Algorithm>,
}

impl KeySet {
    /// Reads a key set. Keys that are for something else, or of a kind that is not known here, are passed over.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(|_| "is not a JSON web key set")?;
        if set.keys.len() > MAX_KEYS {
            return Err("has more than 100 keys");
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err("has no key that can verify a signature") } else { Ok(Self(keys)) }
    }

    /// The key that a token names, or the only one that it can mean.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        match id {
            Some(id) => self.0.iter().find(|key| key.id.as_deref() == Some(id)),
            None => {
                let mut fitting = self.0.iter().filter(|key| key.may(algorithm));
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let verifies = common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
        // A symmetric key verifies nothing here: whoever can verify with it can sign with it.
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA.to_vec(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            _ => return None,
        };
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        if !verifies || algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, decoding, algorithms })
    }

    /// Whether a signature made by this algorithm may be verified with it.
    pub(super) fn may(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn ec(more: Value) -> Value {
        let mut key = json!({
            "kty": "EC", "crv": "P-256", "kid": "one",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn parse(keys: &[Value]) -> Result<KeySet, &'static str> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_s_algorithms_follow_from_the_key() {
        let rsa = json!({"kty": "RSA", "kid": "two", "n": "sXch", "e": "AQAB"});
        let set = parse(&[ec(json!({})), rsa.clone()]).unwrap();
        let one = set.find(Some("one"), Algorithm::ES256).unwrap();
        let two = set.find(Some("two"), Algorithm::RS256).unwrap();
        for algorithm in RSA {
            assert!(two.may(algorithm) && !one.may(algorithm));
        }
        assert!(one.may(Algorithm::ES256) && !two.may(Algorithm::ES256));
        for confused in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512, Algorithm::EdDSA] {
            assert!(!one.may(confused) && !two.may(confused));
        }
        let mut only = rsa;
        only["alg"] = json!("PS256");
        let set = parse(&[only]).unwrap();
        let only = set.find(None, Algorithm::PS256).unwrap();
        assert!(only.may(Algorithm::PS256) && !only.may(Algorithm::RS256));
    }

    #[test]
    fn keys_that_verify_nothing_here_are_passed_over() {
        for useless in [
            ec(json!({"use": "enc"})),
            ec(json!({"key_ops": ["sign"]})),
            ec(json!({"alg": "RS256"})),
            ec(json!({"alg": "HS256"})),
            ec(json!({"crv": "P-521"})),
            ec(json!({"x": "!"})),
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}),
            json!({"kty": "brand-new", "kid": "one"}),
            json!("no key"),
        ] {
            assert!(parse(std::slice::from_ref(&useless)).is_err(), "{useless}");
            assert!(
                parse(&[useless, ec(json!({"kid": "good"}))])
                    .unwrap()
                    .find(Some("good"), Algorithm::ES256)
                    .is_some()
            );
        }
        assert!(parse(&vec![ec(json!({})); MAX_KEYS + 1]).is_err());
        for text in ["", "{}", "[]", "{\"keys\": 1}", "<html>"] {
            assert!(KeySet::parse(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_token_that_names_no_key_means_the_only_one_that_fits() {
        let two = [ec(json!({})), ec(json!({"kid": "two"}))];
        assert!(parse(&two).unwrap().find(None, Algorithm::ES256).is_none());
        assert!(parse(&two[..1]).unwrap().find(None, Algorithm::ES256).is_some());
        assert!(parse(&two).unwrap().find(Some("three"), Algorithm::ES256).is_none());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(KeySet::parse(&text));
        }
    }
}
