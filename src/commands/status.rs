//! `testwire status`: what waits in the spool, what Loki refused, and what was delivered so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::status_line::seconds;
use super::totals::Totals;
use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::spool::{self, Timings};

/// All that is told; the shape of `--json`.
#[derive(Debug, Serialize)]
struct Status {
    backlog: Backlog,
    queues: Vec<Queue>,
    /// Entries kept in `rejected/`, by Loki's reason names.
    rejected: BTreeMap<String, u64>,
    totals: Totals,
}

#[derive(Debug, Default, Serialize)]
struct Backlog {
    entries: u64,
    bytes: u64,
    /// Age of the oldest in seconds.
    oldest_s: Option<u64>,
    /// Damaged pieces that were kept aside.
    corrupt: u64,
}

#[derive(Debug, Serialize)]
struct Queue {
    name: String,
    entries: u64,
    bytes: u64,
    oldest_s: Option<u64>,
    /// Whether its process lives.
    owned: bool,
}

/// Prints it.
///
/// # Errors
/// If the spool cannot be read.
pub fn status(settings: &Settings, json: bool) -> Result<Exit, Failure> {
    let unusable = |e: spool::SpoolError| Failure::new(Exit::Spool, "the spool cannot be read").cause(&e);
    let mut status = Status {
        backlog: Backlog::default(),
        queues: Vec::new(),
        rejected: rejected(&settings.state_dir.join("rejected")),
        totals: Totals::read_from(&settings.state_dir),
    };
    for dir in spool::all(&settings.state_dir).map_err(unusable)? {
        // One that its owner removes at this moment holds nothing.
        let Ok(found) = spool::inspect(&dir) else { continue };
        let oldest_s = found.backlog.oldest.map(|age| age.as_secs());
        status.backlog.entries += found.backlog.entries;
        status.backlog.bytes += found.backlog.bytes;
        status.backlog.corrupt += found.corrupt;
        status.backlog.oldest_s = status.backlog.oldest_s.max(oldest_s);
        status.queues.push(Queue {
            name: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            entries: found.backlog.entries,
            bytes: found.backlog.bytes,
            oldest_s,
            owned: found.is_owned,
        });
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default());
    } else {
        print(&status);
    }
    Ok(Exit::Ok)
}

fn print(status: &Status) {
    let Status { backlog, queues, rejected, totals } = status;
    let age = |s: Option<u64>| {
        s.map_or_else(String::new, |s| format!(", the oldest for {}", seconds(Duration::from_secs(s))))
    };
    println!("waiting    {} entries, {} bytes{}", backlog.entries, backlog.bytes, age(backlog.oldest_s));
    for queue in queues {
        let owner = if queue.owned { "its process runs" } else { "for the next start or `testwire flush`" };
        println!("             {}: {} entries{}; {owner}", queue.name, queue.entries, age(queue.oldest_s));
    }
    if backlog.corrupt > 0 {
        println!("damaged    {} pieces of the spool, kept in spool/corrupt/", backlog.corrupt);
    }
    println!("rejected   {}", counts(rejected));
    println!(
        "delivered  {} entries, {} bytes ({} compressed) by processes that have ended",
        totals.pushed, totals.pushed_bytes, totals.wire_bytes
    );
    println!("pushes     {}", counts(&totals.pushes));
    println!("retried    {}", counts(&totals.retried));
    println!("answers    {}", times(&totals.answers));
    println!("syncs      {}", times(&totals.syncs));
    match &totals.last_error {
        Some((time, error)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            println!("last error {} ago: {error}", seconds(Duration::from_secs(now.saturating_sub(*time))));
        }
        None => println!("last error none"),
    }
}

/// `12, half within 5 ms, 99 of 100 within 20 ms, the longest 19.2 ms`; `0` if there are none.
fn times(timings: &Timings) -> String {
    if timings.count() == 0 {
        return "0".into();
    }
    let (half, most) = (timings.within(0.5), timings.within(0.99));
    format!(
        "{}, half within {half:.1?}, 99 of 100 within {most:.1?}, the longest {:.1?}",
        timings.count(),
        timings.longest()
    )
}

/// `3 line_too_long, 1 unknown`; `0` if there are none.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let some: Vec<_> = counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if some.is_empty() { "0".into() } else { some.join(", ") }
}

/// Entries in the files of refused ones, by reason.
fn rejected(folder: &Path) -> BTreeMap<String, u64> {
    #[derive(serde::Deserialize)]
    struct Reason {
        reason: String,
    }
    let mut reasons = BTreeMap::new();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson")) {
        let Ok(file) = File::open(&path) else { continue };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            let reason = serde_json::from_str::<Reason>(&line).map_or_else(|_| "unknown".into(), |line| line.reason);
            *reasons.entry(reason).or_default() += 1;
        }
    }
    reasons
}
