//! Values that TOML has no type for: durations, sizes, addresses, URLs, ARNs.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{ListenAddr, StorePath};

/// How long a drain may be set to take.
pub(super) const DRAIN_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
pub(super) const DRAIN_TIMEOUT_SPELLED: &str = "from 100ms to 10m";
/// How old a connection may be set to become.
pub(super) const CONNECTION_AGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
pub(super) const CONNECTION_AGE_SPELLED: &str = "from 1s to 30d";
/// How long finished executions may be kept.
pub(super) const RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3600);
pub(super) const RETENTION_SPELLED: &str = "from 1s to 366d";

/// How large a file of the audit log may be set to grow.
pub(super) const AUDIT_SIZE: RangeInclusive<usize> = 64 << 10..=4 << 30;
pub(super) const AUDIT_SIZE_SPELLED: &str = "from 64KiB to 4GiB";

/// Text short enough for an error message.
pub(super) fn clip(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some(_) => text.chars().take(SHOWN).chain(std::iter::once('…')).collect(),
    }
}

/// Reads `250ms`, `2s`, `5m`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis_each: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(not_a("a duration such as \"250ms\", \"2s\", \"5m\", \"24h\" or \"7d\"", text)),
    };
    let count: u64 = number.parse().map_err(|_| not_a("a duration: a whole number and a unit", text))?;
    let millis = count.checked_mul(millis_each).ok_or_else(|| not_a("a duration: it is too long", text))?;
    Ok(Duration::from_millis(millis))
}

/// Writes a duration the way [`duration`] reads it.
pub(super) fn spell_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, each) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(each) {
            return format!("{}{unit}", millis / each);
        }
    }
    format!("{millis}ms")
}

/// Reads `512B`, `64KiB`, `4MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let each: usize = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(not_a("a size such as \"64KiB\" or \"4MiB\"", text)),
    };
    let count: usize = number.parse().map_err(|_| not_a("a size: a whole number and a unit", text))?;
    count.checked_mul(each).ok_or_else(|| not_a("a size: it is too large", text))
}

/// Reads `127.0.0.1:50051`, `[::1]:50051` or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<ListenAddr, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("\"unix:\" needs the socket's path after it".to_owned()),
        Some(path) if path.contains('\0') => Err("a path has no NUL".to_owned()),
        Some(path) => Ok(ListenAddr::Unix(PathBuf::from(path))),
        None => socket(text).map(ListenAddr::Tcp),
    }
}

/// Reads `127.0.0.1:9464`, or `off` as `None`.
pub(super) fn admin_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" { Ok(None) } else { socket(text).map(Some) }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        not_a(
            "an address: give an IP address and a port such as \"127.0.0.1:50051\" or \"[::1]:50051\"",
            text,
        )
    })
}

/// Reads a store's path, or `:memory:`.
pub(super) fn store_path(text: &str) -> Result<StorePath, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        ":memory:" => Ok(StorePath::Memory),
        _ if text.contains('\0') => Err("a path has no NUL".to_owned()),
        _ => Ok(StorePath::File(PathBuf::from(text))),
    }
}

/// Reads an `http` or `https` URL without credentials, query or fragment; cuts slashes at its end.
pub(super) fn url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must start with http:// or https://".to_owned());
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err("names no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("must not have a query or a fragment".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A Connect instance as written: its id, and the region if it was an ARN.
#[derive(Debug, PartialEq)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) region: Option<String>,
}

/// Reads an instance's id or its ARN, `arn:aws:connect:REGION:ACCOUNT:instance/ID`.
pub(super) fn instance(text: &str) -> Result<Instance, String> {
    let (id, region) = if text.starts_with("arn:") {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [_, partition, "connect", region, _, resource] = parts.as_slice() else {
            return Err("is not the ARN of a Connect instance".to_owned());
        };
        let Some(id) = resource.strip_prefix("instance/").filter(|_| partition.starts_with("aws")) else {
            return Err("is not the ARN of a Connect instance (…:instance/ID)".to_owned());
        };
        (id, Some((*region).to_owned()))
    } else {
        (text, None)
    };
    let well_formed =
        (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !well_formed {
        return Err("is neither an instance's id nor its ARN".to_owned());
    }
    Ok(Instance { id: id.to_owned(), region })
}

/// Reads an AWS region.
pub(super) fn region(text: &str) -> Result<String, String> {
    let well_formed = (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.contains('-');
    if well_formed { Ok(text.to_owned()) } else { Err(not_a("a region such as \"eu-west-1\"", text)) }
}

/// Reads a collector's URL. It stands beside the gateway, so TLS is its own affair towards the world.
pub(super) fn otlp_endpoint(text: &str) -> Result<String, String> {
    let url = url(text)?;
    if url.starts_with("http://") {
        Ok(url)
    } else {
        Err("must start with http://: TLS is for a collector beside the gateway to speak".to_owned())
    }
}

/// Reads the ARN of a role.
pub(super) fn role_arn(text: &str) -> Result<String, String> {
    let is_role = text.starts_with("arn:aws") && text.contains(":iam::") && text.contains(":role/");
    if is_role {
        Ok(text.to_owned())
    } else {
        Err(not_a("a role's ARN such as \"arn:aws:iam::123456789012:role/name\"", text))
    }
}

/// Reads the name of an environment variable. Whoever pastes the secret itself must not see it in the log,
/// so the message does not repeat the value.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts_well && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(text.to_owned())
    } else {
        Err("must be the name of an environment variable, not the secret itself".to_owned())
    }
}

/// Splits `250ms` into `250` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

fn not_a(what: &str, text: &str) -> String {
    format!("{:?} is not {what}", clip(text))
}
