use super::*;
use crate::backend::http::{HttpClients, Proxy, Url};
use crate::backend::testing::{Reply, Upstream, call, within};

const READ: Operation = Operation { name: "GetThing", safety: Safety::Read };
const TOKENED: Operation = Operation { name: "PutThing", safety: Safety::TokenedWrite };
const START: Operation =
    Operation { name: "StartThing", safety: Safety::UntokenedWrite(ErrorKind::StartOutcomeUnknown) };

/// Statuses only: 5xx may pass, 429 is throttling, the rest is final.
struct Plain(String);

#[async_trait]
impl Protocol for Plain {
    async fn prepare(&self, outgoing: &Outgoing, _: Timestamp) -> Result<Request, BackendError> {
        let url = Url::parse(&format!("{}{}", self.0, outgoing.path_and_query));
        let url =
            url.map_err(|error| BackendError::new(ErrorKind::UpstreamTokenTooLong, error.to_string()))?;
        let mut request = Request::new(outgoing.method.clone(), url);
        *request.body_mut() = Some(outgoing.body.clone().into());
        Ok(request)
    }

    fn classify(&self, _: &Operation, response: &Response) -> Result<(), Refusal> {
        let (kind, effect, retry) = match response.status.as_u16() {
            200..300 => return Ok(()),
            429 => (ErrorKind::UpstreamThrottled, Effect::None, Retry::Throttled),
            500.. => (ErrorKind::UpstreamInternal, Effect::Possible, Retry::Backoff),
            403 => (ErrorKind::BackendCredentialsInvalid, Effect::None, Retry::Renewed),
            _ => (ErrorKind::UpstreamUnrecognized, Effect::None, Retry::Never),
        };
        let message = String::from_utf8_lossy(&response.body).into_owned();
        Err(Refusal { kind, code: String::new(), message, effect, retry })
    }
}

struct Outcome {
    result: Result<String, BackendError>,
    arrived: usize,
    engine: Engine,
}

fn engine(clock: Clock) -> Engine {
    let http = HttpClients::default().get(None, Proxy::Never);
    let quota = Arc::new(QuotaGroup::new("test", 100.0));
    let metrics = crate::metrics::Metrics::new().backend("b");
    Engine::new("thing", http, quota, Duration::from_secs(5), 1000, clock, metrics)
}

fn outgoing() -> Outgoing {
    Outgoing {
        method: Method::GET,
        path_and_query: "/thing".into(),
        body: Bytes::new(),
        content_type: "application/json",
    }
}

async fn run(operation: &Operation, script: &[Reply], call: &Call) -> Outcome {
    let upstream = Upstream::start(script.iter().cloned()).await;
    let engine = engine(Clock::system());
    let decode = |response: &Response| {
        serde_json::from_slice::<String>(&response.body).map_err(|error| error.to_string())
    };
    let result = engine.call(&Plain(upstream.url()), operation, &outgoing(), call, decode).await;
    Outcome { result, arrived: upstream.arrived().len(), engine }
}

fn ok() -> Reply {
    Reply::json(200, "\"fine\"")
}

#[tokio::test]
async fn a_read_and_a_tokened_write_survive_two_failures() {
    for operation in [READ, TOKENED] {
        let script = [Reply::Close, Reply::json(503, "{}"), ok()];
        let outcome = run(&operation, &script, &call()).await;
        assert_eq!((outcome.result.unwrap().as_str(), outcome.arrived), ("fine", 3));
    }
}

#[tokio::test]
async fn three_tries_are_all() {
    let outcome = run(&READ, &[Reply::json(500, "{}")], &call()).await;
    assert_eq!((outcome.result.unwrap_err().kind, outcome.arrived), (ErrorKind::UpstreamInternal, 3));
}

#[tokio::test]
async fn an_unreadable_answer_is_asked_for_once_more() {
    let outcome = run(&READ, &[Reply::Http(200, vec![], b"<html>".to_vec())], &call()).await;
    assert_eq!((outcome.result.unwrap_err().kind, outcome.arrived), (ErrorKind::UpstreamInvalidResponse, 2));
}

#[tokio::test]
async fn an_untokened_write_whose_outcome_is_lost_is_never_sent_again() {
    let cut = Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}".to_vec());
    let large = Reply::Http(200, vec![], vec![b'x'; 2000]);
    for reply in [Reply::Close, Reply::json(500, "{}"), Reply::json(200, "{"), cut, large] {
        let outcome = run(&START, &[reply, ok()], &call()).await;
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::StartOutcomeUnknown, Effect::Possible));
        assert_eq!(outcome.arrived, 1);
    }
    let outcome = run(&START, &[Reply::Silence], &within(Duration::from_millis(300))).await;
    assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::StartOutcomeUnknown);
}

#[tokio::test]
async fn an_untokened_write_that_was_refused_had_no_effect() {
    let outcome = run(&START, &[Reply::json(429, "{}"), ok()], &call()).await;
    let error = outcome.result.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::UpstreamThrottled, Effect::None));
    assert_eq!(outcome.arrived, 1);
}

