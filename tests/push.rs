//! Shipping against a scripted Loki.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/fake_loki.rs"]
mod fake_loki;
#[path = "common/shipping.rs"]
mod shipping;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_loki::{Answer, FakeLoki, Store, raw_server};
use shipping::{LOG, Setup, TEST, chunks, number, numbers, until};
use testwire::loki::push::{Auth, RetryClass, Secret, Transport};
use testwire::loki::reason::Reason;
use testwire::ship::{DeliveryState, Drain};
use testwire::spool::Queue as _;

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_arrives_once_and_in_order_with_its_metadata() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let mut setup = Setup::to(&loki.url);
    for start in (0..20_000).step_by(1000) {
        setup.append(chunks("log", start..start + 1000, 150));
        setup.append(chunks("test", start..start + 10, 10));
    }
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(numbers(&loki.stored(LOG)), (0..20_000).collect::<Vec<_>>());
    let tests: Vec<i64> = (0..20_000).step_by(1000).flat_map(|start| start..start + 10).collect();
    assert_eq!(numbers(&loki.stored(TEST)), tests);
    let entry = &loki.stored(TEST)[3];
    assert_eq!(entry.line, "3 pppppppppp");
    assert_eq!(entry.metadata, [("run_id".into(), "r1".into()), ("level".into(), "info".into())]);
    assert!(loki.pushes().iter().all(|push| push.decoded <= 1024 * 1024 + 1024));
    let stats = setup.stats();
    assert_eq!((stats.read_entries(), stats.pushed_entries(), stats.rejected_total()), (20_200, 20_200, 0));
    assert_eq!(stats.outcomes().next(), Some(("accepted", loki.pushes().len() as u64)));
    assert!(stats.wire_bytes() > 0 && stats.wire_bytes() < stats.pushed_bytes());
    assert!(stats.last_success().is_some() && stats.last_error().is_none());
    assert_eq!(setup.shipper.delivery().state, DeliveryState::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_it_is_and_where_it_goes() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let mut transport = Transport::new(format!("{}/", loki.url));
    transport.tenant = Some("team-a".into());
    transport.headers = vec![("X-Extra".into(), Secret("yes".into()))];
    transport.auth = Auth::Basic { user: "Aladdin".into(), password: Secret("open sesame".into()) };
    let mut basic = Setup::with(&transport);
    transport.auth = Auth::Bearer(Secret("tok".into()));
    let mut bearer = Setup::with(&transport);
    for setup in [&mut basic, &mut bearer] {
        setup.append(chunks("log", 0..1, 0));
        assert_eq!(setup.drain().await, Drain::Drained);
    }
    let pushes = loki.pushes();
    let header = |push: usize, name: &str| pushes[push].headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(pushes[0].path, "/loki/api/v1/push");
    assert_eq!(header(0, "content-type"), "application/x-protobuf");
    assert_eq!(header(0, "x-scope-orgid"), "team-a");
    assert_eq!(header(0, "x-extra"), "yes");
    assert_eq!(header(0, "user-agent"), concat!("testwire/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header(0, "authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(header(1, "authorization"), "Bearer tok");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_204_is_tried_again_until_it_is_stored() {
    use RetryClass::{NotStored, Person, RateLimited, Server, Timeout};
    let cases = [
        (200, NotStored),
        (202, NotStored),
        (260, NotStored),
        (301, Person),
        (307, Person),
        (401, Person),
        (403, Person),
        (404, Person),
        (405, Person),
        (408, Timeout),
        (429, RateLimited),
        (500, Server),
        (502, Server),
        (503, Server),
        (504, Server),
    ];
    for (status, class) in cases {
        let loki = FakeLoki::start(move |push| match push.number {
            0 => Answer::status(status, "not now"),
            _ => Answer::stored(),
        })
        .await;
        let mut setup = Setup::to(&loki.url);
        setup.append(chunks("log", 0..100, 0));
        until("counted as a retry", || setup.retried(class) == 1).await;
        if class == Person {
            let DeliveryState::Waiting { error, .. } = setup.shipper.delivery().state else {
                panic!("{status}: not waiting")
            };
            assert_eq!(error, format!("Loki answered {status}: not now"));
        }
        assert_eq!(setup.drain().await, Drain::Drained, "{status}");
        assert_eq!(numbers(&loki.stored(LOG)), (0..100).collect::<Vec<_>>(), "{status}");
        assert_eq!(loki.pushes().len(), 2, "{status}");
        assert_eq!(setup.stats().rejected_total(), 0, "{status}");
        assert_eq!(setup.shipper.delivery().state, DeliveryState::Ok, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let other = FakeLoki::start(|_| Answer::stored()).await;
    let target = other.url.clone();
    let loki = FakeLoki::start(move |push| match push.number {
        0 => Answer::status(302, "").header("location", format!("{target}/loki/api/v1/push")),
        _ => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..1, 0));
    until("redirected", || setup.retried(RetryClass::Person) == 1).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!((other.pushes().len(), loki.stored_total()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_are_tried_again() {
    let (url, server) = raw_server(vec![
        "",
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 900\r\n\r\nthe rest is missing",
        "HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ])
    .await;
    let mut setup = Setup::to(&url);
    setup.append(chunks("log", 0..10, 0));
    until("refused for a person", || setup.retried(RetryClass::Person) == 1).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(setup.retried(RetryClass::Connection), 2);
    assert_eq!(setup.retried(RetryClass::Server), 1);
    assert_eq!(setup.stats().rejected_total(), 0);
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_waited_for_and_the_deadline_is_kept() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::to(&format!("http://{free}"));
    setup.append(chunks("log", 0..10, 0));
    until("tried", || setup.retried(RetryClass::Connection) >= 2).await;
    let start = Instant::now();
    assert_eq!(setup.shipper.drain(Duration::from_millis(300)).await, Drain::Left { entries: 10 });
    assert!(start.elapsed() < Duration::from_millis(600));
    assert_eq!(setup.shipper.drain(Duration::from_secs(5)).await, Drain::Left { entries: 10 }, "asked twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_ends_a_drain_that_waits_at_once() {
    let loki = FakeLoki::start(|_| Answer::hang()).await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..10, 0));
    until("pushed", || setup.stats().in_flight() == 1).await;
    let cut = tokio::time::timeout(Duration::from_millis(100), setup.shipper.drain(Duration::from_secs(60))).await;
    assert!(cut.is_err(), "drained from a Loki that hangs");
    setup.shipper.abort();
    let start = Instant::now();
    assert_eq!(setup.shipper.drain(Duration::from_secs(60)).await, Drain::Left { entries: 10 });
    assert!(start.elapsed() < Duration::from_millis(200));
    assert_eq!(setup.stats().in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_kept_even_when_the_end_is_near() {
    let loki = FakeLoki::start(|push| match push.number {
        0 => Answer::status(429, "slow down").header("retry-after", "1"),
        _ => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..10, 0));
    until("answered", || setup.retried(RetryClass::RateLimited) == 1).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    let pushes = loki.pushes();
    let waited = pushes[1].at.duration_since(pushes[0].at);
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_millis(1400), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_without_an_answer_is_sent_again_the_same_to_the_byte() {
    let loki = FakeLoki::start(|push| match push.number {
        0 => Answer { store: Store::All, ..Answer::hang() },
        1 => Answer { store: Store::All, ..Answer::status(500, "lost") },
        _ => Answer::stored(),
    })
    .await;
    let mut transport = Transport::new(&loki.url);
    transport.request_timeout = Duration::from_millis(300);
    let mut setup = Setup::with(&transport);
    setup.append(chunks("log", 0..50, 20));
    until("timed out", || setup.retried(RetryClass::Timeout) == 1).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    let pushes = loki.pushes();
    assert_eq!(pushes.len(), 3);
    assert!(pushes.iter().all(|push| push.entries == pushes[0].entries));
    let mut stored = loki.stored(LOG);
    stored.sort();
    stored.dedup();
    assert_eq!(numbers(&stored), (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_sent_in_smaller_pieces_and_in_order() {
    let texts = [
        (413, "request body too large: 1048576 bytes, limit: 100000 bytes"),
        (
            500,
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5002509 vs. 4194304)",
        ),
    ];
    for (status, text) in texts {
        let loki = FakeLoki::start(move |push| match push.decoded {
            100_000.. => Answer::status(status, text),
            _ => Answer::stored(),
        })
        .await;
        let mut setup = Setup::to(&loki.url);
        let mut all = chunks("log", 0..3000, 300);
        all.extend(chunks("log", 3000..3001, 150_000));
        all.extend(chunks("log", 3001..4000, 300));
        setup.append(all);
        assert_eq!(setup.drain().await, Drain::Drained);
        let wanted: Vec<i64> = (0..4000).filter(|number| *number != 3000).collect();
        assert_eq!(numbers(&loki.stored(LOG)), wanted, "{status}");
        let kept = setup.kept.entries.lock().unwrap();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].0.starts_with("3000 "));
        assert_eq!((kept[0].1, kept[0].2, kept[0].3.as_str()), (Reason::RequestTooLarge, status, text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_refused_of_ten_thousand_are_kept_aside_and_the_others_stored() {
    const BAD: [i64; 3] = [17, 5_000, 9_999];
    let loki = FakeLoki::start(|push| {
        let bad: Vec<usize> = (0..push.entries.len()).filter(|i| BAD.contains(&number(&push.entries[*i]))).collect();
        match bad.first() {
            None => Answer::stored(),
            Some(first) => {
                let number = number(&push.entries[*first]);
                Answer::refuse(&format!("1 errors like: max entry size '262144' bytes exceeded ({number})"), bad)
            }
        }
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..10_000, 40));
    assert_eq!(setup.drain().await, Drain::Drained);
    let mut stored = numbers(&loki.stored(LOG));
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored, (0..10_000).filter(|number| !BAD.contains(number)).collect::<Vec<_>>());
    let mut kept = setup.kept.entries.lock().unwrap().clone();
    kept.sort_by_key(|(line, ..)| line.split(' ').next().unwrap().parse::<i64>().unwrap());
    assert_eq!(kept.len(), 3);
    for (number, (line, reason, status, answer)) in BAD.iter().zip(&kept) {
        assert!(line.starts_with(&format!("{number} ")));
        assert_eq!((*reason, *status), (Reason::LineTooLong, 400));
        assert!(answer.ends_with(&format!("({number})")), "its own answer: {answer}");
    }
    let rejected: Vec<_> = setup.stats().rejected().filter(|(_, count)| *count > 0).collect();
    assert_eq!(rejected, [(Reason::LineTooLong, 3)]);
    assert!(loki.pushes().len() <= 75, "{} pushes", loki.pushes().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_all_too_old_need_no_push_each() {
    let loki = FakeLoki::start(|push| {
        let all = (0..push.entries.len()).collect();
        Answer::refuse(
            "20 errors like: entry for stream '{}' has timestamp too old: x, oldest acceptable timestamp is: y",
            all,
        )
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..5_000, 40));
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(setup.kept.entries.lock().unwrap().len(), 5_000);
    assert!(loki.pushes().len() <= 30, "{} pushes", loki.pushes().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_400_that_is_not_lokis_rejects_nothing() {
    let loki = FakeLoki::start(|push| match push.number {
        0 => Answer::status(400, "<html>The plain HTTP request was sent to HTTPS port")
            .header("content-type", "text/html"),
        _ => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..10, 0));
    until("seen", || setup.retried(RetryClass::Person) == 1).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!((loki.stored_total(), setup.stats().rejected_total()), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_entries_stay_in_the_queue_until_they_can_be_kept_aside() {
    let loki = FakeLoki::start(|push| match push.entries.iter().position(|entry| number(entry) == 5) {
        Some(bad) => Answer::refuse("max entry size", vec![bad]),
        None => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.kept.broken.store(true, SeqCst);
    setup.append(chunks("log", 0..10, 0));
    until("failed to keep", || setup.retried(RetryClass::Local) >= 2).await;
    assert_eq!(setup.queue.backlog().entries, 10);
    let pushes = loki.pushes().len();
    setup.kept.broken.store(false, SeqCst);
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(setup.kept.entries.lock().unwrap().len(), 1);
    assert_eq!(setup.stats().rejected_total(), 1);
    assert_eq!(loki.pushes().len(), pushes, "what was stored is not pushed again for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_hangs_does_not_hold_up_another() {
    let open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&open);
    let loki = FakeLoki::start(move |push| match (push.labels.as_str(), opened.load(SeqCst)) {
        (LOG, false) => Answer::hang(),
        _ => Answer::stored(),
    })
    .await;
    let mut transport = Transport::new(&loki.url);
    transport.request_timeout = Duration::from_secs(3);
    let mut setup = Setup::with(&transport);
    // 6 MB of the stream that hangs are more than it may hold in memory, and the other's entries lie behind and between.
    let start = Instant::now();
    let mut all = chunks("log", 0..6_000, 1000);
    for first in (0..20_000).step_by(2000) {
        all.extend(chunks("test", first..first + 2000, 1000));
        all.extend(chunks("log", 6_000 + first / 2000..6_001 + first / 2000, 0));
    }
    let writer = setup.append_beside(all);
    until("the other is through", || loki.stored(TEST).len() == 20_000).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    writer.join().unwrap();
    assert_eq!(numbers(&loki.stored(TEST)), (0..20_000).collect::<Vec<_>>());
    assert_eq!(loki.stored(LOG).len(), 0);
    open.store(true, SeqCst);
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(numbers(&loki.stored(LOG)), (0..6_010).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_loki_answers_at_random_nothing_is_lost_and_order_stays() {
    const STREAMS: [&str; 3] = ["a", "b", "c"];
    let random = Mutex::new(fastrand::Rng::with_seed(42));
    let loki = FakeLoki::start(move |push| {
        let bad: Vec<usize> = (0..push.entries.len()).filter(|i| number(&push.entries[*i]) % 997 == 0).collect();
        match random.lock().unwrap().u32(0..20) {
            0 => Answer::status(500, "server"),
            1 => Answer { store: Store::AllBut(bad), ..Answer::status(502, "stored, but who knows") },
            2 => Answer::status(429, "slow down"),
            3 if push.entries.len() > 1 => Answer::status(413, "too large"),
            4 => Answer { store: Store::AllBut(bad), ..Answer::hang() },
            5 => Answer::status(200, "blocked"),
            _ if bad.is_empty() => Answer::stored(),
            _ => Answer::refuse("max entry size", bad),
        }
    })
    .await;
    let mut transport = Transport::new(&loki.url);
    transport.request_timeout = Duration::from_millis(400);
    let mut setup = Setup::with(&transport);
    // Two entries of each stream are refused for good: 997 and 1994.
    for first in (1..2_901).step_by(100) {
        for kind in STREAMS {
            setup.append(chunks(kind, first..first + 100, 100));
        }
    }
    assert_eq!(setup.drain().await, Drain::Drained);
    let kept = setup.kept.entries.lock().unwrap().len();
    for kind in STREAMS {
        let mut seen = std::collections::HashSet::new();
        let labels = format!("{{kind=\"{kind}\", service_name=\"shop\"}}");
        let stored = numbers(&loki.stored(&labels));
        let first_times: Vec<i64> = stored.into_iter().filter(|number| seen.insert(*number)).collect();
        assert_eq!(first_times, (1..2_901).filter(|number| number % 997 != 0).collect::<Vec<_>>(), "{kind}");
    }
    assert_eq!(kept, STREAMS.len() * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_in_trouble_leave_places_for_the_others() {
    let loki = FakeLoki::start(|push| match push.labels.as_str() {
        TEST => Answer::stored(),
        _ => Answer::status(503, "busy").after(Duration::from_millis(600)),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    for i in 0..20 {
        setup.append(chunks(&format!("bad{i}"), 0..10, 0));
    }
    until("all in trouble", || setup.retried(RetryClass::Server) >= 20).await;
    let start = Instant::now();
    setup.append(chunks("test", 0..10, 0));
    until("stored", || loki.stored_total() == 10).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    until("committed", || setup.queue.backlog().entries == 200).await;
    assert_eq!(setup.shipper.drain(Duration::ZERO).await, Drain::Left { entries: 200 });
}

#[tokio::test(flavor = "multi_thread")]
async fn single_entries_go_out_soon() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let setup = Setup::to(&loki.url);
    let mut waits = Vec::new();
    for number in 0..40 {
        tokio::time::sleep(Duration::from_millis(10 + number as u64 * 3)).await;
        let start = Instant::now();
        setup.append(chunks("log", number..number + 1, 0));
        until("stored", || loki.stored_total() as i64 == number + 1).await;
        waits.push(start.elapsed());
    }
    waits.sort();
    println!("to Loki: p50 {:?}, max {:?}", waits[20], waits[39]);
    assert!(waits[38] < Duration::from_millis(90), "{waits:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn trouble_is_said_once_and_so_is_its_end() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // While there is one alone, tracing asks that of the thread that comes by first, and other tests have none.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber);

    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let loki = FakeLoki::start(move |_| match counted.fetch_add(1, SeqCst) {
        0..5 => Answer::status(503, "line one\nline two"),
        _ => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    setup.append(chunks("log", 0..10, 0));
    until("stored", || loki.stored_total() == 10).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("testwire::")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("WARN") && lines[0].contains("Loki answered 503: line one line two"), "{text}");
    assert!(lines[1].contains("INFO") && lines[1].contains("takes entries again"), "{text}");
}
