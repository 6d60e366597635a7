//! SearchTestCases: criteria and tag filters.

use serde_json::{Value, json};

use super::operations::{invalid, with_token};
use super::state::State;
use super::{Options, TestCase};
use crate::sandbox::aws::{AwsError, Cut, page_size};

/// How deep criteria may nest.
const MAX_DEPTH: usize = 10;

impl State {
    pub(super) fn search_test_cases(
        &self,
        options: &Options,
        body: &Value,
        now: i64,
    ) -> Result<Value, AwsError> {
        let size = page_size(body.get("MaxResults"), 25, 100)
            .ok_or_else(|| invalid("MaxResults must be between 1 and 100"))?;
        let token = match body.get("NextToken") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) if (1..=2500).contains(&token.len()) => Some(token.as_str()),
            Some(_) => return Err(invalid("NextToken must have 1 to 2500 characters")),
        };
        let filter = body.get("SearchFilter").and_then(|filter| filter.get("TagFilter"));
        let criteria = body.get("SearchCriteria");
        let arguments = json!(["SearchTestCases", filter, criteria]);
        let cut = Cut::new(self.account.paging, &arguments, token, size, now)
            .ok_or_else(|| AwsError::new(400, "InvalidToken", "The token is invalid or has expired"))?;
        let mut found = Vec::new();
        for test in &self.account.tests {
            let tagged = filter.is_none_or(|filter| tags_match(test, filter));
            let meets = criteria.map_or(Ok(true), |criteria| meets(test, criteria, 0))?;
            if tagged && meets {
                found.push(test);
            }
        }
        let total = found.len();
        let (page, token) = cut.page(found.into_iter());
        let page: Vec<_> = page.into_iter().map(|test| self.describe(options, test)).collect();
        Ok(with_token(json!({"TestCases": page, "ApproximateTotalCount": total}), token))
    }
}

fn list<'v>(value: &'v Value, name: &str) -> Option<&'v Vec<Value>> {
    value.get(name).and_then(Value::as_array).filter(|list| !list.is_empty())
}

fn tags_match(test: &TestCase, filter: &Value) -> bool {
    let one = |condition: &Value| {
        let text = |name: &str| condition.get(name).and_then(Value::as_str);
        let Some(key) = text("TagKey") else { return true };
        test.tags.get(key).is_some_and(|value| text("TagValue").is_none_or(|wanted| wanted == value))
    };
    let every = |conditions: &Value| conditions.as_array().is_none_or(|all| all.iter().all(one));
    list(filter, "OrConditions").is_none_or(|any| any.iter().any(every))
        && list(filter, "AndConditions").is_none_or(|all| all.iter().all(one))
        && filter.get("TagCondition").is_none_or(one)
}

fn meets(test: &TestCase, criteria: &Value, depth: usize) -> Result<bool, AwsError> {
    if depth > MAX_DEPTH {
        return Err(invalid("SearchCriteria nest too deep"));
    }
    if let Some(any) = list(criteria, "OrConditions") {
        let mut met = false;
        for one in any {
            met |= meets(test, one, depth + 1)?;
        }
        if !met {
            return Ok(false);
        }
    }
    if let Some(all) = list(criteria, "AndConditions") {
        for one in all {
            if !meets(test, one, depth + 1)? {
                return Ok(false);
            }
        }
    }
    if let Some(wanted) = criteria.get("StatusCondition") {
        let published = match wanted.as_str() {
            Some("PUBLISHED") => true,
            Some("SAVED") => false,
            _ => return Err(invalid("StatusCondition must be PUBLISHED or SAVED")),
        };
        if published != test.published {
            return Ok(false);
        }
    }
    criteria.get("StringCondition").map_or(Ok(true), |condition| string_matches(test, condition))
}

fn string_matches(test: &TestCase, condition: &Value) -> Result<bool, AwsError> {
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    let value = match text("FieldName").to_lowercase().as_str() {
        "name" => &test.name,
        "description" => &test.description,
        other => return Err(invalid(format!("FieldName '{other}' can't be searched"))),
    };
    let (value, wanted) = (value.to_lowercase(), text("Value").to_lowercase());
    match text("ComparisonType") {
        "STARTS_WITH" => Ok(value.starts_with(&wanted)),
        "CONTAINS" => Ok(value.contains(&wanted)),
        "EXACT" => Ok(value == wanted),
        other => Err(invalid(format!("ComparisonType can't be '{other}'"))),
    }
}
