//! Following executions on a stream.

mod alarm;
mod feed;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use super::backends::parse_filter;
use super::error::Failure;
use super::standing::Standing;
use super::validate::{Violations, clamp};
use super::{Context, Inner, Service};
use crate::model::filter::Schema;
use crate::model::{ExecutionName, Scope, Timestamp};
use crate::proto::codec::Codec;
use crate::proto::v1;
use crate::server::ReplyBody;
use crate::token::{Binding, Resume as ResumeToken, ResumePoint};
use crate::tracker::{Resume, WatchRequest};
pub use feed::Feed;
use feed::Terms;
use reply::Reply;

const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);
const MAX_MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(60);

impl Inner {
    async fn watch_executions(
        self: Arc<Self>,
        context: Context,
        request: v1::WatchExecutionsRequest,
    ) -> Result<Feed, Failure> {
        let mut violations = Violations::new();
        let by_parent = !request.parent.is_empty();
        match (by_parent, request.names.is_empty()) {
            (true, false) => violations.add("parent", "goes without `names`: give exactly one of them"),
            (false, true) => violations.add("names", "needs at least one name, or give `parent` instead"),
            _ => {}
        }
        let names = match request.names.is_empty() {
            true => Vec::new(),
            false => violations.names("names", &request.names, ExecutionName::parse),
        };
        let scope = by_parent.then(|| violations.name("parent", Scope::parse(&request.parent)));
        if !by_parent && !request.filter.is_empty() {
            violations.add("filter", "goes with `parent` only");
        }
        if by_parent && request.until_done {
            violations.add("until_done", "goes with `names` only");
        }
        let heartbeat = violations.duration("heartbeat_interval", request.heartbeat_interval.as_ref());
        let min_update = violations.duration("min_update_interval", request.min_update_interval.as_ref());
        let max_staleness = violations.duration("max_staleness", request.max_staleness.as_ref());
        violations.finish()?;
        let scope = scope.flatten().map(|scope| context.permit_scope(&self, scope)).transpose()?;
        let standing = match &scope {
            Some(scope) => Standing::of_scope(context.caller.clone(), scope),
            None => Standing::of_names(context.caller.clone(), &names),
        };
        standing.check()?;
        let counted = context.caller.open_stream(names.len())?;
        let filter = parse_filter(&request.filter, Schema::Executions)?;

        let bound = if by_parent {
            Binding::watch_parent(context.caller.subject(), &request.parent, &request.filter).finish()
        } else {
            Binding::watch_names(context.caller.subject(), request.names.iter().map(String::as_str)).finish()
        };
        let (resume, reset) = match request.resume_token.as_str() {
            "" => (None, false),
            token => match self.resume_tokens.open(&bound, token) {
                Ok(ResumeToken::Known(point)) if point.view == standing.view() => {
                    (Some(resume_of(point)?), false)
                }
                // Of a time when the caller saw other backends: nobody noted what it missed of them, so it begins
                // anew like one that is too old.
                Ok(ResumeToken::Known(point)) => (Some(resume_of(point)?), true),
                Ok(ResumeToken::OtherEpoch) => (None, true),
                Err(_) => return Err(Failure::resume_token_invalid()),
            },
        };
        let parent = scope.map(|scope| (scope, filter));
        let watch_request = WatchRequest { names, parent, resume, reset, max_staleness };
        let watch = self.tracker.watch(watch_request, context.caller.subject()).await?;
        let heartbeat = clamp(heartbeat.unwrap_or(DEFAULT_HEARTBEAT), MIN_HEARTBEAT..=MAX_HEARTBEAT);
        let min_update = min_update.map(|interval| interval.min(MAX_MIN_UPDATE_INTERVAL));
        let terms = Terms { bound, heartbeat, min_update, until_done: request.until_done };
        Ok(Feed::new(self, watch, terms, standing, counted))
    }
}

/// Answers a call of WatchExecutions: opening is a unary call of an empty reply, and the stream takes that one's place.
pub(super) async fn answer<B>(
    service: Service,
    max_request: usize,
    request: http::Request<B>,
) -> http::Response<ReplyBody>
where
    B: http_body::Body<Error = Status> + Send + 'static,
{
    let mut feed = None;
    let codec: Codec<(), v1::WatchExecutionsRequest> = Codec::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(max_request);
    let response = grpc.unary(Opening { service, feed: Some(&mut feed) }, request).await;
    match feed {
        Some(feed) => response.map(|_| ReplyBody::Stream(Box::pin(Reply::new(feed)))),
        None => response.map(ReplyBody::from),
    }
}

/// A call that is answered with a stream.
struct Opening<'a> {
    service: Service,
    /// Where the stream is put.
    feed: Option<&'a mut Option<Feed>>,
}

impl<'a> UnaryService<v1::WatchExecutionsRequest> for Opening<'a> {
    type Response = ();
    type Future = BoxFuture<'a, Result<Response<()>, Status>>;

    fn call(&mut self, request: Request<v1::WatchExecutionsRequest>) -> Self::Future {
        let (service, feed) = (self.service.clone(), self.feed.take());
        Box::pin(async move {
            let opened = service.watch(request).await?;
            if let Some(feed) = feed {
                *feed = Some(opened);
            }
            Ok(Response::new(()))
        })
    }
}

impl Service {
    /// Opens a stream.
    ///
    /// # Errors
    /// As WatchExecutions has them.
    pub async fn watch(&self, request: Request<v1::WatchExecutionsRequest>) -> Result<Feed, Status> {
        let context = Context::of(&request)?;
        Ok(self.0.clone().watch_executions(context, request.into_inner()).await?)
    }
}

fn resume_of(point: ResumePoint) -> Result<Resume, Failure> {
    let time = |millis| {
        let time = Timestamp::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
        time.map_err(|_| Failure::resume_token_invalid())
    };
    let (opened_at, covered) = (time(point.opened_at_ms)?, time(point.covered_ms)?);
    Ok(Resume { position: point.position, opened_at, covered })
}
