//! Recorded requests.

use base64::Engine as _;
use serde_json::Value;

use crate::daemon::{Daemon, Reply};

/// A request of a recording.
#[derive(Clone)]
pub(crate) struct Recorded {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Where the recordings are.
pub(crate) fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients")
}

/// The requests of a file in `tests/fixtures/clients`.
pub(crate) fn recorded(name: &str) -> Vec<Recorded> {
    let path = directory().join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| Recorded::read(&serde_json::from_str(line).unwrap())).collect()
}

impl Recorded {
    fn read(row: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers = row["headers"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1])));
        let own = |name: &str| ["host", "connection", "content-length"].contains(&name.to_ascii_lowercase().as_str());
        let body = match row["body_b64"].as_str() {
            Some(packed) => base64::engine::general_purpose::STANDARD.decode(packed).unwrap(),
            None => text(&row["body_text"]).into_bytes(),
        };
        Self {
            method: text(&row["method"]),
            path: text(&row["path"]),
            headers: headers.filter(|(name, _)| !own(name)).collect(),
            body,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The same with another text in its body.
    pub(crate) fn with(&self, from: &str, to: &str) -> Self {
        let body = String::from_utf8(self.body.clone()).unwrap().replace(from, to).into_bytes();
        Self { body, ..self.clone() }
    }

    /// The same to another path.
    pub(crate) fn to(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    pub(crate) fn send(&self, daemon: &Daemon) -> Reply {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        daemon.request(&self.method, &self.path, &headers, &self.body)
    }
}

/// Sends a whole file and checks every answer.
pub(crate) fn replay(daemon: &Daemon, name: &str, status: u16, body: &str) {
    for request in recorded(name) {
        let reply = request.send(daemon);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{name}: {reply:?}");
    }
}
