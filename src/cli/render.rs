//! Where data and notes go, and in which form.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::failure::Failure;
use super::json::{Contract, to_json};
use super::live::screen;
use super::rows::Row;

/// What `-o` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One indented document
    Json,
    /// One document a line
    Jsonl,
    /// Resource names only
    Name,
}

/// Stdout, in one format.
pub(crate) struct Output {
    format: Format,
    writer: Box<dyn Write>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Output {
    /// Writes to stdout.
    pub(crate) fn stdout(format: Format) -> Self {
        Self::new(format, BufWriter::new(io::stdout()))
    }

    fn new(format: Format, writer: impl Write + 'static) -> Self {
        Self { format, writer: Box::new(writer) }
    }

    /// What was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether people see it as a table.
    pub(crate) fn is_table_on_terminal(&self) -> bool {
        self.format == Format::Table && io::stdout().is_terminal()
    }

    /// Makes what was written visible.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }

    /// One line as it is.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// Any message as JSON, indented or on one line.
    pub(crate) fn json<T: Contract>(&mut self, message: &T) -> Result<(), Failure> {
        self.value(&to_json(message)?)
    }

    /// Any JSON, indented or on one line.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Failure> {
        // serde_json hides the kind of an I/O error, so the text is made first.
        let text = if self.format == Format::Jsonl {
            serde_json::to_string(value)
        } else {
            serde_json::to_string_pretty(value)
        };
        let text = text.map_err(|error| Failure::Trouble(format!("no JSON form: {error}")))?;
        self.line(&text)
    }

    /// One resource with all its fields.
    pub(crate) fn resource<T: Row>(&mut self, resource: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let mut fields = Vec::new();
                flatten(String::new(), &to_json(resource)?, &mut fields);
                self.table(None, fields.iter().map(|(key, value)| vec![key.clone(), clean(value)]))
            }
            Format::Json | Format::Jsonl => self.json(resource),
            Format::Name => self.line(resource.name()),
        }
    }

    /// Resources, one a row; JSON only as lines, since a list's document is its reply.
    pub(crate) fn rows<T: Row>(&mut self, rows: &[T]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.table(Some(T::HEADER), rows.iter().map(Row::cells)),
            Format::Json | Format::Jsonl => rows.iter().try_for_each(|row| self.json(row)),
            Format::Name => rows.iter().try_for_each(|row| self.line(row.name())),
        }
    }

    /// What is no message of the contract: the cells of each row, the first its name, and its JSON.
    pub(crate) fn records(
        &mut self,
        header: &[&str],
        records: Vec<(Vec<String>, Value)>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.table(Some(header), records.into_iter().map(|(cells, _)| cells)),
            Format::Json => self.value(&records.into_iter().map(|(_, value)| value).collect()),
            Format::Jsonl => records.iter().try_for_each(|(_, value)| self.value(value)),
            Format::Name => {
                records.iter().filter_map(|(cells, _)| cells.first()).try_for_each(|name| self.line(name))
            }
        }
    }

    fn table(
        &mut self,
        header: Option<&[&str]>,
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if let Some(header) = header {
            table.set_header(header.iter().copied());
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| clean(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// Tells the person at the terminal something that is not data.
pub(crate) fn note(text: impl AsRef<str>) {
    screen::note(text.as_ref());
}

/// Text from elsewhere made safe for one line of a terminal: no control bytes, no change of direction.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn flatten(prefix: String, value: &Value, fields: &mut Vec<(String, String)>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(join(key), value, fields)),
        Value::Array(list) if list.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = list.iter().map(plain_text).collect();
            fields.push((prefix, items.join(", ")));
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                flatten(join(&index.to_string()), value, fields);
            }
        }
        scalar => fields.push((prefix, plain_text(scalar))),
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Backend, Capabilities, Execution};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: Format, print: impl FnOnce(&mut Output) -> Result<(), Failure>) -> String {
        let shared = Shared::default();
        let mut out = Output::new(format, shared.clone());
        print(&mut out).unwrap();
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn backends() -> Vec<Backend> {
        let named = |name: &str, display: &str| Backend {
            name: name.into(),
            display_name: display.into(),
            kind: 1,
            ..Default::default()
        };
        vec![named("backends/a", "A"), named("backends/longer", "evil\u{1b}[2J\nname")]
    }

    #[test]
    fn a_table_has_no_borders_colour_or_control_bytes() {
        let text = printed(Format::Table, |out| out.rows(&backends()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("NAME             KIND"), "{text}");
        assert!(lines[1].starts_with("backends/a       AMAZON_CONNECT"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(lines.iter().all(|line| line.trim_end() == *line));
    }

    #[test]
    fn an_empty_table_still_has_its_header() {
        assert!(printed(Format::Table, |out| out.rows::<Backend>(&[])).starts_with("NAME"));
    }

    #[test]
    fn names_and_json_lines_are_one_a_line() {
        assert_eq!(printed(Format::Name, |out| out.rows(&backends())), "backends/a\nbackends/longer\n");
        let text = printed(Format::Jsonl, |out| out.rows(&backends()));
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["kind"], "KIND_AMAZON_CONNECT");
        }
    }

    #[test]
    fn one_resource_is_shown_field_by_field() {
        let backend = Backend {
            name: "backends/a".into(),
            capabilities: Some(Capabilities { result_kinds: vec![1, 2], ..Default::default() }),
            ..Default::default()
        };
        let text = printed(Format::Table, |out| out.resource(&backend));
        assert_eq!(
            text,
            "name                      backends/a\ncapabilities.resultKinds  KIND_OBSERVATION, KIND_OVERALL\n"
        );
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in [Format::Table, Format::Json, Format::Jsonl, Format::Name] {
            let result =
                Output::new(format, Closed).resource(&Execution { name: "n".into(), ..Default::default() });
            assert!(matches!(result, Err(Failure::Closed)), "{format:?}");
        }
    }
}
