//! Load on `testwire listen`: one connection an event from 200 clients at a time, for 20 s on loopback, with a Loki that
//! takes everything. Prints events/s, the times of the answers, memory, and whether every event came out.
#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

const CLIENTS: u64 = 200;
const SECONDS: u64 = 20;
/// Events of so many runs at a time.
const RUNS: u64 = 10;

fn main() {
    // `cargo test --benches` only builds it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

struct Daemon {
    child: Child,
    address: std::net::SocketAddr,
    _state: tempfile::TempDir,
}

impl Daemon {
    fn start(loki: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_testwire"))
            .args(["listen", "--listen", "127.0.0.1:0", "--loki-url", loki, "--state-dir"])
            .arg(state.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { child, address, _state: state }
    }

    fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn measure() {
    let loki = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", loki.local_addr().unwrap());
    tokio::spawn(take_everything(loki));
    let daemon = Arc::new(Daemon::start(&url));
    let (stop, sent, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (daemon, stop, sent, failed) =
                (Arc::clone(&daemon), Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&failed));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Relaxed) {
                    let number = sent.fetch_add(1, Relaxed);
                    let asked = Instant::now();
                    match post(daemon.address, client, number).await {
                        Ok(204) => times.push(asked.elapsed()),
                        other => {
                            if failed.fetch_add(1, Relaxed) < 5 {
                                eprintln!("{other:?}");
                            }
                        }
                    }
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    stop.store(true, Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    let took = begun.elapsed();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{CLIENTS} clients, {:.0} s, one connection an event", took.as_secs_f64());
    println!("{:.0} events/s, {} failed", times.len() as f64 / took.as_secs_f64(), failed.load(Relaxed));
    println!("answers: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, slowest {:.1?}", at(0.5), at(0.99), at(0.999), at(1.0));
    println!("RSS {} KiB, peak {} KiB", daemon.kib("VmRSS:"), daemon.kib("VmHWM:"));
    // The start and the end of each test, and some of the runs.
    let expected = 2 * times.len() as u64;
    let waited = Instant::now();
    let mut pushed = 0;
    while pushed < expected && waited.elapsed() < Duration::from_secs(30) {
        pushed = metric(&daemon, "testwire_pushed_entries_total").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{pushed} entries pushed, at least {expected} expected");
    assert!(pushed >= expected && failed.load(Relaxed) == 0);
}

async fn post(address: std::net::SocketAddr, client: u64, number: u64) -> std::io::Result<u16> {
    let body = format!(
        "{{\"event\":\"test_finished\",\"test\":\"suite.test_{number}\",\"suite\":\"suite\",\"worker\":\"w{client}\",\
         \"status\":\"passed\",\"duration_ms\":12.5}}\n"
    );
    let path = format!("/v1/events?run_id=bench-{}", client % RUNS);
    let reply = ask(
        address,
        client,
        &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    )
    .await?;
    Ok(reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

/// Opens a connection, asks, reads the head of the answer and closes, as Python's clients do.
async fn ask(address: std::net::SocketAddr, client: u64, request: &str) -> std::io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    // Ports of one address would run out.
    socket.bind(format!("127.0.0.{}:0", 2 + client % 100).parse().unwrap())?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut reply).await? == 0 || reply.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&reply).into_owned());
        }
    }
}

async fn metric(daemon: &Daemon, name: &str) -> u64 {
    let mut stream = tokio::net::TcpStream::connect(daemon.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
    line.unwrap_or(0.0) as u64
}

/// A Loki that answers 204 to every push.
async fn take_everything(listener: TcpListener) {
    let app = axum::Router::new()
        .fallback(|_: axum::body::Bytes| async { axum::http::StatusCode::NO_CONTENT })
        .layer(axum::extract::DefaultBodyLimit::disable());
    axum::serve(listener, app).await.unwrap();
}
