//! Result items at their five levels, made up item by item so that huge test sets cost nothing.
//!
//! Conversations alternate: even ones have a single turn, odd ones two. The last ones don't hold.

use serde_json::{Map, Value, json};

use super::state::Run;
use crate::sandbox::scenario::Outcome;

/// The result levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Overall,
    Conversation,
    Intent,
    Slot,
    Utterance,
}

impl Kind {
    pub(super) fn from_filter(filter: &str) -> Option<Self> {
        Some(match filter {
            "OverallTestResults" => Self::Overall,
            "ConversationLevelTestResults" => Self::Conversation,
            "IntentClassificationTestResults" => Self::Intent,
            "SlotResolutionTestResults" => Self::Slot,
            "UtteranceLevelResults" => Self::Utterance,
            _ => return None,
        })
    }

    /// The member in the reply: not always the filter's name.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Overall => "overallTestResults",
            Self::Conversation => "conversationLevelTestResults",
            Self::Intent => "intentClassificationTestResults",
            Self::Slot => "intentLevelSlotResolutionTestResults",
            Self::Utterance => "utteranceLevelTestResults",
        }
    }
}

const INTENT: &str = "BookHotel";
const OTHER_INTENT: &str = "CancelBooking";
const SLOT: &str = "City";

/// One run's results.
pub(super) struct Results {
    conversations: u32,
    holding: u32,
    wrong: &'static str,
    audio: bool,
}

impl Results {
    pub(super) fn new(run: &Run, conversations: u32) -> Self {
        let conversations = if run.script.outcome == Outcome::Empty { 0 } else { conversations };
        Self {
            conversations,
            holding: conversations.saturating_sub(run.script.failures()),
            wrong: if run.script.outcome == Outcome::Errors { "ExecutionError" } else { "Mismatched" },
            audio: run.target.modality == "Audio",
        }
    }

    fn singles(&self) -> u32 {
        self.conversations.div_ceil(2)
    }

    fn multis(&self) -> u32 {
        self.conversations / 2
    }

    /// The kinds of conversation that occur: single turn, multi turn.
    fn shapes(&self) -> Vec<bool> {
        let mut shapes = Vec::new();
        if self.singles() > 0 {
            shapes.push(false);
        }
        if self.multis() > 0 {
            shapes.push(true);
        }
        shapes
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        let count = match kind {
            Kind::Overall | Kind::Intent | Kind::Slot => return self.shapes().len(),
            Kind::Conversation => self.conversations,
            // Single: one user and one agent turn; multi: two of each.
            Kind::Utterance => self.singles() * 2 + self.multis() * 4,
        };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// How a conversation ended.
    pub(super) fn verdict(&self, conversation: usize) -> &'static str {
        if u32::try_from(conversation).is_ok_and(|conversation| conversation < self.holding) {
            "Matched"
        } else {
            self.wrong
        }
    }

    /// Counts by verdict; what is zero is left out, as the service may do.
    fn tally(&self, multi: bool) -> (u32, Value) {
        let first = u32::from(multi);
        let total = if multi { self.multis() } else { self.singles() };
        let holding = (self.holding + 1).saturating_sub(first) / 2;
        let holding = holding.min(total);
        let mut counts = Map::new();
        if holding > 0 {
            counts.insert("Matched".into(), json!(holding));
        }
        if total > holding {
            counts.insert(self.wrong.into(), json!(total - holding));
        }
        (total, Value::Object(counts))
    }

    pub(super) fn item(&self, kind: Kind, index: usize) -> Value {
        let multi = self.shapes().get(index).copied().unwrap_or_default();
        match kind {
            Kind::Overall => {
                let (total, counts) = self.tally(multi);
                let mut item = json!({
                    "multiTurnConversation": multi,
                    "totalResultCount": total,
                    "endToEndResultCounts": counts,
                });
                self.insert_speech(&mut item, "speechTranscriptionResultCounts", &json!({"Matched": total}));
                item
            }
            Kind::Intent => {
                let (total, counts) = self.tally(multi);
                let mut result = json!({"totalResultCount": total, "intentMatchResultCounts": counts});
                self.insert_speech(
                    &mut result,
                    "speechTranscriptionResultCounts",
                    &json!({"Matched": total}),
                );
                json!({"intentName": INTENT, "multiTurnConversation": multi, "resultCounts": result})
            }
            Kind::Slot => {
                let (total, counts) = self.tally(multi);
                let slot = json!({
                    "slotName": SLOT,
                    "resultCounts": {"totalResultCount": total, "slotMatchResultCounts": counts},
                });
                json!({"intentName": INTENT, "multiTurnConversation": multi, "slotResolutionResults": [slot]})
            }
            Kind::Conversation => self.conversation(index),
            Kind::Utterance => self.utterance(index),
        }
    }

