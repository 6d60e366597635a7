//! The API page, from the descriptors that reflection serves.

use std::fmt::Write as _;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};
use testgate::proto::DESCRIPTOR_SET;

use crate::cell;

const HEAD: &str = "\
# API

This page is made from `proto/testgate/v1/testgate.proto`, which is the contract. What a comment can't hold is in
[Semantics](../semantics.md). All names below are in the package `testgate.v1`.
";

/// The comments of one file.
struct Comments(FileDescriptor);

impl Comments {
    /// What stands above something, and what stands on its own before that.
    fn of(&self, path: &[i32]) -> (String, Vec<String>) {
        let info = self.0.file_descriptor_proto().source_code_info.as_ref().unwrap();
        let location = info.location.iter().find(|location| location.path == path).unwrap();
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let alone = location.leading_detached_comments.iter().map(|text| flat(text));
        (flat(location.leading_comments()), alone.filter(|text| !text.starts_with("----")).collect())
    }

    fn above(&self, path: &[i32]) -> String {
        self.of(path).0
    }
}

/// The name within the package.
fn short(full_name: &str) -> &str {
    full_name.strip_prefix("testgate.v1.").unwrap_or(full_name)
}

fn link(full_name: &str) -> String {
    let name = short(full_name);
    if name == full_name {
        return format!("`{name}`");
    }
    format!("[{name}](#{})", name.to_lowercase().replace('.', ""))
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) if message.is_map_entry() => {
            let (key, value) = (message.map_entry_key_field(), message.map_entry_value_field());
            format!("map of {} to {}", kind(&key), kind(&value))
        }
        Kind::Message(message) => link(message.full_name()),
        Kind::Enum(one) => link(one.full_name()),
        scalar => format!("`{scalar:?}`").to_lowercase(),
    }
}

fn label(field: &FieldDescriptor) -> String {
    let alternative = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    let prefix = match alternative {
        Some(oneof) => format!("one of `{}`: ", oneof.name()),
        None if field.is_list() => "list of ".to_owned(),
        None if field.field_descriptor_proto().proto3_optional() => "optional ".to_owned(),
        None => String::new(),
    };
    prefix + &kind(field)
}

fn message(page: &mut String, comments: &Comments, message: &MessageDescriptor) {
    let (above, alone) = comments.of(message.path());
    for text in alone {
        write!(page, "\n{}\n", cell(&text)).unwrap();
    }
    write!(page, "\n### {}\n", short(message.full_name())).unwrap();
    if !above.is_empty() {
        write!(page, "\n{}\n", cell(&above)).unwrap();
    }
    if message.fields().len() == 0 {
        page.push_str("\nNo fields.\n");
    } else {
        page.push_str("\n| Field | Type | | No. |\n|---|---|---|---|\n");
    }
    for field in message.fields() {
        let comment = cell(&comments.above(field.path()));
        writeln!(page, "| `{}` | {} | {comment} | {} |", field.name(), label(&field), field.number())
            .unwrap();
    }
    for one in message.child_enums() {
        values(page, comments, &one);
    }
    for child in message.child_messages().filter(|child| !child.is_map_entry()) {
        self::message(page, comments, &child);
    }
}

fn values(page: &mut String, comments: &Comments, one: &EnumDescriptor) {
    write!(page, "\n### {}\n", short(one.full_name())).unwrap();
    let above = comments.above(one.path());
    if !above.is_empty() {
        write!(page, "\n{}\n", cell(&above)).unwrap();
    }
    page.push_str("\n| Value | | No. |\n|---|---|---|\n");
    for value in one.values() {
        let comment = cell(&comments.above(value.path()));
        writeln!(page, "| `{}` | {comment} | {} |", value.name(), value.number()).unwrap();
    }
}

pub(crate) fn page() -> String {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let service = pool.get_service_by_name("testgate.v1.TestExecutionService").unwrap();
    let comments = Comments(service.parent_file());
    let mut page = HEAD.to_owned();

    write!(page, "\n## {}\n", service.name()).unwrap();
    for method in service.methods() {
        // A comment stands above the first of those that belong together.
        let above = comments.above(method.path());
        if !above.is_empty() {
            write!(page, "\n{above}\n\n| Call | Request | Reply |\n|---|---|---|\n").unwrap();
        }
        let stream = if method.is_server_streaming() { "stream of " } else { "" };
        let (input, output) = (link(method.input().full_name()), link(method.output().full_name()));
        writeln!(page, "| `{}` | {input} | {stream}{output} |", method.name()).unwrap();
    }

    page.push_str("\n## Messages\n");
    for one in service.parent_file().messages() {
        message(&mut page, &comments, &one);
    }
    page.push_str("\n## Enums\n");
    for one in service.parent_file().enums() {
        values(&mut page, &comments, &one);
    }
    page
}
