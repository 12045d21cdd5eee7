//! Reading from Loki: its health, its version, and the entries of a log query.
//!
//! Facts, from Loki 3.7: `start` is inclusive and `end` is not; with `direction=forward` the limit leaves the oldest
//! entries; a limit above `max_entries_limit_per_query` (5000 by default) is a 400; and with the header
//! `X-Loki-Response-Encoding-Flags: categorize-labels` an entry carries its own metadata instead of a stream of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::limits::Limits;
use super::push::{Client, brief};
use crate::event::Timestamp;

/// Loki's default for `max_entries_limit_per_query`.
const PAGE: usize = 5000;
/// An answer may have so many bytes. A page of very long lines has more, and is asked for in smaller pieces.
const BODY_MAX: usize = 64 << 20;
/// The same for Loki's configuration, which has 90 KB.
const CONFIG_MAX: usize = 1 << 20;
/// What may be read of an answer that is not a page of entries.
const SMALL_BODY_MAX: usize = 64 << 10;

/// Names and values.
pub type Pairs = BTreeMap<String, String>;

/// An entry as Loki gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Labels of its stream. From a Loki that does not tell them apart (before 3.0): its metadata too.
    pub labels: Arc<Pairs>,
    /// Its time.
    pub time: Timestamp,
    /// Its line.
    pub line: String,
    /// Structured metadata, and `detected_level` where Loki added it.
    pub metadata: Pairs,
}

impl Row {
    /// A label or, failing that, metadata.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels.get(name).or_else(|| self.metadata.get(name)).map(String::as_str)
    }
}

/// Why there is no answer to a query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection, no answer in time, or it broke.
    #[error("{0}")]
    Connection(String),
    /// An answer other than 200.
    #[error("Loki answered {status}: {}", brief(answer))]
    Status {
        /// HTTP status.
        status: u16,
        /// Its text, at most 64 KiB.
        answer: String,
    },
    /// An answer that is not one of Loki's.
    #[error("the answer is not one of Loki's: {0}")]
    Format(String),
    /// An answer above the bound.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// More entries of one time than Loki gives at once, so that they cannot be read page by page.
    #[error("more than {limit} entries have the time {} ns", .time.0)]
    Crowded {
        /// Their time.
        time: Timestamp,
        /// Entries in one answer.
        limit: usize,
    },
}

impl QueryError {
    /// True if Loki, or what stands before it, wants to know who asks.
    pub fn is_about_auth(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }

    /// True if a smaller page may succeed: too much for us, for Loki's limit, or for a message between its parts.
    fn asks_for_less(&self) -> bool {
        match self {
            Self::TooLarge(_) => true,
            Self::Status { status: 400, answer } => answer.contains("max entries limit"),
            Self::Status { status: 500, answer } => {
                answer.contains("ResourceExhausted") && answer.contains("larger than max")
            }
            _ => false,
        }
    }
}

impl Client {
    /// `GET path?params` with tenant and authentication, within `timeout`: the text of a 200.
    ///
    /// # Errors
    /// If there is no such answer, or it has more than `max` bytes.
    pub async fn get(
        &self,
        path: &str,
        params: &[(&str, &str)],
        timeout: Duration,
        max: usize,
    ) -> Result<String, QueryError> {
        let mut url = self.sibling(path);
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        let request = self.http.get(url).timeout(timeout).header("X-Loki-Response-Encoding-Flags", "categorize-labels");
        let response = self.authorised(request).send().await.map_err(broken)?;
        text_of(response, max, |status| status == 200).await
    }

    /// `method path` with a JSON body, to a server beside Loki: the text of a 2xx.
    ///
    /// # Errors
    /// If there is no such answer within `timeout`, or it has more than `max` bytes.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path_and_query: &str,
        body: Option<&serde_json::Value>,
        timeout: Duration,
        max: usize,
    ) -> Result<String, QueryError> {
        let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
        let mut url = self.sibling(path);
        url.set_query(query);
        let mut request = self.http.request(method, url).timeout(timeout);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = self.authorised(request).send().await.map_err(broken)?;
        text_of(response, max, |status| (200..300).contains(&status)).await
    }

    /// What Loki says about its limits, within `timeout`; `None` if it does not: a gateway mostly has no way to `/config`.
    pub async fn limits(&self, timeout: Duration) -> Option<Limits> {
        Limits::of_config(&self.config(timeout).await?)
    }

    /// Loki's configuration, within `timeout`; `None` if it does not show it.
    pub async fn config(&self, timeout: Duration) -> Option<String> {
        self.get("/config", &[], timeout, CONFIG_MAX).await.ok()
    }

    /// Whether Loki takes and answers requests.
    ///
    /// # Errors
    /// If it does not answer, or says that it is not ready.
    pub async fn ready(&self, timeout: Duration) -> Result<(), QueryError> {
        self.get("/ready", &[], timeout, SMALL_BODY_MAX).await.map(drop)
    }

    /// Loki's version, such as `3.7.8`.
    ///
    /// # Errors
    /// If it does not answer, or something else does.
    pub async fn version(&self, timeout: Duration) -> Result<String, QueryError> {
        #[derive(Deserialize)]
        struct Build {
            version: String,
        }
        let text = self.get("/loki/api/v1/status/buildinfo", &[], timeout, SMALL_BODY_MAX).await?;
        read::<Build>(&text).map(|build| build.version)
    }

    /// Entries of a log query from `start` to before `end`, oldest first, each once, given to `take` page by page, so that
    /// there is no bound on their number. `timeout` is for each page.
    ///
    /// What came of a page's last nanosecond is asked for again with the next page, because that may hold more of it.
    ///
    /// # Errors
    /// As soon as a page cannot be read; what was given to `take` stands.
    pub async fn query_range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        timeout: Duration,
        mut take: impl FnMut(Row),
    ) -> Result<(), QueryError> {
        let (mut from, mut limit) = (start, PAGE);
        while from < end {
            let rows = match self.page(query, from, end, limit, timeout).await {
                Err(error) if error.asks_for_less() && limit > 1 => {
                    limit /= 2;
                    continue;
                }
                rows => rows?,
            };
            let full = rows.len() >= limit;
            let Some(last) = rows.last().map(|row| row.time) else { return Ok(()) };
            if full && rows.first().is_some_and(|row| row.time == last) {
                return Err(QueryError::Crowded { time: last, limit });
            }
            rows.into_iter().filter(|row| !full || row.time < last).for_each(&mut take);
            if !full {
                return Ok(());
            }
            from = last;
        }
        Ok(())
    }

    /// The newest entries of a log query from `start` to before `end`, at most `limit`, oldest first.
    ///
    /// # Errors
    /// If Loki does not give them within `timeout`.
    pub async fn query_newest(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        limit: usize,
        timeout: Duration,
    ) -> Result<Vec<Row>, QueryError> {
        let (start, end, limit) = (start.0.to_string(), end.0.to_string(), limit.min(PAGE).to_string());
        let params = [("query", query), ("start", &start), ("end", &end), ("limit", &limit), ("direction", "backward")];
        rows(&self.get("/loki/api/v1/query_range", &params, timeout, BODY_MAX).await?)
    }

    async fn page(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        limit: usize,
        timeout: Duration,
    ) -> Result<Vec<Row>, QueryError> {
        let (start, end, limit) = (start.0.to_string(), end.0.to_string(), limit.to_string());
        let params = [("query", query), ("start", &start), ("end", &end), ("limit", &limit), ("direction", "forward")];
        rows(&self.get("/loki/api/v1/query_range", &params, timeout, BODY_MAX).await?)
    }
}

