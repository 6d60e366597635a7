//! h2spec, every case of it and strictly, against the listener.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use testgate::server::{Options, ReplyBody, RequestBody};
use tokio::process::Command;

use crate::listener::{Listening, tool};
use crate::process::isolate;

/// Cases that may fail, and why. Each is about h2 or hyper, none about what a client could notice.
const MAY_FAIL: [(&str, &str, &str); 4] = [
    (
        "generic/2",
        "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
        "it wants DATA, where gRPC may answer with trailers only",
    ),
    (
        "generic/2",
        "Sends a PRIORITY frame on half-closed (remote) stream",
        "it wants DATA, where gRPC may answer with trailers only",
    ),
    (
        "http2/3.5",
        "Sends invalid connection preface",
        "h2 drops the connection with bytes unread, so the system resets it instead of closing it",
    ),
    (
        "http2/6.9.1",
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
        "h2 answers the overflow with another error code",
    ),
];

/// Each case may take this long before it counts as failed: a busy machine must not decide.
const SECONDS_A_CASE: &str = "30";
/// All of them together; a run takes a second where nothing fails.
const WHOLE: Duration = Duration::from_secs(600);

/// Reads the request to its end, so that streams stay open as long as their client wants, then answers with data.
async fn answer(request: Request<RequestBody>) -> Result<Response<ReplyBody>, Infallible> {
    drop(request.into_body().collect().await);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(Bytes::from_static(b"\0\0\0\0\x05hello"));
    let body = body.with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::new(tonic::body::Body::new(body).into()))
}

#[tokio::test]
async fn every_case_of_h2spec_passes_but_for_those_that_are_named() {
    let listening = Listening::start(Options::default(), tower::service_fn(answer)).await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let mut command = Command::new(tool("TESTGATE_H2SPEC"));
    command.args(["--strict", "--timeout", SECONDS_A_CASE, "--host", "127.0.0.1", "--port"]);
    command.arg(listening.address.port().to_string()).arg("--junit-report").arg(&report);
    isolate(&mut command);
    let output = tokio::time::timeout(WHOLE, command.output()).await.expect("h2spec does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let cases = cases(&report);
    assert!(cases.len() >= 140, "only {} cases ran: {said}", cases.len());
    let failed: BTreeSet<&(String, String)> =
        cases.iter().filter(|(_, passed)| !passed).map(|(case, _)| case).collect();
    let allowed = |case: &(String, String)| {
        MAY_FAIL.iter().any(|(section, title, _)| *section == case.0 && *title == case.1)
    };
    let wrong: Vec<_> = failed.into_iter().filter(|case| !allowed(case)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{said}");
}

/// Section and title of each case in a report, and whether nothing was wrong with it.
fn cases(report: &str) -> Vec<((String, String), bool)> {
    let attribute = |text: &str, name: &str| {
        let value = text.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&#34;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    };
    let cases = report.split("<testcase").skip(1);
    let read = |case: &str| {
        let title = attribute(case, "classname").expect("a title");
        let passed = !case.contains("<failure") && !case.contains("<error");
        ((attribute(case, "package").expect("a section"), title), passed)
    };
    cases.map(read).collect()
}
