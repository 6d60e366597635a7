//! Which of the two published ways to results a server speaks: found out once, remembered, shown.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{BackendError, ErrorKind};
use crate::config::backend::ApiStyle;

/// The first version that has results by fully qualified name.
const BY_FQN_SINCE: (u64, u64) = (1, 6);

/// A way to results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// `{id}/testCaseResult`, GET and PUT, as the published page has it.
    Documented,
    /// `testCaseResults/{fqn}`, GET and POST, as servers of 1.6 and later have it.
    ByFqn,
}

/// The choice, and the server's version.
#[derive(Debug)]
pub(super) struct Api {
    pinned: Option<Route>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    chosen: Option<Route>,
    proven: bool,
    version: Option<String>,
}

impl Route {
    fn other(self) -> Self {
        match self {
            Self::Documented => Self::ByFqn,
            Self::ByFqn => Self::Documented,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::ByFqn => "by-fqn",
        }
    }
}

impl Api {
    pub(super) fn new(style: ApiStyle) -> Self {
        let pinned = match style {
            ApiStyle::Auto => None,
            ApiStyle::Documented => Some(Route::Documented),
            ApiStyle::ByFqn => Some(Route::ByFqn),
        };
        Self { pinned, state: Mutex::default() }
    }

    /// The way to take, where it is known.
    pub(super) fn route(&self) -> Option<Route> {
        self.pinned.or_else(|| self.lock().chosen)
    }

    /// For `Backend.location`.
    pub(super) fn as_str(&self) -> &'static str {
        self.route().map_or("auto", Route::as_str)
    }

    /// The server's version, where it was read.
    pub(super) fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// Takes the server's version in, and chooses by it unless an answer has proven a way already.
    pub(super) fn note_version(&self, version: &str) {
        let route = if by_fqn(version) { Route::ByFqn } else { Route::Documented };
        let mut state = self.lock();
        state.version = Some(crate::model::status::cut(version.to_owned(), 64));
        if !state.proven {
            state.chosen = Some(route);
        }
    }

    /// The way to try after one that is not there; `None` where there is none, or it is there.
    pub(super) fn fall_back(&self, tried: Route, error: Option<&BackendError>) -> Option<Route> {
        (self.pinned.is_none() && error.is_some_and(Self::is_absent)).then(|| tried.other())
    }

    /// Remembers the way that was fallen back to, if it is there.
    pub(super) fn choose(&self, route: Route, error: Option<&BackendError>) {
        if error.is_none_or(|error| error.kind == ErrorKind::UpstreamNotFound) {
            self.confirm(route, true);
        }
    }

    /// Remembers a way that answered.
    pub(super) fn confirm(&self, route: Route, answered: bool) {
        if answered {
            let mut state = self.lock();
            state.chosen = Some(route);
            state.proven = true;
        }
    }

    /// Whether an error says that a route is not there, as opposed to an entity.
    pub(super) fn is_absent(error: &BackendError) -> bool {
        error.kind == ErrorKind::UpstreamUnrecognized
            && error.upstream.as_ref().is_some_and(|context| matches!(context.http_status, Some(404 | 405)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a version has results by name. What can't be read is taken for a new one.
fn by_fqn(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).take(9).collect();
        digits.parse::<u64>().ok()
    });
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= BY_FQN_SINCE,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::UpstreamContext;

    fn error(kind: ErrorKind, status: u16) -> BackendError {
        BackendError::new(kind, "")
            .with_upstream(UpstreamContext { http_status: Some(status), ..UpstreamContext::default() })
    }

    #[test]
    fn servers_since_1_6_are_asked_by_name() {
        for (version, expected) in [
            ("1.5.11", false),
            ("0.13.2", false),
            ("1.6.0", true),
            ("1.12.6", true),
            ("2.0.8", true),
            ("main", true),
            ("", true),
        ] {
            assert_eq!(by_fqn(version), expected, "{version}");
        }
    }

    #[test]
    fn only_an_absent_route_leads_to_the_other_style_and_a_pin_never_does() {
        let absent = error(ErrorKind::UpstreamUnrecognized, 404);
        let auto = Api::new(ApiStyle::Auto);
        assert_eq!(auto.fall_back(Route::ByFqn, Some(&absent)), Some(Route::Documented));
        assert_eq!(
            auto.fall_back(Route::ByFqn, Some(&error(ErrorKind::UpstreamUnrecognized, 405))),
            Some(Route::Documented)
        );
        assert_eq!(auto.fall_back(Route::ByFqn, Some(&error(ErrorKind::UpstreamNotFound, 404))), None);
        assert_eq!(auto.fall_back(Route::ByFqn, Some(&error(ErrorKind::UpstreamUnrecognized, 418))), None);
        assert_eq!(auto.fall_back(Route::ByFqn, None), None);
        assert_eq!(Api::new(ApiStyle::ByFqn).fall_back(Route::ByFqn, Some(&absent)), None);
    }

    #[test]
    fn a_proven_way_outlives_what_the_version_suggests() {
        let api = Api::new(ApiStyle::Auto);
        assert_eq!(api.as_str(), "auto");
        api.note_version("1.12.6");
        assert_eq!(api.as_str(), "by-fqn");
        api.choose(Route::Documented, None);
        api.note_version("1.12.6");
        assert_eq!(api.as_str(), "documented");
        assert_eq!(api.version().as_deref(), Some("1.12.6"));
    }
}
