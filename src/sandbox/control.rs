//! The control endpoint: looks at the simulated upstreams and drives them, as JSON over plain HTTP.
//!
//! | Request | Body | Answer |
//! |---|---|---|
//! | `GET /` | – | `{"clock":{"now_ms","scale"},"control","upstreams":[{"name","address","banner","state","faults","counts"}]}` |
//! | `GET /faults` | – | `{"faults":[{"upstream","id","operation","kind",…,"times","skip","struck"}]}` |
//! | `POST /faults` | a fault, see below | `{"id"}` |
//! | `DELETE /faults[?upstream=U][&id=N]` | – | `{"cleared"}` |
//! | `GET /calls?upstream=U[&operation=O]` | – | `{"calls":[{"sequence","operation","path","at_ms","status","fault"}]}` |
//! | `DELETE /calls[?upstream=U]` | – | `{}` |
//! | `POST /clock` | `{"scale":10}`, `{"advance_ms":5000}` or both | `{"now_ms","scale"}` |
//! | `POST /connect`, `/lex`, `/openmetadata` | `{"command":…}`, see each upstream | what the command answers |
//!
//! A fault is `{"upstream":"connect","operation":"StartTestCaseExecution","kind":"throttle","retry_after":2,"times":3}`.
//! `operation` is `*` and `times` without end where left out; `skip` lets that many requests through first. The
//! kinds and their members: `throttle` (`retry_after`, seconds), `quota`, `status` (`status`), `html` (`status`),
//! `truncate`, `wrong_json`, `reset_before`, `reset_after`, `delay` (`ms`), `redirect` (`location`), `swallow`,
//! `silent`, `reply` (`status`, `headers`, `body`).
//!
//! What is wrong with a request is answered with 400 (404 for an unknown path or upstream) and `{"error":"…"}`.
//! The endpoint has no authentication: it belongs on a loopback address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::clock::Clock;
use super::fault::{Fault, Traffic};
use super::http::{Reply, Request, Upstream};
use super::server::Mounted;

/// The fastest that simulated time may go.
pub const MAX_SCALE: f64 = 100_000.0;

/// The furthest that one command moves the clock: a year.
const MAX_ADVANCE_MS: u64 = 366 * 24 * 3600 * 1000;

/// All upstreams with their addresses; shared by the endpoint and the `Sandbox` handle.
pub(crate) struct Board {
    pub(crate) clock: Arc<Clock>,
    pub(crate) control: SocketAddr,
    pub(crate) upstreams: Vec<(SocketAddr, Arc<Mounted>)>,
}

impl Board {
    pub(crate) fn find(&self, name: &str) -> Option<(SocketAddr, &Arc<Mounted>)> {
        self.upstreams
            .iter()
            .find(|(_, mounted)| mounted.upstream.name() == name)
            .map(|(address, mounted)| (*address, mounted))
    }

    pub(crate) fn traffic(&self, name: &str) -> Result<&Traffic, String> {
        Ok(&self.find(name).ok_or_else(|| format!("no upstream is called {name:?}"))?.1.traffic)
    }

    pub(crate) fn command(&self, name: &str, command: &Value) -> Result<Value, String> {
        let (_, mounted) = self.find(name).ok_or_else(|| format!("no upstream is called {name:?}"))?;
        mounted.upstream.control(command)
    }

    fn overview(&self) -> Value {
        let upstreams: Vec<_> = self
            .upstreams
            .iter()
            .map(|(address, mounted)| {
                json!({
                    "name": mounted.upstream.name(),
                    "address": format!("http://{address}"),
                    "banner": mounted.upstream.banner(),
                    "state": mounted.upstream.control(&json!({"command": "state"})).unwrap_or(Value::Null),
                    "faults": mounted.traffic.faults(),
                    "counts": mounted.traffic.counts(),
                })
            })
            .collect();
        json!({
            "clock": self.clock_state(),
            "control": format!("http://{}", self.control),
            "upstreams": upstreams,
        })
    }

    fn clock_state(&self) -> Value {
        json!({"now_ms": self.clock.now_ms(), "scale": self.clock.scale()})
    }

    fn faults(&self) -> Value {
        let mut all = Vec::new();
        for (_, mounted) in &self.upstreams {
            for fault in mounted.traffic.faults() {
                let mut entry = json!({"upstream": mounted.upstream.name()});
                if let (Some(entry), Ok(Value::Object(fault))) =
                    (entry.as_object_mut(), serde_json::to_value(fault))
                {
                    entry.extend(fault);
                }
                all.push(entry);
            }
        }
        json!({"faults": all})
    }

