//! The default data: one of each kind of thing that can happen, under fixed ids.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Options;
use super::world::{Case, Outcome, Pipeline, Script, Service, State, Status, Suite, World};

const fn suite_id(number: u128) -> Uuid {
    Uuid::from_u128(0x5e17_e000_0000_4000_8000_0000_0000_0000 | number)
}
const fn case_id(number: u128) -> Uuid {
    Uuid::from_u128(0xca5e_0000_0000_4000_8000_0000_0000_0000 | number)
}
const fn pipeline_id(number: u128) -> Uuid {
    Uuid::from_u128(0x919e_0000_0000_4000_8000_0000_0000_0000 | number)
}

/// Logical suite with four passing cases.
pub const ORDERS_QUALITY: Uuid = suite_id(1);
/// Logical suite with a failing case.
pub const CUSTOMERS_QUALITY: Uuid = suite_id(2);
/// Logical suite with an aborted case.
pub const PAYMENTS_QUALITY: Uuid = suite_id(3);
/// Logical suite whose pipeline is not deployed.
pub const DRAFTS_QUALITY: Uuid = suite_id(4);
/// Logical suite without cases or pipelines.
pub const EMPTY_QUALITY: Uuid = suite_id(5);
/// Logical suite of cases with odd names.
pub const ODD_NAMES: Uuid = suite_id(6);
/// Logical suite whose pipelines settle late or break.
pub const LATE_QUALITY: Uuid = suite_id(7);
/// The orders table's basic suite.
pub const ORDERS_BASIC: Uuid = suite_id(0x10);

/// Passing case of the orders table, with history.
pub const CASE_ROW_COUNT: Uuid = case_id(1);
/// Passing case on a column.
pub const CASE_ID_UNIQUE: Uuid = case_id(2);
/// Failing case of the customers table.
pub const CASE_EMAIL_FORMAT: Uuid = case_id(11);
/// Aborted case of the payments table.
pub const CASE_AMOUNT_TIMEOUT: Uuid = case_id(21);
/// A case that never ran.
pub const CASE_NEVER_RUN: Uuid = case_id(31);
/// The first of the cases with odd names; the others follow it.
pub const CASE_ODD_FIRST: Uuid = case_id(41);

/// Runs `orders_quality`: passes in about five seconds.
pub const PIPELINE_ORDERS: Uuid = pipeline_id(1);
/// Runs two of the cases of `orders_quality`.
pub const PIPELINE_ORDERS_CRITICAL: Uuid = pipeline_id(2);
/// Runs the orders table's basic suite.
pub const PIPELINE_ORDERS_BASIC: Uuid = pipeline_id(3);
/// Runs `customers_quality`: a test fails.
pub const PIPELINE_CUSTOMERS: Uuid = pipeline_id(4);
/// Runs `payments_quality`: a test is aborted.
pub const PIPELINE_PAYMENTS: Uuid = pipeline_id(5);
/// Not deployed.
pub const PIPELINE_UNDEPLOYED: Uuid = pipeline_id(6);
/// Switched off.
pub const PIPELINE_SWITCHED_OFF: Uuid = pipeline_id(7);
/// Runs the cases with odd names.
pub const PIPELINE_ODD: Uuid = pipeline_id(8);
/// Says `success`, then `partialSuccess`; its results come late.
pub const PIPELINE_FLIPPING: Uuid = pipeline_id(9);
/// Its workflow breaks before any test ran.
pub const PIPELINE_BROKEN: Uuid = pipeline_id(10);
/// Takes a minute: time to stop it.
pub const PIPELINE_SLOW: Uuid = pipeline_id(11);

const SCHEMA: &str = "shop_pg.shop.public";
/// Names of test cases that are hard on a URL or on a parser of FQNs.
const ODD: &[&str] = &[
    "size.in.cm",
    "paid/unpaid_ratio",
    "with some spaces",
    "100%_filled",
    "größe_表_ok",
    "it's a+b & c=d?#;",
    "%2Fescaped%2F",
];

impl Default for Script {
    fn default() -> Self {
        Self {
            queued_ms: 1_000,
            running_ms: 4_000,
            end: State::Success,
            lag_ms: 0,
            flip: None,
            hangs: false,
            silent: false,
        }
    }
}

