//! A Loki that answers by a script and remembers what it was sent.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, Uri};
use testwire::loki::encode::{decode, entries_of};

/// An entry as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) time: i64,
    pub(crate) line: String,
    pub(crate) metadata: Vec<(String, String)>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    /// From 0, over all streams.
    pub(crate) number: usize,
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) labels: String,
    pub(crate) entries: Vec<Entry>,
    /// Size of the message before compression.
    pub(crate) decoded: usize,
}

/// What Loki stores of a push.
pub(crate) enum Store {
    All,
    Nothing,
    /// All but these indices.
    AllBut(Vec<usize>),
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) store: Store,
    pub(crate) wait: Duration,
}

impl Answer {
    /// 204, and everything is stored.
    pub(crate) fn stored() -> Self {
        Self { store: Store::All, ..Self::status(204, "") }
    }

    /// This status, and nothing is stored.
    pub(crate) fn status(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            headers: vec![("content-type", "text/plain; charset=utf-8".into())],
            store: Store::Nothing,
            wait: Duration::ZERO,
        }
    }

    /// As Loki's distributor refuses single entries: the others are stored.
    pub(crate) fn refuse(text: &str, indices: Vec<usize>) -> Self {
        Self { store: Store::AllBut(indices), ..Self::status(400, text) }
    }

    pub(crate) fn hang() -> Self {
        Self { wait: Duration::from_secs(3600), ..Self::status(204, "") }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

type Script = Box<dyn Fn(&Push) -> Answer + Send + Sync>;

struct Shared {
    script: Script,
    pushes: Mutex<Vec<Push>>,
    stored: Mutex<BTreeMap<String, Vec<Entry>>>,
}

/// Runs until it is dropped.
pub(crate) struct FakeLoki {
    shared: Arc<Shared>,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
}

impl FakeLoki {
    pub(crate) async fn start(script: impl Fn(&Push) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub(crate) async fn start_at(address: &str, script: impl Fn(&Push) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::start_on(listener, url, script)
    }

    /// Answers at this URL what comes from a listener of any kind.
    pub(crate) fn start_on<L: axum::serve::Listener<Addr: std::fmt::Debug>>(
        listener: L,
        url: String,
        script: impl Fn(&Push) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), pushes: Mutex::default(), stored: Mutex::default() });
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shared, url, server }
    }

    /// Every request so far.
    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.shared.pushes.lock().unwrap().clone()
    }

    /// What is stored of a stream, in order of arrival, entries that were sent twice twice.
    pub(crate) fn stored(&self, labels: &str) -> Vec<Entry> {
        self.shared.stored.lock().unwrap().get(labels).cloned().unwrap_or_default()
    }

    /// Number of entries stored.
    pub(crate) fn stored_total(&self) -> usize {
        self.shared.stored.lock().unwrap().values().map(Vec::len).sum()
    }
}

impl Drop for FakeLoki {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if !uri.path().ends_with("/push") {
        // As a gateway that lets only pushes through.
        return Response::builder().status(404).body(Body::empty()).unwrap();
    }
    let (labels, entries, decoded) = read(&body);
    let push = {
        let mut pushes = shared.pushes.lock().unwrap();
        let number = pushes.len();
        let push = Push { number, at: Instant::now(), path: uri.path().into(), headers, labels, entries, decoded };
        pushes.push(push.clone());
        push
    };
    let answer = (shared.script)(&push);
    if let Store::All | Store::AllBut(_) = answer.store {
        let mut stored = shared.stored.lock().unwrap();
        let stream = stored.entry(push.labels).or_default();
        for (index, entry) in push.entries.into_iter().enumerate() {
            if !matches!(&answer.store, Store::AllBut(bad) if bad.contains(&index)) {
                stream.push(entry);
            }
        }
    }
    tokio::time::sleep(answer.wait).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.text)).unwrap()
}

/// A server of bytes: reads one request a connection and answers with the next of these, then cuts the connection; the
/// last is repeated.
pub(crate) async fn raw_server(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let socket = socket.into_std().unwrap();
            let answer = answers[number.min(answers.len() - 1)];
            tokio::task::spawn_blocking(move || serve_raw(&socket, answer)).await.unwrap();
        }
    });
    (url, server)
}

fn serve_raw(mut socket: &std::net::TcpStream, answer: &str) {
    socket.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(socket);
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_ok() {
        // The client may have gone; that is its matter.
        drop(socket.write_all(answer.as_bytes()));
    }
}

/// Reads a push request of one stream.
fn read(body: &[u8]) -> (String, Vec<Entry>, usize) {
    let plain = snap::raw::Decoder::new().decompress_vec(body).expect("a body in snappy's block format");
    let request = fields(&plain);
    assert_eq!(request.len(), 1, "one stream a push");
    let adapter = request[0];
    let labels = String::from_utf8(fields(adapter)[0].to_vec()).unwrap();
    let entries = &adapter[adapter.len() - fields_size(adapter, 1)..];
    let read = entries_of(entries)
        .map(|place| {
            let entry = decode(&entries[place]).expect("a whole entry");
            Entry {
                time: entry.time.0,
                line: entry.line.to_owned(),
                metadata: entry.metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            }
        })
        .collect();
    (labels, read, plain.len())
}

/// Values of the length-delimited fields of a message.
fn fields(mut message: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::new();
    while !message.is_empty() {
        message = &message[1..];
        let len = prost::encoding::decode_varint(&mut message).unwrap() as usize;
        let (value, rest) = message.split_at(len);
        values.push(value);
        message = rest;
    }
    values
}

/// Size of all fields but the first `skip`.
fn fields_size(message: &[u8], skip: usize) -> usize {
    let mut rest = message;
    for _ in 0..skip {
        rest = &rest[1..];
        let len = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        rest = &rest[len..];
    }
    rest.len()
}
