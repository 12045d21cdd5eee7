//! Random damage: what real clients send, broken in bytes, in HTTP and in JSON. A fixed seed, so that a failure comes again.
//!
//! `TESTWIRE_LONG=1` makes it 500,000 requests of each of two kinds, and 1,000,000 bodies; normally there are 4,000.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Map, Value};

use crate::daemon::Daemon;
use crate::replay::{Recorded, recorded};

#[path = "../../fuzz/bodies.rs"]
mod bodies;

const SEED: u64 = 0x7e57_317e;
const RECORDINGS: [&str; 6] = [
    "pytestrt_xdist",
    "nose2rt_basic",
    "realtime_listener_050_rtrobot",
    "realtime_listener_042_lokisink",
    "resultsdb_uploads",
    "stpt_vtm",
];

fn all() -> Vec<Recorded> {
    RECORDINGS.iter().flat_map(|name| recorded(name)).collect()
}

/// A number as a careless or hostile client gives it.
fn number(rng: &mut Rng) -> String {
    match rng.u8(0..6) {
        0 => "-1".into(),
        1 => "18446744073709551616".into(),
        2 => "1e9".into(),
        3 => String::new(),
        4 => format!("{}", rng.u64(..)),
        _ => format!("{}", rng.u8(..)),
    }
}

