//! Load on `testwire listen`: one connection an event, from 200 clients at a time that ask again as soon as they are
//! answered, and then from clients that come at a fixed rate whatever becomes of the others. Each runs tests, one after the
//! other: a start, a line of output, an end. On loopback, 60 s each. Prints events/s, the times of the answers, memory, the
//! processor time of the threads, and whether every event came out.
//!
//! `LOKI_URL` names a real Loki; then `testwire audit` proves for each run that nothing is missing or doubled. Else a
//! server takes everything. `LISTEN_SECONDS` and `LISTEN_RATE` (events/s of the second part, 5000) change the load;
//! `LISTEN_PARTS=open` or `closed` leaves out the other part.
#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;

const CLIENTS: u64 = 200;
const SECONDS: u64 = 60;
/// Events a second of clients that come by themselves.
const RATE: u64 = 5_000;
/// More connections than this are not made at a time: the daemon is overloaded then.
const MOST_OPEN: usize = 5_000;
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
    address: SocketAddr,
    state: tempfile::TempDir,
}

impl Daemon {
    fn start(loki: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_testwire"))
            .args([
                "listen",
                "--listen",
                "127.0.0.1:0",
                "--loki-url",
                loki,
                "--project",
                "bench",
                "--run-timeout",
                "5s",
            ])
            .arg("--state-dir")
            .arg(state.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { child, address, state }
    }

    fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Memory, and what each kind of thread took of a processor since the start of the daemon, in seconds.
    fn print_costs(&self, duration: Duration) {
        let mut threads: BTreeMap<String, f64> = BTreeMap::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            let Some((head, rest)) = stat.rsplit_once(')') else { continue };
            let ticks: f64 = rest.split_whitespace().skip(11).take(2).map(|text| text.parse::<f64>().unwrap()).sum();
            let name = head.split_once('(').unwrap().1.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            *threads.entry(name.to_owned()).or_default() += ticks / 100.0;
        }
        println!(
            "  RSS {} KiB, peak {} KiB; in parts of {duration:.0?}: {threads:.1?} s",
            self.kib("VmRSS:"),
            self.kib("VmHWM:")
        );
    }

