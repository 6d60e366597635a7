use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::list::{read_token, write_token};
use super::*;
use crate::backend::engine::escape;

fn pipeline(extra: &str) -> Pipeline {
    let json = format!(
        r#"{{"id":"919e0000-0000-4000-8000-000000000001","name":"p","fullyQualifiedName":"s.p","pipelineType":"TestSuite"{extra}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

#[test]
fn a_pipeline_can_be_started_only_where_it_is_enabled_and_deployed() {
    for (extra, reason) in [
        (r#","enabled":true,"deployed":true"#, ""),
        (r#","enabled":true,"deployed":false"#, "deployed: false"),
        (r#","enabled":false,"deployed":true"#, "enabled: false"),
        ("", "enabled is not set, deployed is not set"),
    ] {
        let test = pipeline_test(&pipeline(extra));
        assert_eq!((test.startable, test.not_startable_reason.as_str()), (Some(reason.is_empty()), reason));
        assert_eq!(test.upstream_id, "s.p");
    }
}

#[test]
fn what_a_case_and_a_pipeline_can_do_lies_within_what_the_backend_says() {
    let abilities = |of: &Capabilities| (of.start_mode, of.stop_scope, of.record_execution);
    assert_eq!(abilities(&CASE_CAPABILITIES), (StartMode::None, StopScope::None, true));
    assert_eq!(abilities(&PIPELINE_CAPABILITIES), (StartMode::GatewayDedup, StopScope::Test, false));
    assert_eq!(abilities(&CAPABILITIES), (StartMode::GatewayDedup, StopScope::Test, true));
}

proptest! {
    #[test]
    fn row_39_a_name_is_one_segment_of_the_path_and_comes_back_whole(fqn in "[a-z.\"/%+ #?&=;é表\\PC]{1,60}") {
        let segment = escape(&fqn).to_string();
        prop_assert!(!segment.contains(['/', '?', '#', ' ', '"', '+', '&']));
        prop_assert!(segment.is_ascii());
        let path = format!("/v1/dataQuality/testCases/testCaseResults/{segment}?startTs=1");
        let uri: http::Uri = format!("http://h/api{path}").parse().unwrap();
        let last = uri.path().rsplit('/').next().unwrap();
        prop_assert_eq!(percent_decode_str(last).decode_utf8().unwrap(), fqn);
    }

    #[test]
    fn arbitrary_page_tokens_never_panic(token in "\\PC{0,40}") {
        let page = PageRequest { size: 1, token: Some(token) };
        drop(read_token::<i64>(&page));
        drop(read_token::<Option<String>>(&page));
    }

    #[test]
    fn a_page_token_is_read_as_it_was_written(at in any::<i64>()) {
        let page = PageRequest { size: 1, token: Some(write_token(&at)) };
        prop_assert_eq!(read_token::<i64>(&page).unwrap(), Some(at));
    }
}
