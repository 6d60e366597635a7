use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_id_survives_its_name(test in "\\PC{1,40}", execution in "[^\0]{1,40}") {
        prop_assume!(TestId::new(&test).is_ok() && ExecutionId::new(&execution).is_ok());
        let name = TestName { backend: BackendId::new("b-1").unwrap(), test: TestId::new(&test).unwrap() }
            .execution(ExecutionId::new(&execution).unwrap());
        let text = name.to_string();
        if text.len() <= MAX_NAME_BYTES {
            prop_assert_eq!(ExecutionName::parse(&text), Ok(name));
        } else {
            prop_assert!(ExecutionName::parse(&text).is_err());
        }
    }

    #[test]
    fn arbitrary_text_never_panics_and_what_parses_is_canonical(text in "\\PC*") {
        if let Ok(name) = ExecutionName::parse(&text) {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        drop((TestName::parse(&text), Scope::parse(&text), parse_backend_parent(&text)));
        drop(LooseExecutionName::parse(&text));
    }

    #[test]
    fn nearly_right_names_never_panic(part in "[%a-zA-Z0-9./-]{0,12}", tail in "[%./a-f0-9]{0,6}") {
        let text = format!("backends/b/tests/{part}/executions/{tail}");
        if let Ok(name) = ExecutionName::parse(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}

#[test]
fn each_broken_rule_is_named() {
    let rule = |text: &str| ExecutionName::parse(text).unwrap_err().0;
    assert!(rule("").contains("required"));
    assert!(rule("backends/b/tests/a%2fb/executions/e").contains("must be spelled \"a%2Fb\""));
    assert!(rule("backends/b/tests/%41/executions/e").contains("must be spelled \"A\""));
    assert!(rule("backends/b/tests/a b/executions/e").contains("must be spelled \"a%20b\""));
    assert!(rule("backends/b/tests//executions/e").contains("empty part"));
    assert!(rule("backends/b/tests/../executions/e").contains("not an id"));
    assert!(rule("backends/b/tests/%00/executions/e").contains("NUL"));
    assert!(rule("backends/b/tests/%ff/executions/e").contains("UTF-8"));
    assert!(rule("backends/b/tests/%2/executions/e").contains("broken percent escape"));
    assert!(rule("backends/B/tests/t/executions/e").contains("[a-z][a-z0-9-]"));
    assert!(
        rule("backends/b/tests/t/executions/e/x")
            .contains("form backends/{backend}/tests/{test}/executions/{execution}")
    );
    assert!(rule("backends/b/tests/-/executions/e").contains("name the test"));
    assert!(rule(&format!("backends/b/tests/t/executions/{}", "x".repeat(2048))).contains("2048"));
}

#[test]
fn a_minted_id_is_told_from_an_upstream_one() {
    assert!(ExecutionId::mint().is_minted());
    assert!(!ExecutionId::new("g-force").unwrap().is_minted());
}

#[test]
fn a_scope_takes_wildcards_from_the_left() {
    assert_eq!(Scope::parse("backends/-/tests/-"), Ok(Scope::of_backend(None)));
    assert!(Scope::parse("backends/b/tests/-").unwrap().test.is_none());
    assert!(Scope::parse("backends/-/tests/t").is_err());
}