    fn insert_speech(&self, item: &mut Value, member: &str, value: &Value) {
        if let Some(item) = item.as_object_mut().filter(|_| self.audio) {
            item.insert(member.into(), value.clone());
        }
    }

    fn conversation(&self, index: usize) -> Value {
        let verdict = self.verdict(index);
        let mut item = json!({
            "conversationId": format!("conversation-{}", index + 1),
            "endToEndResult": verdict,
            "intentClassificationResults": [{"intentName": INTENT, "matchResult": verdict}],
            "slotResolutionResults": [{"intentName": INTENT, "slotName": SLOT, "matchResult": verdict}],
        });
        self.insert_speech(&mut item, "speechTranscriptionResult", &json!("Matched"));
        item
    }

    fn utterance(&self, index: usize) -> Value {
        // Each pair of conversations makes six turns: user, agent; user, agent, user, agent.
        let (pair, offset) = (index / 6, index % 6);
        let multi = offset >= 2;
        let conversation = pair * 2 + usize::from(multi);
        let turn = if multi { offset - 2 } else { offset };
        let verdict = self.verdict(conversation);
        let last = if multi { turn >= 2 } else { true };
        let verdict = if last { verdict } else { "Matched" };
        let result =
            if turn % 2 == 0 { json!({"user": self.user(verdict, turn)}) } else { agent(verdict, turn) };
        let mut item = json!({"recordNumber": index + 1, "turnResult": result});
        if let Some(item) = item.as_object_mut().filter(|_| multi) {
            // Utterances outside a conversation have no id.
            item.insert("conversationId".into(), json!(format!("conversation-{}", conversation + 1)));
        }
        item
    }

    fn user(&self, verdict: &str, turn: usize) -> Value {
        let slots = |city: &str| json!({SLOT: {"value": city, "values": [{"value": city}], "subSlots": {}}});
        let input = if self.audio {
            json!({"audioInput": {"audioFileS3Location": "s3://sandbox-test-sets/turn.wav"}})
        } else {
            json!({"textInput": if turn == 0 { "I'd like a room in Zürich" } else { "Yes, please" }})
        };
        let mut user = json!({
            "input": {"utteranceInput": input, "sessionState": {"sessionAttributes": {"tier": "gold"}}},
            "expectedOutput": {"intent": {"name": INTENT, "slots": slots("Zürich")}, "transcript": "a room"},
            "endToEndResult": verdict,
            "intentMatchResult": verdict,
            "slotMatchResult": verdict,
            "conversationLevelResult": {"endToEndResult": verdict},
        });
        self.insert_speech(&mut user, "speechTranscriptionResult", &json!("Matched"));
        if let Some(user) = user.as_object_mut() {
            if verdict == "ExecutionError" {
                let error = json!({
                    "errorCode": "DependencyFailedException",
                    "errorMessage": "The fulfilment function did not answer",
                });
                user.insert("errorDetails".into(), error);
            } else {
                let name = if verdict == "Matched" { INTENT } else { OTHER_INTENT };
                user.insert(
                    "actualOutput".into(),
                    json!({"intent": {"name": name, "slots": slots("Zürich")}}),
                );
            }
        }
        user
    }
}

fn agent(verdict: &str, turn: usize) -> Value {
    let expected = if turn == 1 { "For which nights?" } else { "Your room is booked." };
    let mut agent = json!({"expectedAgentPrompt": expected});
    if let Some(agent) = agent.as_object_mut() {
        if verdict == "ExecutionError" {
            let error =
                json!({"errorCode": "DependencyFailedException", "errorMessage": "No answer to compare"});
            agent.insert("errorDetails".into(), error);
        } else {
            agent.insert("actualAgentPrompt".into(), json!(expected));
            agent.insert("actualIntent".into(), json!(INTENT));
            agent.insert("actualElicitedSlot".into(), json!(SLOT));
        }
    }
    json!({"agent": agent})
}
