use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::access::{GrantConfig, Role, TokenConfig};
use crate::config::backend::SecretSource;
use crate::model::BackendId;

mod keys;

fn token(subject: &str, secret: &str) -> TokenConfig {
    TokenConfig { subject: subject.to_owned(), source: SecretSource::Fixed(secret.to_owned()) }
}

fn grant(subjects: &[&str], role: Role, backends: &[&str], transcripts: bool) -> GrantConfig {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    GrantConfig { subjects: owned(subjects), role, backends: owned(backends), transcripts }
}

fn auth(config: &AuthConfig) -> Auth {
    Auth::new(Some(config), &LimitsConfig::default(), Clock::system()).unwrap()
}

fn headers(authorization: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
}

async fn caller(auth: &Auth, token: &str) -> Result<Caller, Refusal> {
    auth.identify(&Peer::default(), &headers(&format!("Bearer {token}"))).await
}

fn id(text: &str) -> BackendId {
    BackendId::new(text).unwrap()
}

fn certificate(name: &str, lasts: Duration) -> Certificate {
    Certificate { name: Some(name.to_owned()), ends: Clock::system().now() + lasts }
}

const RIGHTS: [Right; 3] = [Right::Read, Right::Write, Right::Transcripts];

#[tokio::test]
async fn without_a_configuration_everybody_may_do_everything() {
    let anyone = Auth::anonymous().identify(&Peer::default(), &HeaderMap::new()).await.unwrap();
    assert_eq!(&**anyone.subject(), "anonymous");
    assert!(RIGHTS.iter().all(|right| anyone.may(*right, &id("any"))));
}

#[tokio::test]
async fn with_one_only_who_is_somebody_comes_in_and_may_do_what_is_granted() {
    let config = AuthConfig {
        tokens: vec![token("ci", "s3cret"), token("idle", "other")],
        grants: vec![
            grant(&["token:ci"], Role::Viewer, &["*"], false),
            grant(&["token:c*"], Role::Operator, &["connect-*"], false),
            grant(&["token:ci"], Role::Viewer, &["lex"], true),
        ],
        ..AuthConfig::default()
    };
    let auth = auth(&config);
    let ci = caller(&auth, "s3cret").await.unwrap();
    assert_eq!(&**ci.subject(), "token:ci");
    let may = |backend: &str| RIGHTS.map(|right| ci.may(right, &id(backend)));
    assert_eq!(may("connect-prod"), [true, true, false]);
    assert_eq!(may("connect"), [true, false, false]);
    assert_eq!(may("lex"), [true, false, true]);
    let idle = caller(&auth, "other").await.unwrap();
    assert!(RIGHTS.iter().all(|right| !idle.may(*right, &id("lex"))), "no grant names it");

    for wrong in ["S3cret", "s3cre", "s3crets"] {
        assert!(caller(&auth, wrong).await.is_err(), "{wrong}");
    }
    assert!(auth.identify(&Peer::default(), &HeaderMap::new()).await.is_err());
    let mut twice = headers("Bearer s3cret");
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
    assert!(auth.identify(&Peer::default(), &twice).await.is_err());
}

#[tokio::test]
async fn a_connection_s_last_caller_is_recalled_by_the_same_credential_and_policy_only() {
    let config = AuthConfig { tokens: vec![token("a", "one"), token("b", "two")], ..AuthConfig::default() };
    let auth = auth(&config);
    let peer = Peer::default();
    assert!(auth.recall(&peer, &headers("Bearer one")).is_none());
    auth.identify(&peer, &headers("Bearer one")).await.unwrap();
    assert_eq!(&**auth.recall(&peer, &headers("Bearer one")).unwrap().subject(), "token:a");
    for other in [headers("Bearer two"), headers("Bearer on"), HeaderMap::new()] {
        assert!(auth.recall(&peer, &other).is_none());
    }
    auth.replace(Some(&config), &LimitsConfig::default()).unwrap();
    assert!(auth.recall(&peer, &headers("Bearer one")).is_none(), "another policy judges anew");
}

#[tokio::test]
async fn a_certificate_is_somebody_until_it_ends_and_a_token_beats_it() {
    let auth = auth(&AuthConfig { tokens: vec![token("ci", "s3cret")], ..AuthConfig::default() });
    let peer = Peer::new(Some(certificate("spiffe://example.com/ns/a/sa/b", Duration::from_secs(60))));
    let by_certificate = auth.identify(&peer, &HeaderMap::new()).await.unwrap();
    assert_eq!(&**by_certificate.subject(), "mtls:spiffe://example.com/ns/a/sa/b");
    let by_token = auth.identify(&peer, &headers("Bearer s3cret")).await.unwrap();
    assert_eq!(&**by_token.subject(), "token:ci");
    assert!(auth.identify(&peer, &headers("Bearer wrong")).await.is_err(), "a bad token is no certificate");

    let ended = Peer::new(Some(certificate("a.example", Duration::ZERO)));
    assert!(auth.identify(&ended, &HeaderMap::new()).await.is_err());
    let nameless = Certificate { name: None, ..certificate("", Duration::from_secs(60)) };
    assert!(auth.identify(&Peer::new(Some(nameless)), &HeaderMap::new()).await.is_err());
}

