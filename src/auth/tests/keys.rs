//! When issuers' keys are fetched, on a clock that does not run by itself.

use std::collections::VecDeque;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::config::access::{IssuerConfig, KeySource};

const ISSUER: &str = "https://login.example.com/";

/// Answers fetches one after the other, the last one for ever.
struct Script(Mutex<(usize, VecDeque<Result<String, String>>)>);

impl Script {
    fn new(answers: &[Result<String, String>]) -> Self {
        Self(Mutex::new((0, answers.iter().cloned().collect())))
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().0
    }
}

#[async_trait]
impl FetchKeys for Script {
    async fn fetch(&self, url: &str, _: Option<&Path>) -> Result<Bytes, String> {
        assert_eq!(url, "https://login.example.com/keys");
        let mut script = self.0.lock().unwrap();
        script.0 += 1;
        let next = if script.1.len() > 1 { script.1.pop_front() } else { script.1.front().cloned() };
        next.unwrap().map(Bytes::from)
    }
}

fn keys(id: &str) -> String {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": id,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
    .to_string()
}

fn believing() -> Auth {
    let keys = KeySource::Url { url: "https://login.example.com/keys".to_owned(), ca_file: None };
    let issuer = IssuerConfig { issuer: ISSUER.to_owned(), audiences: vec!["testgate".to_owned()], keys };
    auth(&AuthConfig { issuers: vec![issuer], ..AuthConfig::default() })
}

/// A token that names a key and is signed by nobody.
fn naming(key: &str) -> String {
    use base64::Engine as _;
    let part =
        |value: serde_json::Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "aud": "testgate", "sub": "a", "exp": 4_000_000_000_u64});
    format!("{}.{}.{}", part(json!({"alg": "ES256", "kid": key})), part(claims), part(json!(0)))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_every_five_minutes_and_soon_again_after_a_failure() {
    let auth = believing();
    let script = Script::new(&[Err("away".to_owned()), Ok("nonsense".to_owned()), Ok(keys("one"))]);
    let mut changes = auth.changes();
    let watched = async {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(script.asked(), 1);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(script.asked(), 2);
        assert!(!changes.has_changed().unwrap(), "nothing good came yet");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(script.asked(), 3);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        sleep(Duration::from_secs(280)).await;
        assert_eq!(script.asked(), 3);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(script.asked(), 4);
        assert!(!changes.has_changed().unwrap(), "the same keys are no change");
    };
    tokio::select! {
        () = auth.keep_keys_fresh(&script) => panic!("it ended"),
        () = watched => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_with_an_unknown_key_waits_for_one_fetch_and_many_of_them_cause_few() {
    let auth = believing();
    let script = Script::new(&[Ok(keys("one")), Ok(keys("two"))]);
    let asking = async {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(script.asked(), 1);
        // Refused for its signature, and no more for its key.
        let refused = caller(&auth, &naming("two")).await.unwrap_err();
        assert_eq!(refused.0, "the token's signature is not its issuer's");
        assert_eq!(script.asked(), 2);
        let begun = tokio::time::Instant::now();
        for _ in 0..1000 {
            caller(&auth, &naming("three")).await.unwrap_err();
            sleep(Duration::from_millis(10)).await;
        }
        let most = begun.elapsed().as_secs() / 2 + 1;
        assert!(script.asked() as u64 - 2 <= most, "{} fetches", script.asked());
    };
    tokio::select! {
        () = auth.keep_keys_fresh(&script) => panic!("it ended"),
        () = asking => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_keys_of_an_issuer_that_is_away() {
    let auth = believing();
    let script = Script::new(&[Ok(keys("one")), Err("away".to_owned())]);
    let reloading = async {
        sleep(Duration::from_secs(1)).await;
        let keys = KeySource::Url { url: "https://login.example.com/keys".to_owned(), ca_file: None };
        let issuer = IssuerConfig { issuer: ISSUER.to_owned(), audiences: vec!["other".to_owned()], keys };
        let config = AuthConfig { issuers: vec![issuer], ..AuthConfig::default() };
        auth.replace(Some(&config), &LimitsConfig::default()).unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(script.asked() > 1);
        let refused = caller(&auth, &naming("one")).await.unwrap_err();
        assert_eq!(refused.0, "the token's signature is not its issuer's", "its key is known");
    };
    tokio::select! {
        () = auth.keep_keys_fresh(&script) => panic!("it ended"),
        () = reloading => {}
    }
}
