//! Two years of a small team's runs, made by testwire's own normalizer: same tests, most of them well, some broken for a
//! while, some flaky. The same numbers give the same history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use testwire::event::{
    Event, Fact, Level, LogLine, Planned, RunFinished, Source, Status, TestFinished, TestRef, Timestamp,
};
use testwire::event::{RunStarted, TestStarted};
use testwire::loki::encode::{Chunk, Encoder, Packer};
use testwire::loki::entry::{Entry, EntrySink, Stream};
use testwire::loki::push::{Client, Outcome, Transport};
use testwire::names::{kind, label, meta, source};
use testwire::normalize::{Normalizer, RunEnd, RunInfo};

/// Tests of each run.
const TESTS: u64 = 700;
const WORKERS: u64 = 4;
const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 24 * 3600 * SECOND;
/// How long logs and metrics are kept by `loki/loki.yaml`.
const MONTH: i64 = 31 * DAY;
/// Bytes of one push.
const PUSH: usize = 1 << 20;
const HOSTS: [&str; 3] = ["ci-1", "ci-2", "ci-3"];

/// What was stored.
pub(crate) struct Stored {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// The run that has not ended.
    pub(crate) live_run: String,
    /// A test that fails now and then.
    pub(crate) a_test: String,
    pub(crate) now_ms: i64,
}

/// Adds to the results what a history of them would say.
struct Judged<'a> {
    out: &'a mut Encoder,
    /// Cheap, and the same in every run of this program.
    run: u64,
}

impl EntrySink for Judged<'_> {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        let of =
            |wanted: &str| stream.labels().iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        let status = of(label::STATUS).unwrap_or_default();
        if of(label::KIND) != Some(kind::TEST) || status == "started" {
            return self.out.entry(stream, entry);
        }
        let test = entry.metadata.iter().find(|(name, _)| *name == meta::TEST).map_or("", |(_, value)| value);
        let hash = scramble(test.bytes().fold(self.run, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)));
        let failing = matches!(status, "failed" | "errored");
        let change = if failing { ["new_failure", "still_failing", "still_failing"][(hash % 3) as usize] } else { "" };
        let flips = if failing || hash.is_multiple_of(50) { (1 + hash % 7).to_string() } else { String::new() };
        let slower = if hash.is_multiple_of(200) { "350.5" } else { "" };
        let more = [
            (meta::PREVIOUS, if failing { "failed" } else { "passed" }),
            (meta::EXPECTED_MS, "1500"),
            (meta::CHANGE, change),
            (meta::FLAKY_SCORE, flips.as_str()),
            (meta::SLOWER_BY, slower),
        ];
        let mut metadata = entry.metadata.to_vec();
        metadata.extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
        self.out.entry(stream, &Entry { metadata: &metadata, ..*entry });
    }
}

fn scramble(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
}

fn name(test: u64) -> String {
    format!("tests/area_{:02}/test_feature_{:03}.py::test_case_{test:04}", test % 20, test % 140)
}

/// Collects chunks of each stream and pushes them when they are large enough.
struct Pusher {
    client: Client,
    packer: Packer,
    waiting: BTreeMap<String, (Arc<Stream>, Vec<Chunk>, usize)>,
    entries: u64,
    bytes: u64,
}

impl Pusher {
    async fn take(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            let key = chunk.stream.selector().to_owned();
            let slot = self.waiting.entry(key).or_insert_with(|| (Arc::clone(&chunk.stream), Vec::new(), 0));
            slot.2 += chunk.entries.len();
            slot.1.push(chunk);
        }
        self.push(PUSH / 2).await;
    }

    fn stored(&self, runs: u64, now: i64) -> Stored {
        let live_run = format!("run-{:06}", runs - 1);
        Stored { entries: self.entries, bytes: self.bytes, live_run, a_test: name(17), now_ms: now / 1_000_000 }
    }

    /// Pushes the streams that hold at least so many bytes.
    async fn push(&mut self, least: usize) {
        for (stream, chunks, size) in self.waiting.values_mut().filter(|(_, _, size)| *size > least) {
            self.entries += chunks.iter().map(|chunk| u64::from(chunk.count)).sum::<u64>();
            self.bytes += *size as u64;
            let parts: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.entries[..]).collect();
            let body = self.packer.body(stream, &parts);
            let mut outcome = self.client.push(body.clone()).await;
            while let Outcome::Retry { error, .. } = outcome {
                println!("again: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                outcome = self.client.push(body.clone()).await;
            }
            assert!(matches!(outcome, Outcome::Accepted), "{outcome:?}");
            chunks.clear();
            *size = 0;
        }
    }
}

