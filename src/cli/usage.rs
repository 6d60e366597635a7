//! A wrong command line, told in one line.

use clap::error::ErrorKind;

use super::render::clean;

/// What is wrong, what was meant and how it is used; nothing where help was asked for, or is the best answer.
pub(crate) fn complaint(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let mut line = String::new();
    let mut lines = text.lines().map(str::trim).filter(|part| !part.is_empty()).peekable();
    while let Some(part) = lines.next_if(|part| !part.starts_with("For more information")) {
        let part = match part.strip_prefix("Usage:") {
            Some(usage) => format!("usage:{usage}"),
            None => part.to_owned(),
        };
        let between = match line.as_str() {
            "" => "",
            // The end of what the line before it began.
            _ if line.ends_with(':') || part.starts_with('[') => " ",
            _ if part.starts_with("tip:") || part.starts_with("usage:") => "; ",
            _ => ", ",
        };
        line.push_str(between);
        line.push_str(&part);
    }
    Some(clean(&line))
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;

    #[test]
    fn one_line_says_what_is_wrong_and_what_to_do() {
        for (line, expected) in [
            (
                "backends --limt 3",
                "error: unexpected argument '--limt' found; tip: a similar argument exists: '--limit'; usage: \
                 testgate backends --limit <N>",
            ),
            (
                "backends -o jsn",
                "error: invalid value 'jsn' for '--output <FORMAT>' [possible values: table, json, jsonl, name]; tip: \
                 a similar value exists: 'json'",
            ),
            (
                "tests",
                "error: the following required arguments were not provided: <BACKEND>; usage: testgate tests",
            ),
            (
                "bakends",
                "error: unrecognized subcommand 'bakends'; tip: a similar subcommand exists: 'backends'",
            ),
        ] {
            let complaint = complaint(&refused(line)).unwrap();
            assert!(complaint.starts_with(expected), "{complaint}");
            assert!(!complaint.contains('\n'));
        }
        let odd = complaint(&refused("\u{1b}[31m")).unwrap();
        assert!(!odd.chars().any(char::is_control), "{odd:?}");
    }

    #[test]
    fn help_is_shown_as_it_is() {
        for line in ["--help", "run --help", "--version", ""] {
            assert_eq!(complaint(&refused(line)), None, "{line}");
        }
    }
}
