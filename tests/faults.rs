//! Faults between the shipper and a scripted Loki that need more than a wrong status; those are in `push.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "push.rs uses the rest")]
#[path = "common/fake_loki.rs"]
mod fake_loki;
#[expect(dead_code, reason = "push.rs uses the rest")]
#[path = "common/shipping.rs"]
mod shipping;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_loki::{Answer, FakeLoki, Push};
use shipping::{LOG, Setup, chunks, numbers, stream, until};
use testwire::event::Timestamp;
use testwire::loki::encode::{Chunk, Encoder};
use testwire::loki::entry::{Entry, EntrySink as _};
use testwire::loki::push::{RetryClass, Transport};
use testwire::loki::reason::Reason;
use testwire::ship::{DeliveryState, Drain};
use testwire::spool::Queue as _;

const HOUR: i64 = 3_600_000_000_000;
const HALF_AN_HOUR: i64 = HOUR / 2;
const BEHIND: &str = "entry with timestamp x ignored, reason: 'entry too far behind, entry timestamp is: x, oldest acceptable \
                      timestamp is: y',\nuser 'fake', total ignored: 1 out of 1 for stream: {}";

fn now() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap()
}

/// One chunk of log entries at these times (ns), whose lines are their numbers.
fn timed(times: &[i64]) -> Vec<Chunk> {
    let (mut encoder, stream) = (Encoder::new(), stream("log"));
    for (number, time) in times.iter().enumerate() {
        encoder.entry(&stream, &Entry { time: Timestamp(*time), seq: 1, line: &number.to_string(), metadata: &[] });
    }
    encoder.take()
}

/// The stream of log entries that are late, of the hour of this time.
fn late(time: i64) -> String {
    let hour = chrono::DateTime::from_timestamp_nanos(time).format("%Y-%m-%dT%H");
    format!("{{kind=\"log\", late=\"{hour}\", service_name=\"shop\"}}")
}

fn lines(loki: &FakeLoki, labels: &str) -> Vec<String> {
    loki.stored(labels).into_iter().map(|entry| entry.line).collect()
}