/// The request as bytes, with something wrong in it.
fn broken(request: &Recorded, rng: &mut Rng) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", request.path());
    let body = &request.body;
    let length = match rng.u8(0..8) {
        0 => format!("Content-Length: {}\r\n", number(rng)),
        1 => "Transfer-Encoding: chunked\r\n".into(),
        2 => format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", body.len()),
        3 => "Content-Encoding: gzip\r\n".to_owned() + &format!("Content-Length: {}\r\n", body.len()),
        4 => format!("Content-Length: {}\r\nContent-Length: {}\r\n", body.len(), number(rng)),
        5 => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    head.push_str(&length);
    match rng.u8(0..6) {
        0 => head.push_str(&format!("X-{}: {}\r\n", "a".repeat(rng.usize(..300)), "b".repeat(rng.usize(..60_000)))),
        1 => head.push_str(&"Cookie: a=b\r\n".repeat(rng.usize(..200))),
        2 => head.push_str("Expect: 100-continue\r\n"),
        3 => head.push_str("Upgrade: h2c\r\nConnection: upgrade\r\n"),
        _ => {}
    }
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    if rng.u8(0..4) == 0 {
        // As chunks, whatever the head says.
        for part in body.chunks(rng.usize(1..2000)) {
            let size = if rng.u8(0..10) == 0 { number(rng) } else { format!("{:x}", part.len()) };
            bytes.extend_from_slice(format!("{size}\r\n").as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(body);
    }
    for _ in 0..rng.usize(..8) {
        let at = rng.usize(..bytes.len());
        match rng.u8(0..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.insert(at, [0, b'\r', b'\n', 0xff, b'"', b'{', b'\\', b' '][rng.usize(..8)]),
            // The first byte stays.
            2 => drop(bytes.drain(at.max(1)..bytes.len().min(at.max(1) + rng.usize(..20)))),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// JSON that is no value of any field.
fn wrong(rng: &mut Rng) -> String {
    match rng.u8(0..10) {
        0 => "null".into(),
        1 => "[]".into(),
        2 => "{}".into(),
        3 => "1e400".into(),
        4 => "-9223372036854775809".into(),
        5 => r#""\u0000\ud800 \udc00 \u001b[31m""#.into(),
        6 => format!("{}{}", "[".repeat(120), "]".repeat(120)),
        7 => format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120)),
        8 => format!("\"{}\"", "../".repeat(rng.usize(1..3000))),
        _ => format!("{{\"\": [true, {}, \"\\ud83d\"]}}", rng.i64(..)),
    }
}

/// The value with one of its parts replaced by a mark that no JSON has.
fn mark(value: &mut Value, rng: &mut Rng) {
    let deeper = rng.u8(0..5) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = rng.usize(..fields.len());
            mark(fields.values_mut().nth(at).unwrap(), rng);
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = rng.usize(..items.len());
            mark(&mut items[at], rng);
        }
        other => *other = Value::from("@@mark@@"),
    }
}

/// The body with another type, depth or text in one or two places.
fn twisted(body: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut text = String::from_utf8(body.to_vec()).ok()?;
    for _ in 0..rng.u8(1..3) {
        let mut value = serde_json::from_str(&text).unwrap_or(Value::Object(Map::new()));
        mark(&mut value, rng);
        text = value.to_string().replace("\"@@mark@@\"", &wrong(rng));
    }
    Some(text.into_bytes())
}

/// The status of the answer; 0 for none, and 100 where none followed it because the body ended early.
fn exchange(daemon: &Daemon, bytes: &[u8]) -> u16 {
    let mut stream = daemon.connect();
    // The answer may come, and the connection end, before all was sent.
    stream.write_all(bytes).ok();
    stream.shutdown(Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer);
    // One that asked to be told to go on is told so first.
    // A broken request may ask for the version before.
    let last = answer.rfind("HTTP/1.").and_then(|at| answer.get(at + 9..at + 12));
    assert!(answer.is_empty() || last.is_some(), "{answer:?}");
    last.map_or(0, |status| status.parse().unwrap())
}

/// Memory that garbage may cost for good, in KiB: half-open runs and what clients are remembered by.
const MOST_GROWTH: u64 = 48 << 10;

/// Sends requests by `make` from two threads, while others are served.
fn bombard(make: impl Fn(&Recorded, &mut Rng) -> Vec<u8> + Sync) {
    let is_long = std::env::var_os("TESTWIRE_LONG").is_some();
    let count = if is_long { 500_000 } else { 4_000 };
    let (daemon, recordings) = (Daemon::start(&["--max-body", "1MiB", "--run-timeout", "10s"]), all());
    let (over, served, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let early = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let reply = daemon
                    .post("/log", "{\"event_type\": \"app_log\", \"message\": \"meanwhile\", \"source\": \"other\"}");
                assert_eq!(reply.status, 200);
                served.fetch_add(1, Relaxed);
                if is_long {
                    // What comes out is kept here to be counted.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let attackers = [0, 1].map(|thread| {
            let (daemon, recordings, make, refused, early) = (&daemon, &recordings, &make, &refused, &early);
            scope.spawn(move || {
                for n in (thread..count).step_by(2) {
                    // Each has a seed of its own, so that one can be tried alone.
                    let seed = SEED + n as u64;
                    let rng = &mut Rng::with_seed(seed);
                    let request = &recordings[rng.usize(..recordings.len())];
                    let bytes = make(request, rng);
                    let status = exchange(daemon, &bytes);
                    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
                    assert!(matches!(status, 0 | 100 | 200..=299 | 400..=499), "seed {seed}: {status} for {head:?}");
                    refused.fetch_add(usize::from(status >= 400), Relaxed);
                    if n == count / 10 {
                        early.store(daemon.resident(), Relaxed);
                    }
                }
            })
        });
        let ended = attackers.map(|attacker| attacker.join());
        over.store(true, Relaxed);
        for result in ended {
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let served = served.into_inner();
    assert!(served > count / 20, "others were served {served} times meanwhile");
    let (early, late, refused) = (early.into_inner(), daemon.resident(), refused.into_inner());
    println!(
        "{count} requests, {refused} refused, {served} of others served; {early} KiB after a tenth, {late} at the end"
    );
    assert!(refused > count / 20);
    assert!(early > 0 && late < early + MOST_GROWTH, "{early} KiB became {late}");
    let ended = daemon.stop();
    assert!(ended.code == Some(0) && !ended.err.contains("panicked"), "{}", ended.err);
    assert_eq!(ended.find(&[("kind", "log"), ("source", "other"), ("runner", "app")]).len(), served);
}

#[test]
fn broken_bytes_and_broken_http_harm_nobody() {
    bombard(broken);
}

#[test]
fn values_of_wrong_types_depths_and_texts_harm_nobody() {
    bombard(|request, rng| {
        let body = twisted(&request.body, rng).unwrap_or_default();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            request.path(),
            body.len()
        );
        [head.as_bytes(), &body].concat()
    });
}

#[test]
fn a_million_damaged_bodies_are_taken_or_refused_and_what_is_kept_of_them_can_be_read() {
    let count = if std::env::var_os("TESTWIRE_LONG").is_some() { 1_000_000 } else { 4_000 };
    // Large uploads have a test of their own.
    let bodies: Vec<Vec<u8>> = all().into_iter().map(|request| request.body).filter(|body| body.len() < 4096).collect();
    assert!(bodies.len() > 50, "{}", bodies.len());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let bodies = &bodies;
            scope.spawn(move || {
                for n in (thread..count).step_by(2) {
                    let rng = &mut Rng::with_seed(SEED + n);
                    let body = &bodies[rng.usize(..bodies.len())];
                    let mut body = if rng.bool() { twisted(body, rng).unwrap_or_default() } else { body.clone() };
                    for _ in 0..rng.usize(..6) {
                        let at = rng.usize(..=body.len());
                        match rng.u8(0..3) {
                            0 if at < body.len() => body[at] = rng.u8(..),
                            1 => body.insert(at, [0, b'\n', 0xff, b'"', b'{', b'}', b'\\', b'9'][rng.usize(..8)]),
                            _ => body.truncate(at),
                        }
                    }
                    body.insert(0, rng.u8(..));
                    let taken = std::panic::catch_unwind(|| bodies::take(&body));
                    assert!(taken.is_ok(), "seed {}: {:?}", SEED + n, String::from_utf8_lossy(&body));
                }
            });
        }
    });
}

