//! The default test sets.

use super::TestSet;
use crate::sandbox::scenario::{Outcome, Script};

/// Passing, failing, slow, late, not startable, and broken ones of each kind.
pub fn default_tests() -> Vec<TestSet> {
    let set = |id: &str, name: &str, description: &str| {
        let mut set = TestSet::new(id, name);
        set.description = description.into();
        set
    };
    // Real results are never there at the very moment of `Completed`.
    let script =
        |outcome, failing| Script { outcome, checks: 6, failing, lag_seconds: 1.0, ..Script::passing() };
    let with_status = |mut set: TestSet, status: &str| {
        set.status = status.into();
        set
    };
    let mut audio =
        set("AUDIOSET01", "audio-booking", "Spoken bookings; passes").script(script(Outcome::Passed, 0));
    audio.audio = true;
    vec![
        set("BOOKINGOK1", "booking", "Six conversations, all as expected; passes")
            .script(script(Outcome::Passed, 0)),
        set("BOOKINGBAD", "booking-mismatch", "Two of six conversations end in another intent; fails")
            .script(script(Outcome::Failed, 2)),
        set("AGENTERROR", "agent-errors", "One conversation ends in an execution error; inconclusive")
            .script(script(Outcome::Errors, 1)),
        set("EMPTYSET01", "empty", "Nothing to run; inconclusive").script(script(Outcome::Empty, 0)),
        set("BROKENRUN1", "broken-bot", "The bot was never built; the run fails with reasons")
            .script(script(Outcome::Broken, 0)),
        set("SLOWSET001", "slow", "Takes 20 seconds; passes").script(Script {
            seconds: 20.0,
            checks: 40,
            ..script(Outcome::Passed, 0)
        }),
        set("LATERESULT", "late-results", "Results turn up eight seconds after the end; passes")
            .script(Script { lag_seconds: 8.0, ..script(Outcome::Passed, 0) }),
        audio,
        with_status(
            set("IMPORTING1", "importing", "Still being imported, so it can't be started"),
            "Importing",
        ),
        with_status(
            set("ANNOTATE01", "pending-annotation", "Not annotated yet, so it can't be started"),
            "PendingAnnotation",
        ),
    ]
}
