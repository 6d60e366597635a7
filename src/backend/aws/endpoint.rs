//! Where a service is: as configured, as the AWS environment says, or by region and partition.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use super::AwsService;
use crate::backend::http::Url;
use crate::backend::{BackendError, ErrorKind};

/// `http::Uri` accepts no more.
const MAX_URL_BYTES: usize = 65_534;

/// A base URL without a slash at its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint(String);

/// A partition's region prefixes, DNS suffix and dual-stack suffix.
const PARTITIONS: [(&str, &str, &str); 6] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
];

impl Endpoint {
    pub(super) fn new(
        service: &AwsService,
        region: &str,
        custom: Option<&str>,
        fips: bool,
        dual_stack: bool,
    ) -> Result<Self, BackendError> {
        let invalid = |text: String| BackendError::new(ErrorKind::BackendCredentialsInvalid, text);
        let well_formed =
            !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !well_formed {
            return Err(invalid(format!("{region:?} is not an AWS region")));
        }
        let text = match custom {
            Some(_) if fips => return Err(invalid("FIPS and a custom endpoint do not go together".into())),
            Some(_) if dual_stack => {
                return Err(invalid("dual-stack and a custom endpoint do not go together".into()));
            }
            Some(custom) => custom.to_owned(),
            None => format!("https://{}", host(service, region, fips, dual_stack)),
        };
        let url =
            Url::parse(&text).map_err(|error| invalid(format!("the endpoint URL is invalid: {error}")))?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if plain {
            Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
        } else {
            Err(invalid("the endpoint URL must be http(s)://host[:port][/path] and no more".into()))
        }
    }

    /// The whole URL, proven to be what goes out on the wire: a URL parser silently resolves `..`, and then a
    /// valid signature calls another operation.
    pub(super) fn url(&self, path_and_query: &str) -> Result<Url, BackendError> {
        let text = format!("{}{path_and_query}", self.0);
        if text.len() > MAX_URL_BYTES {
            let text =
                format!("the upstream URL would be {} bytes long; the most is {MAX_URL_BYTES}", text.len());
            return Err(BackendError::new(ErrorKind::UpstreamTokenTooLong, text));
        }
        match Url::parse(&text) {
            Ok(url) if url.as_str() == text => Ok(url),
            _ => Err(BackendError::new(
                ErrorKind::FieldInvalid("name"),
                "the name holds an id that no URL can carry to upstream",
            )),
        }
    }
}

fn host(service: &AwsService, region: &str, fips: bool, dual_stack: bool) -> String {
    let is_gov = region.starts_with("us-gov-");
    let found = PARTITIONS.iter().find(|(prefix, ..)| region.starts_with(prefix));
    let (suffix, dual_suffix) =
        found.map_or(("amazonaws.com", "api.aws"), |(_, suffix, dual)| (*suffix, *dual));
    let plain_fips = is_gov && service.plain_gov_fips && !dual_stack;
    let infix = if fips && !plain_fips { "-fips" } else { "" };
    format!("{}{infix}.{region}.{}", service.host, if dual_stack { dual_suffix } else { suffix })
}

/// `AWS_ENDPOINT_URL_{SERVICE}`, `AWS_ENDPOINT_URL`, the profile's services section, the profile, in that order.
pub(super) fn from_environment(config: &SdkConfig, service: &AwsService) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service.service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    config.service_config()?.load_config(key).or_else(|| config.endpoint_url().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::super::{CONNECT, LEX};
    use super::*;

    #[test]
    fn hosts_follow_region_partition_and_mode() {
        for (service, region, fips, dual, expected) in [
            (&CONNECT, "us-west-2", false, false, "connect.us-west-2.amazonaws.com"),
            (&CONNECT, "us-west-2", true, false, "connect-fips.us-west-2.amazonaws.com"),
            (&CONNECT, "us-west-2", false, true, "connect.us-west-2.api.aws"),
            (&CONNECT, "us-gov-west-1", true, false, "connect.us-gov-west-1.amazonaws.com"),
            (&CONNECT, "us-gov-west-1", true, true, "connect-fips.us-gov-west-1.api.aws"),
            (&LEX, "us-gov-west-1", true, false, "models-v2-lex-fips.us-gov-west-1.amazonaws.com"),
            (&LEX, "eu-west-1", true, true, "models-v2-lex-fips.eu-west-1.api.aws"),
            (&LEX, "cn-north-1", false, false, "models-v2-lex.cn-north-1.amazonaws.com.cn"),
            (&LEX, "eusc-de-east-1", false, true, "models-v2-lex.eusc-de-east-1.api.amazonwebservices.eu"),
            (&CONNECT, "us-isob-east-1", false, false, "connect.us-isob-east-1.sc2s.sgov.gov"),
            (&CONNECT, "xx-new-1", false, false, "connect.xx-new-1.amazonaws.com"),
        ] {
            assert_eq!(host(service, region, fips, dual), expected);
        }
    }

    #[test]
    fn a_custom_endpoint_is_tidied_and_excludes_the_modes() {
        let custom = |url, fips, dual| Endpoint::new(&LEX, "eu-west-1", Some(url), fips, dual);
        assert_eq!(custom("http://LOCALHOST:80/a/", false, false).unwrap().0, "http://localhost/a");
        assert!(custom("http://localhost", true, false).is_err());
        assert!(custom("http://localhost", false, true).is_err());
        for bad in ["ftp://x", "nonsense", "http://u:p@x", "http://x?y", "http://x#y", "http://"] {
            assert!(custom(bad, false, false).is_err(), "{bad}");
        }
        assert!(Endpoint::new(&LEX, "eu/../x", None, false, false).is_err());
    }

    #[test]
    fn a_url_that_a_parser_would_change_is_refused() {
        let endpoint = Endpoint::new(&LEX, "eu-west-1", None, false, false).unwrap();
        assert!(endpoint.url("/a/b%2Fc?x=%20").is_ok());
        for path in ["/a/../b", "/a/./b", "/a/%2e%2e/b", "/a b", "/a\\b", "/a\nb"] {
            assert_eq!(endpoint.url(path).unwrap_err().kind, ErrorKind::FieldInvalid("name"), "{path:?}");
        }
        let long = format!("/{}", "x".repeat(70_000));
        assert_eq!(endpoint.url(&long).unwrap_err().kind, ErrorKind::UpstreamTokenTooLong);
    }
}
