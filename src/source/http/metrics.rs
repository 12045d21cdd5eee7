//! What the server counts, and how metrics are written. Every counter is there, at 0, from the start.

use std::array;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is asked for, by the name in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// testwire's own events.
    Events,
    /// pytest-rt and nose2rt.
    Loader,
    /// WebKit's results database.
    Results,
    /// System Test Progress Tracking.
    Stpt,
    /// RealtimeResults.
    Realtime,
    /// Health, readiness and metrics.
    Health,
    /// Anything else.
    Other,
}

const ENDPOINTS: [(Endpoint, &str); 7] = [
    (Endpoint::Events, "events"),
    (Endpoint::Loader, "loader"),
    (Endpoint::Results, "resultsdb"),
    (Endpoint::Stpt, "stpt"),
    (Endpoint::Realtime, "realtimeresults"),
    (Endpoint::Health, "health"),
    (Endpoint::Other, "other"),
];
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// Requests answered, by endpoint and class of status.
#[derive(Debug)]
pub struct Counts {
    requests: [[AtomicU64; CLASSES.len()]; ENDPOINTS.len()],
    bytes: AtomicU64,
    shed: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            bytes: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }
    }
}

impl Counts {
    pub(super) fn count(&self, endpoint: Endpoint, status: u16) {
        let class = match status {
            ..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        self.requests[endpoint as usize][class].fetch_add(1, Relaxed);
    }

    pub(super) fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_shed(&self) {
        self.shed.fetch_add(1, Relaxed);
    }

    pub(super) fn write(&self, out: &mut String) {
        head(out, "testwire_http_requests_total", "counter", "Requests answered, by endpoint and class of status.");
        for ((_, endpoint), classes) in ENDPOINTS.iter().zip(&self.requests) {
            for (class, count) in CLASSES.iter().zip(classes) {
                let labels = format!("{{endpoint=\"{endpoint}\",code=\"{class}\"}}");
                sample(out, "testwire_http_requests_total", &labels, count.load(Relaxed));
            }
        }
        head(out, "testwire_http_body_bytes_total", "counter", "Bytes of request bodies, unpacked.");
        sample(out, "testwire_http_body_bytes_total", "", self.bytes.load(Relaxed));
        head(
            out,
            "testwire_http_connections_refused_total",
            "counter",
            "Connections closed because there were too many.",
        );
        sample(out, "testwire_http_connections_refused_total", "", self.shed.load(Relaxed));
    }
}

/// Writes what a metric is, in Prometheus' text format.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all");
}

/// Writes a value; `labels` is `{a="b"}`, or empty.
pub fn sample(out: &mut String, name: &str, labels: &str, value: impl Display) {
    writeln!(out, "{name}{labels} {value}").expect("a String takes all");
}
