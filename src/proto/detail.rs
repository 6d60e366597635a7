//! The one shape of `INVALID_ARGUMENT FIELD_INVALID`, shared by the decoder here and by the gRPC face.

use std::collections::HashMap;

use prost::DecodeError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::model::status::cut;

/// The domain of every `google.rpc.ErrorInfo` that testgate itself gives.
pub const DOMAIN: &str = "testgate.dev";

/// The reason of a malformed, missing, oversize or out-of-range field.
pub const FIELD_INVALID: &str = "FIELD_INVALID";

/// The longest message of a status, in bytes. Escaped in its header it may take three times as much.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// The room for violations, in bytes. All details together stay under 4 KiB, and so do they in base64.
const MAX_VIOLATION_BYTES: usize = 1100;
const MAX_FIELD_BYTES: usize = 128;
const MAX_RULE_BYTES: usize = 400;

/// One field of a request and the rule that it breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The field's path, as in `names[3]` or `lex.target.bot_id`.
    pub field: String,
    /// What is wrong with it, as a sentence without its subject.
    pub rule: String,
}

impl Violation {
    /// A field and the rule that it breaks.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// Violations as a message for people: the first one, and how many more there are.
pub fn summary(violations: &[Violation]) -> String {
    match violations {
        [] => "the request is not valid".to_owned(),
        [only] => format!("{}: {}", only.field, only.rule),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.rule, rest.len()),
    }
}

/// Violations as `google.rpc.BadRequest` holds them: as many as there is room for, then the number of the others.
pub fn bad_request(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut room = MAX_VIOLATION_BYTES;
    let mut kept = Vec::new();
    for violation in violations {
        let field = cut(violation.field.clone(), MAX_FIELD_BYTES);
        let rule = cut(violation.rule.clone(), MAX_RULE_BYTES);
        // Eight bytes of tags and lengths come with each.
        let Some(left) = room.checked_sub(field.len() + rule.len() + 8) else { break };
        room = left;
        kept.push(FieldViolation::new(field, rule));
    }
    let dropped = violations.len() - kept.len();
    if dropped > 0 {
        kept.push(FieldViolation::new("", format!("and {dropped} more that are not shown")));
    }
    kept
}

/// `INVALID_ARGUMENT FIELD_INVALID` with every violation.
pub fn field_invalid(violations: &[Violation]) -> Status {
    let mut details = ErrorDetails::with_error_info(FIELD_INVALID, DOMAIN, HashMap::new());
    details.set_bad_request(bad_request(violations));
    Status::with_error_details(Code::InvalidArgument, cut(summary(violations), MAX_MESSAGE_BYTES), details)
}

/// The answer to a request of too many bytes.
pub fn too_large() -> Status {
    let details = ErrorDetails::with_error_info("REQUEST_TOO_LARGE", DOMAIN, HashMap::new());
    Status::with_error_details(Code::ResourceExhausted, "the request is over the size limit", details)
}

/// The answer to bytes that are no message of the expected type.
pub fn undecodable(error: &DecodeError) -> Status {
    let text = error.to_string();
    let text = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&text);
    let mut rule = text;
    let mut path = Vec::new();
    // The error shows `Message.field: ` for each level, the innermost first.
    while let Some((head, tail)) = rule.split_once(": ")
        && let Some((message, field)) = head.split_once('.')
        && is_identifier(message)
        && is_identifier(field)
    {
        path.push(proto_name(message, field));
        rule = tail;
    }
    path.reverse();
    let field = if path.is_empty() { "request".to_owned() } else { path.join(".") };
    field_invalid(&[Violation::new(field, rule)])
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The field's name in the contract. Generated code knows a oneof, which is no field there, and not its member.
fn proto_name<'a>(message: &str, field: &'a str) -> &'a str {
    match (message, field) {
        ("StartExecutionRequest", "options") => "lex",
        ("RecordExecutionRequest", "details") => "openmetadata",
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto::v1;

    /// A length-delimited field as it stands on the wire.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(number << 3) | 2, u8::try_from(content.len()).unwrap()];
        bytes.extend_from_slice(content);
        bytes
    }

    fn violation_of<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> (String, String) {
        let status = undecodable(&M::decode(bytes).unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (FIELD_INVALID, DOMAIN));
        let violation = details.bad_request().unwrap().field_violations[0].clone();
        (violation.field, violation.description)
    }

    #[test]
    fn broken_utf8_names_its_field() {
        let (field, rule) = violation_of::<v1::StartExecutionRequest>(&field(1, b"\xff\xfe"));
        assert_eq!(field, "parent");
        assert!(rule.contains("UTF-8"), "{rule}");
    }

    #[test]
    fn a_nested_field_is_named_from_the_outside() {
        let target = field(1, b"\xff");
        let lex = field(1, &target);
        let (path, rule) = violation_of::<v1::StartExecutionRequest>(&field(3, &lex));
        assert_eq!(path, "lex.target.bot_id");
        assert!(rule.contains("UTF-8"), "{rule}");
    }

    #[test]
    fn a_broken_label_names_the_map() {
        let entry = field(1, b"\xc3");
        assert_eq!(violation_of::<v1::StartExecutionRequest>(&field(4, &entry)).0, "labels");
    }

    #[test]
    fn bytes_without_a_field_blame_the_request() {
        assert_eq!(violation_of::<v1::GetBackendRequest>(b"\xff").0, "request");
    }

    #[test]
    fn request_oneofs_have_the_one_member_that_paths_name() {
        let pool = prost_reflect::DescriptorPool::decode(crate::proto::DESCRIPTOR_SET).unwrap();
        for message in pool.all_messages().filter(|message| message.name().ends_with("Request")) {
            // An `optional` field is a oneof of its own to the compiler.
            for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
                let members: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
                assert_eq!(members, [proto_name(message.name(), oneof.name())]);
            }
        }
    }

    #[test]
    fn violations_beyond_the_room_are_counted() {
        let many: Vec<_> = (0..500).map(|n| Violation::new(format!("names[{n}]"), "not found")).collect();
        let shown = bad_request(&many);
        let last = shown.last().unwrap();
        assert_eq!(last.description, format!("and {} more that are not shown", 500 - (shown.len() - 1)));
        assert!(field_invalid(&many).details().len() < 3072);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = v1::RecordExecutionRequest::decode(bytes.as_slice()) {
                let status = undecodable(&error);
                prop_assert_eq!(status.code(), Code::InvalidArgument);
                prop_assert!(!status.get_error_details().bad_request().unwrap().field_violations.is_empty());
            }
        }
    }
}
