use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn secrets_are_taken_out() {
    for (text, shown) in [
        (
            "see https://b.s3.amazonaws.com/a.zip?X-Amz-Signature=abc&x=1 now",
            "see https://b.s3.amazonaws.com/a.zip?[hidden] now",
        ),
        ("https://me:pw@host/path", "https://host/path"),
        ("jdbc:mysql://me:pw@db/om failed", "jdbc:mysql://db/om failed"),
        (
            r#"{"url":"https://me:pw@host/x","token":"a b","id":7}"#,
            r#"{"url":"https://host/x","token":[hidden],"id":7}"#,
        ),
        ("Authorization: Bearer abc.def", "Authorization: [hidden]"),
        ("got Bearer abc", "got Bearer [hidden]"),
        (r#"{"error":"Bearer abc is bad"}"#, r#"{"error":"Bearer [hidden] is bad"}"#),
        ("token=abc, id=7", "token=[hidden] id=7"),
        ("token = abc, id=7", "token = [hidden] id=7"),
        ("secret access key: abc def", "secret access key: [hidden] def"),
        ("\"password\": \"x\"", "\"password\": [hidden]"),
        ("\"password\": \"x y z\", \"id\": 7", "\"password\": [hidden], \"id\": 7"),
        (r#"{"code":401,"token":"abc","id":7} end"#, r#"{"code":401,"token":[hidden],"id":7} end"#),
        (r#"{"password":"x\" y z","id":7} end"#, r#"{"password":[hidden],"id":7} end"#),
        (r#"{"m":"{\"password\":\"x y\",\"id\":7}"}"#, r#"{"m":"{\"password\":[hidden],\"id\":7}"}"#),
        (r#"{"tokens":["a", "b"],"id":7}"#, r#"{"tokens":[hidden]"#),
        ("\"authorization\": \"Bearer abc\" sent", "\"authorization\": [hidden] sent"),
        ("user=me&pwd=abc&x=1 end", "user=me&pwd=[hidden] end"),
        ("a token: 'b then password: \"c' d\" e", "a token: [hidden] e"),
        ("key AKIAIOSFODNN7EXAMPLE is bad", "key [hidden] is bad"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.xxxx", "jwt [hidden]"),
        ("Duplicate entry [statement:\"INSERT INTO t VALUES (1)\"]", "Duplicate entry [statement left out]"),
        ("failed: SELECT a\nFROM b WHERE c = 'd'", "failed: [statement left out]"),
        ("please select a test and update it", "please select a test and update it"),
        ("two\nlines\tand\0more", "two lines and more"),
    ] {
        assert_eq!(clean(text), shown);
    }
}

/// Something that nothing else here looks like.
const SECRET: &str = "[0-9]{20}";

/// Names whose values are secrets, as different systems write them.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "password",
        "client_secret",
        "accessToken",
        "X-Api-Key",
        "db.passwd",
        "Authorization",
    ])
}

/// Text with all that structure is made of in it.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"'\\\\{}\\[\\],:=&;]{0,12}", any::<String>()]
}

/// An object that has a secret among other members, each with odd values.
fn object(secret: String, name: &str, others: Vec<(String, String)>, around: (String, String)) -> Value {
    let mut object: serde_json::Map<_, _> =
        others.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    object.insert(name.to_owned(), json!(format!("{}{secret}{}", around.0, around.1)));
    object.insert("zone".to_owned(), json!("last"));
    Value::Object(object)
}

proptest! {
    #[test]
    fn any_text_becomes_one_short_line(text in any::<String>()) {
        let shown = clean(&text);
        prop_assert!(shown.len() <= BackendError::MAX_MESSAGE_BYTES);
        prop_assert!(!shown.contains(['\n', '\r', '\0']));
    }

    #[test]
    fn plain_words_stay(text in "[a-z]{1,8}( [a-z]{1,8}){0,9}") {
        prop_assume!(!ends_with_scheme(&text) && !text.contains("basic ") && !text.contains("bearer "));
        prop_assert_eq!(clean(&text), text);
    }

    #[test]
    fn a_signature_never_survives(before in "[a-z ]{0,20}", secret in "[0-9]{30}", after in "[a-z ]{0,20}") {
        let link = format!("{before} https://x.example/y?a=b&X-Amz-Signature={secret} {after}");
        prop_assert!(!clean(&link).contains(&secret));
    }

    #[test]
    fn a_secret_in_json_never_survives(
        secret in SECRET, name in name(), around in (odd(), odd()), prose in (odd(), odd()),
        others in prop::collection::vec((odd(), odd()), 0..3),
    ) {
        let object = object(secret.clone(), name, others, around);
        let nested = json!({ "message": object.to_string(), "code": 400 }).to_string();
        for json in [object.to_string(), format!("{object:#}"), nested] {
            let text = format!("{}{json}{}", prose.0, prose.1);
            prop_assert!(!clean(&text).contains(&secret), "{text} -> {}", clean(&text));
        }
    }

    #[test]
    fn a_secret_in_a_list_of_settings_never_survives(
        secret in SECRET, name in name(), gap in " {0,2}", sign in "[:=]|=>", quote in "[\"'`]?",
        separator in "[,;& ]", others in prop::collection::vec("[a-z]{1,5}=[a-z0-9]{0,5}", 0..4),
    ) {
        let setting = format!("{quote}{name}{quote}{gap}{sign}{gap}{quote}{secret}{quote}");
        let (first, last) = others.split_at(others.len() / 2);
        let text = [first, &[setting], last].concat().join(&separator);
        prop_assert!(!clean(&text).contains(&secret), "{text} -> {}", clean(&text));
    }

    #[test]
    fn what_is_clean_stays_as_it_is(text in odd(), name in name(), value in odd()) {
        let once = clean(&format!("{text} {name}: {value} {text}"));
        prop_assert_eq!(clean(&once), once);
    }
}
