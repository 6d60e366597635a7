//! The log line of a call, which every call pays for.
//!
//! In JSON it is written straight to the lines that wait: tracing's formatter makes the same bytes, but takes several
//! times as long. Where that formatter would say more (a span is open) or writes text, it writes this line too.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;

use super::Lines;

/// Where the lines go as JSON. Unset where they are text, or where a test has its own subscriber.
static JSON: OnceLock<Lines> = OnceLock::new();

/// A call that is over.
#[derive(Debug)]
pub struct Call<'a, C> {
    /// Who called; empty where that is not known.
    pub caller: &'a str,
    /// The method's path.
    pub method: &'static str,
    /// How it ended.
    pub code: C,
    /// How long it took.
    pub took: Duration,
    /// Upstream's id of its last request for this call, if there was one.
    pub upstream_request_id: Option<&'a str>,
    /// Its trace.
    pub trace_id: String,
}

/// From now on the process's calls are told as JSON.
pub(super) fn tell_as_json(lines: Lines) {
    // It is the process's first log, or it would not be one.
    JSON.get_or_init(|| lines);
}

/// Writes the line of a call, if lines of its level are wanted.
pub fn call<'a, C: Debug>(call: impl FnOnce() -> Call<'a, C>) {
    if !tracing::enabled!(target: "access", tracing::Level::INFO) {
        return;
    }
    match JSON.get() {
        Some(lines) if tracing::Span::current().is_none() => {
            lines.append(|waiting| write(&call(), now(), waiting));
        }
        _ => trace(&call()),
    }
}

fn trace<C: Debug>(call: &Call<'_, C>) {
    let Call { caller, method, code, took, upstream_request_id, trace_id } = call;
    tracing::info!(
        target: "access",
        caller,
        method,
        code = ?code,
        duration_ms = took.as_secs_f64() * 1e3,
        upstream_request_id,
        trace_id,
        "request"
    );
}

fn write<C: Debug>(call: &Call<'_, C>, now: SystemTime, waiting: &mut Vec<u8>) {
    let Call { caller, method, code, took, upstream_request_id, trace_id } = call;
    waiting.extend_from_slice(br#"{"timestamp":""#);
    waiting.extend_from_slice(&timestamp(now));
    waiting.extend_from_slice(br#"","level":"INFO","message":"request","caller":"#);
    text(caller, waiting);
    waiting.extend_from_slice(br#","method":"#);
    text(method, waiting);
    waiting.extend_from_slice(br#","code":"#);
    text(&format!("{code:?}"), waiting);
    waiting.extend_from_slice(br#","duration_ms":"#);
    value(&(took.as_secs_f64() * 1e3), waiting);
    if let Some(id) = upstream_request_id {
        waiting.extend_from_slice(br#","upstream_request_id":"#);
        text(id, waiting);
    }
    waiting.extend_from_slice(br#","trace_id":"#);
    text(trace_id, waiting);
    waiting.extend_from_slice(b",\"target\":\"access\"}\n");
}

/// A text as JSON. Most have nothing to escape.
fn text(text: &str, waiting: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        waiting.push(b'"');
        waiting.extend_from_slice(text.as_bytes());
        waiting.push(b'"');
    } else {
        value(text, waiting);
    }
}

fn value(value: &(impl Serialize + ?Sized), waiting: &mut Vec<u8>) {
    // Neither texts, nor numbers, nor memory can fail.
    serde_json::to_writer(waiting, value).ok();
}

#[expect(clippy::disallowed_methods, reason = "a log line has the system's time, as tracing's own have")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// `2026-11-30T08:30:00`, which all lines of a second begin with.
type Second = [u8; 19];

/// A moment as tracing writes it: RFC 3339 with microseconds.
fn timestamp(now: SystemTime) -> [u8; 27] {
    thread_local! {
        static LAST: Cell<(u64, Second)> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
    }
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (mut unix, mut second) = LAST.get();
    if unix != since.as_secs() {
        (unix, second) = (since.as_secs(), spell(since.as_secs()));
        LAST.set((unix, second));
    }
    let mut text = *b"1970-01-01T00:00:00.000000Z";
    text[..19].copy_from_slice(&second);
    let mut micros = since.subsec_micros();
    for digit in text[20..26].iter_mut().rev() {
        *digit = b'0' + u8::try_from(micros % 10).unwrap_or(0);
        micros /= 10;
    }
    text
}

fn spell(unix: u64) -> Second {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    // No clock shows the year 10,000.
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at.date(), at.time());
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    text.as_bytes().try_into().unwrap_or(*b"1970-01-01T00:00:00")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use time::format_description::well_known::Rfc3339;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::LogFormat;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        /// What tracing's formatter makes of a call.
        fn traced(&self, lines: &Lines, call: &Call<'_, String>) -> String {
            trace(call);
            assert!(lines.flush(Duration::from_secs(60)));
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    /// The moment of a line.
    fn moment(line: &str) -> SystemTime {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        OffsetDateTime::parse(line["timestamp"].as_str().unwrap(), &Rfc3339).unwrap().into()
    }

    #[test]
    fn a_line_is_what_tracing_would_write() {
        let written = Written::default();
        let lines = Lines::to(written.clone()).unwrap();
        let (layer, _) = super::super::handle(LogFormat::Json, "access=info", lines.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let calls =
            (any::<String>(), any::<String>(), any::<u64>(), any::<Option<String>>(), any::<String>());
        let same =
            |(caller, code, nanos, upstream_request_id, trace_id): (String, _, _, Option<String>, _)| {
                let call = Call {
                    caller: &caller,
                    method: "/testgate.v1.TestExecutionService/GetExecution",
                    code,
                    took: Duration::from_nanos(nanos),
                    upstream_request_id: upstream_request_id.as_deref(),
                    trace_id,
                };
                let expected = written.traced(&lines, &call);
                let mut line = Vec::new();
                write(&call, moment(&expected), &mut line);
                prop_assert_eq!(String::from_utf8(line).unwrap(), expected);
                Ok(())
            };
        let mut runner = TestRunner::default();
        tracing::subscriber::with_default(subscriber, || runner.run(&calls, same)).unwrap();
    }

    proptest! {
        #[test]
        fn a_timestamp_is_rfc_3339_to_the_microsecond(micros in 0_u64..253_402_300_800_000_000) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
            let text = String::from_utf8(timestamp(at).to_vec()).unwrap();
            prop_assert_eq!(SystemTime::from(OffsetDateTime::parse(&text, &Rfc3339).unwrap()), at);
        }
    }
}
