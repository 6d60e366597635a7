//! Whether, and after how long, a failed call is tried again. The only retry layer there is.

use std::time::Duration;

use super::ErrorKind;
use crate::model::Timestamp;

/// Tries of one call, the first included.
pub const MAX_TRIES: u32 = 3;
/// Tries of a call whose answer can't be read.
pub const MAX_INVALID_TRIES: u32 = 2;

const BASE: Duration = Duration::from_millis(100);
const THROTTLED_BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(5);

/// What a failure says about a second try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// It may pass: upstream or the way there had trouble.
    Backoff,
    /// Upstream asked for fewer calls.
    Throttled,
    /// The answer made no sense.
    Invalid,
    /// Credentials or the clock were off, and are renewed before the next try. Once.
    Renewed,
}

/// What is safe to send again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Safety {
    /// Changes nothing.
    Read,
    /// Changes something once, however often it is sent: it carries a token.
    TokenedWrite,
    /// Acts each time it arrives. Where its outcome is lost, the error is of this kind.
    UntokenedWrite(ErrorKind),
}

/// The tries of one call so far.
#[derive(Debug, Default)]
pub struct Tries {
    made: u32,
    invalid: u32,
    renewed: bool,
}

impl Tries {
    /// Notes a failed try and says how long to wait before the next; `None` where there is to be none.
    ///
    /// `certain` is whether the failed try certainly had no effect; `hint` is upstream's wish.
    pub fn next(
        &mut self,
        retry: Retry,
        safety: Safety,
        certain: bool,
        hint: Option<Duration>,
    ) -> Option<Duration> {
        if retry == Retry::Renewed {
            // Not counted as a try: nothing was wrong with the call itself.
            return (!std::mem::replace(&mut self.renewed, true)).then_some(Duration::ZERO);
        }
        self.made += 1;
        let again = match safety {
            Safety::Read | Safety::TokenedWrite => true,
            // Throttling is upstream's word, so its bytes did arrive: the caller decides.
            Safety::UntokenedWrite(_) => certain && retry == Retry::Backoff,
        };
        if !again || self.made >= MAX_TRIES {
            return None;
        }
        match retry {
            Retry::Never | Retry::Renewed => None,
            Retry::Backoff => Some(hint.unwrap_or_else(|| jitter(BASE, self.made))),
            Retry::Throttled => Some(hint.unwrap_or_else(|| jitter(THROTTLED_BASE, self.made))),
            Retry::Invalid => {
                self.invalid += 1;
                (self.invalid < MAX_INVALID_TRIES).then(|| jitter(BASE, self.made))
            }
        }
    }
}

/// Full jitter: anything from nothing to `base` doubled for each try made.
fn jitter(base: Duration, made: u32) -> Duration {
    let ceiling = base.saturating_mul(1 << made.min(10)).min(CAP);
    // A random UUID's low 64 bits less its two fixed ones are as good a source as any.
    let random = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit a double")]
    let share = random as f64 / f64::from(u32::MAX);
    ceiling.mul_f64(share.min(1.0))
}

/// Reads `Retry-After` (seconds or an HTTP date) or `x-amz-retry-after` (milliseconds).
pub fn retry_hint(headers: &http::HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("x-amz-retry-after").and_then(|value| value.parse().ok()) {
        return Some(Duration::from_millis(milliseconds).min(MAX_HINT));
    }
    let value = text("retry-after")?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(MAX_HINT));
    }
    let date = Timestamp::from(httpdate::parse_http_date(value).ok()?);
    Some(Duration::try_from(date - now).unwrap_or_default().min(MAX_HINT))
}

/// A hint beyond a day helps nobody.
const MAX_HINT: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use time::macros::datetime;

    const START: Safety = Safety::UntokenedWrite(ErrorKind::StartOutcomeUnknown);

    fn count(retry: Retry, safety: Safety, certain: bool) -> u32 {
        let mut tries = Tries::default();
        let mut made = 1;
        while tries.next(retry, safety, certain, None).is_some() {
            made += 1;
        }
        made
    }

    #[test]
    fn reads_and_tokened_writes_are_tried_three_times_and_bad_answers_twice() {
        for safety in [Safety::Read, Safety::TokenedWrite] {
            assert_eq!(count(Retry::Backoff, safety, false), 3);
            assert_eq!(count(Retry::Throttled, safety, true), 3);
            assert_eq!(count(Retry::Invalid, safety, false), 2);
            assert_eq!(count(Retry::Renewed, safety, true), 2);
            assert_eq!(count(Retry::Never, safety, true), 1);
        }
    }

    #[test]
    fn an_untokened_write_is_sent_again_only_where_it_certainly_never_arrived() {
        assert_eq!(count(Retry::Backoff, START, false), 1);
        assert_eq!(count(Retry::Backoff, START, true), 3);
        assert_eq!(count(Retry::Throttled, START, true), 1);
        assert_eq!(count(Retry::Invalid, START, false), 1);
        assert_eq!(count(Retry::Renewed, START, true), 2);
    }

    #[test]
    fn the_back_off_stays_within_its_ceiling_and_a_hint_is_taken_as_it_is() {
        for made in 0..50 {
            assert!(jitter(BASE, made) <= CAP);
        }
        let hint = Some(Duration::from_secs(7));
        assert_eq!(Tries::default().next(Retry::Throttled, Safety::Read, true, hint), hint);
    }

    #[test]
    fn a_retry_hint_comes_in_seconds_milliseconds_or_as_a_date() {
        let now = datetime!(2026-11-21 06:00:00 UTC);
        let hint = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            retry_hint(&headers, now)
        };
        assert_eq!(hint("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(hint("x-amz-retry-after", "250"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after", "Sat, 21 Nov 2026 06:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(hint("retry-after", "Sat, 21 Nov 2026 05:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(hint("retry-after", "99999999999"), Some(MAX_HINT));
        assert_eq!(hint("retry-after", "soon"), None);
    }
}