/// The default data as it stands at a moment.
pub(super) fn world(mut options: Options, now: i64) -> World {
    if options.seeded_at == 0 {
        options.seeded_at = now;
    }
    let mut world = World {
        options,
        old_token: None,
        token_trouble: None,
        denied: false,
        database_down: false,
        service: Service::Up,
        swallow: 0,
        suites: suites(),
        cases: Vec::new(),
        pipelines: Vec::new(),
        events: Vec::new(),
    };
    add_cases(&mut world, now);
    add_pipelines(&mut world);
    add_history(&mut world, now);
    world
}

fn suites() -> Vec<Suite> {
    let logical = |id, name: &str, shown: &str, text: &str| Suite {
        id,
        name: name.to_owned(),
        display_name: Some(shown.to_owned()),
        description: text.to_owned(),
        table: None,
    };
    let basic = |number, table: &str| Suite {
        id: suite_id(number),
        name: format!("{SCHEMA}.{table}.testSuite"),
        display_name: None,
        description: format!("All tests of the table {table}."),
        table: Some(format!("{SCHEMA}.{table}")),
    };
    vec![
        logical(
            ORDERS_QUALITY,
            "orders_quality",
            "Orders quality",
            "What must hold before orders are reported.",
        ),
        logical(CUSTOMERS_QUALITY, "customers_quality", "Customers quality", "One of its tests fails."),
        logical(PAYMENTS_QUALITY, "payments_quality", "Payments quality", "One of its tests is aborted."),
        logical(DRAFTS_QUALITY, "drafts_quality", "Drafts", "Its pipelines can't be started."),
        logical(EMPTY_QUALITY, "empty_quality", "Empty", "Nothing in it yet."),
        logical(ODD_NAMES, "odd names / 100%", "Odd names", "Names that are hard on URLs."),
        logical(
            LATE_QUALITY,
            "late_quality",
            "Late results",
            "Its runs end before their evidence is complete.",
        ),
        basic(0x10, "orders"),
        basic(0x11, "customers"),
        basic(0x12, "payments"),
        basic(0x13, "parcels"),
    ]
}

/// Quotes a part of an FQN where it holds a dot.
pub(super) fn quoted(part: &str) -> String {
    if part.contains('.') { format!("\"{part}\"") } else { part.to_owned() }
}

/// What a case is made from.
pub(super) struct NewCase<'a> {
    pub(super) id: Uuid,
    pub(super) table: &'a str,
    pub(super) column: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) outcome: Status,
    pub(super) suites: Vec<Uuid>,
}

/// Adds a case under the name that the server would give it.
pub(super) fn add_case(world: &mut World, new: NewCase<'_>, now: i64) {
    let table = format!("{SCHEMA}.{}", new.table);
    // A column's name stands unquoted there even with a dot.
    let owner = new.column.map_or_else(|| table.clone(), |column| format!("{table}.{column}"));
    world.cases.push(Case {
        id: new.id,
        fqn: format!("{owner}.{}", quoted(new.name)),
        description: format!("Checks {} on {owner}.", new.name),
        definition: if new.column.is_some() { "columnValuesToBeNotNull" } else { "tableRowCountToBeBetween" },
        name: new.name.to_owned(),
        column: new.column.map(str::to_owned),
        table,
        suites: new.suites,
        outcome: new.outcome,
        results: BTreeMap::new(),
        incident: None,
        deleted: false,
        version: 1,
        updated_at: now,
    });
}

fn add_cases(world: &mut World, now: i64) {
    use Status::{Aborted, Failed, Success};
    let (orders, customers, payments, parcels) =
        (ORDERS_BASIC, suite_id(0x11), suite_id(0x12), suite_id(0x13));
    let rows = [
        (CASE_ROW_COUNT, "orders", None, "row_count", Success, vec![orders, ORDERS_QUALITY, LATE_QUALITY]),
        (CASE_ID_UNIQUE, "orders", Some("id"), "id_unique", Success, vec![orders, ORDERS_QUALITY]),
        (case_id(3), "orders", Some("amount"), "amount_not_null", Success, vec![orders, ORDERS_QUALITY]),
        (case_id(4), "orders", Some("unit.price"), "price_positive", Success, vec![orders, ORDERS_QUALITY]),
        (case_id(10), "customers", None, "row_count", Success, vec![customers, CUSTOMERS_QUALITY]),
        (
            CASE_EMAIL_FORMAT,
            "customers",
            Some("email"),
            "email_format",
            Failed,
            vec![customers, CUSTOMERS_QUALITY],
        ),
        (case_id(20), "payments", None, "row_count", Success, vec![payments, PAYMENTS_QUALITY]),
        (
            CASE_AMOUNT_TIMEOUT,
            "payments",
            Some("amount"),
            "sum_timeout",
            Aborted,
            vec![payments, PAYMENTS_QUALITY],
        ),
        (CASE_NEVER_RUN, "parcels", None, "never_run", Success, vec![parcels, DRAFTS_QUALITY]),
    ];
    for (id, table, column, name, outcome, suites) in rows {
        add_case(world, NewCase { id, table, column, name, outcome, suites }, now);
    }
    for (number, name) in (41..).zip(ODD) {
        let suites = vec![parcels, ODD_NAMES];
        let new =
            NewCase { id: case_id(number), table: "parcels", column: None, name, outcome: Success, suites };
        add_case(world, new, now);
    }
}