/// A run of a pytest project, begun at `began`; the last one of all goes on.
struct Run {
    number: u64,
    began: i64,
    tests: u64,
    is_live: bool,
    has_logs: bool,
}

impl Run {
    fn id(&self) -> String {
        format!("run-{:06}", self.number)
    }

    fn info(&self) -> RunInfo {
        let of = |name: &str, value: String| (name.to_owned(), value);
        RunInfo {
            run_id: self.id(),
            project: "shop".into(),
            env: "ci".into(),
            runner: "pytest".into(),
            host: HOSTS[(self.number % 3) as usize].into(),
            metadata: vec![
                of(meta::USER, ["ana", "bo", "kim"][(self.number % 3) as usize].into()),
                of(
                    meta::BRANCH,
                    if self.number.is_multiple_of(2) { "main".into() } else { format!("feature-{}", self.number % 40) },
                ),
                of(meta::COMMIT, format!("{:016x}", scramble(self.number))),
                of("attr_os", ["linux", "macos"][(self.number % 2) as usize].into()),
                of("attr_browser", ["firefox", "chrome", "safari"][(self.number % 3) as usize].into()),
            ],
            ..RunInfo::default()
        }
    }

    /// Tells it all.
    fn tell(&self, encoder: &mut Encoder) {
        let mut normalizer = Normalizer::new(self.info());
        let mut out = Judged { out: encoder, run: self.number };
        normalizer.replay(Timestamp(self.began));
        let at = |nanos: i64, fact| Event { time: Some(Timestamp(nanos)), fact };
        let mut tell = |normalizer: &mut Normalizer, event: &Event<'_>| {
            let now = event.time.unwrap_or_default();
            normalizer.event(event, now, &mut out);
        };
        tell(
            &mut normalizer,
            &at(self.began, Fact::RunStarted(RunStarted { title: "pytest 8".into(), attributes: Vec::new() })),
        );
        tell(&mut normalizer, &at(self.began, Fact::Planned(Planned { total: Some(self.tests), tests: Vec::new() })));
        let mut clock = [self.began; WORKERS as usize];
        for test in 0..self.tests {
            let worker = (test % WORKERS) as usize;
            self.test(test, worker, &mut clock[worker], &mut |event| tell(&mut normalizer, event));
        }
        let last = clock.into_iter().max().unwrap_or(self.began);
        if !self.is_live {
            tell(&mut normalizer, &at(last, Fact::RunFinished(RunFinished::default())));
            normalizer.finish(&RunEnd::Exited(1), Timestamp(last), &mut out);
        }
    }

    fn test(&self, test: u64, worker: usize, clock: &mut i64, tell: &mut dyn FnMut(&Event<'_>)) {
        let (id, suite) = (name(test), format!("tests/area_{:02}", test % 20));
        let worker = format!("gw{worker}");
        let of = || TestRef { id: id.as_str().into(), suite: suite.as_str().into(), worker: worker.as_str().into() };
        let chance = scramble(self.number.wrapping_mul(100_003) + test);
        // Some break and stay broken for 20 runs; some fail now and then; a few are tried again.
        let broken = scramble(self.number / 20 * 7919 + test).is_multiple_of(150);
        let status = match chance % 1000 {
            _ if broken => Status::Failed,
            0..4 => Status::Failed,
            4 => Status::Errored,
            5..20 => Status::Skipped,
            20..24 => Status::Xfailed,
            _ => Status::Passed,
        };
        let attempts = if chance % 1000 >= 990 { 2 } else { 1 };
        for attempt in 1..=attempts {
            let status = if attempt < attempts { Status::Retried } else { status };
            let start = TestStarted { test: of(), attempt: Some(attempt), repeat: false, tags: Vec::new() };
            tell(&Event { time: Some(Timestamp(*clock)), fact: Fact::TestStarted(start) });
            let took = (200 + chance % 3600) as i64 * 1_000_000;
            if self.has_logs {
                self.log(&of(), *clock + took / 2, chance, tell);
            }
            *clock += took;
            let failed = !matches!(status, Status::Passed | Status::Skipped | Status::Xfailed);
            let message = if failed {
                format!("AssertionError: expected 200, got {} from area {}", 500 + test % 4, test % 9)
            } else {
                String::new()
            };
            let details = if failed {
                "def test_case():\n>   assert answer.status == 200\nE   AssertionError".repeat(3)
            } else {
                String::new()
            };
            let end = TestFinished {
                attempt: Some(attempt),
                duration: Some(Duration::from_nanos(took as u64)),
                message: message.into(),
                details: details.into(),
                ..TestFinished::new(of(), status)
            };
            tell(&Event { time: Some(Timestamp(*clock)), fact: Fact::TestFinished(end) });
            *clock += 1_000_000;
        }
    }

    fn log(&self, test: &TestRef<'_>, time: i64, chance: u64, tell: &mut dyn FnMut(&Event<'_>)) {
        let level = if chance.is_multiple_of(30) { Level::Error } else { Level::Info };
        let source = if chance.is_multiple_of(3) { Source::Named("shop".into()) } else { Source::Stdout };
        let text =
            format!("request {chance:016x} answered {} in {} ms, cart holds {} items", 200, chance % 900, chance % 7);
        let line = LogLine { test: Some(test.clone()), source, level: Some(level), text: text.into() };
        tell(&Event { time: Some(Timestamp(time)), fact: Fact::Log(line) });
    }
}

