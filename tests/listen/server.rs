//! The server itself: paths, tokens, bodies, bad clients.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, read_reply};

const LOG: &[u8] = b"{\"event\":\"log\",\"text\":\"x\"}\n";

#[test]
fn paths_are_exact_with_and_without_a_slash_at_the_end_and_never_redirect() {
    let daemon = Daemon::start(&[]);
    for path in ["/v1/events", "/v1/events/", "//v1/events", "/v1/events?x=1", "/v1/events/?project=a"] {
        assert_eq!(daemon.post(path, LOG).status, 204, "{path}");
    }
    for path in ["/", "/v1", "/v1/eventsx", "/v1//events", "/V1/events", "/../v1/events", "/%2e%2e/etc/passwd"] {
        assert_eq!(daemon.post(path, LOG).status, 404, "{path}");
    }
    let wrong = daemon.get("/v1/events");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let wrong = daemon.post("/healthz", "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(daemon.get("/healthz").body, "ok\n");
    assert_eq!(daemon.get("/ready").body, "ready\n");
}

#[test]
fn every_counter_is_there_from_the_start() {
    let daemon = Daemon::start(&[]);
    let metrics = daemon.get("/metrics");
    assert_eq!(metrics.status, 200);
    for line in [
        "testwire_http_requests_total{endpoint=\"events\",code=\"2xx\"} 0",
        "testwire_pushes_total{outcome=\"accepted\"} 0",
        "testwire_spool_entries 0",
        "testwire_http_request_duration_seconds_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} is not in\n{}", metrics.body);
    }
    daemon.post("/v1/events", LOG);
    daemon.post("/nothing", LOG);
    let metrics = daemon.get("/metrics").body;
    assert!(metrics.contains("{endpoint=\"events\",code=\"2xx\"} 1\n"), "{metrics}");
    assert!(metrics.contains("{endpoint=\"other\",code=\"4xx\"} 1\n"), "{metrics}");
    // The first look at the metrics, and two posts.
    assert!(metrics.contains("testwire_http_request_duration_seconds_count 3\n"), "{metrics}");
}

#[test]
fn a_token_is_shown_in_a_header_or_in_the_path() {
    let daemon = Daemon::start_with(&[], &[("TESTWIRE_TOKEN", "s3cret")]);
    for (path, header) in
        [("/v1/events", "Bearer s3cret"), ("/t/s3cret/v1/events/", ""), ("/v1/events", "bearer s3cret")]
    {
        assert_eq!(daemon.request("POST", path, &[("Authorization", header)], LOG).status, 204, "{path} {header}");
    }
    for (path, header) in [
        ("/v1/events", ""),
        ("/t/s3cre/v1/events", ""),
        ("/t//v1/events", ""),
        ("/v1/events", "Bearer no"),
        ("/v1/events", "Basic s3cret"),
        ("/metrics", ""),
        ("/nothing", ""),
    ] {
        let method = if path == "/metrics" { "GET" } else { "POST" };
        let reply = daemon.request(method, path, &[("Authorization", header)], LOG);
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{path} {header}");
    }
    assert_eq!(daemon.get("/healthz").status, 200, "a health check has no token");
    assert!(!daemon.stop().err.contains("s3cret"));
}

#[test]
fn an_open_address_needs_a_token_or_a_word() {
    let run = |arguments: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
        command.args(["listen", "--output", "none"]).args(arguments).env_clear().env("HOME", directory.path());
        let done = command.current_dir(directory.path()).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, text) = run(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("--token-file") && text.contains("--allow-open"), "{text}");
    let (code, text) = run(&["--listen", "somewhere"]);
    assert_eq!(code, Some(2), "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, text) = run(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(code, Some(4), "{text}");
}

