//! Sending spans to a collector over OTLP.

use std::time::Duration;

use http::HeaderValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::Context;
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others to go with.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take at the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Server,
    Client,
    Internal,
}

/// A span that is over.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) context: Context,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) state: Option<HeaderValue>,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) began: Timestamp,
    pub(super) took: Duration,
    pub(super) failed: bool,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// Takes spans to the collector.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    metrics: Metrics,
}

impl Exporter {
    pub(super) fn new(spans: mpsc::Receiver<Span>, metrics: Metrics) -> Self {
        Self { spans, metrics }
    }

    /// Sends what comes, in batches, until `stop`; what is left then is sent once more. A collector that is away
    /// costs the spans of the time, and nothing else.
    pub async fn run(mut self, endpoint: Endpoint, stop: CancellationToken) {
        let mut client = TraceServiceClient::new(endpoint.connect_lazy());
        let mut away = false;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = self.spans.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            let send_by = Instant::now() + LINGER;
            while batch.len() < BATCH && !stop.is_cancelled() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    next = timeout_at(send_by, self.spans.recv()) => match next {
                        Ok(Some(span)) => batch.push(span),
                        Ok(None) | Err(_) => break,
                    },
                }
            }
            if !stop.is_cancelled() {
                self.send(&mut client, std::mem::take(&mut batch), PATIENCE, &mut away).await;
            }
        }
        while let Ok(span) = self.spans.try_recv() {
            batch.push(span);
        }
        if !batch.is_empty() {
            self.send(&mut client, batch, LAST_PATIENCE, &mut away).await;
        }
    }

    async fn send(
        &self,
        client: &mut TraceServiceClient<Channel>,
        batch: Vec<Span>,
        patience: Duration,
        away: &mut bool,
    ) {
        let count = batch.len() as u64;
        let why = match timeout(patience, client.export(request(batch))).await {
            Ok(Ok(answer)) => {
                let refused = answer.into_inner().partial_success.map_or(0, |part| part.rejected_spans);
                self.metrics.spans_dropped(u64::try_from(refused).unwrap_or(0));
                *away = false;
                return;
            }
            Ok(Err(status)) => status.to_string(),
            Err(_) => format!("no answer within {} s", patience.as_secs()),
        };
        self.metrics.spans_dropped(count);
        if !std::mem::replace(away, true) {
            tracing::warn!(error = why, "the collector takes no traces; they are dropped until it does");
        }
    }
}

fn request(batch: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = vec![
        attribute("service.name", Value::Text("testgate".to_owned())),
        attribute("service.version", Value::Text(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    let scope = InstrumentationScope { name: "testgate".to_owned(), ..InstrumentationScope::default() };
    let spans = batch.into_iter().map(Span::into_otlp).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![otlp::ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![otlp::ScopeSpans { scope: Some(scope), spans, ..otlp::ScopeSpans::default() }],
            ..otlp::ResourceSpans::default()
        }],
    }
}

impl Span {
    fn into_otlp(self) -> otlp::Span {
        let nanos = |moment: Timestamp| u64::try_from(moment.unix_timestamp_nanos()).unwrap_or(0);
        let kind = match self.kind {
            Kind::Server => otlp::span::SpanKind::Server,
            Kind::Client => otlp::span::SpanKind::Client,
            Kind::Internal => otlp::span::SpanKind::Internal,
        };
        let code =
            if self.failed { otlp::status::StatusCode::Error } else { otlp::status::StatusCode::Unset };
        otlp::Span {
            trace_id: self.context.trace_id.to_vec(),
            span_id: self.context.span_id.to_vec(),
            trace_state: self
                .state
                .and_then(|state| Some(state.to_str().ok()?.to_owned()))
                .unwrap_or_default(),
            parent_span_id: self.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            name: self.name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: nanos(self.began),
            end_time_unix_nano: nanos(self.began + self.took),
            attributes: self.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
            status: Some(otlp::Status { message: String::new(), code: code.into() }),
            ..otlp::Span::default()
        }
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyValue::StringValue(text),
        Value::Number(number) => AnyValue::IntValue(number),
    };
    KeyValue { key: key.to_owned(), value: Some(Any { value: Some(value) }), ..KeyValue::default() }
}
