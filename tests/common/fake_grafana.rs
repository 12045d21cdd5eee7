//! A Grafana that keeps dashboards and folders in memory and remembers what was changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::{Value, json};

/// Every dashboard of the repository, by uid.
pub(crate) fn ours() -> BTreeMap<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let all = files.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    all.map(|dashboard| (dashboard["uid"].as_str().unwrap().to_owned(), dashboard)).collect()
}

/// What it holds.
#[derive(Default)]
pub(crate) struct Kept {
    /// Data sources.
    pub(crate) sources: Vec<Value>,
    /// Uid and title.
    pub(crate) folders: Vec<(String, String)>,
    /// By uid: the dashboard, its folder's uid, and whether it comes from a file.
    pub(crate) dashboards: BTreeMap<String, (Value, String, bool)>,
    /// `Authorization` that it wants.
    pub(crate) wants: Option<&'static str>,
    /// The Loki that its data source `logs` reads from.
    pub(crate) loki: Option<String>,
    /// What was changed: method and path.
    pub(crate) changes: Vec<String>,
}

/// Runs until it is dropped.
pub(crate) struct FakeGrafana {
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
}

impl FakeGrafana {
    pub(crate) async fn start(kept: Kept) -> Self {
        let kept = Arc::new(Mutex::new(kept));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { kept, url, server }
    }

    /// With one data source of Loki and one of another kind.
    pub(crate) async fn usual() -> Self {
        let sources = vec![
            json!({"uid": "prom", "name": "Prometheus", "type": "prometheus", "isDefault": true}),
            json!({"uid": "logs", "name": "Logs", "type": "loki", "isDefault": false}),
        ];
        Self::start(Kept { sources, ..Kept::default() }).await
    }

    /// What was changed since the last time.
    pub(crate) fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap().changes)
    }
}

impl Drop for FakeGrafana {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if let Some((status, json)) = from_loki(&kept, &uri, &body).await {
        return Response::builder().status(status).body(Body::from(json.to_string())).unwrap();
    }
    let mut kept = kept.lock().unwrap();
    let who = headers.get("authorization").map(|value| value.to_str().unwrap());
    let (status, text) = if uri.path() != "/api/health" && kept.wants.is_some() && kept.wants != who {
        (401, json!({"message": "Unauthorized"}))
    } else {
        if method != Method::GET {
            kept.changes.push(format!("{method} {}", uri.path()));
        }
        route(&mut kept, &method, uri.path(), &serde_json::from_slice(&body).unwrap_or_default())
    };
    let text = if text.is_null() { String::new() } else { text.to_string() };
    Response::builder().status(status).body(Body::from(text)).unwrap()
}

/// What a query of its data source finds in Loki, as a frame.
async fn from_loki(kept: &Mutex<Kept>, uri: &Uri, body: &[u8]) -> Option<(u16, Value)> {
    if uri.path() != "/api/ds/query" {
        return None;
    }
    let loki = kept.lock().unwrap().loki.clone();
    let body: Value = serde_json::from_slice(body).unwrap();
    let query = &body["queries"][0];
    let Some(loki) = loki.filter(|_| query["datasource"]["uid"] == "logs") else {
        return Some((404, json!({"message": "Data source not found"})));
    };
    // Another test of the process may have done so.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let nanos = |name: &str| format!("{}000000", body[name].as_str().unwrap());
    let (start, end) = (nanos("from"), nanos("to"));
    let expr = query["expr"].as_str().unwrap();
    let parameters = [("query", expr), ("start", &start), ("end", &end), ("limit", "10")];
    let url = reqwest::Url::parse_with_params(&format!("{loki}/loki/api/v1/query_range"), parameters).unwrap();
    let answer = client.get(url).send().await.unwrap();
    let streams: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let (mut labels, mut lines) = (Vec::new(), Vec::new());
    for stream in streams["data"]["result"].as_array().unwrap() {
        for value in stream["values"].as_array().unwrap() {
            // Metadata beside labels, as Loki gives both to who does not ask for them apart.
            let mut all = stream["stream"].as_object().unwrap().clone();
            all.extend(value[2]["structuredMetadata"].as_object().unwrap().clone());
            labels.push(all);
            lines.push(value[1].clone());
        }
    }
    let meta = json!({"executedQueryString": query["expr"]});
    let frame = json!({"schema": {"refId": "A", "meta": meta}, "data": {"values": [labels, lines]}});
    Some((200, json!({"results": {"A": {"status": 200, "frames": [frame]}}})))
}

fn route(kept: &mut Kept, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let uid = path.rsplit('/').next().unwrap();
    match (method.as_str(), path) {
        ("GET", "/api/health") => (200, json!({"version": "12.4.10"})),
        ("GET", "/api/datasources") => (200, json!(kept.sources)),
        ("GET", "/api/folders") => {
            (200, kept.folders.iter().map(|(uid, title)| json!({"uid": uid, "title": title})).collect())
        }
        ("POST", "/api/folders") => {
            kept.folders.push(("made".into(), text(&body["title"])));
            (200, json!({"uid": "made"}))
        }
        ("DELETE", path) if path.starts_with("/api/folders/") => {
            kept.folders.retain(|(there, _)| there != uid);
            // A real one says nothing.
            (200, Value::Null)
        }
        ("GET", "/api/search") => {
            (200, kept.dashboards.values().map(|(_, folder, _)| json!({"folderUid": folder})).collect())
        }
        ("GET", _) => match kept.dashboards.get(uid) {
            Some((dashboard, folder, provisioned)) => {
                let meta = json!({"provisioned": provisioned, "folderUid": folder, "folderTitle": "General"});
                (200, json!({"dashboard": dashboard, "meta": meta}))
            }
            None => (404, json!({"message": "Dashboard not found"})),
        },
        ("DELETE", _) => {
            kept.dashboards.remove(uid);
            (200, json!({}))
        }
        ("POST", "/api/dashboards/db") => {
            let mut dashboard = body["dashboard"].clone();
            // As a real one: it numbers them, raises the schema and adds what panels have by default.
            dashboard["id"] = json!(7);
            dashboard["version"] = json!(3);
            dashboard["schemaVersion"] = json!(42);
            for panel in dashboard["panels"].as_array_mut().unwrap() {
                panel["pluginVersion"] = json!("12.4.10");
            }
            assert_eq!(body["overwrite"], true);
            kept.dashboards.insert(text(&dashboard["uid"]), (dashboard, text(&body["folderUid"]), false));
            (200, json!({"status": "success"}))
        }
        _ => (500, json!({"message": format!("{method} {path}?")})),
    }
}