/// An entry of an answer: time, line and, with categorised labels, a third element, also if the entry has no metadata.
struct Value {
    time: String,
    line: String,
    metadata: Pairs,
}

/// By hand, because trying one shape after the other takes twice as long, and there are millions.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        struct Own {
            #[serde(rename = "structuredMetadata", default)]
            metadata: Pairs,
        }
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, a line, and maybe metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
                let time = elements.next_element()?.ok_or_else(|| Error::invalid_length(0, &self))?;
                let line = elements.next_element()?.ok_or_else(|| Error::invalid_length(1, &self))?;
                let own: Own = elements.next_element()?.unwrap_or_default();
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value { time, line, metadata: own.metadata })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// A log query's answer → its entries, oldest first.
fn rows(text: &str) -> Result<Vec<Row>, QueryError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
    enum Data {
        Streams(Vec<Stream>),
    }
    #[derive(Deserialize)]
    struct Stream {
        stream: Pairs,
        values: Vec<Value>,
    }
    let Answer { data: Data::Streams(streams) } = read(text)?;
    let mut rows = Vec::new();
    for Stream { stream, values } in streams {
        let labels = Arc::new(stream);
        for value in values {
            let Value { time, line, metadata } = value;
            let time = time.parse().map_err(|_| QueryError::Format(format!("{time:?} is no time")))?;
            rows.push(Row { labels: Arc::clone(&labels), time: Timestamp(time), line, metadata });
        }
    }
    rows.sort_by_key(|row| row.time);
    Ok(rows)
}

/// The text of an answer with a good status.
async fn text_of(mut response: Response, max: usize, is_good: fn(u16) -> bool) -> Result<String, QueryError> {
    let status = response.status().as_u16();
    let good = is_good(status);
    let max = if good { max } else { SMALL_BODY_MAX };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > max {
            if good {
                return Err(QueryError::TooLarge(max));
            }
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    if good { Ok(text) } else { Err(QueryError::Status { status, answer: text.trim().to_owned() }) }
}

/// What broke, in the words of the lowest layer: those above it only say that a request was sent.
fn broken(error: reqwest::Error) -> QueryError {
    if error.is_timeout() {
        return QueryError::Connection("no answer in time".into());
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    QueryError::Connection(cause.to_string())
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, QueryError> {
    serde_json::from_str(text).map_err(|error| QueryError::Format(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_told_apart_from_labels_and_entries_come_oldest_first() {
        let text = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[
            {"stream":{"kind":"log"},"values":[["5","b",{"structuredMetadata":{"run_id":"r"},"parsed":{"x":"y"}}],["9","d",{}]]},
            {"stream":{"kind":"test"},"values":[["7","c",{}],["5","a",{}]]}],"stats":{"summary":{}}}}"#;
        let rows = rows(text).unwrap();
        let seen: Vec<_> = rows.iter().map(|r| (r.time.0, r.line.as_str(), r.get("kind"), r.get("run_id"))).collect();
        assert_eq!(
            seen,
            [
                (5, "b", Some("log"), Some("r")),
                (5, "a", Some("test"), None),
                (7, "c", Some("test"), None),
                (9, "d", Some("log"), None)
            ]
        );
    }

    #[test]
    fn an_old_loki_that_knows_no_categories_is_understood() {
        let text =
            r#"{"data":{"resultType":"streams","result":[{"stream":{"a":"b","run_id":"r"},"values":[["1","x"]]}]}}"#;
        assert_eq!(rows(text).unwrap()[0].get("run_id"), Some("r"));
    }

    #[test]
    fn what_is_no_log_answer_of_loki_is_an_error() {
        for text in ["", "<html>", "{}", r#"{"data":{"resultType":"matrix","result":[]}}"#] {
            assert!(matches!(rows(text), Err(QueryError::Format(_))), "{text}");
        }
    }
}
