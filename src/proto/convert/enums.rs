//! Enums: total towards the contract; back, only numbers that mean something here.

use crate::model::{
    FailureKind, ItemKind, Kind, LexApiMode, LexModality, StartMode, State, StopScope, Verdict,
};
use crate::proto::v1;

/// A number that is no value of its enum, or the unspecified one where a value is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{number} is not a value of {name} that can be used here")]
pub struct UnknownEnum {
    /// The enum.
    pub name: &'static str,
    /// What was sent.
    pub number: i32,
}

/// Pairs the values of a model enum with the contract's. The contract's unspecified value has no pair.
macro_rules! pairs {
    ($model:ty, $wire:ty, $name:literal, { $($variant:ident => $other:ident),+ $(,)? }) => {
        impl From<$model> for $wire {
            fn from(value: $model) -> Self {
                match value {
                    $(<$model>::$variant => Self::$other,)+
                }
            }
        }

        impl TryFrom<$wire> for $model {
            type Error = UnknownEnum;

            fn try_from(value: $wire) -> Result<Self, UnknownEnum> {
                match value {
                    $(<$wire>::$other => Ok(Self::$variant),)+
                    <$wire>::Unspecified => Err(UnknownEnum { name: $name, number: value.into() }),
                }
            }
        }
    };
}

pairs!(State, v1::execution::State, "State", {
    Pending => Pending,
    Running => Running,
    Stopping => Stopping,
    UpstreamUnknown => UpstreamUnknown,
    Settling => Settling,
    Completed => Completed,
    Errored => Errored,
    Stopped => Stopped,
    Lost => Lost,
});

pairs!(Verdict, v1::Verdict, "Verdict", {
    Pending => Pending,
    Passed => Passed,
    Failed => Failed,
    Inconclusive => Inconclusive,
    None => None,
});

pairs!(FailureKind, v1::failure_reason::Kind, "FailureReason.Kind", {
    Assertion => Assertion,
    Timeout => Timeout,
    UpstreamError => UpstreamError,
    Stopped => Stopped,
    ResultUnavailable => ResultUnavailable,
    Lost => Lost,
});

pairs!(ItemKind, v1::result_item::Kind, "ResultItem.Kind", {
    Observation => Observation,
    Overall => Overall,
    Conversation => Conversation,
    Intent => Intent,
    Slot => Slot,
    Utterance => Utterance,
    TestCase => TestCase,
});

pairs!(Kind, v1::backend::Kind, "Backend.Kind", {
    AmazonConnect => AmazonConnect,
    AmazonLexV2 => AmazonLexV2,
    OpenMetadata => Openmetadata,
});

pairs!(StartMode, v1::capabilities::StartMode, "Capabilities.StartMode", {
    None => None,
    NativeToken => NativeToken,
    GatewayDedup => GatewayDedup,
});

pairs!(StopScope, v1::capabilities::StopScope, "Capabilities.StopScope", {
    None => None,
    Execution => Execution,
    Test => Test,
});

pairs!(LexApiMode, v1::LexApiMode, "LexApiMode", {
    Streaming => Streaming,
    NonStreaming => NonStreaming,
});

pairs!(LexModality, v1::LexModality, "LexModality", {
    Text => Text,
    Audio => Audio,
});

/// Reads a number as its enum's value.
macro_rules! read {
    ($(#[$doc:meta])* $vis:vis fn $function:ident -> $model:ty, $wire:ty, $name:literal) => {
        $(#[$doc])*
        $vis fn $function(number: i32) -> Result<$model, UnknownEnum> {
            <$wire>::try_from(number).map_err(|_| UnknownEnum { name: $name, number })?.try_into()
        }
    };
}

read!(pub(super) fn state -> State, v1::execution::State, "State");
read!(pub(super) fn failure_kind -> FailureKind, v1::failure_reason::Kind, "FailureReason.Kind");
read!(
    /// Reads a verdict; the unspecified one is refused.
    ///
    /// # Errors
    /// A number without a meaning here.
    pub fn verdict -> Verdict, v1::Verdict, "Verdict"
);
read!(fn known_item_kind -> ItemKind, v1::result_item::Kind, "ResultItem.Kind");
read!(fn known_lex_api_mode -> LexApiMode, v1::LexApiMode, "LexApiMode");
read!(fn known_lex_modality -> LexModality, v1::LexModality, "LexModality");

/// Reads a kind of result item; 0 is none.
///
/// # Errors
/// A number without a meaning here.
pub fn item_kind(number: i32) -> Result<Option<ItemKind>, UnknownEnum> {
    if number == 0 { Ok(None) } else { known_item_kind(number).map(Some) }
}

/// Reads how Lex feeds the bot; 0 is none.
///
/// # Errors
/// A number without a meaning here.
pub fn lex_api_mode(number: i32) -> Result<Option<LexApiMode>, UnknownEnum> {
    if number == 0 { Ok(None) } else { known_lex_api_mode(number).map(Some) }
}

/// Reads what Lex feeds the bot; 0 is none.
///
/// # Errors
/// A number without a meaning here.
pub fn lex_modality(number: i32) -> Result<Option<LexModality>, UnknownEnum> {
    if number == 0 { Ok(None) } else { known_lex_modality(number).map(Some) }
}
