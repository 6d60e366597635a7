//! curl, as people use it.

use std::collections::HashMap;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::process::isolate;
use crate::support::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Status, code and reason of an error.
    pub(crate) fn told(&self) -> (u16, String, String) {
        let error = self.json();
        (self.status, error["code"].as_str().unwrap_or_default().to_owned(), reason(&error))
    }
}

/// The reason in an error's details.
pub(crate) fn reason(error: &Value) -> String {
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo");
    info.and_then(|info| info["debug"]["reason"].as_str()).unwrap_or_default().to_owned()
}

/// Runs curl with these arguments and this body, and reads what it says.
pub(crate) async fn curl<'a>(arguments: impl IntoIterator<Item = &'a str>, body: &[u8]) -> Answer {
    let mut child = spawn(arguments, &["--include"]);
    let mut stdin = child.stdin.take().unwrap();
    // A server may answer, and curl end, before all of it is read.
    drop(stdin.write_all(body).await);
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("curl ends").unwrap();
    assert!(output.status.success(), "{output:?}");
    parse(&output.stdout)
}

/// Starts curl, which reads its body from standard input.
pub(crate) fn spawn<'a>(arguments: impl IntoIterator<Item = &'a str>, more: &[&str]) -> Child {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--no-buffer", "--data-binary", "@-"])
        .args(more)
        .args(arguments);
    isolate(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("curl, which the README asks for: {error}"))
}

/// Posts a body to a method.
pub(crate) async fn post(address: &str, method: &str, headers: &[&str], body: &[u8]) -> Answer {
    let url = url(address, method);
    let headers = headers.iter().flat_map(|header| ["--header", *header]);
    curl(headers.chain([url.as_str()]), body).await
}

/// Posts JSON to a method.
pub(crate) async fn call(address: &str, method: &str, message: &Value) -> Answer {
    post(address, method, &["content-type: application/json"], message.to_string().as_bytes()).await
}

pub(crate) fn url(address: &str, method: &str) -> String {
    format!("http://{address}/{}/{method}", super::SERVICE)
}

fn parse(mut bytes: &[u8]) -> Answer {
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
        let (head, body) = (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 4..]);
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            bytes = body;
            continue;
        }
        let pairs = headers.lines().map(|line| line.split_once(':').unwrap());
        let headers =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        return Answer { status, headers, body: body.to_vec() };
    }
}

/// Runs curl, which must fail, and gives what it says.
pub(crate) async fn fails<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut child = spawn(arguments, &[]);
    drop(child.stdin.take());
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("curl ends").unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
