//! SIGKILL at random moments: what was acknowledged is there.
//!
//! The test program runs itself as the process that is killed. 20 rounds, or 200 with `TESTWIRE_LONG=1`.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::records::{adopt, number, record, take_all};
use testwire::spool::{DiskQueue, Queue as _, Settings};

/// Names the directory of the queue in the process that is killed.
const DIR: &str = "TESTWIRE_TEST_SPOOL";
const SETTINGS: Settings = Settings { max_bytes: 1 << 30, fsync: false, segment_bytes: 60_000, tail_bytes: 10_000 };

/// Does nothing in a usual run. In the process that is killed it appends numbered records for ever, and another thread
/// takes and commits some.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let queue = if dir.exists() { adopt(dir, SETTINGS) } else { DiskQueue::create(dir, SETTINGS).unwrap() };
    let queue = Arc::new(queue);
    let mut next: u64 = queue.last_mark().map_or(0, |mark| String::from_utf8(mark).unwrap().parse().unwrap());
    // Those that the process before this one had not delivered are left to the test.
    let reader = Arc::clone(&queue);
    let from = next;
    let reads = fastrand::bool();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while let Some((id, chunk)) = runtime.block_on(reader.next()) {
            let number = number(&chunk);
            if reads && number >= from && fastrand::u8(..) > 20 {
                // Said before it is done: once committed, it may be gone.
                say("commit", number);
                reader.commit(id);
            }
        }
    });
    loop {
        let end = next + fastrand::u64(1..6);
        let fill = if fastrand::u8(..) == 0 { 100_000 } else { fastrand::usize(..500) };
        queue.append((next..end).map(|number| record(number, fill)).collect(), Some(end.to_string().into())).unwrap();
        say("append", end);
        next = end;
    }
}

/// One write, so that a line is whole or not there.
fn say(what: &str, number: u64) {
    std::io::stdout().write_all(format!("\n@{what} {number}\n").as_bytes()).unwrap();
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_in_order_and_unaltered() {
    let long = std::env::var("TESTWIRE_LONG").is_ok_and(|value| value == "1");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool/r1.7");
    let (mut acknowledged, mut commits) = (0, BTreeSet::new());
    for round in 0..if long { 200 } else { 20 } {
        let end = run_and_kill(&dir, Duration::from_micros(fastrand::u64(..60_000)), &mut commits);
        assert!(end > acknowledged, "round {round} came to nothing");
        acknowledged = end;
        let queue = adopt(&dir, SETTINGS);
        let got = take_all(&queue);
        assert!(got.windows(2).all(|pair| pair[0].1 < pair[1].1), "in order, none twice");
        let there: BTreeSet<u64> = got.iter().map(|(_, number)| *number).collect();
        let missing: Vec<u64> = (0..acknowledged).filter(|n| !there.contains(n) && !commits.contains(n)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} of {acknowledged} are missing");
        // A group is there whole or not at all, and the mark with it.
        let mark: u64 = String::from_utf8(queue.last_mark().unwrap()).unwrap().parse().unwrap();
        assert!(mark >= acknowledged && there.last().is_none_or(|last| *last < mark));
        assert!((acknowledged..mark).all(|number| there.contains(&number) || commits.contains(&number)));
        assert_eq!(queue.corrupt(), 0);
        // The next round begins with some of these.
        for (id, number) in got.iter().filter(|(_, number)| number % 7 != 0 || round % 3 == 0) {
            queue.commit(*id);
            commits.insert(*number);
        }
    }
    let queue = adopt(&dir, SETTINGS);
    take_all(&queue).iter().for_each(|(id, _)| queue.commit(*id));
    queue.remove().unwrap();
    assert!(!dir.exists());
}

/// The last number that was acknowledged.
fn run_and_kill(dir: &Path, after: Duration, commits: &mut BTreeSet<u64>) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::the_process_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut end, mut killed, begun) = (0, false, Instant::now());
    let mut first = None;
    // What is in the pipe when it is killed was said, and is read to its end.
    while let Some(line) = lines.next().transpose().unwrap() {
        if let Some(number) = line.strip_prefix("@append ").and_then(|number| number.parse().ok()) {
            end = number;
            first.get_or_insert_with(Instant::now);
        } else if let Some(number) = line.strip_prefix("@commit ").and_then(|number| number.parse().ok()) {
            commits.insert(number);
        }
        if !killed && first.is_some_and(|first| first.elapsed() >= after) {
            child.kill().unwrap();
            killed = true;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
    }
    child.wait().unwrap();
    end
}
