//! `testwire audit RUN`: reads a run back from Loki and proves that every entry is there, and none twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::shipping::client;
use crate::config::Settings;
use crate::event::Timestamp;
use crate::exit::{Exit, Failure};
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::{kind, label, meta, status};
use crate::pipeline::intake::now;

/// How long one page of the answer may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// A day, in nanoseconds.
const DAY: i64 = 86_400 * 1_000_000_000;
/// Loki refuses a longer range by default (721 h).
const LONGEST: i64 = 30 * DAY;
/// Entries may be older than the run's first, because events bring their own time.
const BEFORE: i64 = 3_600 * 1_000_000_000;

/// What was found of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Entries in Loki by the last three digits of their time, which are their sequence number mod 1000.
    residues: Vec<u64>,
    /// How many entries the shard says that it wrote; `None` if its end is not there.
    pub declared: Option<u64>,
}

/// What is wrong with a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Entries that are not there.
    pub missing: u64,
    /// Entries that are there more than once.
    pub doubled: u64,
    /// Sequence numbers (mod 1000) of the missing and doubled ones.
    pub numbers: Vec<u64>,
}

impl Default for Shard {
    fn default() -> Self {
        Self { residues: vec![0; 1000], declared: None }
    }
}

impl Shard {
    /// Takes an entry.
    fn take(&mut self, row: &Row) {
        if let Some(count) = self.residues.get_mut(row.time.0.rem_euclid(1000) as usize) {
            *count += 1;
        }
        let ended = row.get(label::KIND) == Some(kind::RUN) && row.get(label::STATUS) != Some(status::STARTED);
        if let Some(entries) = row.get(meta::ENTRIES).filter(|_| ended).and_then(|text| text.parse().ok()) {
            // A batch that was stopped and gone on with has two ends.
            self.declared = self.declared.max(Some(entries));
        }
    }

    /// Entries in Loki.
    pub fn entries(&self) -> u64 {
        self.residues.iter().sum()
    }

    /// Compares with 1 to `declared`; without an end, with 1 to as many as there are.
    pub fn finding(&self) -> Finding {
        let entries = self.declared.unwrap_or_else(|| self.entries());
        let mut finding = Finding::default();
        for (residue, &count) in (0..).zip(&self.residues) {
            // Numbers n of 1..=entries with n mod 1000 = residue; there is no entry 0.
            let expected = (entries + 1000 - residue) / 1000 - u64::from(residue == 0);
            finding.missing += expected.saturating_sub(count);
            finding.doubled += count.saturating_sub(expected);
            if count != expected {
                finding.numbers.push(residue);
            }
        }
        finding
    }
}

/// Reads the run `run_id` of the configured project back, at most `days` old, and prints what is there of each shard.
///
/// # Errors
/// If Loki cannot be asked.
pub async fn audit(settings: &Settings, run_id: &str, days: u16) -> Result<Exit, Failure> {
    let failed = |e: QueryError| Failure::new(Exit::Undelivered, "cannot read the run from Loki").cause(&e);
    let client = client(settings)?;
    let project = settings.run.project.as_str();
    let shards = read_back(&client, project, run_id, days).await.map_err(failed)?;
    if shards.is_empty() {
        let hint = "check --project and the run's id; --days looks further back";
        let what = format!("no entry of run {run_id} of project {project} within {days} days");
        return Err(Failure::new(Exit::Undelivered, what).hint(hint));
    }
    let mut exit = Exit::Ok;
    for (name, shard) in &shards {
        let finding = shard.finding();
        let name = if name.is_empty() { String::new() } else { format!(" shard {name}") };
        let end = match shard.declared {
            Some(entries) => format!("of {entries} written"),
            None => "and no end of the run, so what is missing behind the last one cannot be told".to_owned(),
        };
        println!(
            "run {run_id}{name}: {} entries {end}, {} missing, {} doubled",
            shard.entries(),
            finding.missing,
            finding.doubled
        );
        if !finding.numbers.is_empty() {
            exit = Exit::RunFailed;
            let shown: Vec<_> = finding.numbers.iter().take(20).map(u64::to_string).collect();
            let more = if finding.numbers.len() > shown.len() { ", …" } else { "" };
            println!("  sequence numbers mod 1000: {}{more}", shown.join(", "));
        }
    }
    Ok(exit)
}

/// Finds the run's time and counts its entries, by shard.
async fn read_back(
    client: &Client,
    project: &str,
    run_id: &str,
    days: u16,
) -> Result<BTreeMap<String, Shard>, QueryError> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let project = quoted(project);
    let filter = format!("{} = {}", meta::RUN_ID, quoted(run_id));
    let starts = format!("{{{}={project}, {}=\"{}\"}} | {filter}", label::SERVICE_NAME, label::KIND, kind::RUN);
    let (end, oldest) = (now().0 + DAY, now().0 - i64::from(days) * DAY);
    let mut times: Option<(i64, i64)> = None;
    let mut to = end;
    // The newest window first: most runs that are asked for are of today.
    while to > oldest && times.is_none() {
        let from = (to - LONGEST).max(oldest);
        let see = |row: Row| {
            let (first, last) = times.unwrap_or((row.time.0, row.time.0));
            times = Some((first.min(row.time.0), last.max(row.time.0)));
        };
        client.query_range(&starts, Timestamp(from), Timestamp(to), PAGE_TIMEOUT, see).await?;
        to = from;
    }
    let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
    let Some((first, _)) = times else { return Ok(shards) };
    let all = format!("{{{}={project}}} | {filter}", label::SERVICE_NAME);
    let take = |row: Row| shards.entry(row.get(meta::SHARD).unwrap_or_default().to_owned()).or_default().take(&row);
    let to = end.min(first - BEFORE + LONGEST);
    client.query_range(&all, Timestamp(first - BEFORE), Timestamp(to), PAGE_TIMEOUT, take).await?;
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(numbers: impl Iterator<Item = u64>, declared: Option<u64>) -> Shard {
        let mut shard = Shard { declared, ..Shard::default() };
        numbers.for_each(|n| shard.residues[(n % 1000) as usize] += 1);
        shard
    }

    #[test]
    fn a_whole_run_has_nothing_missing_or_doubled_whatever_its_length() {
        for entries in [1, 2, 999, 1000, 1001, 2000, 12_345] {
            let found = shard(1..=entries, Some(entries)).finding();
            assert_eq!(found, Finding::default(), "{entries} entries");
            assert_eq!(shard(1..=entries, None).finding(), Finding::default(), "{entries} entries, no end");
        }
    }

    #[test]
    fn what_is_missing_or_doubled_is_counted_and_named() {
        let gap = shard((1..=3000).filter(|n| *n != 1500), Some(3000)).finding();
        assert_eq!((gap.missing, gap.doubled, gap.numbers), (1, 0, vec![500]));
        let twice = shard((1..=3000).chain([7]), Some(3000)).finding();
        assert_eq!((twice.missing, twice.doubled, twice.numbers), (0, 1, vec![7]));
        let unended = shard((1..=3000).filter(|n| *n != 2), None).finding();
        assert_eq!((unended.missing, unended.doubled), (1, 1), "a gap is seen without an end too: {unended:?}");
    }
}
