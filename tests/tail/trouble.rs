//! testwire that is killed, and Lokis in trouble.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::fake_loki::{Answer, Store};
use super::following::Following;
use super::good;

#[test]
fn twenty_kills_lose_nothing_and_what_is_sent_again_is_identical() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 3000);
    for kill in 0..20_u64 {
        following.start();
        following.write("app.log", 1000);
        // At another point each time: while it starts, reads, spools, ships.
        std::thread::sleep(Duration::from_millis(10 + 37 * kill % 400));
        following.write("app.log", 1000);
        following.kill();
    }
    following.start();
    following.until(following.written());
    following.whole("SIGKILL, 20 times");
}

#[test]
fn a_sink_that_is_down_for_a_while_loses_nothing() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.sink_down();
    for _ in 0..10 {
        following.write("app.log", 2000);
        std::thread::sleep(Duration::from_millis(300));
    }
    following.sink_up();
    following.until(following.written());
    following.whole("sink down for 3 s");
}

#[test]
fn killed_while_the_sink_is_down_it_delivers_when_both_are_back() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.sink_down();
    following.write("app.log", 20_000);
    std::thread::sleep(Duration::from_millis(700));
    following.kill();
    following.write("app.log", 1000);
    following.start();
    following.sink_up();
    following.until(following.written());
    following.whole("sink down, SIGKILL meanwhile");
}

#[test]
fn a_sink_that_answers_every_third_push_with_an_error_loses_nothing() {
    let pushes = AtomicU64::new(0);
    let mut following = Following::new(&[], move |_| match pushes.fetch_add(1, Relaxed) % 10 {
        1 | 4 => Answer::status(500, "boom"),
        7 => Answer::status(503, "not now"),
        _ => Answer::stored(),
    });
    following.start();
    for _ in 0..40 {
        following.write("app.log", 500);
        std::thread::sleep(Duration::from_millis(20));
    }
    following.until(following.written());
    following.whole("30 % of pushes answered 5xx");
}

#[test]
fn a_sink_that_stores_and_says_that_it_did_not_gets_identical_entries_again() {
    let pushes = AtomicU64::new(0);
    let mut following = Following::new(&[], move |_| match pushes.fetch_add(1, Relaxed) % 4 {
        1 => Answer { store: Store::All, ..Answer::status(500, "lost answer") },
        _ => Answer::stored(),
    });
    following.start();
    for _ in 0..40 {
        following.write("app.log", 500);
        std::thread::sleep(Duration::from_millis(20));
    }
    following.until(following.written());
    let row = following.whole("answers lost");
    assert!(row.identical > 0, "{row:?}");
}

#[test]
fn a_daemon_that_is_killed_does_not_make_again_what_its_spool_has() {
    let mut following = Following::by_the_daemon(good);
    following.start();
    following.write("app.log", 1000);
    following.until(1000);
    following.sink_down();
    following.write("app.log", 20_000);
    let size = std::fs::metadata(following.path("app.log")).unwrap().len();
    following.until_true("all is read", |following| following.journals().contains(&format!("\"to\":{size},")));
    following.kill();
    following.start();
    following.sink_up();
    following.until(following.written());
    let row = following.whole("daemon: sink down, SIGKILL meanwhile");
    assert_eq!(row.identical, 0, "{row:?}");
}

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_nothing() {
    let mut following = Following::by_the_daemon(good);
    following.start();
    following.write("app.log", 10);
    following.until(10);
    for kill in 0..8_u64 {
        following.write("app.log", 1000);
        std::thread::sleep(Duration::from_millis(10 + 61 * kill % 400));
        following.write("app.log", 1000);
        following.kill();
        following.start();
    }
    following.until(following.written());
    following.whole("daemon: SIGKILL, 8 times");
}
