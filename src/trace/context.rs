//! The `traceparent` header of the W3C recommendation Trace Context.

use http::HeaderValue;

/// Where a span stands: in which trace, and whether anybody records it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Context {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Context {
    /// Reads the header; a malformed one is none.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (version, rest) = header.split_at_checked(3)?;
        let (fields, beyond) = rest.split_at_checked(52)?;
        let [version] = hex::<1>(version.strip_suffix(b"-")?)?;
        // A later version may add fields; version 255 is none.
        let known = match version {
            0 => beyond.is_empty(),
            255 => false,
            _ => beyond.first().is_none_or(|first| *first == b'-'),
        };
        if !known {
            return None;
        }
        let (trace_id, rest) = fields.split_at_checked(32)?;
        let (span_id, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let trace_id = hex::<16>(trace_id)?;
        let span_id = hex::<8>(span_id)?;
        let [flags] = hex::<1>(flags.strip_prefix(b"-")?)?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The header.
    pub fn to_header(self) -> HeaderValue {
        let mut text = [b'-'; 55];
        text[..2].copy_from_slice(b"00");
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        write_hex(&[u8::from(self.sampled)], &mut text[53..]);
        // Digits and dashes are fit for a header.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id_text(self) -> String {
        let mut text = [0; 32];
        write_hex(&self.trace_id, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Reads lower-case digits; the recommendation knows no others.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written_alike() {
        let context = Context::parse(GOOD.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_header(), GOOD);
        assert_eq!(context.trace_id_text(), "0af7651916cd43dd8448eb211c80319c");
        let unsampled = Context::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.sampled);
    }

    #[test]
    fn what_is_malformed_is_no_header() {
        for bad in [
            "",
            "00",
            GOOD.strip_prefix('0').unwrap(),
            &GOOD.to_uppercase(),
            &GOOD.replace("00-", "ff-"),
            &GOOD.replace('-', "_"),
            &format!("{GOOD}-more"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
        // A later version may say more.
        let later = GOOD.replacen("00-", "01-", 1);
        assert!(Context::parse(format!("{later}-more").as_bytes()).is_some());
        assert!(Context::parse(format!("{later}more").as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            Context::parse(&bytes);
        }

        #[test]
        fn every_context_comes_back(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = Context { trace_id, span_id, sampled };
            prop_assert_eq!(Context::parse(context.to_header().as_bytes()), Some(context));
        }
    }
}