/// A value of a machine every minute, and testwire's own figures every minute, over the last month.
fn measure(encoder: &mut Encoder, from: i64, to: i64) {
    let of = |name: &str| {
        Stream::new(vec![
            (label::SERVICE_NAME, "shop".into()),
            (label::ENV, "ci".into()),
            (label::RUNNER, "app".into()),
            (label::KIND, kind::METRIC.into()),
            (label::SOURCE, name.into()),
        ])
    };
    let (cpu, memory, own) = (of("cpu_percent"), of("memory_percent"), of(source::TESTWIRE));
    let mut seq = 0;
    for minute in 0..(to - from) / (60 * SECOND) {
        for host in HOSTS {
            seq += 1;
            let time = Timestamp(from + minute * 60 * SECOND + seq % 1000);
            let value = (10 + (minute * 7 + seq) % 80).to_string();
            let pairs = [(meta::LEVEL, "info"), (meta::HOST, host), (meta::VALUE, value.as_str()), (meta::UNIT, "%")];
            for stream in [&cpu, &memory] {
                encoder.entry(stream, &Entry { time, seq: seq as u64, line: &format!("{value} %"), metadata: &pairs });
            }
            let process = format!("listen-{host}-{}", (from + minute * 60 * SECOND) / DAY);
            let (pushed, names) = ((minute % 1440 * 600).to_string(), meta::health::ALL);
            let own_pairs: Vec<(&str, &str)> =
                [(meta::LEVEL, "info"), (meta::HOST, host), (names[0], process.as_str())]
                    .into_iter()
                    .chain(
                        names[1..]
                            .iter()
                            .map(|name| (*name, if *name == meta::health::PUSHED { pushed.as_str() } else { "0" })),
                    )
                    .collect();
            encoder.entry(&own, &Entry { time, seq: seq as u64, line: "testwire", metadata: &own_pairs });
        }
    }
}

/// Stores `results` test results, spread over two years before now; without `push` only the run that is under way, as the others are there.
pub(crate) async fn store(url: &str, results: u64, push: bool) -> Stored {
    let now = chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default() / 1000 * 1000;
    let client = Client::new(&Transport::new(url)).expect("a client");
    let mut pusher = Pusher { client, packer: Packer::default(), waiting: BTreeMap::new(), entries: 0, bytes: 0 };
    let runs = results.div_ceil(TESTS).max(1);
    let apart = 2 * 365 * DAY / runs as i64;
    let mut encoder = Encoder::new();
    for number in 0..runs {
        // The last is half done now; a run takes about six minutes.
        let is_live = number + 1 == runs;
        let began = if is_live { now - 170 * SECOND } else { now - (runs - number) as i64 * apart };
        let tests = if is_live { TESTS / 2 } else { TESTS.min(results) };
        if !push && !is_live {
            continue;
        }
        let run = Run { number, began, tests, is_live, has_logs: began > now - MONTH };
        run.tell(&mut encoder);
        pusher.take(encoder.take()).await;
        if is_live {
            pusher.push(0).await;
        }
        // Loki closes a chunk after two hours, so each run has chunks of its own.
        if push && !is_live && apart > 2 * 3600 * SECOND {
            pusher.push(0).await;
            flush(url).await;
        }
    }
    if !push {
        return pusher.stored(runs, now);
    }
    // By the day, as Loki takes only so much at once.
    for day in 0..MONTH / DAY {
        measure(&mut encoder, now - MONTH + day * DAY, now - MONTH + (day + 1) * DAY);
        pusher.take(encoder.take()).await;
    }
    pusher.push(0).await;
    pusher.stored(runs, now)
}

/// Has Loki write out what it has in memory, as it does by itself with what is two hours old.
async fn flush(url: &str) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.post(format!("{url}/flush")).send().await.expect("Loki answers");
}