    fn inject(&self, mut body: Value) -> Result<Value, String> {
        let upstream = body.as_object_mut().and_then(|body| body.remove("upstream"));
        let upstream = upstream.as_ref().and_then(Value::as_str).ok_or("`upstream` is missing")?;
        let fault: Fault = serde_json::from_value(body).map_err(|error| error.to_string())?;
        let id = self.traffic(upstream)?.inject(fault)?;
        Ok(json!({"id": id}))
    }

    /// The traffic of one upstream, or of all where none is named.
    fn selected(&self, upstream: Option<&str>) -> Result<Vec<&Traffic>, String> {
        match upstream {
            Some(name) => Ok(vec![self.traffic(name)?]),
            None => Ok(self.upstreams.iter().map(|(_, mounted)| &mounted.traffic).collect()),
        }
    }

    fn set_clock(&self, body: &Value) -> Result<Value, String> {
        let scale = match body.get("scale") {
            None => None,
            Some(scale) => {
                let scale = scale.as_f64().filter(|scale| (0.0..=MAX_SCALE).contains(scale));
                Some(scale.ok_or_else(|| format!("`scale` is a number from 0 to {MAX_SCALE}"))?)
            }
        };
        let advance = match body.get("advance_ms") {
            None => None,
            Some(advance) => {
                let advance = advance.as_u64().filter(|advance| *advance <= MAX_ADVANCE_MS);
                Some(advance.ok_or("`advance_ms` is a number of milliseconds, at most a year's")?)
            }
        };
        if let Some(scale) = scale {
            self.clock.set_scale(scale);
        }
        if let Some(advance) = advance {
            self.clock.advance(Duration::from_millis(advance));
        }
        Ok(self.clock_state())
    }
}

/// The endpoint, carried by the same server as the upstreams.
pub(crate) struct Control {
    pub(crate) board: Arc<Board>,
}

impl Control {
    fn route(&self, request: &Request) -> Result<Value, (StatusCode, String)> {
        let bad = |error: String| (StatusCode::BAD_REQUEST, error);
        let board = &self.board;
        let query = request.query().ok_or_else(|| bad("a broken escape in the query".into()))?;
        let parameter =
            |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let path = request.raw_path.as_str();
        match (&request.method, path) {
            (&Method::GET, "/") => Ok(board.overview()),
            (&Method::GET, "/faults") => Ok(board.faults()),
            (&Method::POST, "/faults") => board.inject(request.json().map_err(bad)?).map_err(bad),
            (&Method::DELETE, "/faults") => {
                let id =
                    parameter("id").map(|id| id.parse::<u64>().map_err(|error| bad(format!("id: {error}"))));
                let id = id.transpose()?;
                if id.is_some() && parameter("upstream").is_none() {
                    return Err(bad("`id` goes with `upstream`".into()));
                }
                let selected = board.selected(parameter("upstream")).map_err(bad)?;
                Ok(json!({"cleared": selected.iter().map(|traffic| traffic.clear(id)).sum::<usize>()}))
            }
            (&Method::GET, "/calls") => {
                let upstream = parameter("upstream").ok_or_else(|| bad("`upstream` is missing".into()))?;
                let traffic = board.traffic(upstream).map_err(bad)?;
                Ok(json!({"calls": traffic.calls(parameter("operation").unwrap_or("*"))}))
            }
            (&Method::DELETE, "/calls") => {
                board
                    .selected(parameter("upstream"))
                    .map_err(bad)?
                    .iter()
                    .for_each(|traffic| traffic.forget_calls());
                Ok(json!({}))
            }
            (&Method::POST, "/clock") => board.set_clock(&request.json().map_err(bad)?).map_err(bad),
            (&Method::POST, _) => {
                let name = path.trim_start_matches('/');
                if board.find(name).is_none() {
                    return Err((StatusCode::NOT_FOUND, format!("no upstream is called {name:?}")));
                }
                board.command(name, &request.json().map_err(bad)?).map_err(bad)
            }
            _ => Err((StatusCode::NOT_FOUND, format!("nothing answers {} {path}", request.method))),
        }
    }
}

impl Upstream for Control {
    fn name(&self) -> &'static str {
        "control"
    }

    fn operation(&self, _request: &Request) -> Option<&'static str> {
        None
    }

    fn handle(&self, request: &Request) -> Reply {
        match self.route(request) {
            Ok(answer) => Reply::json(StatusCode::OK, &answer),
            Err((status, error)) => Reply::json(status, &json!({"error": error})),
        }
    }

    fn control(&self, _command: &Value) -> Result<Value, String> {
        Err("the control endpoint takes no commands of its own".into())
    }
}
