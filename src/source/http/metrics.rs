//! What the server counts, and how metrics are written. Every counter is there, at 0, from the start.

use std::array;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
    /// TestRunner.
    Testruns,
    /// Health, readiness and metrics.
    Health,
    /// Anything else.
    Other,
}

const ENDPOINTS: [(Endpoint, &str); 8] = [
    (Endpoint::Events, "events"),
    (Endpoint::Loader, "loader"),
    (Endpoint::Results, "resultsdb"),
    (Endpoint::Stpt, "stpt"),
    (Endpoint::Realtime, "realtimeresults"),
    (Endpoint::Testruns, "testrunner"),
    (Endpoint::Health, "health"),
    (Endpoint::Other, "other"),
];
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// Bounds of the times of answers, in milliseconds, and how they are written in seconds.
const BOUNDS: [(u64, &str); 10] = [
    (1, "0.001"),
    (2, "0.002"),
    (5, "0.005"),
    (10, "0.01"),
    (20, "0.02"),
    (50, "0.05"),
    (100, "0.1"),
    (500, "0.5"),
    (1_000, "1"),
    (5_000, "5"),
];

/// Requests answered, by endpoint and class of status.
#[derive(Debug)]
pub struct Counts {
    requests: [[AtomicU64; CLASSES.len()]; ENDPOINTS.len()],
    bytes: AtomicU64,
    shed: AtomicU64,
    /// Answers by the time that they took, the last for those above all bounds.
    times: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            bytes: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            times: array::from_fn(|_| AtomicU64::new(0)),
            micros: AtomicU64::new(0),
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

    /// How long an answer took from the head of its request, its body included.
    pub(super) fn count_time(&self, took: Duration) {
        let place = BOUNDS.iter().position(|(bound, _)| took <= Duration::from_millis(*bound)).unwrap_or(BOUNDS.len());
        self.times[place].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn write_times(&self, out: &mut String) {
        const NAME: &str = "testwire_http_request_duration_seconds";
        head(
            out,
            NAME,
            "histogram",
            "Time from the head of a request to its answer; streams take as long as they like.",
        );
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]).zip(&self.times) {
            below += count.load(Relaxed);
            sample(out, &format!("{NAME}_bucket"), &format!("{{le=\"{bound}\"}}"), below);
        }
        sample(out, &format!("{NAME}_sum"), "", self.micros.load(Relaxed) as f64 / 1e6);
        sample(out, &format!("{NAME}_count"), "", below);
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
        self.write_times(out);
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