    /// Waits for the runs' end, which comes when nothing was heard of them, and has them proved.
    async fn audit(&self, loki: &str, parts: &[String]) {
        let mut wrong = 0;
        for part in parts {
            for run in 0..RUNS {
                let begun = Instant::now();
                let mut audited = false;
                while !audited && begun.elapsed() < Duration::from_secs(60) {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
                    command.args(["audit", &format!("{part}-{run}"), "--project", "bench", "--loki-url", loki]);
                    let done = command.arg("--state-dir").arg(self.state.path()).output().unwrap();
                    audited = done.status.success();
                    if !audited {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                }
                wrong += u64::from(!audited);
            }
        }
        println!("audit: {} of {} runs whole", parts.len() as u64 * RUNS - wrong, parts.len() as u64 * RUNS);
        assert_eq!(wrong, 0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What became of the requests.
#[derive(Default)]
struct Seen {
    times: Mutex<Vec<Duration>>,
    failed: AtomicU64,
}

impl Seen {
    /// Posts an event, the `number`th of this client. `since`: when it should have been posted.
    async fn post(&self, address: SocketAddr, part: &str, (client, number): (u64, u64), since: Instant) {
        match post(address, part, client, number).await {
            Ok(204) => self.times.lock().unwrap().push(since.elapsed()),
            other => {
                if self.failed.fetch_add(1, Relaxed) < 5 {
                    eprintln!("{other:?}");
                }
            }
        }
    }

    fn print(&self, what: &str, took: Duration) -> u64 {
        let mut times = self.times.lock().unwrap();
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let rate = times.len() as f64 / took.as_secs_f64();
        println!("{what}, {:.0} s: {rate:.0} events/s, {} failed", took.as_secs_f64(), self.failed.load(Relaxed));
        println!(
            "  answers: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, slowest {:.1?}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        assert_eq!(self.failed.load(Relaxed), 0);
        times.len() as u64
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

async fn measure() {
    let real = std::env::var("LOKI_URL").ok();
    let url = match &real {
        Some(url) => url.clone(),
        None => {
            let loki = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", loki.local_addr().unwrap());
            tokio::spawn(take_everything(loki));
            url
        }
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("load before: {}", load.trim());
    let daemon = Daemon::start(&url);
    let duration = Duration::from_secs(number("LISTEN_SECONDS", SECONDS));
    // Ids that no earlier bench gave to the same Loki.
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let wanted = std::env::var("LISTEN_PARTS").unwrap_or_else(|_| "closed, open".into());
    let (mut events, mut parts) = (0, Vec::new());
    for kind in ["closed", "open"].into_iter().filter(|kind| wanted.contains(kind)) {
        let part = format!("{kind}-{stamp}");
        events += match kind {
            "closed" => closed(&daemon, &part, duration).await,
            _ => open(&daemon, &part, duration).await,
        };
        daemon.print_costs(duration);
        parts.push(part);
    }
    // The end of each test, and some of the runs.
    let waited = Instant::now();
    let mut pushed = 0;
    while pushed < events && waited.elapsed() < Duration::from_secs(120) {
        pushed = metric(&daemon, "testwire_pushed_entries_total").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{pushed} entries pushed, at least {events} expected");
    assert!(pushed >= events);
    if let Some(url) = real {
        daemon.audit(&url, &parts).await;
    }
}

/// As many clients as there are, each with its next event when the last is answered.
async fn closed(daemon: &Daemon, part: &str, duration: Duration) -> u64 {
    let (seen, begun, address) = (Arc::new(Seen::default()), Instant::now(), daemon.address);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (seen, part) = (Arc::clone(&seen), part.to_owned());
            tokio::spawn(async move {
                for number in 0.. {
                    if begun.elapsed() >= duration {
                        break;
                    }
                    seen.post(address, &part, (client, number), Instant::now()).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    seen.print(&format!("{CLIENTS} clients in a closed loop"), begun.elapsed())
}

/// Clients that come at a fixed rate. Their times count from when they should have come.
async fn open(daemon: &Daemon, part: &str, duration: Duration) -> u64 {
    let (seen, begun, address) = (Arc::new(Seen::default()), Instant::now(), daemon.address);
    let (rate, slots) = (number("LISTEN_RATE", RATE), Arc::new(Semaphore::new(MOST_OPEN)));
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut came = 0;
    while begun.elapsed() < duration {
        tick.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        while came < due {
            let since = begun + Duration::from_secs_f64(came as f64 / rate as f64);
            let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
            let (seen, part) = (Arc::clone(&seen), part.to_owned());
            tokio::spawn(async move {
                seen.post(address, &part, (came % CLIENTS, came / CLIENTS), since).await;
                drop(slot);
            });
            came += 1;
        }
    }
    drop(slots.acquire_many(MOST_OPEN as u32).await);
    seen.print(&format!("clients at {rate} events/s"), begun.elapsed())
}

async fn post(address: SocketAddr, part: &str, client: u64, number: u64) -> std::io::Result<u16> {
    let test = format!("\"test\":\"suite.of_{client}.test_{}\"", number / 3);
    let body = match number % 3 {
        0 => format!("{{\"event\":\"test_started\",{test},\"suite\":\"suite\",\"worker\":\"w{client}\"}}\n"),
        1 => format!("{{\"event\":\"log\",{test},\"source\":\"stdout\",\"text\":\"order {number} was taken\"}}\n"),
        _ => format!("{{\"event\":\"test_finished\",{test},\"status\":\"passed\",\"duration_ms\":12.5}}\n"),
    };
    let path = format!("/v1/events?run_id={part}-{}", client % RUNS);
    let reply = ask(
        address,
        client,
        &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    )
    .await?;
    Ok(reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

/// Opens a connection, asks, reads the head of the answer and closes, as Python's clients do.
async fn ask(address: SocketAddr, client: u64, request: &str) -> std::io::Result<String> {
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