#[test]
fn a_page_in_a_browser_is_kept_out() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.request("POST", "/v1/events", &[("Origin", "https://example.org")], LOG).status, 403);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Bodies that go on where they should end: in a line, or before as many bytes as were announced.
#[test]
fn many_large_bodies_at_a_time_are_bounded_together_and_others_are_served() {
    let daemon = Daemon::start(&["--max-body", "16MiB"]);
    let body = vec![b'x'; 15 << 20];
    let send = |path: &str| {
        let mut stream = daemon.connect();
        // It may be refused before all was sent.
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 16 << 20).ok();
        stream.write_all(&body).ok();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok().then_some(answer)
    };
    let begun = Instant::now();
    let mut most = 0;
    std::thread::scope(|scope| {
        let send = &send;
        let senders: Vec<_> = (0..32).map(|n| scope.spawn(move || send(["/v1/events", "/loader"][n % 2]))).collect();
        while !senders.iter().all(|sender| sender.is_finished()) {
            most = most.max(daemon.resident());
            assert_eq!(daemon.post("/tm_api/test_start/", "{}").status, 400, "others are answered");
            assert!(begun.elapsed() < Duration::from_secs(300));
            std::thread::sleep(Duration::from_millis(20));
        }
        for sender in senders {
            let answer = sender.join().unwrap();
            // No room, or it came too slowly.
            assert!(matches!(answer.as_ref(), None | Some(b"HTTP/1.1 503" | b"HTTP/1.1 408")), "{answer:?}");
        }
    });
    println!("32 times 15 MiB cost {most} KiB");
    // All of them together would be 480 MiB.
    assert!(most < 400 << 10, "32 times 15 MiB cost {most} KiB");
}

#[test]
fn packed_bodies_are_taken_up_to_the_limit_of_what_they_become() {
    let daemon = Daemon::start(&["--max-body", "64KiB"]);
    let post = |encoding: &str, body: &[u8]| {
        daemon.request("POST", "/v1/events", &[("Content-Encoding", encoding)], body).status
    };
    assert_eq!(post("gzip", &gzip(LOG)), 204);
    assert_eq!(post("identity", LOG), 204);
    assert_eq!(post("gzip", LOG), 400);
    assert_eq!(post("br", LOG), 415);
    assert_eq!(post("gzip", &gzip(&vec![b'x'; 10 << 20])), 413, "10 MiB in a few KiB");
    let cut = gzip(LOG);
    assert_eq!(post("gzip", &cut[..cut.len() - 4]), 400);
    let long_line = daemon.post("/v1/events", vec![b'x'; 65 << 10]);
    assert_eq!((long_line.status, long_line.header("connection")), (413, Some("close")));
    let long_stream = LOG.repeat(10_000);
    assert_eq!(daemon.post("/v1/events", &long_stream).status, 204, "a stream has no limit");
    let ended = daemon.stop();
    assert_eq!(ended.find(&[("kind", "log"), ("source", "stdout")]).len(), 10_002);
}

#[test]
fn bad_requests_get_a_clear_answer_and_others_are_served_meanwhile() {
    let daemon = Daemon::start(&[]);
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for request in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "NONSENSE / HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost x\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        "\u{0}\u{1}\u{2}\u{3} \u{ff}\r\n\r\n",
        &huge,
        &many,
    ] {
        let mut stream = daemon.connect();
        // The answer may come, and the connection end, before all was sent.
        stream.write_all(request.as_bytes()).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{:?}: {answer}",
            request.chars().take(60).collect::<String>()
        );
        assert_eq!(daemon.get("/healthz").status, 200);
    }
    let ended = daemon.stop();
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}

/// Connections that this process may open, up to `wanted`.
fn affordable(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    // The daemon has the same limit, and other tests need some.
    wanted.min(usize::try_from(limit.maximum.unwrap_or(u64::MAX)).unwrap_or(usize::MAX) - 1000)
}