fn add_pipelines(world: &mut World) {
    let slow = Script { running_ms: 60_000, ..Script::default() };
    let flipping = Script { lag_ms: 4_000, flip: Some((4_500, State::PartialSuccess)), ..Script::default() };
    let broken = Script { end: State::Failed, silent: true, ..Script::default() };
    let rows = [
        (PIPELINE_ORDERS, ORDERS_QUALITY, "orders_quality_daily", "Orders, daily", Script::default()),
        (
            PIPELINE_ORDERS_CRITICAL,
            ORDERS_QUALITY,
            "orders_quality_critical",
            "Orders, critical",
            Script::default(),
        ),
        (PIPELINE_ORDERS_BASIC, ORDERS_BASIC, "orders_table", "Orders table", Script::default()),
        (PIPELINE_CUSTOMERS, CUSTOMERS_QUALITY, "customers_daily", "Customers, daily", Script::default()),
        (PIPELINE_PAYMENTS, PAYMENTS_QUALITY, "payments_daily", "Payments, daily", Script::default()),
        (PIPELINE_UNDEPLOYED, DRAFTS_QUALITY, "drafts_undeployed", "Drafts, not deployed", Script::default()),
        (PIPELINE_SWITCHED_OFF, DRAFTS_QUALITY, "drafts_off", "Drafts, switched off", Script::default()),
        (PIPELINE_ODD, ODD_NAMES, "nightly v1.2 / 100%", "Odd names, nightly", Script::default()),
        (PIPELINE_FLIPPING, LATE_QUALITY, "late_flipping", "Late, changes its mind", flipping),
        (PIPELINE_BROKEN, LATE_QUALITY, "late_broken", "Breaks", broken),
        (PIPELINE_SLOW, LATE_QUALITY, "late_slow", "Takes a minute", slow),
    ];
    for (id, suite, name, shown, script) in rows {
        let owner = world.suite(suite).map(|suite| (suite.name.clone(), suite.table.is_some()));
        // A basic suite's name is an FQN already; a logical one's is a single part.
        let owner = owner.map(|(name, basic)| if basic { name } else { quoted(&name) }).unwrap_or_default();
        world.pipelines.push(Pipeline {
            id,
            name: name.to_owned(),
            fqn: format!("{owner}.{}", quoted(name)),
            display_name: shown.to_owned(),
            suite,
            deployed: id != PIPELINE_UNDEPLOYED,
            enabled: id != PIPELINE_SWITCHED_OFF,
            subset: (id == PIPELINE_ORDERS_CRITICAL)
                .then(|| vec!["id_unique".to_owned(), "amount_not_null".to_owned()]),
            script,
            runs: Vec::new(),
        });
    }
}

/// Three nights of results, and two runs of the orders pipeline.
fn add_history(world: &mut World, now: i64) {
    const DAY: i64 = 86_400_000;
    for days in [3, 2, 1] {
        for index in 0..world.cases.len() {
            let Some(case) = world.cases.get(index).filter(|case| case.id != CASE_NEVER_RUN) else {
                continue;
            };
            // One bad night in the past of a test that passes.
            let bad = days == 2 && case.id == CASE_ROW_COUNT;
            let status = if bad { Status::Failed } else { case.outcome };
            let offset = i64::try_from(index).unwrap_or_default() * 250;
            world.store(index, Outcome::of_worker(now - days * DAY + offset, status));
        }
    }
    for days in [2, 1] {
        let quiet = Script { silent: true, ..Script::default() };
        if let Some(index) = world.pipeline_index(PIPELINE_ORDERS) {
            world.start_as(index, &quiet, now - days * DAY - 1_000);
        }
    }
}
