//! WebKit's results database.
//!
//! A document holds a whole run that is over. Its times are its own, and its id follows from what the database keys it by,
//! so that the same document sent again becomes the same entries, which Loki stores once. Another document under the same
//! key is told a little later than the one before, so that its counters are the last ones.

mod leaf;
mod upload;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

pub use self::leaf::Leaf;
pub use self::upload::{Head, Upload, parse, parse_ews, refusal, run_of_form};
use super::{Answer, RunFacts, Runs};
use crate::event::{Event, Fact, Planned, RunFinished, RunStarted, Timestamp};

/// Uploads that are remembered.
const REMEMBERED: usize = 20_000;
/// How much later than the one before a replaced document is told.
const LATER_NANOS: i64 = 1_000_000_000;
/// Loki refuses what is older than a week, or more than 10 minutes ahead.
const PAST_NANOS: i64 = 6 * 24 * 3_600 * 1_000_000_000;
const AHEAD_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// A part of an upload. The parts are handed in one after another, so that other clients need not wait for all.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Part {
    /// What comes first.
    Begin(Box<Head>),
    /// Some results, and the number of the first of them.
    Results(String, usize, Vec<Leaf>),
    /// The end.
    End(String),
}

/// The uploads.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Results {
    /// Hash of the last document of a run, and how many there were.
    seen: HashMap<String, (u64, i64)>,
    order: VecDeque<String>,
    under_way: HashMap<String, UnderWay>,
}

/// An upload of which more will come.
#[derive(serde::Serialize, serde::Deserialize)]
struct UnderWay {
    /// Of its first result.
    time: Timestamp,
    /// Behind its last result so far.
    last: Timestamp,
    run_id: String,
    content: u64,
    generation: i64,
}

/// Answer to [`Part::Begin`] if all of it is known already.
pub const KNOWN: Answer = Answer::empty(208);

impl Results {
    pub(super) fn take(&mut self, part: Part, runs: &mut dyn Runs) -> Answer {
        match part {
            Part::Begin(head) => return self.begin(*head, runs),
            Part::Results(key, first, leaves) => {
                let Some(UnderWay { time, .. }) = self.under_way.get(&key) else { return Answer::empty(200) };
                for (number, leaf) in leaves.iter().enumerate() {
                    // Each a microsecond after the one before.
                    let time = Timestamp(time.0 + (first + number) as i64 * 1000);
                    leaf.tell(time, &mut |event| runs.event(&key, event));
                }
                if let Some(upload) = self.under_way.get_mut(&key) {
                    upload.last = Timestamp(upload.time.0 + (first + leaves.len()) as i64 * 1000);
                }
            }
            Part::End(key) => {
                let Some(upload) = self.under_way.remove(&key) else { return Answer::empty(200) };
                let fact = Fact::RunFinished(RunFinished::default());
                runs.event(&key, &Event { time: Some(upload.last), fact });
                runs.close(&key);
                self.remember(upload);
            }
        }
        Answer::empty(200)
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.under_way.remove(key);
    }

    fn begin(&mut self, head: Head, runs: &mut dyn Runs) -> Answer {
        // One that was cut off, by a restart or by the client, is told again from its beginning.
        let cut: Vec<String> =
            self.under_way.iter().filter(|(_, of)| of.run_id == head.run_id).map(|(key, _)| key.clone()).collect();
        for key in cut {
            self.under_way.remove(&key);
            runs.discard(&key);
        }
        let generation = match self.seen.get(&head.run_id) {
            Some((content, _)) if *content == head.content => return KNOWN,
            Some((_, generation)) => generation + 1,
            None => 0,
        };
        let now = runs.now();
        let own = Timestamp(head.time.unwrap_or(now).0 + generation * LATER_NANOS);
        let usable = (now.0 - PAST_NANOS..now.0 + AHEAD_NANOS).contains(&own.0);
        let time = if usable { own } else { now };
        let upload = UnderWay { time, last: time, run_id: head.run_id.clone(), content: head.content, generation };
        let facts = RunFacts { run_id: head.run_id, begun: Some(time), is_told_after: true, ..head.facts };
        runs.open(&head.key, facts);
        let title = format!("resultsdb, {}", head.suite).into();
        let started = RunStarted { title, ..RunStarted::default() };
        runs.event(&head.key, &Event { time: Some(time), fact: Fact::RunStarted(started) });
        let planned = Planned { total: Some(head.tests as u64), tests: Vec::<Cow<'_, str>>::new() };
        runs.event(&head.key, &Event { time: Some(time), fact: Fact::Planned(planned) });
        self.under_way.insert(head.key, upload);
        Answer::empty(200)
    }

    fn remember(&mut self, upload: UnderWay) {
        if self.seen.insert(upload.run_id.clone(), (upload.content, upload.generation)).is_none() {
            self.order.push_back(upload.run_id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}
