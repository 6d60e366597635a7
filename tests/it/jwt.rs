//! JSON web tokens, with an issuer on a socket of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use testgate::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::Code;

use crate::guard::{Files, Guarded};
use crate::process::eventually;
use crate::support::now;

const ISSUER: &str = "https://login.example.com/";

/// A key that signs, and its public half.
struct Key {
    id: String,
    pair: KeyPair,
}

impl Key {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), pair: KeyPair::generate().unwrap() }
    }

    /// The point, without its prefix.
    fn public(&self) -> &[u8] {
        &self.pair.public_key_raw()[1..]
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.public().split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": text(x), "y": text(y)})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &EncodingKey::from_ec_der(&self.pair.serialize_der())).unwrap()
    }
}

fn set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// What a good token says, but for what a test changes.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "testgate", "sub": "svc-nightly", "exp": now().unix_timestamp() + 600,
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

/// Serves a key set, or whatever else it is told to.
struct IssuerServer {
    address: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl IssuerServer {
    async fn start(keys: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (answer, asked) = (Arc::new(Mutex::new(ok(keys))), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (answer.clone(), asked.clone());
        tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let mut request = [0; 4096];
                if !matches!(stream.read(&mut request).await, Ok(1..)) {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().unwrap().clone();
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        Self { address, answer, asked }
    }

    fn say(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A gateway that believes the issuer; `keys` is where its keys are.
async fn believing(files: Files, keys: &str) -> Guarded {
    let text = format!(
        "[[auth.jwt]]\nissuer = \"{ISSUER}\"\naudience = \"testgate\"\n{keys}\n\
         [[auth.grant]]\nsubjects = [\"jwt:{ISSUER}#svc-*\"]\nrole = \"viewer\"\nbackends = [\"lex\"]\n"
    );
    Guarded::start(files, &text).await
}

/// What a token's holder may see: how many backends, or why not.
async fn seen(gateway: &Guarded, token: &str) -> Result<usize, (Code, String)> {
    let request = v1::ListBackendsRequest::default();
    match gateway.client(token).await.list_backends(request).await {
        Ok(page) => Ok(page.into_inner().backends.len()),
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

async fn refused(gateway: &Guarded, token: &str) -> String {
    let (code, message) = seen(gateway, token).await.unwrap_err();
    assert_eq!(code, Code::Unauthenticated, "{message}");
    message
}

#[tokio::test]
async fn a_token_of_the_issuer_is_its_subject_and_anything_else_is_nobody() {
    let (key, stranger) = (Key::new("one"), Key::new("one"));
    let files = Files::new();
    files.write("keys.json", &set(&[&key]));
    let gateway = believing(files, "jwks_file = \"keys.json\"").await;
    let good = claims(json!({}));
    assert_eq!(seen(&gateway, &key.sign(&good)).await, Ok(1));
    assert_eq!(seen(&gateway, &key.sign(&claims(json!({"aud": ["other", "testgate"]})))).await, Ok(1));
    assert_eq!(
        seen(&gateway, &key.sign(&claims(json!({"sub": "someone"})))).await,
        Ok(0),
        "no grant names it"
    );

    for (token, says) in [
        (stranger.sign(&good), "signature"),
        (key.sign(&claims(json!({"aud": "other"}))), "for somebody else"),
        (key.sign(&claims(json!({"aud": []}))), "for somebody else"),
        (key.sign(&claims(json!({"iss": "https://elsewhere.example/"}))), "not known here"),
        (key.sign(&claims(json!({"exp": null}))), "lacks one of"),
        (key.sign(&claims(json!({"sub": null}))), "lacks one of"),
        (key.sign(&claims(json!({"aud": null}))), "lacks one of"),
        (key.sign(&claims(json!({"sub": ""}))), "subject"),
        (key.sign(&claims(json!({"sub": "a\nb"}))), "subject"),
    ] {
        let message = refused(&gateway, &token).await;
        assert!(message.contains(says), "{message}, not {says}");
        assert!(!message.contains("svc-nightly"));
    }
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute_and_no_more() {
    let key = Key::new("one");
    let files = Files::new();
    files.write("keys.json", &set(&[&key]));
    let gateway = believing(files, "jwks_file = \"keys.json\"").await;
    let at = |seconds: i64| now().unix_timestamp() + seconds;
    assert_eq!(seen(&gateway, &key.sign(&claims(json!({"exp": at(-30)})))).await, Ok(1));
    assert_eq!(seen(&gateway, &key.sign(&claims(json!({"nbf": at(30)})))).await, Ok(1));
    assert!(refused(&gateway, &key.sign(&claims(json!({"exp": at(-61)})))).await.contains("expired"));
    assert!(refused(&gateway, &key.sign(&claims(json!({"nbf": at(300)})))).await.contains("not hold yet"));
    let for_ages = key.sign(&claims(json!({"exp": i64::MAX})));
    assert_eq!(seen(&gateway, &for_ages).await, Ok(1), "far away is not past");
    refused(&gateway, &key.sign(&claims(json!({"exp": -1})))).await;
    refused(&gateway, &key.sign(&claims(json!({"exp": "tomorrow"})))).await;
}

#[tokio::test]
async fn no_token_chooses_how_it_is_verified() {
    let key = Key::new("one");
    let files = Files::new();
    files.write("keys.json", &set(&[&key]));
    let gateway = believing(files, "jwks_file = \"keys.json\"").await;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = part(&claims(json!({})));
    let none = format!("{}.{payload}.", part(&json!({"alg": "none", "kid": "one"})));
    refused(&gateway, &none).await;
    let signed = key.sign(&claims(json!({})));
    let signature = signed.rsplit('.').next().unwrap();
    for header in [
        json!({"alg": "none", "kid": "one"}),
        json!({"alg": "HS256", "kid": "one"}),
        json!({"alg": "RS256", "kid": "one"}),
        json!({"alg": "ES384", "kid": "one"}),
        json!({"alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256", "kid": "one", "crit": ["new"], "new": 1}),
        json!({"alg": "ES256", "jwk": key.jwk(), "kid": "two"}),
    ] {
        refused(&gateway, &format!("{}.{payload}.{signature}", part(&header))).await;
    }
    // The public key as if it were a shared secret, in each form in which somebody may know it.
    for secret in
        [key.public().to_vec(), key.pair.public_key_raw().to_vec(), key.pair.public_key_pem().into_bytes()]
    {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("one".to_owned()), ..Header::new(algorithm) };
            let token =
                encode(&header, &claims(json!({})), &EncodingKey::from_secret(&secret).unwrap()).unwrap();
            refused(&gateway, &token).await;
        }
    }
    let mut altered = signed.clone().into_bytes();
    let at = signed.find('.').unwrap() + 5;
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    refused(&gateway, std::str::from_utf8(&altered).unwrap()).await;
    for cut in [signed.len() - 1, signed.len() / 2, 10] {
        refused(&gateway, &signed[..cut]).await;
    }
    refused(&gateway, &format!("{signed}.{signature}")).await;
    assert_eq!(seen(&gateway, &signed).await, Ok(1));
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_for_the_first_token_that_names_it_and_strangers_cause_no_flood() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let issuer = IssuerServer::start(&set(&[&one])).await;
    let gateway = believing(Files::new(), &format!("jwks_url = \"http://{}/keys\"", issuer.address)).await;
    let token = one.sign(&claims(json!({})));
    eventually("the first keys are there", async || seen(&gateway, &token).await == Ok(1)).await;
    let (before, begun) = (issuer.asked(), std::time::Instant::now());

    let stranger = Key::new("stranger").sign(&claims(json!({})));
    for _ in 0..20 {
        assert!(refused(&gateway, &stranger).await.contains("key"));
    }
    // One every two seconds, and one at each end.
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() / 2 + 2;
    assert!(issuer.asked() - before <= most, "{} fetches for 20 strangers", issuer.asked() - before);

    issuer.say(&ok(&set(&[&one, &two])));
    let new = two.sign(&claims(json!({})));
    eventually("the second key is there", async || seen(&gateway, &new).await == Ok(1)).await;
    assert_eq!(seen(&gateway, &token).await, Ok(1));
}

#[tokio::test]
async fn an_issuer_that_is_away_or_talks_nonsense_leaves_its_keys_in_force() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let issuer = IssuerServer::start(&set(&[&one])).await;
    let gateway = believing(Files::new(), &format!("jwks_url = \"http://{}/keys\"", issuer.address)).await;
    let fresh = || one.sign(&claims(json!({"jti": now().unix_timestamp_nanos().to_string()})));
    eventually("the first keys are there", async || seen(&gateway, &fresh()).await == Ok(1)).await;
    let new = two.sign(&claims(json!({})));
    for answer in [
        "HTTP/1.1 503 Away\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        ok("{\"keys\": []}"),
    ] {
        issuer.say(&answer);
        let before = issuer.asked();
        eventually("it was asked", async || {
            // A token with another key makes the gateway ask as soon as it may.
            refused(&gateway, &new).await;
            issuer.asked() > before
        })
        .await;
        assert_eq!(seen(&gateway, &fresh()).await, Ok(1), "{answer}");
    }
}

#[tokio::test]
async fn a_key_that_leaves_the_file_takes_its_tokens_with_it() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let files = Files::new();
    files.write("keys.json", &set(&[&one]));
    let gateway = believing(files, "jwks_file = \"keys.json\"").await;
    let (old, new) = (one.sign(&claims(json!({}))), two.sign(&claims(json!({}))));
    assert_eq!(seen(&gateway, &old).await, Ok(1));
    gateway.files.write("keys.json", "{ torn");
    gateway.files.write("keys.json", &set(&[&two]));
    eventually("the new key is there", async || seen(&gateway, &new).await == Ok(1)).await;
    refused(&gateway, &old).await;
}
