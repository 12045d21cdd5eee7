//! A Loki that keeps what is pushed and answers log queries by Loki's rules, with the faults that `check` must find.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::json;
use testwire::loki::encode::{decode, entries_of};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Answers 204 and stores nothing.
    Drops,
    /// Stores lines without their metadata.
    LosesMetadata,
    /// Refuses metadata, as Loki says it.
    RefusesMetadata,
    /// Says 401 to everybody.
    Unauthorised,
    /// Takes pushes, but lets nobody read.
    WriteOnly,
    /// Has only just started.
    NotReady,
    /// Nothing, but it shows the limits of a stock Loki.
    ShowsConfig,
    /// Is something else.
    NotLoki,
}

/// Time, line, metadata.
type Entry = (i64, String, BTreeMap<String, String>);

#[derive(Default)]
struct Shared {
    fault: Fault,
    /// Loki's `max_entries_limit_per_query`.
    limit: usize,
    /// By selector.
    streams: Mutex<BTreeMap<String, Vec<Entry>>>,
    seen: Mutex<Vec<(String, HeaderMap)>>,
}

/// Runs until it is dropped.
pub(crate) struct ReadingLoki {
    shared: Arc<Shared>,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
}

impl ReadingLoki {
    pub(crate) async fn start(fault: Fault, limit: usize) -> Self {
        let shared = Arc::new(Shared { fault, limit, ..Shared::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shared, url, server }
    }

    pub(crate) fn insert(&self, selector: &str, time: i64, line: &str) {
        let mut streams = self.shared.streams.lock().unwrap();
        streams.entry(selector.into()).or_default().push((time, line.into(), BTreeMap::new()));
    }

    /// Path and query of each request so far, and its headers.
    pub(crate) fn seen(&self) -> Vec<(String, HeaderMap)> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for ReadingLoki {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let url = reqwest::Url::parse(&format!("http://loki{uri}")).unwrap();
    let parameters: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    shared.seen.lock().unwrap().push((uri.to_string(), headers));
    let (status, text) = match (uri.path(), shared.fault) {
        (_, Fault::NotLoki) => (404, "<html>not here</html>".into()),
        (_, Fault::Unauthorised) => (401, "no org id".into()),
        ("/loki/api/v1/push", _) => push(&shared, &body),
        ("/loki/api/v1/query_range", Fault::WriteOnly) => (403, "no permission: logs:read".into()),
        ("/loki/api/v1/query_range", _) => query_range(&shared, &parameters),
        ("/config", Fault::ShowsConfig) => (200, include_str!("../fixtures/loki/config.yaml").into()),
        ("/ready", Fault::NotReady) => (503, "Ingester not ready: waiting for 15s after being ready".into()),
        ("/ready", _) => (200, "ready\n".into()),
        ("/loki/api/v1/status/buildinfo", _) => (200, r#"{"version":"3.7.8","goVersion":"go"}"#.into()),
        _ => (404, "404 page not found".into()),
    };
    Response::builder().status(status).header("content-type", "text/plain").body(Body::from(text)).unwrap()
}

fn push(shared: &Shared, body: &[u8]) -> (u16, String) {
    let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    // One stream: field 1 of the request, of which field 1 are the labels and the rest is entries.
    let (_, adapter) = plain.split_first().unwrap();
    let adapter = after_length(adapter);
    let mut labels = &adapter[1..];
    let length = prost::encoding::decode_varint(&mut labels).unwrap() as usize;
    let (labels, entries) = labels.split_at(length);
    for place in entries_of(entries) {
        let entry = decode(&entries[place]).unwrap();
        let metadata: BTreeMap<_, _> = entry.metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let metadata = match shared.fault {
            Fault::Drops => continue,
            Fault::RefusesMetadata => {
                let text = "stream '{}' includes structured metadata, but this feature is disallowed. Please see \
                            `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it";
                return (400, text.into());
            }
            Fault::LosesMetadata => BTreeMap::new(),
            _ => metadata,
        };
        let mut streams = shared.streams.lock().unwrap();
        let selector = String::from_utf8(labels.to_vec()).unwrap();
        streams.entry(selector).or_default().push((entry.time.0, entry.line.into(), metadata));
    }
    (204, String::new())
}

fn after_length(mut field: &[u8]) -> &[u8] {
    prost::encoding::decode_varint(&mut field).unwrap();
    field
}

/// By a selector that names a whole stream, or `{}` for all.
fn query_range(shared: &Shared, parameters: &BTreeMap<String, String>) -> (u16, String) {
    let number = |name: &str| parameters[name].parse::<i64>().unwrap();
    let (start, end, limit) = (number("start"), number("end"), number("limit") as usize);
    assert!(parameters.get("direction").is_none_or(|direction| direction == "forward"));
    if limit > shared.limit {
        let max = shared.limit;
        let text =
            format!("max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})");
        return (400, text);
    }
    let streams = shared.streams.lock().unwrap();
    let mut found: Vec<(&String, &Entry)> = Vec::new();
    for (selector, entries) in streams.iter().filter(|(s, _)| parameters["query"] == "{}" || **s == parameters["query"])
    {
        found.extend(entries.iter().filter(|e| (start..end).contains(&e.0)).map(|entry| (selector, entry)));
    }
    found.sort_by_key(|(_, entry)| entry.0);
    found.truncate(limit);
    let mut result: BTreeMap<&String, Vec<serde_json::Value>> = BTreeMap::new();
    for (selector, (time, line, metadata)) in found {
        let value = json!([time.to_string(), line, {"structuredMetadata": metadata}]);
        result.entry(selector).or_default().push(value);
    }
    let streams: Vec<_> = result
        .into_iter()
        .map(|(selector, values)| json!({"stream": {"selector": selector}, "values": values}))
        .collect();
    (200, json!({"status": "success", "data": {"resultType": "streams", "result": streams}}).to_string())
}