#[tokio::test]
async fn renewed_credentials_are_tried_once_for_any_operation() {
    for operation in [READ, TOKENED, START] {
        let outcome = run(&operation, &[Reply::json(403, "{}"), ok()], &call()).await;
        assert_eq!((outcome.result.unwrap().as_str(), outcome.arrived), ("fine", 2));
        let outcome = run(&operation, &[Reply::json(403, "{}")], &call()).await;
        assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::BackendCredentialsInvalid);
        assert_eq!(outcome.arrived, 2);
    }
}

#[tokio::test]
async fn a_hint_beyond_the_deadline_ends_the_call_at_once_and_pauses_the_bucket() {
    let reply = Reply::json(429, "{}").with("retry-after", "40");
    let begun = Instant::now();
    let outcome = run(&READ, &[reply], &within(Duration::from_secs(10))).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (ErrorKind::UpstreamThrottled, Some(Duration::from_secs(40)))
    );
    assert_eq!(outcome.arrived, 1);
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert!(
        outcome.engine.quota().wait(READ.name, crate::backend::Priority::Write) > Duration::from_secs(30)
    );
}

/// Takes its time before it sends.
struct Late(Plain, Duration);

#[async_trait]
impl Protocol for Late {
    async fn prepare(&self, outgoing: &Outgoing, now: Timestamp) -> Result<Request, BackendError> {
        tokio::time::pause();
        tokio::time::advance(self.1).await;
        tokio::time::resume();
        self.0.prepare(outgoing, now).await
    }

    fn classify(&self, operation: &Operation, response: &Response) -> Result<(), Refusal> {
        self.0.classify(operation, response)
    }
}

#[tokio::test]
async fn a_call_keeps_its_token_from_coming_back_until_it_is_answered() {
    let upstream = Upstream::start([ok()]).await;
    let engine = engine(Clock::system());
    let burst = engine.quota().allowance(READ.name).spare;
    let decode = |_: &Response| Ok(engine.quota().allowance(READ.name).spare);
    let protocol = Late(Plain(upstream.url()), Duration::from_millis(500));
    let spare = engine.call(&protocol, &READ, &outgoing(), &call(), decode).await.unwrap();
    assert!(spare <= burst - 1.0, "{spare} of {burst}");
}

#[tokio::test]
async fn a_redirect_is_an_error_of_its_own() {
    let outcome = run(&READ, &[Reply::json(302, "{}").with("location", "/elsewhere")], &call()).await;
    assert_eq!((outcome.result.unwrap_err().kind, outcome.arrived), (ErrorKind::UpstreamRedirected, 1));
}

#[tokio::test]
async fn the_callers_deadline_and_the_trys_end_are_told_apart() {
    let outcome = run(&READ, &[Reply::Silence], &within(Duration::from_millis(200))).await;
    assert_eq!(outcome.result.unwrap_err().kind, ErrorKind::DeadlineExceeded);

    let upstream = Upstream::start([Reply::Silence]).await;
    let mut engine = engine(Clock::system());
    engine.request_timeout = Duration::from_millis(100);
    let decode = |_: &Response| Ok(());
    let result = engine.call(&Plain(upstream.url()), &READ, &outgoing(), &call(), decode).await;
    assert_eq!((result.unwrap_err().kind, upstream.arrived().len()), (ErrorKind::UpstreamTimeout, 3));
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_has_no_effect() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let engine = engine(Clock::system());
    let result: Result<(), _> =
        engine.call(&Plain(format!("http://{closed}")), &START, &outgoing(), &call(), |_| Ok(())).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::UpstreamUnreachable, Effect::None));
}

#[tokio::test]
async fn errors_carry_upstreams_context_and_no_secret() {
    let reply = Reply::json(418, "no https://x/y?X-Amz-Signature=1234").with("x-amzn-requestid", "r-1");
    let error = run(&READ, &[reply], &call()).await.result.unwrap_err();
    assert_eq!(error.message, "no https://x/y?[hidden]");
    let context = error.upstream.unwrap();
    assert_eq!((context.service, context.operation), ("thing", "GetThing"));
    assert_eq!((context.http_status, context.request_id.as_str()), (Some(418), "r-1"));
}

#[tokio::test]
async fn upstreams_clock_is_read_from_its_date() {
    let base = time::macros::datetime!(2026-11-21 06:00:00 UTC);
    let upstream = Upstream::start([ok().with("date", "Sat, 21 Nov 2026 06:15:00 GMT")]).await;
    let engine = engine(Clock::from_fn(move || base));
    assert_eq!(engine.upstream_now(), base);
    engine.call(&Plain(upstream.url()), &READ, &outgoing(), &call(), |_| Ok(())).await.unwrap();
    let ahead = engine.upstream_now() - base;
    assert!((ahead - time::Duration::minutes(15)).abs() < time::Duration::seconds(11), "{ahead}");
}

#[test]
fn a_query_is_escaped_strictly_and_leaves_out_what_is_unset() {
    assert_eq!(query(&[("a", None)]), "");
    assert_eq!(query(&[("a", Some("x y+z/~")), ("b", None), ("c", Some(""))]), "?a=x%20y%2Bz%2F~&c=");
}
