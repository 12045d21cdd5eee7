//! What a process says of its own delivery, for the dashboard `forwarder`: an entry now and then while something changes.
//!
//! The entry goes past the spool, because behind a backlog it would arrive when that is over. While Loki does not answer,
//! entries wait in memory with their times. They belong to no run: neither its numbering nor an audit knows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::Settings;
use crate::event::Timestamp;
use crate::loki::encode::{Chunk, Encoder, Packer};
use crate::loki::entry::{Entry, EntrySink as _, Stream};
use crate::loki::push::{Client, Outcome};
use crate::names::{kind, label, meta, source};
use crate::pipeline::intake::now;
use crate::ship::Stats;
use crate::spool::{Backlog, DiskQueue, Queue as _, Timings};

/// Entries that wait in memory for Loki, half an hour of them by default; the oldest go first.
const KEPT: usize = 180;
/// What an ending process gives its last entry. Loki has just answered, so it mostly takes milliseconds.
const LAST: Duration = Duration::from_secs(1);

/// The queues of this process, those that it took over included. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<Shipped>>>);

/// A queue, and what became of its entries.
type Shipped = (Arc<DiskQueue>, Arc<Stats>);

/// Sums over them, since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    backlog: Backlog,
    pushed: u64,
    bytes: u64,
    pushes: u64,
    retries: u64,
    rejected: u64,
    answers: Timings,
    error: String,
}

/// Says it, in a task of its own.
pub(super) struct Pulse {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the task knows.
struct Teller {
    client: Client,
    watched: Watched,
    stream: Arc<Stream>,
    host: String,
    process: String,
    spool_max: u64,
    seq: u64,
    told: Figures,
    told_at: Instant,
    waiting: VecDeque<Chunk>,
}

impl Watched {
    /// One more queue.
    pub(super) fn add(&self, queue: &Arc<DiskQueue>, stats: &Arc<Stats>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((Arc::clone(queue), Arc::clone(stats)));
    }

    fn figures(&self) -> Figures {
        let mut sum = Figures::default();
        let mut newest = None;
        for (queue, stats) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let backlog = queue.backlog();
            sum.backlog.entries += backlog.entries;
            sum.backlog.bytes += backlog.bytes;
            sum.backlog.oldest = sum.backlog.oldest.max(backlog.oldest);
            sum.pushed += stats.pushed_entries();
            sum.bytes += stats.pushed_bytes();
            sum.pushes += stats.outcomes().map(|(_, count)| count).sum::<u64>();
            sum.retries += stats.retried().map(|(_, count)| count).sum::<u64>();
            sum.rejected += stats.rejected_total();
            sum.answers.merge(&stats.answers());
            newest = newest.max(stats.last_error());
        }
        sum.error = newest.map(|(_, error)| error).unwrap_or_default();
        sum
    }
}

impl Figures {
    fn is_troubled(&self) -> bool {
        self.retries > 0 || self.rejected > 0
    }

    /// For a person.
    fn line(&self, process: &str) -> String {
        let Self { backlog, pushed, retries, rejected, .. } = self;
        let mut line = format!(
            "testwire {process}: {pushed} entries delivered, {} wait, {rejected} refused, {retries} pushes tried again",
            backlog.entries
        );
        if self.is_troubled() && !self.error.is_empty() {
            line.push_str("\nlast error: ");
            line.push_str(&self.error);
        }
        line
    }
}

impl Pulse {
    /// Begins to tell about what is `watched`; `None` if the settings say never.
    pub(super) fn start(settings: &Settings, client: Client, watched: Watched) -> Option<Self> {
        if settings.health_every.is_zero() {
            return None;
        }
        let run = &settings.run;
        let name = |name: &Option<crate::config::Name>| name.as_ref().map(|n| n.as_str().to_owned());
        let shard = name(&run.shard).map(|shard| format!("/{shard}")).unwrap_or_default();
        let teller = Teller {
            client,
            watched,
            stream: Stream::new(vec![
                (label::SERVICE_NAME, run.project.as_str().to_owned()),
                (label::ENV, run.env.as_str().to_owned()),
                (label::RUNNER, "app".to_owned()),
                (label::KIND, kind::METRIC.to_owned()),
                (label::SOURCE, source::TESTWIRE.to_owned()),
            ]),
            host: name(&run.host).unwrap_or_default(),
            process: format!("{}{shard}", run.run_id.as_str()),
            spool_max: settings.spool_max,
            seq: 0,
            told: Figures::default(),
            told_at: Instant::now(),
            waiting: VecDeque::new(),
        };
        let (stop, stopped) = oneshot::channel();
        Some(Self { stop, task: tokio::spawn(teller.run(settings.health_every, stopped)) })
    }