#[test]
fn ten_thousand_idle_connections_and_slow_ones_cost_little_and_are_closed() {
    let daemon = Daemon::start(&[]);
    // What the first requests need anyway.
    for _ in 0..20 {
        daemon.post("/v1/events", LOG);
    }
    let before = daemon.resident();
    let count = affordable(10_000);
    let mut idle: Vec<_> = (0..count).map(|_| daemon.connect()).collect();
    assert_eq!(daemon.post("/v1/events", LOG).status, 204);
    let grown = daemon.resident() - before;
    println!("{count} idle connections: {before} KiB and {grown} KiB");
    assert!(grown < 4 * count as u64, "{count} idle connections cost {grown} KiB");
    // Others are slow: a byte of a head now and then is no better than none.
    let mut slow: Vec<_> = (0..200).map(|_| daemon.connect()).collect();
    let begun = Instant::now();
    let mut letters = b"POST /v1/events HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    let mut served = 0;
    while !slow.is_empty() {
        let letter = [*letters.next().unwrap()];
        slow.retain_mut(|stream| stream.write_all(&letter).is_ok());
        assert_eq!(daemon.post("/v1/events", LOG).status, 204);
        served += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "{} are open still", slow.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    for stream in &mut idle {
        stream.read_to_end(&mut Vec::new()).ok();
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let ended = daemon.stop();
    assert_eq!((ended.code, ended.find(&[("kind", "log")]).len()), (Some(0), 21 + served));
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let daemon = Daemon::start(&[]);
    let mut stream = daemon.connect();
    write!(stream, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", LOG.len()).unwrap();
    stream.write_all(&LOG[..5]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let rest = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        stream.write_all(&LOG[5..]).unwrap();
        read_reply(&mut stream)
    });
    let ended = daemon.stop();
    assert_eq!(rest.join().unwrap().status, 204);
    assert_eq!(ended.find(&[("kind", "log")]).len(), 1);
    assert_eq!(ended.code, Some(0));
}

#[test]
fn sighup_reads_the_settings_anew_and_says_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = file("token", "first\n");
    let settings = file("testwire.toml", "max-body = \"64KiB\"\nproject = \"shop\"\n");
    let daemon = Daemon::start(&["--token-file", &token, "--config-file", &settings]);
    let post = |token: &str, body: &[u8]| {
        daemon.request("POST", "/v1/events?run_id=r", &[("Authorization", &format!("Bearer {token}"))], body).status
    };
    let long = [&b"x".repeat(70 << 10)[..], b"\n"].concat();
    assert_eq!((post("first", LOG), post("second", LOG), post("first", &long)), (204, 401, 413));
    let reload = || assert!(Command::new("kill").args(["-HUP", &daemon.id().to_string()]).status().unwrap().success());
    let says = |says: &str| {
        let begun = Instant::now();
        while !daemon.said().contains(says) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", daemon.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    file("token", "second\n");
    file("testwire.toml", "max-body = \"1MiB\"\nlinger = \"1s\"\n");
    reload();
    says("max-body is 1MiB now");
    says("linger has changed, which needs a restart");
    assert!(daemon.said().contains("the token has changed") && !daemon.said().contains("second"), "{}", daemon.said());
    assert_eq!((post("first", LOG), post("second", LOG), post("second", &long)), (401, 204, 204));
    file("testwire.toml", "max-body = \"much\"\n");
    reload();
    says("the settings stay as they were");
    assert_eq!(post("second", LOG), 204);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let daemon = Daemon::start_with(&[], &env);
    assert_eq!((told(), told(), told()), ("READY=1".into(), "WATCHDOG=1".into(), "WATCHDOG=1".into()));
    assert_eq!(daemon.stop().code, Some(0));
    let last = std::iter::repeat_with(told).find(|text| text != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_daemon_can_be_asked_for_its_health() {
    let health = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
        command.args(["listen", "--health", "--listen", address]).env_clear().env("HOME", "/nonexistent");
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let daemon = Daemon::start(&[]);
    let address = daemon.address.clone();
    assert_eq!(health(&address), (Some(0), String::new()));
    daemon.stop();
    let (code, text) = health(&address);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("cannot be asked"), "{text}");
}
