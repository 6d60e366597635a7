//! What else may be said of a failure, once it is known whom the command talked to.

use tonic_types::StatusExt as _;

use super::client::{Gateway, read_list};
use super::failure::{Failure, is_lost, reason};
use super::{Global, contexts};
use crate::model::near::did_you_mean;
use crate::proto::v1::ListBackendsRequest;

/// `; did you mean connect-prod?` and the like; empty where there is nothing to suggest.
pub(crate) async fn more(failure: &Failure, global: &Global) -> String {
    match unknown_backend(failure) {
        Some(backend) => nearest(&backend, global).await.unwrap_or_default(),
        None => distrusted(failure, global).unwrap_or_default().to_owned(),
    }
}

/// A gateway that does not like a client's certificate hangs up, often before it is heard to say so.
fn distrusted(failure: &Failure, global: &Global) -> Option<&'static str> {
    let Failure::Call { status, .. } = failure else { return None };
    let target = contexts::target(global).ok()?;
    let secured = target.ca_file.is_some() || target.identity.is_some();
    let hung_up = std::error::Error::source(&**status).is_some() && is_lost(status);
    (hung_up && (secured || target.server.value.starts_with("https:"))).then_some(match target.identity {
        None => ", unless it wants to see --cert-file and --key-file",
        Some(_) => ", unless it does not know who vouches for --cert-file",
    })
}

fn unknown_backend(failure: &Failure) -> Option<String> {
    let Failure::Call { status, .. } = failure else { return None };
    // Behind grants, what one may not see looks like what does not exist.
    if !matches!(reason(status)?.as_str(), "RESOURCE_NOT_FOUND" | "CALLER_NOT_PERMITTED") {
        return None;
    }
    let details = status.get_error_details();
    let named = details.resource_info().map(|resource| resource.resource_name.clone());
    let concerned = || details.error_info()?.metadata.get("backend").cloned();
    let name = named.or_else(concerned)?;
    Some(name.strip_prefix("backends/")?.split('/').next()?.to_owned())
}

async fn nearest(backend: &str, global: &Global) -> Option<String> {
    let gateway = Gateway::connect(global).await.ok()?;
    let mut known = Vec::new();
    let all = ListBackendsRequest::default();
    let listed = read_list(&gateway, &all, None, "list backends", |page| {
        known.extend(
            page.into_iter().filter_map(|known| Some(known.name.strip_prefix("backends/")?.to_owned())),
        );
        Ok(())
    });
    listed.await.ok()?;
    // Then it was something else that was not found.
    if known.iter().any(|known| known == backend) {
        return None;
    }
    Some(did_you_mean(backend, known.iter().map(String::as_str)))
}
