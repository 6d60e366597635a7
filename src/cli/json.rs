//! The JSON mapping of the contract's messages, by their descriptors.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::failure::Failure;
use crate::proto::{DESCRIPTOR_SET, v1};

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).ok());

/// A message of the contract.
pub(crate) trait Contract: Message + Default {
    /// Its full name in the proto file.
    const NAME: &'static str;
}

macro_rules! contract {
    ($($message:ident),* $(,)?) => {
        $(impl Contract for v1::$message {
            const NAME: &'static str = concat!("testgate.v1.", stringify!($message));
        })*

        #[cfg(test)]
        fn every_type(mut check: impl FnMut(&str)) {
            $(check(<v1::$message as Contract>::NAME);)*
        }
    };
}

contract!(
    Backend,
    Test,
    Execution,
    ResultItem,
    Artifact,
    ListBackendsResponse,
    ListTestsResponse,
    ListExecutionsResponse,
    ListResultItemsResponse,
    ListArtifactsResponse,
    BatchGetExecutionsResponse,
    ExecutionUpdate,
);

/// The JSON of a message: lowerCamelCase names, 64-bit integers as strings, defaults left out.
pub(crate) fn to_json<T: Contract>(message: &T) -> Result<Value, Failure> {
    let descriptor = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(T::NAME))
        .ok_or_else(|| Failure::Trouble(format!("{} is not in the compiled contract", T::NAME)))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| unprintable::<T>(&error))?;
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|error| unprintable::<T>(&error))
}

fn unprintable<T: Contract>(error: &dyn std::error::Error) -> Failure {
    Failure::Trouble(format!("{} has no JSON form: {error}", T::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Execution, ExecutionUpdate, execution};

    fn from_json<T: Contract>(value: Value) -> T {
        let descriptor = POOL.as_ref().unwrap().get_message_by_name(T::NAME).unwrap();
        DynamicMessage::deserialize(descriptor, value).unwrap().transcode_to().unwrap()
    }

    fn round_trip<T: Contract + PartialEq + std::fmt::Debug>(message: &T) -> Value {
        let json = to_json(message).unwrap();
        assert_eq!(&from_json::<T>(json.clone()), message);
        json
    }

    fn execution() -> Execution {
        Execution {
            name: "backends/c/tests/t/executions/e".into(),
            state: execution::State::Completed.into(),
            verdict: v1::Verdict::Failed.into(),
            done: true,
            counts: Some(v1::ResultCounts { total: Some(0), passed: Some(3), ..Default::default() }),
            failure: Some(v1::FailureReason {
                kind: 1,
                messages: vec!["no\n\"x\"".into()],
                ..Default::default()
            }),
            create_time: Some(prost_types::Timestamp { seconds: 1_793_000_000, nanos: 123_000_000 }),
            revision: i64::MAX,
            labels: [("k".to_owned(), "v".to_owned())].into(),
            details: Some(execution::Details::Openmetadata(v1::OpenMetadataDetails {
                min_bound: Some(0.1),
                max_bound: Some(f64::INFINITY),
                passed_rows: Some(0),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    #[test]
    fn every_type_is_in_the_descriptor_set() {
        every_type(|name| {
            assert!(POOL.as_ref().unwrap().get_message_by_name(name).is_some(), "{name}");
        });
    }

    #[test]
    fn an_execution_round_trips_in_lower_camel_case() {
        let json = round_trip(&execution());
        assert_eq!(json["createTime"], "2026-10-26T07:33:20.123Z");
        assert_eq!(json["revision"], i64::MAX.to_string());
        assert_eq!(json["state"], "STATE_COMPLETED");
        assert_eq!(json["counts"]["total"], 0, "a reported zero is not a missing count");
        assert_eq!(json["openmetadata"]["maxBound"], "Infinity");
        assert!(json.get("startTime").is_none());
    }

    #[test]
    fn every_other_type_round_trips() {
        let capabilities = v1::Capabilities {
            start_mode: 2,
            list_executions: true,
            result_kinds: vec![1, 3],
            ..Default::default()
        };
        let backend = v1::Backend {
            name: "backends/c".into(),
            capabilities: Some(capabilities.clone()),
            poll_interval: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
            condition: Some(v1::Condition { reason: "UPSTREAM_TIMEOUT".into(), ..Default::default() }),
            ..Default::default()
        };
        let test = v1::Test {
            name: "backends/c/tests/t".into(),
            startable: Some(false),
            capabilities: Some(capabilities),
            payload_json: r#"{"a":"\u0000"}"#.into(),
            ..Default::default()
        };
        let item = v1::ResultItem {
            name: "backends/c/tests/t/executions/e/resultItems/1".into(),
            kind: 4,
            metrics: vec![v1::Metric {
                name: "m".into(),
                value: "1.0".into(),
                predicted_value: String::new(),
            }],
            ..Default::default()
        };
        let artifact = v1::Artifact { uri: "https://x/?a=b".into(), ..Default::default() };
        round_trip(&backend);
        round_trip(&test);
        round_trip(&item);
        round_trip(&artifact);
        round_trip(&ExecutionUpdate { r#type: 3, execution: Some(execution()), coalesced_count: 2 });
        round_trip(&v1::ListBackendsResponse { backends: vec![backend], next_page_token: String::new() });
        round_trip(&v1::ListTestsResponse {
            tests: vec![test],
            unreachable: vec!["backends/x".into()],
            ..Default::default()
        });
        round_trip(&v1::ListExecutionsResponse { executions: vec![execution()], ..Default::default() });
        round_trip(&v1::ListResultItemsResponse { result_items: vec![item], ..Default::default() });
        round_trip(&v1::ListArtifactsResponse { artifacts: vec![artifact], ..Default::default() });
        round_trip(&v1::BatchGetExecutionsResponse { executions: vec![execution()] });
    }

    #[test]
    fn an_enum_value_of_a_later_server_stays_a_number() {
        let later = Execution { state: 77, ..Default::default() };
        assert_eq!(round_trip(&later)["state"], 77);
    }
}
