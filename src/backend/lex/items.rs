//! Lex's five levels of results as result items.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::Level;
use super::status::{Tally, match_verdict};
use super::wire::{
    ConversationItem, ErrorDetails, IntentItem, IntentSlots, OverallItem, SlotItem, TurnOutput, UtteranceItem,
};
use crate::model::{Failure, FailureKind, ItemKind, ResultItem, Verdict};

/// A level's raw rows as items. A row may hold several slots, so there may be more items than rows.
pub(super) fn items(level: Level, rows: Vec<Box<RawValue>>) -> Result<Vec<ResultItem>, String> {
    let read = match level {
        Level::Overall => overall,
        Level::Conversation => conversation,
        Level::Intent => intent,
        Level::Slot => {
            return rows.iter().map(|raw| slots(raw)).collect::<Result<Vec<_>, _>>().map(|all| all.concat());
        }
        Level::Utterance => utterance,
    };
    rows.into_iter().map(read).collect()
}

fn overall(raw: Box<RawValue>) -> Result<ResultItem, String> {
    let row: OverallItem = parse(&raw)?;
    let turns = turns(row.multi_turn_conversation);
    let tally = Tally::of(row.total_result_count, &row.end_to_end_result_counts);
    let display_name = format!("{turns} conversations");
    Ok(tallied(turns.to_owned(), ItemKind::Overall, display_name, tally, raw))
}

fn conversation(raw: Box<RawValue>) -> Result<ResultItem, String> {
    let row: ConversationItem = parse(&raw)?;
    let verdict = match_verdict(&row.end_to_end_result);
    let missed = |result: &str| match_verdict(result) != Verdict::Passed;
    let intents = row.intent_classification_results.unwrap_or_default();
    let slots = row.slot_resolution_results.unwrap_or_default();
    let messages = intents
        .into_iter()
        .filter(|intent| missed(&intent.match_result))
        .map(|intent| format!("intent {}: {}", intent.intent_name, intent.match_result))
        .chain(
            slots
                .into_iter()
                .filter(|slot| missed(&slot.match_result))
                .map(|slot| format!("slot {}.{}: {}", slot.intent_name, slot.slot_name, slot.match_result)),
        );
    let failure = failure_of(verdict).map(|kind| Failure::new(kind, row.end_to_end_result, messages));
    let display_name = format!("conversation {}", row.conversation_id);
    Ok(ResultItem {
        failure,
        ..item(row.conversation_id, ItemKind::Conversation, display_name, verdict, raw)
    })
}

fn intent(raw: Box<RawValue>) -> Result<ResultItem, String> {
    let row: IntentItem = parse(&raw)?;
    let turns = turns(row.multi_turn_conversation);
    let tally =
        Tally::of(row.result_counts.total_result_count, &row.result_counts.intent_match_result_counts);
    let id = format!("{}.{turns}", row.intent_name);
    Ok(tallied(id, ItemKind::Intent, format!("{} ({turns})", row.intent_name), tally, raw))
}

/// An intent's slots. Names of intents hold no dot, so the ids can't collide.
fn slots(raw: &RawValue) -> Result<Vec<ResultItem>, String> {
    let row: IntentSlots = parse(raw)?;
    let turns = turns(row.multi_turn_conversation);
    let read = |raw: Box<RawValue>| {
        let slot: SlotItem = parse(&raw)?;
        let counts = &slot.result_counts;
        let tally = Tally::of(counts.total_result_count, &counts.slot_match_result_counts);
        let path = format!("{}.{}", row.intent_name, slot.slot_name);
        Ok(tallied(format!("{path}.{turns}"), ItemKind::Slot, format!("{path} ({turns})"), tally, raw))
    };
    row.slot_resolution_results.into_iter().map(read).collect()
}

fn utterance(raw: Box<RawValue>) -> Result<ResultItem, String> {
    let row: UtteranceItem = parse(&raw)?;
    let id = row.record_number.to_string();
    let display_name = match &row.conversation_id {
        Some(conversation) => format!("conversation {conversation}, record {id}"),
        None => format!("record {id}"),
    };
    let turn = row.turn_result.unwrap_or_default();
    let (verdict, expected, actual, error) = match (turn.user, turn.agent) {
        (Some(user), _) => {
            let verdict = user.end_to_end_result.as_deref().map_or(Verdict::Inconclusive, match_verdict);
            (verdict, intent_name(user.expected_output), intent_name(user.actual_output), user.error_details)
        }
        (None, Some(agent)) => {
            let verdict = if agent.error_details.is_some() { Verdict::Inconclusive } else { Verdict::None };
            let prompts = [agent.expected_agent_prompt, agent.actual_agent_prompt];
            let [expected, actual] = prompts.map(Option::unwrap_or_default);
            (verdict, expected, actual, agent.error_details)
        }
        (None, None) => (Verdict::Inconclusive, String::new(), String::new(), None),
    };
    let failure = match error {
        Some(ErrorDetails { error_code, error_message }) => {
            let (code, message) = (error_code.unwrap_or_default(), error_message.unwrap_or_default());
            Some(Failure::new(failure_of(verdict).unwrap_or(FailureKind::UpstreamError), code, [message]))
        }
        None => failure_of(verdict).map(|kind| Failure::new(kind, "", [])),
    };
    let failure = failure.filter(|_| verdict != Verdict::Passed);
    Ok(ResultItem { expected, actual, failure, ..item(id, ItemKind::Utterance, display_name, verdict, raw) })
}

