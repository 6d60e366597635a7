//! `[[backend]]`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::config::backend::{
    ApiStyle, AwsConfig, BackendConfig, ConnectConfig, LexConfig, OpenMetadataConfig, SystemConfig,
};
use crate::config::reader::Section;
use crate::config::value::{duration, instance, region, role_arn, size, url};
use crate::model::LexStartOptions;
use crate::model::{BackendId, Labels, LexApiMode, LexModality};

/// The values of `kind`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum KindKey {
    Connect,
    Lex,
    OpenMetadata,
}

const KINDS: [(&str, KindKey); 3] = [
    ("amazon-connect", KindKey::Connect),
    ("amazon-lex-v2", KindKey::Lex),
    ("openmetadata", KindKey::OpenMetadata),
];

const AWS_KEYS: [&str; 5] = ["region", "endpoint_url", "profile", "assume_role_arn", "external_id"];
const CONNECT_KEYS: [&str; 1] = ["instance_id"];
const LEX_KEYS: [&str; 1] = ["start_defaults"];
const OPENMETADATA_KEYS: [&str; 5] = ["base_url", "token_file", "token_env", "api", "settle_time"];

/// Keys under which people put a secret itself.
const SECRETS: [&str; 13] = [
    "token",
    "jwt",
    "jwt_token",
    "bearer_token",
    "api_key",
    "password",
    "secret",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// All backends; each problem is reported where it stands.
pub(super) fn backends(sections: Vec<Section<'_>>, folder: &Path) -> Vec<BackendConfig> {
    let mut lines: HashMap<BackendId, usize> = HashMap::new();
    let mut backends = Vec::new();
    for section in sections {
        let id = section.required("id", |text| BackendId::new(text).map_err(|error| error.to_string()));
        if let Some(id) = &id {
            let line = section.line_of("id");
            if let Some(first) = lines.insert(id.clone(), line) {
                section.problem("id", format!("\"{id}\" is the id of the backend in line {first} too"));
            }
        }
        backends.extend(backend(section, id, folder));
    }
    backends
}

fn backend(section: Section<'_>, id: Option<BackendId>, folder: &Path) -> Option<BackendConfig> {
    let kind = section.word("kind", &KINDS);
    if kind.is_none() && !section.has("kind") {
        let words: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
        section.problem("kind", format!("is required: {}", words.join(", ")));
    }

    let display_name = section.string("display_name");
    let labels = labels(&section);
    let max_requests_per_second =
        section.number("max_requests_per_second", 0.001..=10_000.0, "from 0.001 to 10000").unwrap_or(1.0);
    let bounds =
        |key, low: Duration, high: Duration, spelled| section.bounded(key, duration, low..=high, spelled);
    let poll_interval = bounds("poll_interval", SECOND / 100, HOUR, "from 10ms to 1h");
    let tracking_deadline = bounds("tracking_deadline", SECOND, 24 * 31 * HOUR, "from 1s to 31d");
    let request_timeout = bounds("request_timeout", SECOND / 10, 300 * SECOND, "from 100ms to 5m");
    let max_response_size =
        section.bounded("max_response_size", size, 1 << 10..=1 << 30, "from 1KiB to 1GiB");
    let ca_file = section.string("ca_file").map(|path| folder.join(path));
    let quota_group = section.string("quota_group").map(str::to_owned);

    let system = match kind {
        Some(KindKey::Connect) => connect(&section).map(SystemConfig::Connect),
        Some(KindKey::Lex) => Some(SystemConfig::Lex(LexConfig {
            aws: aws(&section),
            start_defaults: section.table("start_defaults").map(start_defaults).unwrap_or_default(),
        })),
        Some(KindKey::OpenMetadata) => openmetadata(&section, folder).map(SystemConfig::OpenMetadata),
        None => {
            // Which other keys are right depends on the kind, so nothing is said of them.
            for keys in [AWS_KEYS.as_slice(), &CONNECT_KEYS, &LEX_KEYS, &OPENMETADATA_KEYS] {
                section.accept(keys);
            }
            None
        }
    };
    section.finish(|key| explain(key, kind));

    let id = id?;
    Some(BackendConfig {
        display_name: display_name.map_or_else(|| id.to_string(), str::to_owned),
        id,
        labels,
        max_requests_per_second,
        poll_interval: poll_interval.unwrap_or(SECOND / 2),
        tracking_deadline: tracking_deadline.unwrap_or(24 * HOUR),
        request_timeout: request_timeout.unwrap_or(10 * SECOND),
        max_response_size: max_response_size.unwrap_or(16 << 20),
        ca_file,
        quota_group,
        system: system?,
    })
}

fn connect(section: &Section<'_>) -> Option<ConnectConfig> {
    let mut aws = aws(section);
    let instance = section.required("instance_id", instance)?;
    match (&aws.region, instance.region) {
        (Some(region), Some(of_arn)) if *region != of_arn => {
            section.problem("region", format!("is {region:?}, but the instance's ARN says {of_arn:?}"));
        }
        (None, of_arn) => aws.region = of_arn,
        (Some(_), _) => {}
    }
    Some(ConnectConfig { aws, instance_id: instance.id })
}

fn aws(section: &Section<'_>) -> AwsConfig {
    let config = AwsConfig {
        region: section.parsed("region", region),
        endpoint_url: section.parsed("endpoint_url", url),
        profile: section.string("profile").map(str::to_owned),
        assume_role_arn: section.parsed("assume_role_arn", role_arn),
        external_id: section.string("external_id").map(str::to_owned),
        static_credentials: None,
    };
    if section.has("external_id") && !section.has("assume_role_arn") {
        section.problem("external_id", "goes with assume_role_arn, which is absent");
    }
    config
}

fn start_defaults(section: Section<'_>) -> LexStartOptions {
    let text = |key| section.string(key).map(str::to_owned);
    let defaults = LexStartOptions {
        bot_id: text("bot_id"),
        bot_alias_id: text("bot_alias_id"),
        locale_id: text("locale_id"),
        api_mode: section.word(
            "api_mode",
            &[("streaming", LexApiMode::Streaming), ("non-streaming", LexApiMode::NonStreaming)],
        ),
        modality: section.word("modality", &[("audio", LexModality::Audio), ("text", LexModality::Text)]),
    };
    section.finish(|_| None);
    defaults
}

fn openmetadata(section: &Section<'_>, folder: &Path) -> Option<OpenMetadataConfig> {
    let base_url = section.required("base_url", url);
    let token = super::access::secret(section, folder);
    let styles =
        [("auto", ApiStyle::Auto), ("documented", ApiStyle::Documented), ("by-fqn", ApiStyle::ByFqn)];
    let api = section.word("api", &styles).unwrap_or_default();
    let settle_time =
        section.bounded("settle_time", duration, Duration::ZERO..=HOUR, "at most 1h").unwrap_or(30 * SECOND);
    Some(OpenMetadataConfig { base_url: base_url?, token, api, settle_time })
}

fn labels(section: &Section<'_>) -> Labels {
    let found = section.string_table("labels");
    if found.len() > 32 {
        section.problem("labels", format!("has {} entries; the most is 32", found.len()));
    }
    for (key, value) in &found {
        if key.is_empty() || key.len() > 63 {
            section.problem_at(value.line, "labels", "has a key that is empty or longer than 63 bytes");
        }
        if value.text.len() > 256 {
            section.problem_at(value.line, "labels", "has a value longer than 256 bytes");
        }
    }
    found.into_iter().map(|(key, value)| (key.to_owned(), value.text.to_owned())).collect()
}

/// What is better said of an unknown key than that it is unknown.
fn explain(key: &str, kind: Option<KindKey>) -> Option<String> {
    let is_openmetadata = kind == Some(KindKey::OpenMetadata);
    if SECRETS.contains(&key) {
        return Some(if is_openmetadata {
            "a secret never stands in this file: name its place with `token_env` or `token_file`".to_owned()
        } else {
            "a secret never stands in this file: AWS credentials come from the default chain \
             (environment, profile, SSO, role); `profile` and `assume_role_arn` choose among them"
                .to_owned()
        });
    }
    let elsewhere = AWS_KEYS.contains(&key)
        || CONNECT_KEYS.contains(&key)
        || LEX_KEYS.contains(&key)
        || OPENMETADATA_KEYS.contains(&key);
    let (word, _) = KINDS.into_iter().find(|(_, found)| Some(*found) == kind)?;
    elsewhere.then(|| format!("has no meaning for a backend of kind \"{word}\""))
}
