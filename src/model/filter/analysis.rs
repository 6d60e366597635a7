//! What a filter lets be skipped before it is asked about each thing.

use super::{Expr, Field, Filter, Op, Operand, Term};
use crate::model::{Timestamp, Verdict};

/// Which of the executions that have ended can match; what has not ended always may.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Ended {
    /// Any of them.
    Any,
    /// Those that ended then or later.
    From(Timestamp),
    /// None.
    Never,
}

impl Filter {
    /// The moment before which nothing that matches has ended, where the filter names one.
    pub fn end_time_lower_bound(&self) -> Option<Timestamp> {
        match self.ended() {
            Ended::From(time) => Some(time),
            Ended::Any | Ended::Never => None,
        }
    }

    /// Whether only executions that have not ended can match.
    pub fn unfinished_only(&self) -> bool {
        self.ended() == Ended::Never
    }

    /// The moment before which nothing that matches was created, where the filter names one.
    pub fn created_lower_bound(&self) -> Option<Timestamp> {
        self.0.as_ref().and_then(created)
    }

    /// Whether a row must be final before the filter can be asked about it.
    pub fn mentions_state_or_verdict_or_done(&self) -> bool {
        self.0.as_ref().is_some_and(mentions_outcome)
    }

    /// Whether the filter looks at upstream's tags.
    pub fn mentions_upstream_labels(&self) -> bool {
        self.0.as_ref().is_some_and(mentions_tags)
    }

    /// Tags that everything which matches has.
    pub fn required_upstream_labels(&self) -> Vec<(String, String)> {
        let mut tags = Vec::new();
        if let Some(expr) = &self.0 {
            required_tags(expr, &mut tags);
        }
        tags
    }

    fn ended(&self) -> Ended {
        self.0.as_ref().map_or(Ended::Any, |expr| ended(expr, false))
    }
}

/// A conjunction is as narrow as its narrowest part, a disjunction as wide as its widest; negation swaps them.
fn ended(expr: &Expr, negated: bool) -> Ended {
    let reaches = |parts: &[Expr], narrowest: bool| {
        let reaches = parts.iter().map(|part| ended(part, negated));
        if narrowest { reaches.max() } else { reaches.min() }.unwrap_or(Ended::Any)
    };
    match expr {
        Expr::Term(term) => ended_by_term(term, negated),
        Expr::Not(inner) => ended(inner, !negated),
        Expr::All(parts) => reaches(parts, !negated),
        Expr::Any(parts) => reaches(parts, negated),
    }
}

fn ended_by_term(term: &Term, negated: bool) -> Ended {
    let says_equal = (term.op == Op::Equal) != negated;
    let unfinished = match &term.operand {
        Operand::Bool(done) => term.field == Field::Done && *done != says_equal,
        Operand::State(state) => says_equal && !state.is_done(),
        Operand::Verdict(verdict) => says_equal && *verdict == Verdict::Pending,
        // A negated comparison of times holds for an unset time too, so it bounds nothing.
        Operand::Time(time) if term.field == Field::EndTime && !negated => {
            return lower(term.op, *time).map_or(Ended::Any, Ended::From);
        }
        Operand::Time(_) | Operand::Text(_) => false,
    };
    if unfinished { Ended::Never } else { Ended::Any }
}

fn created(expr: &Expr) -> Option<Timestamp> {
    match expr {
        Expr::Term(Term { field: Field::CreateTime, op, operand: Operand::Time(time) }) => lower(*op, *time),
        Expr::Term(_) => None,
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Not(inner) => created(inner),
            Expr::Term(_) | Expr::All(_) | Expr::Any(_) => None,
        },
        Expr::All(parts) => parts.iter().filter_map(created).max(),
        // `None` sorts first: one branch without a bound leaves none.
        Expr::Any(parts) => parts.iter().map(created).min().flatten(),
    }
}

fn lower(op: Op, time: Timestamp) -> Option<Timestamp> {
    matches!(op, Op::Equal | Op::Greater | Op::GreaterOrEqual).then_some(time)
}

fn mentions_outcome(expr: &Expr) -> bool {
    match expr {
        Expr::Term(term) => matches!(term.field, Field::State | Field::Verdict | Field::Done),
        Expr::Not(inner) => mentions_outcome(inner),
        Expr::All(parts) | Expr::Any(parts) => parts.iter().any(mentions_outcome),
    }
}

fn mentions_tags(expr: &Expr) -> bool {
    match expr {
        Expr::Term(term) => matches!(term.field, Field::UpstreamLabels(_)),
        Expr::Not(inner) => mentions_tags(inner),
        Expr::All(parts) | Expr::Any(parts) => parts.iter().any(mentions_tags),
    }
}

/// What stands below a NOT or an OR is not required of all that matches.
fn required_tags(expr: &Expr, tags: &mut Vec<(String, String)>) {
    match expr {
        Expr::Term(Term {
            field: Field::UpstreamLabels(key),
            op: Op::Equal,
            operand: Operand::Text(value),
        }) => {
            tags.push((key.clone(), value.clone()));
        }
        Expr::All(parts) => parts.iter().for_each(|part| required_tags(part, tags)),
        Expr::Term(_) | Expr::Not(_) | Expr::Any(_) => {}
    }
}
