//! Which operation a path and a method mean. Matching comes before authentication, as on the real server.

use http::Method;

use super::Style;
use super::wire::Fault;
use crate::sandbox::http::decode_percent;

/// One operation with the identifiers of its path, decoded but not yet parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Version,
    Health,
    ListCases,
    SearchCases,
    GetCase(String),
    GetCaseByName(String),
    DeleteCase(String),
    RestoreCase,
    ListResults(String),
    AddResult(String),
    PatchResult(String, String),
    DeleteResult(String, String),
    SearchResults,
    LatestResult,
    ListResultsById(String),
    PutResultById(String),
    ListSuites,
    SearchSuites,
    GetSuite(String),
    GetSuiteByName(String),
    ListPipelines,
    GetPipeline(String),
    GetPipelineByName(String),
    Trigger(String),
    Kill(String),
    Deploy(String),
    Toggle(String),
    RunnerStatus,
    ListRuns(String),
    PutRun(String),
    GetRun(String, String),
    DeleteRun(String, String),
    Events,
}

impl Route {
    /// The name that faults and counters use.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Version => "Version",
            Self::Health => "Health",
            Self::ListCases => "ListTestCases",
            Self::SearchCases => "SearchTestCases",
            Self::GetCase(_) => "GetTestCase",
            Self::GetCaseByName(_) => "GetTestCaseByName",
            Self::DeleteCase(_) => "DeleteTestCase",
            Self::RestoreCase => "RestoreTestCase",
            // Both styles share their names, so that one fault meets either.
            Self::ListResults(_) | Self::ListResultsById(_) => "ListResults",
            Self::AddResult(_) | Self::PutResultById(_) => "AddResult",
            Self::PatchResult(..) => "PatchResult",
            Self::DeleteResult(..) => "DeleteResult",
            Self::SearchResults => "SearchResults",
            Self::LatestResult => "LatestResult",
            Self::ListSuites => "ListTestSuites",
            Self::SearchSuites => "SearchTestSuites",
            Self::GetSuite(_) => "GetTestSuite",
            Self::GetSuiteByName(_) => "GetTestSuiteByName",
            Self::ListPipelines => "ListPipelines",
            Self::GetPipeline(_) => "GetPipeline",
            Self::GetPipelineByName(_) => "GetPipelineByName",
            Self::Trigger(_) => "Trigger",
            Self::Kill(_) => "Kill",
            Self::Deploy(_) => "Deploy",
            Self::Toggle(_) => "Toggle",
            Self::RunnerStatus => "RunnerStatus",
            Self::ListRuns(_) => "ListPipelineStatus",
            Self::PutRun(_) => "PutPipelineStatus",
            Self::GetRun(..) => "GetPipelineStatus",
            Self::DeleteRun(..) => "DeletePipelineStatus",
            Self::Events => "Events",
        }
    }

    /// Every name, for whoever lists what a fault can be tied to.
    pub(super) const NAMES: &'static [&'static str] = &[
        "Version",
        "Health",
        "ListTestCases",
        "SearchTestCases",
        "GetTestCase",
        "GetTestCaseByName",
        "DeleteTestCase",
        "RestoreTestCase",
        "ListResults",
        "AddResult",
        "PatchResult",
        "DeleteResult",
        "SearchResults",
        "LatestResult",
        "ListTestSuites",
        "SearchTestSuites",
        "GetTestSuite",
        "GetTestSuiteByName",
        "ListPipelines",
        "GetPipeline",
        "GetPipelineByName",
        "Trigger",
        "Kill",
        "Deploy",
        "Toggle",
        "RunnerStatus",
        "ListPipelineStatus",
        "PutPipelineStatus",
        "GetPipelineStatus",
        "DeletePipelineStatus",
        "Events",
    ];

    /// Version and health are told to anybody.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Version | Self::Health)
    }
}

