//! The default test cases.

use super::TestCase;
use crate::sandbox::scenario::{Outcome, Script};

fn id(number: u32) -> String {
    format!("c0ffee00-0000-4000-8000-{number:012}")
}

fn test(number: u32, name: &str, description: &str) -> TestCase {
    let mut test = TestCase::new(&id(number), name);
    test.description = description.into();
    test.script = test.script.bounded();
    test
}

/// Passing, failing, slow, not startable, and broken ones of each kind.
pub fn default_tests() -> Vec<TestCase> {
    let quick = |outcome, seconds| Script { outcome, seconds, ..Script::passing() };
    let mut draft = test(5, "draft-menu", "Saved but not published, so it can't be started");
    draft.published = false;
    let mut chat = test(9, "chat-handover", "A chat that reaches an agent").tag("suite", "chat");
    chat.chat = true;
    vec![
        test(1, "greeting", "The caller hears the greeting and reaches the menu; passes in four seconds")
            .tag("suite", "smoke")
            .tag("team", "voice"),
        test(2, "holiday-closure", "The closure prompt is missing; fails with one observation")
            .script(Script { checks: 5, ..quick(Outcome::Failed, 5.0) })
            .tag("suite", "smoke"),
        test(3, "slow-transfer", "A transfer that takes its time; passes in 20 seconds")
            .tag("suite", "regression"),
        test(4, "timeout", "Waits for a prompt that never comes; cut off after five minutes")
            .script(Script { checks: 2, ..quick(Outcome::Hangs, 300.0) })
            .tag("suite", "regression"),
        draft,
        test(6, "broken-init", "Accepted, then refused by the platform: an initialisation failure"),
        test(7, "no-observations", "Fails and leaves neither observations nor records"),
        test(8, "late-records", "Fails; its last records turn up eight seconds after the end").script(
            Script {
                checks: 3,
                failing: 1,
                lag_seconds: 8.0,
                odd_records: true,
                ..quick(Outcome::Failed, 3.0)
            },
        ),
        chat,
        TestCase::new("odd/id with space & 100% \"quotes\" ünï✓", "odd: name/with \"everything\" 100% ✓")
            .tag("suite", "odd"),
    ]
}