fn tallied(id: String, kind: ItemKind, display_name: String, tally: Tally, raw: Box<RawValue>) -> ResultItem {
    let (verdict, failure) = tally.verdict();
    ResultItem { counts: Some(tally.counts()), failure, ..item(id, kind, display_name, verdict, raw) }
}

fn item(
    id: String,
    kind: ItemKind,
    display_name: String,
    verdict: Verdict,
    raw: Box<RawValue>,
) -> ResultItem {
    ResultItem {
        id,
        kind,
        display_name,
        verdict,
        event_time: None,
        expected: String::new(),
        actual: String::new(),
        counts: None,
        failure: None,
        metrics: Vec::new(),
        payload: Some(raw.into()),
    }
}

fn failure_of(verdict: Verdict) -> Option<FailureKind> {
    match verdict {
        Verdict::Failed => Some(FailureKind::Assertion),
        Verdict::Inconclusive => Some(FailureKind::UpstreamError),
        Verdict::Passed | Verdict::Pending | Verdict::None => None,
    }
}

fn intent_name(output: Option<TurnOutput>) -> String {
    output.and_then(|output| output.intent?.name).unwrap_or_default()
}

fn turns(multi_turn: Option<bool>) -> &'static str {
    match multi_turn {
        Some(true) => "multi-turn",
        Some(false) => "single-turn",
        None => "all",
    }
}

fn parse<T: DeserializeOwned>(raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("a row is malformed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Vec<Box<RawValue>> {
        vec![RawValue::from_string(text.to_owned()).unwrap()]
    }

    #[test]
    fn a_rows_slots_are_items_with_ids_of_their_own() {
        let row = r#"{"intentName":"Book","multiTurnConversation":true,"slotResolutionResults":[
            {"slotName":"City","resultCounts":{"totalResultCount":2,"slotMatchResultCounts":{"Matched":2}}},
            {"slotName":"Date.day","resultCounts":{"totalResultCount":2,"slotMatchResultCounts":{"Matched":1,"Mismatched":1}}}]}"#;
        let items = items(Level::Slot, raw(row)).unwrap();
        let seen: Vec<_> = items.iter().map(|item| (item.id.as_str(), item.verdict)).collect();
        assert_eq!(
            seen,
            [("Book.City.multi-turn", Verdict::Passed), ("Book.Date.day.multi-turn", Verdict::Failed)]
        );
        assert_eq!(items[0].counts.unwrap().passed, Some(2));
    }

    #[test]
    fn an_agent_turn_has_no_verdict_unless_it_has_an_error() {
        let turn = |error: &str| {
            let text = format!(
                r#"{{"recordNumber":7,"turnResult":{{"agent":{{"expectedAgentPrompt":"Hi","actualAgentPrompt":"Hello"{error}}}}}}}"#
            );
            items(Level::Utterance, raw(&text)).unwrap().remove(0)
        };
        let quiet = turn("");
        assert_eq!((quiet.id.as_str(), quiet.verdict, quiet.failure), ("7", Verdict::None, None));
        assert_eq!((quiet.expected.as_str(), quiet.actual.as_str()), ("Hi", "Hello"));
        let broken = turn(r#","errorDetails":{"errorCode":"E1","errorMessage":"broke"}"#);
        assert_eq!(broken.verdict, Verdict::Inconclusive);
        assert_eq!(broken.failure.unwrap().upstream_code, "E1");
    }

    #[test]
    fn a_user_turn_shows_expected_and_actual_intent_and_its_row_byte_for_byte() {
        let text = r#"{"recordNumber": 1,  "turnResult":{"user":{"endToEndResult":"Mismatched",
            "expectedOutput":{"intent":{"name":"A"}},"actualOutput":{"intent":{"name":"B"}}}}}"#;
        let item = items(Level::Utterance, raw(text)).unwrap().remove(0);
        assert_eq!((item.expected.as_str(), item.actual.as_str(), item.verdict), ("A", "B", Verdict::Failed));
        assert_eq!(item.payload.as_deref(), Some(text));
    }

    #[test]
    fn a_row_without_what_makes_it_one_is_an_error() {
        for level in [Level::Overall, Level::Conversation, Level::Intent, Level::Slot, Level::Utterance] {
            assert!(items(level, raw("{}")).is_err(), "{level:?}");
        }
    }
}