/// What a path is, before its method counts.
enum Resource {
    /// The methods it has, as the `Allow` header lists them, and what they mean.
    Methods(&'static str, Vec<(Method, Route)>),
}

/// Finds the operation. `OPTIONS` is answered by the caller through [`allowed`].
pub(super) fn find(method: &Method, raw_path: &str, style: Style) -> Result<Route, Fault> {
    let Resource::Methods(allow, routes) = resource(raw_path, style).ok_or_else(Fault::absent)?;
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    routes
        .into_iter()
        .find(|(has, _)| has == wanted)
        .map(|(_, route)| route)
        .ok_or_else(|| Fault::method(allow))
}

/// The `Allow` header of a path, if there is such a path.
pub(super) fn allowed(raw_path: &str, style: Style) -> Option<&'static str> {
    resource(raw_path, style).map(|Resource::Methods(allow, _)| allow)
}

fn resource(raw_path: &str, style: Style) -> Option<Resource> {
    let path = raw_path.strip_prefix("/api/v1/")?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments = path.split('/').map(decode_percent).collect::<Option<Vec<String>>>()?;
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["system", "version"] => Some(get(Route::Version)),
        ["system", "health"] => Some(get(Route::Health)),
        ["events"] => Some(get(Route::Events)),
        ["dataQuality", "testCases", rest @ ..] => cases(rest, style),
        ["dataQuality", "testSuites", rest @ ..] => suites(rest),
        ["services", "ingestionPipelines", rest @ ..] => pipelines(rest),
        _ => None,
    }
}

fn cases(rest: &[&str], style: Style) -> Option<Resource> {
    match (rest, style) {
        ([], _) => Some(get(Route::ListCases)),
        (["restore"], _) => Some(Resource::Methods("PUT,OPTIONS", vec![(Method::PUT, Route::RestoreCase)])),
        (["search", "list"], _) => Some(get(Route::SearchCases)),
        (["name", fqn], _) => Some(get(Route::GetCaseByName((*fqn).to_owned()))),
        (["testCaseResults", "search", "list"], Style::ByFqn) => Some(get(Route::SearchResults)),
        (["testCaseResults", "search", "latest"], Style::ByFqn) => Some(get(Route::LatestResult)),
        (["testCaseResults", fqn], Style::ByFqn) => Some(Resource::Methods(
            "POST,GET,OPTIONS",
            vec![
                (Method::POST, Route::AddResult((*fqn).to_owned())),
                (Method::GET, Route::ListResults((*fqn).to_owned())),
            ],
        )),
        (["testCaseResults", fqn, timestamp], Style::ByFqn) => {
            let both = || ((*fqn).to_owned(), (*timestamp).to_owned());
            let (patch, delete) = (both(), both());
            Some(Resource::Methods(
                "DELETE,PATCH,OPTIONS",
                vec![
                    (Method::PATCH, Route::PatchResult(patch.0, patch.1)),
                    (Method::DELETE, Route::DeleteResult(delete.0, delete.1)),
                ],
            ))
        }
        ([id, "testCaseResult"], Style::Documented) => Some(Resource::Methods(
            "GET,PUT,OPTIONS",
            vec![
                (Method::GET, Route::ListResultsById((*id).to_owned())),
                (Method::PUT, Route::PutResultById((*id).to_owned())),
            ],
        )),
        ([id], _) => Some(Resource::Methods(
            "GET,DELETE,OPTIONS",
            vec![
                (Method::GET, Route::GetCase((*id).to_owned())),
                (Method::DELETE, Route::DeleteCase((*id).to_owned())),
            ],
        )),
        _ => None,
    }
}

fn suites(rest: &[&str]) -> Option<Resource> {
    match rest {
        [] => Some(get(Route::ListSuites)),
        ["search", "list"] => Some(get(Route::SearchSuites)),
        ["name", fqn] => Some(get(Route::GetSuiteByName((*fqn).to_owned()))),
        [id] => Some(get(Route::GetSuite((*id).to_owned()))),
        _ => None,
    }
}

