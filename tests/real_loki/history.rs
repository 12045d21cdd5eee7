//! What changed since earlier runs, for machines that have no history but Loki's; and the runs as `runs` and `diff` tell them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use testwire::decode::Format;
use testwire::event::Timestamp;
use testwire::history::memory::{Key, Memory, Observed, Opening};
use testwire::history::past::Past;
use testwire::history::rebuild::rebuild;
use testwire::loki::entry::{Entry, EntrySink, Stream};
use testwire::loki::push::{Client, Transport};
use testwire::normalize::{Normalizer, RunEnd, RunInfo};

use crate::binary::{Done, Scratch, run, start_as_set, until};
use crate::loki::Loki;
use crate::query::{now, unique_project};
use crate::twenty_runs::{RUNS, Story, TESTS, check};

const DAY: i64 = 86_400;

fn pipe(scratch: &Scratch, project: &str, arguments: &[&str], input: &str) -> Done {
    let loki = Loki::get().url();
    let common = ["pipe", "--no-fail", "--loki-url", loki, "--project", project, "--drain-timeout", "80s"];
    let done = run(&mut scratch.testwire(common.iter().chain(arguments)), input.as_bytes());
    assert_eq!(done.code, 0, "{}", done.err());
    done
}

/// Which of two machines runs a test; not the same one in each run.
fn machine(run: usize, test: &str) -> usize {
    (test.len() + usize::from(test.as_bytes()[test.len() - 1]) + run) % 2
}

/// A history that is there from the beginning.
struct Given(Arc<Past>);

impl Memory for Given {
    fn open(&mut self, _: &Opening) -> Option<Arc<Past>> {
        Some(Arc::clone(&self.0))
    }

    fn arrived(&mut self) -> Option<Arc<Past>> {
        None
    }

    fn keep(&mut self, _: &mut dyn Iterator<Item = Observed>, _: bool) {}
}

#[derive(Default)]
struct Sink(Vec<BTreeMap<String, String>>);

impl EntrySink for Sink {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        let labels = stream.labels().iter().map(|(name, value)| (*name, value.as_str()));
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.0.push(labels.chain(entry.metadata.iter().copied()).map(own).collect());
    }
}

#[tokio::test]
async fn a_history_from_loki_gives_every_change_as_a_computation_over_all_results_does_also_with_shards() {
    let project = unique_project("twenty");
    let story = Story::new(now() / 1_000_000_000 - DAY / 2, TESTS);
    let machines = [Scratch::new(), Scratch::new()];
    for number in 0..RUNS - 1 {
        let id = Story::run_id(number);
        if number % 4 == 0 {
            pipe(&machines[0], &project, &["--run-id", &id], &story.events(number, |_| true));
            continue;
        }
        for (shard, scratch) in machines.iter().enumerate() {
            let events = story.events(number, |test| machine(number, test) == shard);
            pipe(scratch, &project, &["--run-id", &id, "--shard", &shard.to_string()], &events);
        }
    }
    let last = RUNS - 1;
    let opening = Opening {
        key: Key { project: project.clone(), env: "local".into(), runner: "custom".into(), ..Key::default() },
        run_id: Story::run_id(last),
        ..Opening::default()
    };
    let client = Client::new(&Transport::new(Loki::get().url())).unwrap();
    let begun = std::time::Instant::now();
    let rebuilt = rebuild(&client, &opening, "main", Duration::from_secs(60)).await.unwrap();
    println!("{} tests of {} runs from Loki in {:?}", rebuilt.past.len(), rebuilt.runs, begun.elapsed());
    assert_eq!((rebuilt.runs, rebuilt.found, rebuilt.past.is_whole), (RUNS - 1, RUNS - 1, true));
    let past = Arc::new(rebuilt.past);
    let mut entries = Vec::new();
    for shard in 0..2 {
        let info = RunInfo {
            run_id: Story::run_id(last),
            project: project.clone(),
            env: "local".into(),
            runner: "custom".into(),
            shard: shard.to_string(),
            ..RunInfo::default()
        };
        let (mut normalizer, mut sink) = (Normalizer::new(info), Sink::default());
        normalizer.remember(Box::new(Given(Arc::clone(&past))));
        let mut decoder = Format::Testwire.decoder();
        for line in story.events(last, |test| machine(last, test) == shard).lines() {
            decoder.line(line.as_bytes(), &mut |event| normalizer.event(&event, Timestamp(now()), &mut sink));
        }
        normalizer.finish(&RunEnd::InputEnded, Timestamp(now()), &mut sink);
        entries.extend(sink.0);
    }
    check("the last run", &story.expected(last), &entries);
    told_by_commands(&machines[0], &project, &story);
}