fn is_late(push: &Push) -> bool {
    push.labels.contains("late=")
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_of_a_record_go_to_streams_of_their_hours_and_it_is_committed_after_the_last() {
    let open = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&open);
    let loki = FakeLoki::start(move |push| match is_late(push) && opened.load(SeqCst) == 0 {
        true => Answer::status(503, "not yet"),
        false => Answer::stored(),
    })
    .await;
    let now = now();
    let (a, b) = (now - 3 * HOUR, now - 5 * HOUR);
    let mut setup = Setup::to(&loki.url);
    setup.append(timed(&[a, now, b, a + 1, now - HALF_AN_HOUR + 60_000_000_000, b + 1]));
    until("tried", || setup.retried(RetryClass::Server) >= 2 && loki.stored_total() == 2).await;
    assert_eq!(lines(&loki, LOG), ["1", "4"], "what is not old does not wait");
    assert_eq!(setup.queue.backlog().entries, 6, "the record is one");
    open.store(1, SeqCst);
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(
        (lines(&loki, &late(a)), lines(&loki, &late(b))),
        (vec!["0".into(), "3".into()], vec!["2".into(), "5".into()])
    );
    assert_eq!((setup.stats().late_entries(), setup.stats().rejected_total()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_memory_may_hold_is_late_too() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let mut setup = Setup::to(&loki.url);
    let start = now().div_euclid(HOUR) * HOUR - 10 * HOUR;
    let (mut encoder, stream) = (Encoder::new(), stream("log"));
    let padding = "p".repeat(1000);
    // 12 MB over 8 hours; the shipper keeps 8 MB in memory, the rest is read again.
    for number in 0..12_000 {
        let time = Timestamp(start + number * 2_400_000_000);
        encoder.entry(&stream, &Entry { time, seq: 1, line: &format!("{number} {padding}"), metadata: &[] });
    }
    setup.append(encoder.take());
    assert_eq!(setup.drain().await, Drain::Drained);
    let mut all = Vec::new();
    for hour in 0..8 {
        let stored = loki.stored(&late(start + hour * HOUR));
        assert_eq!(stored.len(), 1500, "hour {hour}");
        all.extend(stored.into_iter().map(|entry| (entry.time - start) / 2_400_000_000));
    }
    assert_eq!(all, (0..12_000).collect::<Vec<_>>());
    assert_eq!(loki.stored_total(), 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loki_may_have_stored_keeps_its_stream_on_retries() {
    let loki = FakeLoki::start(|push| match push.number {
        0 => Answer::status(500, "perhaps stored"),
        _ => Answer::stored().after(Duration::from_millis(10)),
    })
    .await;
    let mut transport = Transport::new(&loki.url);
    transport.request_timeout = Duration::from_secs(5);
    let mut setup = Setup::with(&transport);
    // It is going to be old when it is tried again.
    setup.append(timed(&[now() - HALF_AN_HOUR + 40_000_000]));
    until("failed", || setup.retried(RetryClass::Server) == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    let pushes = loki.pushes();
    assert_eq!(pushes.len(), 2);
    assert_eq!((pushes[0].labels.as_str(), pushes[1].labels.as_str()), (LOG, LOG));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grew_old_while_nobody_listened_is_late() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::to(&format!("http://{address}"));
    let time = now() - HALF_AN_HOUR + 300_000_000;
    setup.append(timed(&[time, now()]));
    until("tried", || setup.retried(RetryClass::Connection) >= 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let loki = FakeLoki::start_at(&address.to_string(), |_| Answer::stored()).await;
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!((lines(&loki, &late(time)), lines(&loki, LOG)), (vec!["0".into()], vec!["1".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_far_behind_is_offered_once_more_as_late_and_refused_only_then() {
    // Loki's newest is ahead, so the first three are behind; and one of them is behind in its hour as well.
    let loki = FakeLoki::start(|push| {
        let number = |i: &usize| push.entries[*i].line.parse::<u32>().unwrap();
        let behind = |i: &usize| if is_late(push) { number(i) == 0 } else { number(i) < 3 };
        match (0..push.entries.len()).filter(behind).collect::<Vec<_>>() {
            bad if bad.is_empty() => Answer::stored(),
            bad => Answer::refuse(BEHIND, bad),
        }
    })
    .await;
    // All of one hour that is not late by its age.
    let start = now();
    let base = if start % HOUR > 60_000_000_000 { start - 50_000_000_000 } else { start };
    let times: Vec<i64> = (0..50).map(|number| base + number * 1_000_000).collect();
    let mut setup = Setup::to(&loki.url);
    setup.append(timed(&times));
    assert_eq!(setup.drain().await, Drain::Drained);
    let mut late_lines = lines(&loki, &late(base));
    late_lines.sort_unstable();
    late_lines.dedup();
    assert_eq!(late_lines, ["1", "2"]);
    let mut rest: Vec<u32> = lines(&loki, LOG).iter().map(|line| line.parse().unwrap()).collect();
    rest.sort_unstable();
    rest.dedup();
    assert_eq!(rest, (3..50).collect::<Vec<_>>());
    let kept = setup.kept.entries.lock().unwrap();
    let kept: Vec<_> = kept.iter().map(|(line, reason, status, _)| (line.as_str(), *reason, *status)).collect();
    assert_eq!(kept, [("0", Reason::TooFarBehind, 400)]);
    assert_eq!(setup.stats().late_entries(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_large_once_is_remembered_for_the_next_batches() {
    let large = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&large);
    let loki = FakeLoki::start(move |push| match push.decoded {
        100_000.. => {
            counted.fetch_add(1, SeqCst);
            Answer::status(413, "request body too large")
        }
        _ => Answer::stored(),
    })
    .await;
    let mut setup = Setup::to(&loki.url);
    for first in (0..5_000).step_by(500) {
        setup.append(chunks("log", first..first + 500, 1000));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(numbers(&loki.stored(LOG)), (0..5_000).collect::<Vec<_>>());
    let (large, all) = (large.load(SeqCst), loki.pushes().len());
    println!("{large} of {all} pushes were too large");
    assert!(large <= 6, "{large} of {all} pushes were too large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_times_out_again_and_again_gets_through_in_smaller_pieces() {
    let loki = FakeLoki::start(|push| match push.decoded {
        150_000.. => Answer::hang(),
        _ => Answer::stored(),
    })
    .await;
    let mut transport = Transport::new(&loki.url);
    transport.request_timeout = Duration::from_millis(300);
    let mut setup = Setup::with(&transport);
    setup.append(chunks("log", 0..2_000, 1000));
    assert_eq!(setup.drain().await, Drain::Drained);
    assert_eq!(numbers(&loki.stored(LOG)), (0..2_000).collect::<Vec<_>>());
    assert!(setup.retried(RetryClass::Timeout) >= 2);
}

/// Serves connections one after the other by the next of these, the last again and again.
fn serve(steps: Vec<fn(TcpStream)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for number in 0.. {
            let (socket, _) = listener.accept().unwrap();
            steps[number.min(steps.len() - 1)](socket);
        }
    });
    url
}

/// Reads until the end of the headers and some of the body.
fn read_some(socket: &mut TcpStream) {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 65536];
    while matches!(socket.read(&mut buffer), Ok(read) if read > 0) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_cut_and_wrong_answers_are_no_success() {
    let url = serve(vec![
        // A byte of the answer now and then: the whole of it takes longer than a request may.
        |mut socket| {
            read_some(&mut socket);
            for byte in b"HTTP/1.1 204 No Content\r\nX-Padding: 0123456789\r\n\r\n" {
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        },
        // Closed with unread bytes in it, which is a reset.
        |mut socket| drop(socket.read(&mut [0; 10])),
        // A status line that is cut.
        |mut socket| {
            read_some(&mut socket);
            socket.write_all(b"HTTP/1.1 20").unwrap();
        },
        // More body than a 204 may have, and less than it says.
        |mut socket| {
            read_some(&mut socket);
            socket.write_all(b"HTTP/1.1 500 No\r\nContent-Length: -1\r\n\r\n").unwrap();
        },
        |mut socket| {
            read_some(&mut socket);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
        },
        |mut socket| {
            read_some(&mut socket);
            socket.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        },
    ]);
    let mut transport = Transport::new(url);
    transport.request_timeout = Duration::from_millis(900);
    let mut setup = Setup::with(&transport);
    setup.append(chunks("log", 0..100, 1000));
    assert_eq!(setup.drain().await, Drain::Drained);
    let retried: Vec<_> = setup.stats().retried().filter(|(_, count)| *count > 0).collect();
    let count = |class| retried.iter().find(|(known, _)| *known == class).map_or(0, |(_, count)| *count);
    assert_eq!((count(RetryClass::Timeout), count(RetryClass::NotStored)), (1, 1), "{retried:?}");
    assert_eq!(retried.iter().map(|(_, count)| count).sum::<u64>(), 5, "{retried:?}");
    assert_eq!(setup.stats().pushed_entries(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_for_ever() {
    let sent = Arc::new(Mutex::new(0_usize));
    let counted = Arc::clone(&sent);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        read_some(&mut socket);
        socket.write_all(b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\n\r\n").unwrap();
        while socket.write_all(&[b'x'; 4096]).is_ok() {
            *counted.lock().unwrap() += 4096;
        }
    });
    let mut setup = Setup::to(&url);
    setup.append(chunks("log", 0..1, 0));
    until("answered", || setup.retried(RetryClass::Server) == 1).await;
    let DeliveryState::Waiting { error, .. } = setup.shipper.delivery().state else { panic!("it does not wait") };
    assert!(error.len() < 400, "{} bytes of error", error.len());
    setup.shipper.abort();
    assert_eq!(setup.drain().await, Drain::Left { entries: 1 });
    assert!(*sent.lock().unwrap() < 32 << 20, "{} bytes were read", sent.lock().unwrap());
}