#[tokio::test]
async fn a_caller_is_judged_again_when_the_policy_changes_or_the_credential_ends() {
    let config = AuthConfig {
        tokens: vec![token("ci", "s3cret")],
        grants: vec![grant(&["token:ci"], Role::Viewer, &["lex"], false)],
        ..AuthConfig::default()
    };
    let auth = auth(&config);
    let mut changes = auth.changes();
    let before = caller(&auth, "s3cret").await.unwrap();
    assert!(before.is_current());

    auth.replace(Some(&AuthConfig { grants: Vec::new(), ..config.clone() }), &LimitsConfig::default())
        .unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert!(!before.is_current());
    let after = before.renew().await.unwrap();
    assert!(!after.may(Right::Read, &id("lex")));

    auth.replace(Some(&AuthConfig { tokens: vec![token("ci", "new")], ..config }), &LimitsConfig::default())
        .unwrap();
    assert!(after.renew().await.is_err(), "its token is nobody's any more");
}

#[tokio::test]
async fn a_token_that_is_another_s_now_does_not_turn_its_stream_into_the_other_s() {
    let auth = auth(&AuthConfig { tokens: vec![token("a", "one")], ..AuthConfig::default() });
    let before = caller(&auth, "one").await.unwrap();
    let other = AuthConfig { tokens: vec![token("b", "one")], ..AuthConfig::default() };
    auth.replace(Some(&other), &LimitsConfig::default()).unwrap();
    assert!(before.renew().await.is_err());
}

#[tokio::test]
async fn token_files_are_read_again_and_a_bad_one_leaves_the_last_token_in_force() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let source = SecretSource::File(file.path().to_owned());
    let ci = TokenConfig { subject: "ci".to_owned(), source };
    let auth = auth(&AuthConfig { tokens: vec![ci], ..AuthConfig::default() });
    assert!(auth.has_files());
    let look = || (auth.look(), auth.look());

    std::fs::write(file.path(), "second\n").unwrap();
    look();
    assert!(caller(&auth, "first").await.is_err());
    assert!(caller(&auth, "second").await.is_ok());

    std::fs::write(file.path(), "\n").unwrap();
    look();
    assert!(caller(&auth, "second").await.is_ok());
    std::fs::remove_file(file.path()).unwrap();
    look();
    assert!(caller(&auth, "second").await.is_ok());
}

#[test]
fn a_policy_that_can_t_be_read_changes_nothing_and_says_what_without_the_secret() {
    let missing = SecretSource::File("/nonexistent/canary-token".into());
    let shared = [token("a", "canary"), token("b", "canary")];
    let empty = token("a", " ");
    for (tokens, says) in [
        (vec![TokenConfig { subject: "ci".to_owned(), source: missing }], "can't be read"),
        (shared.to_vec(), "auth.token[1]: the token of b is the same as that of token:a"),
        (vec![empty], "is empty"),
    ] {
        let config = AuthConfig { tokens, ..AuthConfig::default() };
        let problems = Auth::new(Some(&config), &LimitsConfig::default(), Clock::system()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains(says), "{problems:?}");
        let auth = Auth::anonymous();
        assert!(auth.replace(Some(&config), &LimitsConfig::default()).is_err());
        assert!(!auth.changes().has_changed().unwrap());
    }
}

proptest! {
    #[test]
    fn no_header_panics_or_lets_anybody_in(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let auth = auth(&AuthConfig { tokens: vec![token("ci", "a long secret".replace(' ', "-").as_str())], ..AuthConfig::default() });
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        prop_assert!(runtime.block_on(auth.identify(&Peer::default(), &headers)).is_err());
    }

    #[test]
    fn what_no_grant_allows_is_denied(
        subject in "token:[a-c]{1,2}",
        backend in "[a-c]{1,2}",
        grants in proptest::collection::vec(("token:[a-c*]{1,2}", any::<bool>(), "[a-c*]{1,2}", any::<bool>()), 0..5),
    ) {
        let configs: Vec<_> = grants
            .iter()
            .map(|(who, operates, what, transcripts)| {
                let role = if *operates { Role::Operator } else { Role::Viewer };
                grant(&[who], role, &[what], *transcripts)
            })
            .collect();
        let rules: Vec<_> = configs.iter().map(grant::Grant::new).map(Arc::new).collect();
        let access = Access::of(&subject, &rules);
        let covering: Vec<_> = configs
            .iter()
            .filter(|config| {
                pattern::Pattern::new(&config.subjects[0]).matches(&subject)
                    && pattern::Pattern::new(&config.backends[0]).matches(&backend)
            })
            .collect();
        let backend = id(&backend);
        prop_assert_eq!(access.allows(Right::Read, &backend), !covering.is_empty());
        prop_assert_eq!(
            access.allows(Right::Write, &backend),
            covering.iter().any(|config| config.role == Role::Operator)
        );
        prop_assert_eq!(
            access.allows(Right::Transcripts, &backend),
            covering.iter().any(|config| config.transcripts)
        );
    }
}
