//! Replies as the server sends them: an execution in them is its bytes, so that it is encoded once for all who get it.
//!
//! A sub-message and a `bytes` field look the same on the wire. build.rs puts these in the place of the generated
//! messages in the server's code; clients have the generated ones.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::v1;

/// As [`v1::GetExecutionResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct GetExecutionResponse {
    /// A [`v1::Execution`], never empty: it has a name.
    #[prost(bytes = "bytes", tag = "1")]
    pub execution: Bytes,
}

/// As [`v1::WaitExecutionResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct WaitExecutionResponse {
    /// A [`v1::Execution`].
    #[prost(bytes = "bytes", tag = "1")]
    pub execution: Bytes,
}

/// As [`v1::BatchGetExecutionsResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct BatchGetExecutionsResponse {
    /// Each a [`v1::Execution`].
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub executions: Vec<Bytes>,
}

/// As [`v1::ListExecutionsResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct ListExecutionsResponse {
    /// Each a [`v1::Execution`].
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub executions: Vec<Bytes>,
    /// Where the next page begins.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
    /// Backends that failed to answer.
    #[prost(string, repeated, tag = "3")]
    pub unreachable: Vec<String>,
}

/// As [`v1::WatchExecutionsResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct WatchExecutionsResponse {
    /// Everything up to it was sent.
    #[prost(string, tag = "1")]
    pub resume_token: String,
    /// What happened.
    #[prost(oneof = "Event", tags = "2, 3, 4, 5")]
    pub event: Option<Event>,
}

/// As [`v1::watch_executions_response::Event`].
#[derive(Clone, PartialEq, Oneof)]
pub enum Event {
    /// A state.
    #[prost(message, tag = "2")]
    Update(ExecutionUpdate),
    /// The initial state is whole.
    #[prost(message, tag = "3")]
    SnapshotComplete(v1::SnapshotComplete),
    /// Alive.
    #[prost(message, tag = "4")]
    Heartbeat(v1::Heartbeat),
    /// The last message before OK.
    #[prost(message, tag = "5")]
    Complete(v1::WatchComplete),
}

/// As [`v1::ExecutionUpdate`].
#[derive(Clone, PartialEq, Message)]
pub struct ExecutionUpdate {
    /// Why it is sent.
    #[prost(enumeration = "v1::execution_update::Type", tag = "1")]
    pub r#type: i32,
    /// A [`v1::Execution`].
    #[prost(bytes = "bytes", tag = "2")]
    pub execution: Bytes,
    /// Changes merged into this one.
    #[prost(int32, tag = "3")]
    pub coalesced_count: i32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::convert::tests::arbitrary;

    /// What a client makes of a reply.
    fn received<T: Message + Default>(sent: &impl Message) -> T {
        T::decode(sent.encode_to_vec().as_slice()).unwrap()
    }

    proptest! {
        #[test]
        fn clients_can_not_tell_them_from_the_generated_ones(
            execution in arbitrary::execution(),
            text in ".{0,20}",
            r#type in 0..4,
            coalesced_count: i32,
        ) {
            let execution = v1::Execution::from(&execution);
            let bytes = Bytes::from(execution.encode_to_vec());
            let some = Some(execution.clone());

            let get = GetExecutionResponse { execution: bytes.clone() };
            prop_assert_eq!(received::<v1::GetExecutionResponse>(&get).execution, some.clone());
            let wait = WaitExecutionResponse { execution: bytes.clone() };
            prop_assert_eq!(received::<v1::WaitExecutionResponse>(&wait).execution, some.clone());
            let batch = BatchGetExecutionsResponse { executions: vec![bytes.clone(), bytes.clone()] };
            let expected = v1::BatchGetExecutionsResponse { executions: vec![execution.clone(), execution.clone()] };
            prop_assert_eq!(received::<v1::BatchGetExecutionsResponse>(&batch), expected);
            let list = ListExecutionsResponse {
                executions: vec![bytes.clone()],
                next_page_token: text.clone(),
                unreachable: vec![text.clone()],
            };
            let expected = v1::ListExecutionsResponse {
                executions: vec![execution.clone()],
                next_page_token: text.clone(),
                unreachable: vec![text.clone()],
            };
            prop_assert_eq!(received::<v1::ListExecutionsResponse>(&list), expected);
            let watch = WatchExecutionsResponse {
                resume_token: text.clone(),
                event: Some(Event::Update(ExecutionUpdate { r#type, execution: bytes, coalesced_count })),
            };
            let update = v1::ExecutionUpdate { r#type, execution: some, coalesced_count };
            let expected = v1::WatchExecutionsResponse {
                resume_token: text,
                event: Some(v1::watch_executions_response::Event::Update(update)),
            };
            prop_assert_eq!(received::<v1::WatchExecutionsResponse>(&watch), expected);
        }
    }

    #[test]
    fn the_other_events_are_the_generated_ones() {
        use v1::watch_executions_response::Event as Generated;
        let (complete, beat) = (v1::WatchComplete { done_count: 3 }, v1::Heartbeat::default());
        let whole = v1::SnapshotComplete { reset: true, ..Default::default() };
        for (sent, expected) in [
            (Event::Complete(complete), Generated::Complete(complete)),
            (Event::Heartbeat(beat.clone()), Generated::Heartbeat(beat)),
            (Event::SnapshotComplete(whole.clone()), Generated::SnapshotComplete(whole)),
        ] {
            let sent = WatchExecutionsResponse { resume_token: String::new(), event: Some(sent) };
            let received: v1::WatchExecutionsResponse = received(&sent);
            assert_eq!(received.event, Some(expected));
        }
    }
}