#[test]
fn hostile_bodies_get_a_clear_answer_at_every_endpoint() {
    let daemon = Daemon::start(&["--max-body", "1MiB"]);
    let endpoints = [
        "/v1/events",
        "/loader",
        "/event",
        "/event/log_message",
        "/log",
        "/metric",
        "/loki/api/v1/push",
        "/tm_api/dry_run/",
        "/tm_api/test_start/",
        "/tm_api/test_stop/",
        "/api/upload",
        "/api/upload/ews",
        "/api/upload/archive",
    ];
    let deep = |open: &str, times: usize| open.repeat(times).into_bytes();
    let bodies = [
        Vec::new(),
        b"\0".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"null".to_vec(),
        b"1e999".to_vec(),
        b"\"text\"".to_vec(),
        b"[{}]".to_vec(),
        b"{\"a\":".to_vec(),
        b"{}".to_vec(),
        deep("[", 500_000),
        deep("{\"a\":", 100_000),
        deep("{'a':", 100_000),
        vec![b'x'; 2 << 20],
    ];
    for endpoint in endpoints {
        for body in &bodies {
            let reply = daemon.post(endpoint, body);
            let start = String::from_utf8_lossy(&body[..body.len().min(12)]).into_owned();
            // A stream is taken whatever single lines of it are, but for one that is too long.
            if endpoint == "/v1/events" && body.len() < 1 << 20 {
                assert_eq!(reply.status, 204, "{start:?}: {reply:?}");
                continue;
            }
            assert!((400..500).contains(&reply.status), "{endpoint} {start:?}: {reply:?}");
            let said: Value = serde_json::from_str(&reply.body).unwrap_or_default();
            assert!(said.as_object().is_some_and(|fields| !fields.is_empty()), "{endpoint} {start:?}: {reply:?}");
        }
    }
    // Text that no line of JSON can hold as it is, and that Python sends all the same.
    let odd = r#"\u0000 \ud800 \udfff \u001b[31m \r\n \" \\ é 漢 \ud83d\ude00"#;
    for (endpoint, body) in [
        (
            "/loader",
            r#"{"fw": "2", "type": "stopTestItem", "job_id": "j", "uuid": "@", "status": "failed", "msg": "@"}"#,
        ),
        (
            "/event",
            r#"{"event_type": "end_test", "longname": "A.@", "name": "@", "status": "FAIL", "message": "@", "tags": ["@"]}"#,
        ),
        ("/log", r#"{"event_type": "@", "message": "@", "source": "@", "level": "@"}"#),
        ("/metric", r#"{"event_type": "metric", "metric_name": "@", "value": 1, "unit": "@", "source": "@"}"#),
        (
            "/tm_api/test_start/",
            r#"{"machine_name": "@", "file_path": "@", "file_name": "@", "timestamp_start": "2026-11-20 09:31:55"}"#,
        ),
        (
            "/api/upload",
            r#"{"suite": "@", "configuration": {"platform": "@", "version": "@", "is_simulator": false, "architecture": "@"}, "commits": [{"branch": "@", "hash": "@"}], "test_results": {"results": {"@": {"@": {"actual": "TEXT", "log": "@"}}}}}"#,
        ),
    ] {
        let reply = daemon.post(endpoint, body.replace('@', odd));
        assert!((200..300).contains(&reply.status), "{endpoint}: {reply:?}");
    }
    let ended = daemon.stop();
    assert!(ended.code == Some(0) && !ended.err.contains("panicked"), "{}", ended.err);
    let readable = ended.entries.iter().filter(|entry| entry["line"].as_str().unwrap().contains("é 漢 😀")).count();
    assert!(readable >= 6, "what can be read is kept: {readable}");
    for name in ["run_id", "test", "source", "service_name", "runner"] {
        let value = |entry: &&Value| {
            entry["labels"][name].as_str().or(entry["metadata"][name].as_str()).unwrap_or("").contains('\0')
        };
        assert!(name == "test" || !ended.entries.iter().any(|entry| value(&entry)), "{name}");
    }
}
