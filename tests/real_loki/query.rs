//! Questions to a [`Loki`], with helpers to wait for the answer.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::loki::Loki;

/// Labels, and for entries their structured metadata too (Loki merges both).
pub(crate) type Labels = BTreeMap<String, String>;

/// An entry as Loki gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// Labels and structured metadata; Loki adds `detected_level`.
    pub(crate) labels: Labels,
    /// Nanoseconds since the epoch.
    pub(crate) time: i64,
    /// The line.
    pub(crate) line: String,
}

/// Loki's default for `max_entries_limit_per_query`.
const PAGE: usize = 5000;

impl Loki {
    /// Any GET of the HTTP API: the JSON of a 200, else status and body.
    pub(crate) async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(self.url()).unwrap().join(path).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let answer = self.client().get(url).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status != reqwest::StatusCode::OK {
            return Err(format!("{status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    /// Entries of a log query from `start` to before `end` (nanoseconds), oldest first, at most `limit`. Reads page after
    /// page, as Loki gives 5000 at once.
    pub(crate) async fn query_range(&self, expr: &str, start: i64, end: i64, limit: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let mut seen: HashSet<Row> = HashSet::new();
        let mut from = start;
        while rows.len() < limit {
            let page = self.page(expr, from, end).await;
            let full = page.len() >= PAGE;
            let last = page.last().map_or(from, |row| row.time);
            // The next page begins with the last instant of this one, because that may hold more.
            let before = rows.len();
            rows.extend(page.into_iter().filter(|row| seen.insert(row.clone())));
            if !full {
                break;
            }
            assert!(rows.len() > before, "over {PAGE} entries have the time {last}: {expr}");
            from = last;
        }
        rows.truncate(limit);
        rows
    }

    async fn page(&self, expr: &str, start: i64, end: i64) -> Vec<Row> {
        let (start, end, limit) = (start.to_string(), end.to_string(), PAGE.to_string());
        let parameters =
            [("query", expr), ("start", &start), ("end", &end), ("limit", &limit), ("direction", "forward")];
        let answer = self.api("/loki/api/v1/query_range", &parameters).await.unwrap_or_else(|e| panic!("{expr}: {e}"));
        assert_eq!(answer["data"]["resultType"], "streams", "{expr} is no log query");
        let mut rows = Vec::new();
        for stream in answer["data"]["result"].as_array().unwrap() {
            let labels = labels(&stream["stream"]);
            for value in stream["values"].as_array().unwrap() {
                let time = value[0].as_str().unwrap().parse().unwrap();
                rows.push(Row { labels: labels.clone(), time, line: value[1].as_str().unwrap().into() });
            }
        }
        rows.sort_by_key(|row| row.time);
        rows
    }

    /// Series of a metric query, now.
    pub(crate) async fn query(&self, expr: &str) -> Vec<(Labels, f64)> {
        let answer = self.api("/loki/api/v1/query", &[("query", expr)]).await.unwrap_or_else(|e| panic!("{expr}: {e}"));
        assert_eq!(answer["data"]["resultType"], "vector", "{expr} is no metric query");
        let series = answer["data"]["result"].as_array().unwrap().iter();
        series.map(|series| (labels(&series["metric"]), number(&series["value"][1]))).collect()
    }

    /// Pushes one entry as JSON, as a client that is not testwire would.
    pub(crate) async fn push(&self, stream: &[(&str, &str)], time: i64, line: &str, metadata: &[(&str, &str)]) {
        let object =
            |pairs: &[(&str, &str)]| -> Value { pairs.iter().map(|(k, v)| (k.to_string(), Value::from(*v))).collect() };
        let entry = serde_json::json!([time.to_string(), line, object(metadata)]);
        let body = serde_json::json!({"streams": [{"stream": object(stream), "values": [entry]}]});
        let request = self.client().post(format!("{}/loki/api/v1/push", self.url()));
        let answer = request.header("Content-Type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, reqwest::StatusCode::NO_CONTENT, "{}", answer.text().await.unwrap());
    }
}

fn labels(object: &Value) -> Labels {
    let pairs = object.as_object().unwrap().iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// Tries until there is a value, and panics with `what` after `timeout`.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(start.elapsed() < timeout, "waited {timeout:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap()
}

/// A project name that no other test and no earlier run of this one has.
pub(crate) fn unique_project(test: &str) -> String {
    format!("{test}-{}-{}", std::process::id(), now())
}
