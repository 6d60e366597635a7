//! Reading requests and writing replies the way the server's own framework does.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sandbox::http::{Reply, decode_form};

/// The text of a route that does not exist. Told apart from a missing entity by this text and by the lack of
/// a `WWW-Authenticate` header.
pub(super) const ABSENT_ROUTE: &str = "HTTP 404 Not Found";

/// A refusal.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    message: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// `{"code","message"}` alone.
    Plain,
    /// The same with the `om-auth` challenge, which the server puts on 401, 403, 404, 409 and 412 alike.
    Challenge,
    /// Bare text, as the JSON parser's refusals come.
    Text,
    /// 405 with the methods that the path does have.
    Allow(&'static str),
}

impl Fault {
    fn new(status: StatusCode, message: impl Into<String>, form: Form) -> Self {
        Self { status, message: message.into(), form }
    }

    /// No such route, or a path or query parameter that can't be parsed: the server tells them apart no more.
    pub(super) fn absent() -> Self {
        Self::new(StatusCode::NOT_FOUND, ABSENT_ROUTE, Form::Plain)
    }

    /// The path exists, the method does not.
    pub(super) fn method(allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed", Form::Allow(allow))
    }

    /// An entity that is not there.
    pub(super) fn missing(kind: &str, what: &str) -> Self {
        Self::challenge(StatusCode::NOT_FOUND, format!("{kind} instance for {what} not found"))
    }

    pub(super) fn challenge(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message, Form::Challenge)
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, Form::Plain)
    }

    pub(super) fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message, Form::Plain)
    }

    pub(super) fn text(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, Form::Text)
    }

    /// What the server makes of an exception that it did not expect.
    pub(super) fn unexpected(message: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("An exception with message [{message}] was thrown while processing request."),
            Form::Plain,
        )
    }

    pub(super) fn into_reply(self) -> Reply {
        let body = json!({"code": self.status.as_u16(), "message": self.message});
        match self.form {
            Form::Plain => Reply::json(self.status, &body),
            Form::Challenge => Reply::json(self.status, &body).header("www-authenticate", "om-auth"),
            Form::Allow(methods) => Reply::json(self.status, &body).header("allow", methods),
            Form::Text => Reply::with_type(self.status, "text/plain", self.message),
        }
    }
}

/// What a handler answers.
pub(super) type Answer = Result<Reply, Fault>;

/// A JSON reply with status 200.
pub(super) fn ok(body: &Value) -> Reply {
    Reply::json(StatusCode::OK, body)
}

/// A JSON reply that says what a write changed.
pub(super) fn changed(status: StatusCode, change: &str, body: &Value) -> Reply {
    Reply::json(status, body).header("x-openmetadata-change", change)
}

/// The query's parameters, decoded, in their order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(raw: &str) -> Self {
        // A broken escape in a query is taken as it stands.
        let part = |text: &str| decode_form(text).unwrap_or_else(|| text.to_owned());
        Self(
            raw.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (part(name), part(value))
                })
                .collect(),
        )
    }

    /// The first value of a name; an empty value counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A number; one that can't be parsed is answered like a missing route.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.get(name).map(|text| text.parse().map_err(|_| Fault::absent())).transpose()
    }

    pub(super) fn uuid(&self, name: &str) -> Result<Option<Uuid>, Fault> {
        self.get(name).map(|text| uuid(text).ok_or_else(Fault::absent)).transpose()
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// `limit`, checked against its bounds.
    pub(super) fn limit(&self, default: usize) -> Result<usize, Fault> {
        match self.number("limit")? {
            None => Ok(default),
            Some(limit) if limit < 0 => {
                Err(Fault::bad("[query param limit must be greater than or equal to 0]"))
            }
            Some(limit) if limit > 1_000_000 => {
                Err(Fault::bad("[query param limit must be less than or equal to 1000000]"))
            }
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(default)),
        }
    }

    /// `offset`, checked against its lower bound.
    pub(super) fn offset(&self) -> Result<usize, Fault> {
        let offset = self.number("offset")?.unwrap_or(0);
        usize::try_from(offset)
            .map_err(|_| Fault::bad("[query param offset must be greater than or equal to 0]"))
    }

    /// `fields`, each checked against what the entity has.
    pub(super) fn fields(&self, known: &[&str]) -> Result<Fields, Fault> {
        let names: Vec<String> = self
            .get("fields")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(strange) = names.iter().find(|name| *name != "*" && !known.contains(&name.as_str())) {
            return Err(Fault::bad(format!("Invalid field name {strange}")));
        }
        Ok(Fields(names))
    }

    /// `include`: whether the deleted and the live are wanted.
    pub(super) fn include(&self) -> Result<Include, Fault> {
        match self.get("include") {
            None | Some("non-deleted") => Ok(Include::Live),
            Some("deleted") => Ok(Include::Deleted),
            Some("all") => Ok(Include::All),
            Some(_) => Err(Fault::absent()),
        }
    }
}

/// The optional fields that a caller asked for.
#[derive(Debug)]
pub(super) struct Fields(Vec<String>);

impl Fields {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field == name || field == "*")
    }
}

/// Which entities a caller wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    Live,
    Deleted,
    All,
}

impl Include {
    pub(super) fn admits(self, deleted: bool) -> bool {
        match self {
            Self::Live => !deleted,
            Self::Deleted => deleted,
            Self::All => true,
        }
    }
}

/// Reads a UUID as Java does: five hexadecimal groups of any length, the surplus cut off in front.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    let groups = text
        .split('-')
        .map(|group| {
            let plain = group.len() <= 16 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
            if plain { u64::from_str_radix(group, 16).ok() } else { None }
        })
        .collect::<Option<Vec<u64>>>()?;
    let [low, mid, high, clock, node] = groups.as_slice() else { return None };
    let upper = ((low & 0xffff_ffff) << 32) | ((mid & 0xffff) << 16) | (high & 0xffff);
    let lower = ((clock & 0xffff) << 48) | (node & 0xffff_ffff_ffff);
    Some(Uuid::from_u64_pair(upper, lower))
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uuid_is_read_as_leniently_as_java_reads_it() {
        assert_eq!(uuid("1-1-1-1-1").unwrap().to_string(), "00000001-0001-0001-0001-000000000001");
        assert_eq!(uuid("case"), None);
        assert_eq!(uuid("00000001000100010001000000000001"), None);
        assert_eq!(uuid("1-1-1-1-"), None);
    }

    #[test]
    fn an_unparsable_number_is_answered_like_an_absent_route() {
        let reply = Query::parse("limit=abc").limit(10).unwrap_err().into_reply();
        assert_eq!(reply.status, 404);
        assert!(reply.headers.get(WWW_AUTHENTICATE).is_none());
        assert_eq!(Query::parse("limit=-1").limit(10).unwrap_err().into_reply().status, 400);
        assert_eq!(Query::parse("limit=1000001").limit(10).unwrap_err().into_reply().status, 400);
        assert_eq!(Query::parse("startTs=").number("startTs").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            uuid(&text);
            let query = Query::parse(&text);
            drop((query.limit(10), query.uuid("a"), query.include(), query.fields(&[])));
        }

        #[test]
        fn every_written_uuid_is_read_back(number in any::<u128>()) {
            let id = Uuid::from_u128(number);
            prop_assert_eq!(uuid(&id.to_string()), Some(id));
        }
    }
}
