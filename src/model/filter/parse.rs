//! Recursive descent over the text of a filter, never deeper than [`MAX_DEPTH`].

use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

use super::{Expr, Field, FilterError, MAX_CHARS, MAX_DEPTH, MAX_TERMS, Op, Operand, Schema, Term};
use crate::model::near::{did_you_mean, nearest};
use crate::model::{State, Timestamp, Verdict};

/// Reads a whole filter; `None` where the text is blank.
pub(super) fn parse(text: &str, schema: Schema) -> Result<Option<Expr>, FilterError> {
    if let Some((at, _)) = text.char_indices().nth(MAX_CHARS) {
        return Err(error(at, format!("a filter has at most {MAX_CHARS} characters")));
    }
    let mut parser = Parser { text, at: 0, schema, terms: 0, depth: 0 };
    if parser.peek().is_none() {
        return Ok(None);
    }
    let expr = parser.expression()?;
    match parser.peek() {
        None => Ok(Some(expr)),
        Some(')') => Err(parser.error("this `)` closes nothing")),
        Some(_) => Err(parser.expected("AND, OR or the end")),
    }
}

/// What words are made of: names of fields, keywords, enum values, and keys and values of labels that need no quotes.
pub(super) fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    schema: Schema,
    terms: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// `operand {AND operand}` or `operand {OR operand}`.
    fn expression(&mut self) -> Result<Expr, FilterError> {
        let first = self.operand()?;
        let mut rest = Vec::new();
        let mut joined_by: Option<&str> = None;
        loop {
            let at = self.skip_space();
            let word = match self.look_at_word() {
                word @ ("AND" | "OR") => word,
                word => {
                    self.keyword_hint(at, word, &["AND", "OR"])?;
                    break;
                }
            };
            if joined_by.is_some_and(|joint| joint != word) {
                return Err(error(at, "AND and OR side by side need parentheses"));
            }
            joined_by = Some(word);
            self.at += word.len();
            rest.push(self.operand()?);
        }
        if rest.is_empty() {
            return Ok(first);
        }
        rest.insert(0, first);
        Ok(if joined_by == Some("OR") { Expr::Any(rest) } else { Expr::All(rest) })
    }

    /// `NOT operand`, `( expression )` or a comparison.
    fn operand(&mut self) -> Result<Expr, FilterError> {
        let at = self.skip_space();
        if self.depth == MAX_DEPTH && (self.peek() == Some('(') || self.look_at_word() == "NOT") {
            return Err(error(at, format!("parentheses and NOTs nest at most {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let expr = if self.take("(") {
            let inner = self.expression()?;
            self.skip_space();
            if !self.take(")") {
                let opened = format!("AND, OR or the `)` of the `(` at byte {at}");
                return Err(self.expected(&opened));
            }
            inner
        } else if self.look_at_word() == "NOT" {
            self.at += "NOT".len();
            Expr::Not(Box::new(self.operand()?))
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr, FilterError> {
        let at = self.skip_space();
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(error(at, format!("a filter has at most {MAX_TERMS} comparisons")));
        }
        let field = self.field()?;
        let op_at = self.skip_space();
        let op = self.op()?;
        let ordered = matches!(op, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual);
        let unordered_field = matches!(field, Field::State | Field::Verdict | Field::Done | Field::Startable);
        if ordered && unordered_field {
            return Err(error(op_at, format!("{field} knows only = and !=")));
        }
        let operand = self.value(&field)?;
        Ok(Expr::Term(Term { field, op, operand }))
    }

    fn field(&mut self) -> Result<Field, FilterError> {
        let at = self.skip_space();
        let name = self.take_word();
        if name.is_empty() {
            return Err(self.expected("a field, NOT or `(`"));
        }
        self.keyword_hint(at, name, &["NOT"])?;
        if matches!(name, "AND" | "OR") {
            return Err(error(at, format!("{name} stands between two comparisons")));
        }
        let plain = self.schema.fields().contains(&name);
        let keyed = self.schema.fields().iter().any(|field| field.strip_suffix('.') == Some(name));
        if !plain && !keyed {
            return Err(error(at, self.unknown_field(name)));
        }
        let key_at = self.at;
        if !self.take(".") {
            return match name {
                "state" => Ok(Field::State),
                "verdict" => Ok(Field::Verdict),
                "done" => Ok(Field::Done),
                "create_time" => Ok(Field::CreateTime),
                "end_time" => Ok(Field::EndTime),
                "display_name" => Ok(Field::DisplayName),
                "startable" => Ok(Field::Startable),
                _ => Err(error(key_at, format!("{name} needs a key, as in {name}.team"))),
            };
        }
        if !keyed {
            return Err(error(key_at, format!("{name} has no keys")));
        }
        let key_at = self.at;
        let key = if self.rest().starts_with('"') { self.quoted()? } else { self.take_word().to_owned() };
        if key.is_empty() {
            return Err(error(key_at, format!("{name} needs a key, as in {name}.team or {name}.\"a key\"")));
        }
        Ok(if name == "labels" { Field::Labels(key) } else { Field::UpstreamLabels(key) })
    }

    fn unknown_field(&self, name: &str) -> String {
        let known = self.schema.fields();
        let hint = match nearest(name, known.iter().map(|field| field.trim_end_matches('.'))) {
            Some(field) => format!("did you mean {field}?"),
            None => {
                let spelled = known.iter().map(|field| {
                    if field.ends_with('.') { format!("{field}KEY") } else { (*field).to_owned() }
                });
                format!("the fields are {}", spelled.collect::<Vec<_>>().join(", "))
            }
        };
        format!("there is no field {name:?} here; {hint}")
    }

    fn op(&mut self) -> Result<Op, FilterError> {
        const OPS: [(&str, Op); 6] = [
            ("<=", Op::LessOrEqual),
            (">=", Op::GreaterOrEqual),
            ("!=", Op::NotEqual),
            ("=", Op::Equal),
            ("<", Op::Less),
            (">", Op::Greater),
        ];
        if self.rest().starts_with("==") {
            return Err(self.error("equality is a single ="));
        }
        for (spelling, op) in OPS {
            if self.take(spelling) {
                return Ok(op);
            }
        }
        Err(self.expected("one of = != < <= > >="))
    }

    fn value(&mut self, field: &Field) -> Result<Operand, FilterError> {
        let at = self.skip_space();
        let quoted = self.rest().starts_with('"');
        let value = if quoted { self.quoted()? } else { self.take_word().to_owned() };
        if value.is_empty() && !quoted {
            return Err(self.expected("a value; quote it unless it is a word"));
        }
        let bare = |operand: Option<Operand>, names: &[&str]| match operand {
            Some(operand) if !quoted => Ok(operand),
            Some(_) => Err(error(at, format!("{value} is written without quotes here"))),
            None => {
                let meant = did_you_mean(&value, names.iter().copied());
                let names = names.join(", ");
                Err(error(at, format!("{value:?} is no value of {field}: use one of {names}{meant}")))
            }
        };
        match field {
            Field::State => {
                let name = value.strip_prefix("STATE_").unwrap_or(&value);
                let state = State::ALL.into_iter().find(|state| state.as_str() == name);
                bare(state.map(Operand::State), &State::ALL.map(State::as_str))
            }
            Field::Verdict => {
                let name = value.strip_prefix("VERDICT_").unwrap_or(&value);
                let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == name);
                bare(verdict.map(Operand::Verdict), &Verdict::ALL.map(Verdict::as_str))
            }
            Field::Done | Field::Startable => {
                let operand = value.parse().ok().map(Operand::Bool);
                bare(operand, &["true", "false"])
            }
            Field::CreateTime | Field::EndTime if quoted => {
                moment(&value).map(Operand::Time).ok_or_else(|| {
                    let example = "\"2026-11-01T00:00:00Z\"";
                    error(
                        at,
                        format!("{value:?} is no RFC 3339 time of the years 1 to 9999, as {example} is"),
                    )
                })
            }
            Field::CreateTime | Field::EndTime => {
                Err(error(at, "a time is quoted, as in \"2026-11-01T00:00:00Z\""))
            }
            Field::Labels(_) | Field::UpstreamLabels(_) | Field::DisplayName => Ok(Operand::Text(value)),
        }
    }

    /// `"text"`, in which `\` escapes `"` and `\`.
    fn quoted(&mut self) -> Result<String, FilterError> {
        let opened = self.at;
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = opened + offset + 1;
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    _ => {
                        return Err(error(
                            opened + offset,
                            "a `\\` in quotes stands before `\"` or `\\` only",
                        ));
                    }
                },
                '\0' => return Err(error(opened + offset, "a filter must not contain NUL")),
                other => text.push(other),
            }
        }
        Err(error(opened, "this quote is not closed"))
    }

    /// Refuses a keyword in the wrong case with the right one.
    fn keyword_hint(&self, at: usize, word: &str, keywords: &[&str]) -> Result<(), FilterError> {
        match keywords.iter().find(|keyword| word != **keyword && word.eq_ignore_ascii_case(keyword)) {
            Some(keyword) => Err(error(at, format!("{keyword} is written in upper case"))),
            None => Ok(()),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes over white space and says where it ends.
    fn skip_space(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.at
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn look_at_word(&self) -> &'a str {
        let rest = self.rest();
        rest.split(|character| !is_word(character)).next().unwrap_or_default()
    }

    fn take_word(&mut self) -> &'a str {
        let word = self.look_at_word();
        self.at += word.len();
        word
    }

    fn error(&self, message: &str) -> FilterError {
        error(self.at, message)
    }

    fn expected(&mut self, what: &str) -> FilterError {
        match self.peek() {
            Some(found) => error(self.at, format!("expected {what}, not {found:?}")),
            None => error(self.at, format!("expected {what}, not the end")),
        }
    }
}

fn error(at: usize, message: impl Into<String>) -> FilterError {
    FilterError { at, message: crate::model::status::cut(message.into(), 512) }
}

fn moment(text: &str) -> Option<Timestamp> {
    let time = Timestamp::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    crate::model::execution::presentable(time)
}
