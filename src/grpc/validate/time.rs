//! Durations and timestamps, which protobuf lets be more than they may mean.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::Timestamp;

/// The longest duration that protobuf defines: about 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Reads a duration: not negative, at most what protobuf defines, nanoseconds within a second.
///
/// # Errors
/// Names the rule that it breaks.
pub fn duration(value: &prost_types::Duration) -> Result<Duration, String> {
    if value.seconds < 0 || value.nanos < 0 {
        return Err("must not be negative".to_owned());
    }
    let Some(nanos) = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000) else {
        return Err(format!("has {} nanos; they must be within 0 to 999999999", value.nanos));
    };
    match u64::try_from(value.seconds) {
        Ok(seconds) if value.seconds <= MAX_SECONDS => Ok(Duration::new(seconds, nanos)),
        _ => Err(format!("has {} seconds; the most is {MAX_SECONDS}", value.seconds)),
    }
}

/// Reads a timestamp within the years 1 to 9999.
///
/// # Errors
/// Names the rule that it breaks.
pub fn timestamp(value: &prost_types::Timestamp) -> Result<Timestamp, String> {
    if !TIMESTAMP_SECONDS.contains(&value.seconds) {
        return Err(format!("has {} seconds, which is outside the years 1 to 9999", value.seconds));
    }
    if !(0..1_000_000_000).contains(&value.nanos) {
        return Err(format!("has {} nanos; they must be within 0 to 999999999", value.nanos));
    }
    let nanos = i128::from(value.seconds) * 1_000_000_000 + i128::from(value.nanos);
    Timestamp::from_unix_timestamp_nanos(nanos).map_err(|_| "is not a moment".to_owned())
}

/// The nearest duration within a range: what is granted of what was asked for.
pub fn clamp(asked: Duration, range: RangeInclusive<Duration>) -> Duration {
    asked.max(*range.start()).min(*range.end())
}
