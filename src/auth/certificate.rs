//! Client certificates. That somebody vouches for them is the business of the handshake; here they get a name.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::Timestamp;

/// No name is longer, in bytes.
const MAX_NAME_BYTES: usize = 2048;

/// What is known of a client by its certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The name in it, if it has one that can be told.
    pub(super) name: Option<String>,
    /// When it ends.
    pub(super) ends: Timestamp,
}

impl Certificate {
    /// Reads the names and the end of a certificate that a handshake has verified.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.map_or(&[][..], |extension| extension.value.general_names.as_slice());
        Ok(Self { name: name(names), ends: certificate.validity().not_after.to_datetime() })
    }
}

/// The SPIFFE id, of which there can be only one; else the first DNS name.
fn name(names: &[GeneralName<'_>]) -> Option<String> {
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.starts_with("spiffe://").then_some(*uri),
        _ => None,
    });
    let found = match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.to_owned(),
        (Some(_), Some(_)) => return None,
        (None, _) => names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })?,
    };
    // A `*` in a name must not look like one in a pattern, in a log for instance.
    let well_formed =
        found.len() <= MAX_NAME_BYTES && found.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
    well_formed.then_some(found)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn read(names: &[SanType]) -> Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(certificate.der()).unwrap()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn a_certificate_goes_by_its_spiffe_id_else_by_its_first_dns_name() {
        let spiffe = uri("spiffe://example.com/ns/a/sa/deploy");
        let both = read(&[dns("a.example"), spiffe.clone()]);
        assert_eq!(both.name.as_deref(), Some("spiffe://example.com/ns/a/sa/deploy"));
        assert_eq!(both.ends, time::macros::datetime!(2030-01-02 00:00 UTC));
        assert_eq!(read(&[dns("A.example"), dns("b.example")]).name.as_deref(), Some("a.example"));
        assert_eq!(read(&[uri("https://example.com/"), dns("a.example")]).name.as_deref(), Some("a.example"));
        assert_eq!(read(&[spiffe, uri("spiffe://example.com/other")]).name, None);
        assert_eq!(read(&[dns("*.example")]).name, None);
        assert_eq!(read(&[]).name, None);
    }

    #[test]
    fn anything_else_is_no_certificate() {
        assert!(Certificate::read(b"").is_err());
        assert!(Certificate::read(&[0x30, 0x82, 0xff, 0xff, 0, 1]).is_err());
    }
}