/// `runs` and `diff` on the same runs.
fn told_by_commands(scratch: &Scratch, project: &str, story: &Story) {
    let ask = |arguments: &[&str]| {
        let common = ["--loki-url", Loki::get().url(), "--project", project];
        run(&mut scratch.testwire(arguments.iter().chain(&common)), b"")
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        let done = ask(arguments);
        serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", done.out(), done.err()))
    };
    let runs = json(&["runs", "--json", "--most", "100"]);
    let ids: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..RUNS - 1).rev().map(Story::run_id).collect();
    assert_eq!(ids, expected);
    assert_eq!(runs[0]["counters"]["done"], story.runs[RUNS - 2].len());
    let found = json(&["diff", "run-15", "run-16", "--json"]);
    let names = |sort: &str| -> Vec<String> {
        found[sort].as_array().unwrap().iter().map(|row| row["test"].as_str().unwrap().to_owned()).collect()
    };
    let outcome = |run: usize, test: &str| Some(story.runs[run].get(test)?.last().unwrap().0);
    let fails = |run: usize, test: &str| outcome(run, test).map(|status| matches!(status, "failed" | "errored"));
    let of = |wanted: &dyn Fn(&str) -> bool, run: usize| -> Vec<String> {
        story.runs[run].keys().filter(|test| wanted(test)).cloned().collect()
    };
    assert_eq!(names("newly_failing"), of(&|t| fails(16, t) == Some(true) && fails(15, t) != Some(true), 16));
    let is_fixed =
        |t: &str| fails(15, t) == Some(true) && fails(16, t) == Some(false) && outcome(16, t) != Some("skipped");
    assert_eq!(names("fixed"), of(&is_fixed, 16));
    assert_eq!(names("missing"), of(&|t| outcome(16, t).is_none(), 15));
    let table = ask(&["diff", "run-15", "run-16"]);
    assert!(table.out().contains(&format!("newly failing: {}\n", names("newly_failing").len())), "{}", table.out());
    assert!(!table.out().contains('\x1b') && table.code == 0);
}

/// A run of tests `a` and `b`, where `b` has this status, this many minutes ago.
fn two(status: &str, minutes: i64) -> String {
    let time = now() / 1_000_000_000 - minutes * 60;
    format!(
        "{{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"custom\",\"time\":{time}}}\n\
         {{\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"passed\",\"duration_ms\":5,\"time\":{time}}}\n\
         {{\"event\":\"test_finished\",\"test\":\"b\",\"status\":\"{status}\",\"duration_ms\":5,\"time\":{time}}}\n\
         {{\"event\":\"run_finished\",\"time\":{time}}}\n"
    )
}

#[test]
fn a_machine_without_a_history_or_with_a_damaged_one_learns_in_the_background_what_the_same_branch_did() {
    let project = unique_project("fresh");
    let ci = |scratch: &Scratch, branch: &str| {
        let mut command =
            scratch.testwire(["pipe", "--no-fail", "--log-level", "info", "--loki-url", Loki::get().url()]);
        command.args(["--project", &project]).env("GITHUB_ACTIONS", "true").env("GITHUB_REF_NAME", branch);
        command
    };
    let machine = Scratch::new();
    for (branch, status, minutes) in [("main", "failed", 50), ("topic", "passed", 40), ("other", "failed", 30)] {
        let done = run(&mut ci(&machine, branch), two(status, minutes).as_bytes());
        assert_eq!(done.code, 0, "{}", done.err());
    }
    // On `topic` test b passed, until a machine without a history has told otherwise; `fresh` has no run, so that of `main`
    // counts.
    for (branch, damaged, change) in
        [("topic", None, "new_failure"), ("topic", Some(&machine), "still_failing"), ("fresh", None, "still_failing")]
    {
        // A busy machine may not give the answer in time, and then the run goes on without; a later one has better luck.
        let told = (1..30).find_map(|attempt| {
            let branch = if branch == "fresh" { format!("fresh-{attempt}") } else { branch.to_owned() };
            fresh_run(&project, &ci, &branch, attempt, damaged)
        });
        let expected = if change == "new_failure" { ("1", "0") } else { ("0", "1") };
        let told = told.expect("Loki answers in time once");
        assert_eq!((told.0.as_str(), told.1.as_str()), expected, "{branch}");
    }
}

/// New and old failures of a run of a new machine, in which test b fails once the history has arrived; `None` if Loki did not
/// answer in time. That run is ended without a test, so that a later one sees the same. The machine may have what is left of
/// the history of another.
fn fresh_run(
    project: &str,
    ci: &dyn Fn(&Scratch, &str) -> std::process::Command,
    branch: &str,
    attempt: u32,
    damaged: Option<&Scratch>,
) -> Option<(String, String)> {
    let scratch = Scratch::new();
    damaged.inspect(|other| copy_damaged(&other.state().join("history"), &scratch.state().join("history")));
    let id = format!("{branch}-{}-{attempt}", if damaged.is_some() { "damaged" } else { "fresh" });
    let log = scratch.work().join("log");
    let mut command = ci(&scratch, branch);
    command.args(["--run-id", &id, "--shard", "1"]);
    let file = std::fs::File::create(&log).unwrap();
    let mut started = start_as_set(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file));
    let events = two("failed", 0);
    let (first, rest) = events.split_once('\n').unwrap();
    let stdin = started.stdin.as_mut().unwrap();
    writeln!(stdin, "{first}").unwrap();
    let is_answer = |line: &str| line.contains("earlier runs") && !line.contains("cannot be read");
    let answer =
        until("Loki was asked", || std::fs::read_to_string(&log).ok().filter(|text| text.lines().any(is_answer)));
    assert_eq!(answer.matches("cannot be read").count(), usize::from(damaged.is_some()), "{answer}");
    if !answer.contains("2 tests of ") {
        // Killed: this run shall have no end, and no tests, in Loki.
        return None;
    }
    stdin.write_all(rest.as_bytes()).unwrap();
    assert_eq!(started.wait().code, 0);
    let asked = format!("{{service_name=\"{project}\",kind=\"run\",status=\"failed\"}} | run_id=\"{id}\"");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rows = runtime.block_on(Loki::get().query_range(&asked, now() - 3_600_000_000_000, now(), 10));
    assert_eq!(rows.len(), 1, "{asked}");
    let count = |name: &str| rows[0].labels.get(name).cloned().unwrap_or_default();
    Some((count("new_failures"), count("still_failing")))
}

/// Copies histories, a bit of each of which is another one.
fn copy_damaged(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    let files = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "history")) {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(to.join(file.file_name().unwrap()), bytes).unwrap();
    }
}
