//! What is counted of streams.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Registrar;

/// Why the gateway ends streams most often; these series are there from the start, so that their first rise is seen.
const REASONS: [&str; 3] = ["GATEWAY_DRAINING", "WATCH_CONSUMER_TOO_SLOW", "SELECTION_TOO_LARGE"];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Dropped {
    reason: &'static str,
}

/// The handles of streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    streams: Gauge,
    updates: Counter,
    coalesced: Counter,
    dropped: Family<Dropped, Counter>,
}

/// A stream counts as open while this lives.
#[derive(Debug)]
pub struct OpenStream(Gauge);

impl Watch {
    pub(super) fn new(registrar: &mut Registrar<'_>) -> Self {
        let watch = Self {
            streams: registrar.add(
                "testgate_watch_streams",
                "Open WatchExecutions streams",
                Gauge::default(),
            ),
            updates: registrar.add("testgate_watch_updates", "Updates sent on streams", Counter::default()),
            coalesced: registrar.add(
                "testgate_watch_coalesced",
                "States that were replaced by newer ones before their stream could send them",
                Counter::default(),
            ),
            dropped: registrar.add(
                "testgate_watch_dropped_streams",
                "Streams that the gateway ended, by the reason that their callers were told",
                Family::default(),
            ),
        };
        for reason in REASONS {
            drop(watch.dropped.get_or_create(&Dropped { reason }));
        }
        watch
    }

    /// Counts a stream for as long as the answer lives.
    pub fn open(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// Counts an update that is sent, and the states that it replaced.
    pub fn update(&self, coalesced: i32) {
        self.updates.inc();
        self.coalesced.inc_by(u64::try_from(coalesced).unwrap_or(0));
    }

    /// Counts a stream that the gateway ends, by the reason in its ErrorInfo.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&Dropped { reason }).inc();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