    /// Says it for the last time, if there is something to say.
    pub(super) async fn end(mut self) {
        self.stop.send(()).ok();
        if tokio::time::timeout(LAST, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Teller {
    async fn run(mut self, every: Duration, mut stop: oneshot::Receiver<()>) {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let figures = self.watched.figures();
                    if figures != self.told || figures.backlog.entries > 0 {
                        self.tell(figures);
                    }
                }
                _ = &mut stop => break,
            }
            self.send().await;
        }
        let figures = self.watched.figures();
        // A short run without trouble says nothing, and who waits for Loki is not held up.
        if (self.seq > 0 || figures.is_troubled()) && figures.backlog.entries == 0 {
            if figures != self.told {
                self.tell(figures);
            }
            self.send().await;
        }
    }

    /// Makes an entry of it.
    fn tell(&mut self, figures: Figures) {
        use meta::health;
        let since = self.told_at.elapsed().as_secs_f64().max(1e-3);
        let answers = figures.answers.since(&self.told.answers);
        let millis = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
        let timed = |share| if answers.count() == 0 { String::new() } else { millis(answers.within(share)) };
        let Figures { backlog, .. } = &figures;
        let is_worse = figures.retries > self.told.retries || figures.rejected > self.told.rejected;
        let pairs = [
            (meta::LEVEL, if is_worse { "warn" } else { "info" }.to_owned()),
            (meta::HOST, self.host.clone()),
            (health::PROCESS, self.process.clone()),
            (health::WAITING, backlog.entries.to_string()),
            (health::WAITING_BYTES, backlog.bytes.to_string()),
            (health::WAITING_MS, backlog.oldest.unwrap_or_default().as_millis().to_string()),
            (health::SPOOL_USED, format!("{:.4}", backlog.bytes as f64 / self.spool_max.max(1) as f64)),
            (health::PUSHED, figures.pushed.to_string()),
            (health::PUSHED_BYTES, figures.bytes.to_string()),
            (health::PUSHES, figures.pushes.to_string()),
            (health::RETRIES, figures.retries.to_string()),
            (health::REJECTED, figures.rejected.to_string()),
            (health::ENTRIES_PER_S, format!("{:.1}", figures.pushed.saturating_sub(self.told.pushed) as f64 / since)),
            (health::ANSWER_MS, timed(0.5)),
            (health::ANSWER_SLOW_MS, timed(0.99)),
        ];
        let metadata: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).filter(|(_, value)| !value.is_empty()).collect();
        self.seq += 1;
        // As in a run: the last digits of the time are the number.
        let time = Timestamp(now().0.div_euclid(1000) * 1000 + (self.seq % 1000) as i64);
        let mut encoder = Encoder::new();
        let line = figures.line(&self.process);
        encoder.entry(&self.stream, &Entry { time, seq: self.seq, line: &line, metadata: &metadata });
        self.waiting.extend(encoder.take());
        if self.waiting.len() > KEPT {
            self.waiting.pop_front();
        }
        self.told = figures;
        self.told_at = Instant::now();
    }

    /// Sends what waits. What Loki refuses for good is given up: it is no result of a test.
    async fn send(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let parts: Vec<&[u8]> = self.waiting.iter().map(|chunk| &chunk.entries[..]).collect();
        let body = Packer::default().body(&self.stream, &parts);
        match self.client.push(body).await {
            Outcome::Retry { .. } => {}
            Outcome::Accepted => self.waiting.clear(),
            Outcome::Split { .. } | Outcome::Refused { .. } => {
                tracing::debug!("Loki refuses what testwire says of itself");
                self.waiting.clear();
            }
        }
    }
}