fn pipelines(rest: &[&str]) -> Option<Resource> {
    let post = |route| Resource::Methods("POST,OPTIONS", vec![(Method::POST, route)]);
    match rest {
        [] => Some(get(Route::ListPipelines)),
        ["status"] => Some(get(Route::RunnerStatus)),
        ["name", fqn] => Some(get(Route::GetPipelineByName((*fqn).to_owned()))),
        ["trigger", id] => Some(post(Route::Trigger((*id).to_owned()))),
        ["kill", id] => Some(post(Route::Kill((*id).to_owned()))),
        ["deploy", id] => Some(post(Route::Deploy((*id).to_owned()))),
        ["toggleIngestion", id] => Some(post(Route::Toggle((*id).to_owned()))),
        [fqn, "pipelineStatus"] => Some(Resource::Methods(
            "GET,PUT,OPTIONS",
            vec![
                (Method::GET, Route::ListRuns((*fqn).to_owned())),
                (Method::PUT, Route::PutRun((*fqn).to_owned())),
            ],
        )),
        [owner, "pipelineStatus", run] => {
            let both = || ((*owner).to_owned(), (*run).to_owned());
            let (read, delete) = (both(), both());
            Some(Resource::Methods(
                "GET,DELETE,OPTIONS",
                vec![
                    (Method::GET, Route::GetRun(read.0, read.1)),
                    (Method::DELETE, Route::DeleteRun(delete.0, delete.1)),
                ],
            ))
        }
        [id] => Some(get(Route::GetPipeline((*id).to_owned()))),
        _ => None,
    }
}

fn get(route: Route) -> Resource {
    Resource::Methods("GET,OPTIONS", vec![(Method::GET, route)])
}

#[cfg(test)]
mod tests {
    use http::header::{ALLOW, WWW_AUTHENTICATE};
    use proptest::prelude::*;

    use super::*;

    fn status(method: Method, path: &str, style: Style) -> u16 {
        find(&method, &format!("/api/v1/{path}"), style)
            .map_or_else(|fault| fault.into_reply().status.as_u16(), |_| 200)
    }

    #[test]
    fn exactly_one_style_of_result_routes_is_present() {
        let (by_id, by_fqn) =
            ("dataQuality/testCases/1-1-1-1-1/testCaseResult", "dataQuality/testCases/testCaseResults/a.b");
        assert_eq!(status(Method::PUT, by_id, Style::ByFqn), 404);
        assert_eq!(status(Method::GET, by_id, Style::ByFqn), 404);
        assert_eq!(status(Method::POST, by_fqn, Style::Documented), 404);
        assert_eq!(status(Method::PUT, by_id, Style::Documented), 200);
        assert_eq!(status(Method::POST, by_id, Style::Documented), 405);
        assert_eq!(status(Method::POST, by_fqn, Style::ByFqn), 200);
    }

    #[test]
    fn put_by_fqn_is_405_and_lists_what_is_allowed() {
        let fault =
            find(&Method::PUT, "/api/v1/dataQuality/testCases/testCaseResults/a", Style::ByFqn).unwrap_err();
        let reply = fault.into_reply();
        assert_eq!(reply.status, 405);
        assert_eq!(reply.headers.get(ALLOW).unwrap(), "POST,GET,OPTIONS");
        assert!(reply.headers.get(WWW_AUTHENTICATE).is_none());
    }

    #[test]
    fn an_encoded_slash_stays_inside_the_name_and_a_raw_one_does_not() {
        let base = "/api/v1/dataQuality/testCases/testCaseResults/";
        let found = find(&Method::GET, &format!("{base}t.a%2fb"), Style::ByFqn).unwrap();
        assert_eq!(found, Route::ListResults("t.a/b".to_owned()));
        assert_eq!(status(Method::GET, "dataQuality/testCases/testCaseResults/t.a/b", Style::ByFqn), 405);
    }

    #[test]
    fn a_trailing_slash_is_no_other_path() {
        assert_eq!(status(Method::GET, "dataQuality/testCases/", Style::ByFqn), 200);
    }

    #[test]
    fn running_by_entity_link_does_not_exist_yet() {
        assert_eq!(status(Method::POST, "services/ingestionPipelines/run", Style::ByFqn), 405);
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "\\PC*") {
            drop(find(&Method::GET, &path, Style::ByFqn));
            drop(find(&Method::PUT, &format!("/api/v1/{path}"), Style::Documented));
        }
    }
}
