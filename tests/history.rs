//! What changed since earlier runs: against a model, with the binary and a history on disk.

#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "common/binary.rs"]
mod binary;
#[cfg(test)]
#[path = "common/twenty_runs.rs"]
mod twenty_runs;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use testwire::event::{
        Event, Fact, LogLine, Planned, RunStarted, Source, Status, TestFinished, TestRef, TestStarted, Timestamp,
    };
    use testwire::history::digest::MIN_TESTS;
    use testwire::history::judge::Change;
    use testwire::history::memory::{Memory, Observed, Opening};
    use testwire::history::past::{Past, RUN_END, test_key};
    use testwire::history::rebuild::{Rebuilt, rebuild};
    use testwire::history::slot::{Outcome, Slot};
    use testwire::loki::entry::{Entry, EntrySink, Stream};
    use testwire::loki::push::{Client, Transport};
    use testwire::normalize::{Normalizer, RunEnd, RunInfo};

    use super::binary::{Done, Scratch, run, start_as_set};
    use super::twenty_runs::{RUNS, Story, TESTS, check};

    /// An entry as `--output ndjson` prints it: labels and metadata together, and its line.
    fn entries(done: &Done) -> Vec<(BTreeMap<String, String>, String)> {
        let parse = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let pairs = ["labels", "metadata"].into_iter().flat_map(|part| entry[part].as_object().unwrap().clone());
            (
                pairs.map(|(k, v)| (k, v.as_str().unwrap().to_owned())).collect(),
                entry["line"].as_str().unwrap().to_owned(),
            )
        };
        done.out().lines().map(parse).collect()
    }

    fn pipe(scratch: &Scratch, run_id: &str, more: &[&str], input: &str) -> Done {
        let arguments = ["pipe", "--output", "ndjson", "--no-fail", "--project", "shop", "--run-id", run_id];
        run(&mut scratch.testwire(arguments.iter().chain(more)), input.as_bytes())
    }

    #[test]
    fn with_a_history_on_disk_every_change_is_that_of_a_computation_over_all_results() {
        let scratch = Scratch::new();
        let story = Story::new(1_795_100_000, TESTS);
        for number in 0..RUNS {
            // One process at a time: the shard's name alone makes no shard.
            let done = pipe(&scratch, &Story::run_id(number), &[], &story.events(number, |_| true));
            assert_eq!((done.code, done.err().contains("history")), (0, false), "{}", done.err());
            let entries: Vec<_> = entries(&done).into_iter().map(|(pairs, _)| pairs).collect();
            check(&Story::run_id(number), &story.expected(number), &entries);
        }
    }

    /// A history that is there from the beginning, and what a run gave to it.
    #[derive(Default)]
    struct Given(Arc<Past>, Arc<Mutex<Vec<Observed>>>);

    impl Memory for Given {
        fn open(&mut self, _: &Opening) -> Option<Arc<Past>> {
            Some(Arc::clone(&self.0))
        }

        fn arrived(&mut self) -> Option<Arc<Past>> {
            None
        }

        fn keep(&mut self, results: &mut dyn Iterator<Item = Observed>, _: bool) {
            *self.1.lock().unwrap() = results.collect();
        }
    }

    /// Labels, metadata and lines of what was written.
    #[derive(Default)]
    struct Sink(Vec<(BTreeMap<String, String>, String)>);

    impl EntrySink for Sink {
        fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
            let labels = stream.labels().iter().map(|(name, value)| (*name, value.as_str()));
            let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            self.0.push((labels.chain(entry.metadata.iter().copied()).map(own).collect(), entry.line.to_owned()));
        }
    }

    /// A past of one earlier run in which each test passed in this time.
    fn past_of(seconds: &[f64]) -> Arc<Past> {
        let mut past = Past::new(Vec::new(), true);
        for (i, seconds) in seconds.iter().enumerate() {
            let took = Some(Duration::from_secs_f64(*seconds));
            past.insert(
                test_key(&i.to_string()),
                Slot::new(Timestamp(1_700_000_000_000_000_000), 1, Outcome::Passed, took),
                0,
            );
        }
        Arc::new(past)
    }

    const BEGAN: i64 = 1_795_200_000_000_000_000;

    fn at(seconds: f64) -> Timestamp {
        Timestamp(BEGAN + (seconds * 1e9) as i64)
    }

    fn normalizer(past: Arc<Past>) -> Normalizer {
        let mut normalizer = Normalizer::new(RunInfo { run_id: "now".into(), ..RunInfo::default() });
        normalizer.remember(Box::new(Given(past, Arc::default())));
        normalizer
    }

    fn started<'a>(i: usize) -> Fact<'a> {
        let test = TestRef { id: i.to_string().into(), ..TestRef::default() };
        Fact::TestStarted(TestStarted { test, ..TestStarted::default() })
    }

    fn test<'a>(i: usize) -> TestRef<'a> {
        TestRef { id: i.to_string().into(), ..TestRef::default() }
    }

    fn ended<'a>(i: usize) -> Fact<'a> {
        Fact::TestFinished(TestFinished::new(
            TestRef { id: i.to_string().into(), ..TestRef::default() },
            Status::Passed,
        ))
    }

    /// How a runner tells of its tests.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Runner {
        /// It names them at the beginning.
        Announces,
        /// It begins all at once, most of which then wait for their turn, as Go does with tests that call `t.Parallel()`.
        Pauses,
        /// Nobody knows of a test before it begins.
        IsSilent,
    }

    /// Runs a suite on two workers, each of which takes the next test when it is free, at `slowness` times what is usual,
    /// and gives the mean error of the time left, as a part of it, from 20 % of the run on.
    fn error_of_eta(runner: Runner, usual: &[f64], slowness: f64, rng: &mut fastrand::Rng) -> f64 {
        let mut free = [0.0_f64; 2];
        let mut events: Vec<(f64, bool, usize)> = Vec::new();
        for (i, seconds) in usual.iter().enumerate() {
            let worker = usize::from(free[1] < free[0]);
            let took = seconds * slowness * (0.9 + 0.2 * rng.f64());
            events.push((free[worker], false, i));
            events.push((free[worker] + took, true, i));
            free[worker] += took + 0.005;
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let end = events.last().unwrap().0;
        let (mut run, mut sink) = (normalizer(past_of(usual)), Sink::default());
        let mut say = |time: f64, fact: Fact<'_>, run: &mut Normalizer| {
            run.event(&Event { time: None, fact }, at(time), &mut sink)
        };
        let tests = (0..usual.len()).map(|i| i.to_string().into()).collect();
        match runner {
            Runner::Announces => say(0.0, Fact::Planned(Planned { total: None, tests }), &mut run),
            Runner::Pauses => {
                for i in 0..usual.len() {
                    say(0.0, started(i), &mut run);
                    say(0.0, Fact::TestPaused(test(i)), &mut run);
                }
            }
            Runner::IsSilent => {}
        }
        let mut events = events.into_iter().peekable();
        let mut errors = Vec::new();
        for percent in 1..100 {
            let now = end * f64::from(percent) / 100.0;
            while let Some((time, is_end, i)) = events.next_if(|event| event.0 <= now) {
                let fact = match runner {
                    _ if is_end => ended(i),
                    Runner::Pauses => Fact::TestResumed(test(i)),
                    Runner::Announces | Runner::IsSilent => started(i),
                };
                say(time, fact, &mut run);
            }
            run.tick(at(now), &mut Sink::default());
            if percent >= 20 {
                let left = run.progress(at(now)).eta.unwrap().as_secs_f64();
                errors.push((left - (end - now)).abs() / (end - now));
            }
        }
        errors.iter().sum::<f64>() / errors.len() as f64
    }

    #[test]
    fn the_time_left_of_skewed_suites_on_two_workers_is_right_to_a_tenth() {
        let mut rng = fastrand::Rng::with_seed(7);
        let normal = |rng: &mut fastrand::Rng| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let suites: [(&str, Vec<f64>); 3] = [
            ("lognormal", (0..500).map(|_| (normal(&mut rng) * 1.5 - 1.0).exp()).collect()),
            ("long tail", (0..2000).map(|_| (0.05 / rng.f64().max(1e-4).powf(0.9)).min(60.0)).collect()),
            (
                "few slow ones",
                (0..400).map(|_| if rng.usize(..25) == 0 { 5.0 + 15.0 * rng.f64() } else { 0.05 }).collect(),
            ),
        ];
        for (name, usual) in &suites {
            for slowness in [1.0, 1.5, 0.6] {
                for runner in [Runner::Announces, Runner::Pauses, Runner::IsSilent] {
                    let error = error_of_eta(runner, usual, slowness, &mut rng);
                    println!("{runner:?}, {name}, {slowness} times as long as usual: {:.1} %", error * 100.0);
                    assert!(error < 0.1, "{runner:?}, {name}, {slowness}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_test_that_waits_for_its_turn_is_neither_the_oldest_nor_hung() {
        let (mut run, mut sink) = (normalizer(past_of(&[1.0, 1.0])), Sink::default());
        let mut say = |fact, seconds| run.event(&Event { time: None, fact }, at(seconds), &mut sink);
        say(started(0), 0.0);
        say(Fact::TestPaused(test(0)), 0.0);
        say(started(1), 1.0);
        say(ended(1), 500.0);
        say(Fact::TestResumed(test(0)), 500.0);
        let progress = run.progress(at(501.0));
        assert_eq!(progress.oldest, Some(("0".into(), Duration::from_secs(1))));
        let hung = |sink: &Sink| sink.0.iter().filter(|(e, _)| e.get("hung").is_some_and(|h| h == "true")).count();
        run.tick(at(502.0), &mut sink);
        assert_eq!(hung(&sink), 0, "it has been running for two seconds");
        run.tick(at(801.0), &mut sink);
        assert_eq!(hung(&sink), 1, "and now for more than five minutes");
    }

    #[test]
    fn time_of_a_test_that_has_parts_counts_once() {
        // TestAll takes what its parts take, two of which run at a time.
        let ids = ["p.TestAll", "p.TestAll/1", "p.TestAll/2", "p.TestAll/3"];
        let mut past = Past::new(Vec::new(), true);
        for (id, seconds) in ids.iter().zip([20, 10, 10, 10]) {
            let slot = Slot::new(Timestamp(BEGAN), 1, Outcome::Passed, Some(Duration::from_secs(seconds)));
            past.insert(test_key(id), slot, 0);
        }
        past.mark_wholes(&[test_key(ids[0])].into_iter().collect());
        let (mut run, mut sink) = (normalizer(Arc::new(past)), Sink::default());
        let test = |i: usize| TestRef { id: ids[i].into(), suite: "p".into(), ..TestRef::default() };
        for i in 0..3 {
            let fact = Fact::TestStarted(TestStarted { test: test(i), ..TestStarted::default() });
            run.event(&Event { time: None, fact }, at(1.0), &mut sink);
        }
        run.tick(at(6.0), &mut sink);
        let left = run.progress(at(6.0)).eta.unwrap();
        assert!(left.abs_diff(Duration::from_secs(15)) < Duration::from_millis(500), "{left:?}");
    }

    #[test]
    fn where_runners_begin_one_by_one_those_to_come_count_by_an_earlier_run() {
        let (mut run, mut sink) = (normalizer(past_of(&[10.0; 6])), Sink::default());
        let planned = |tests: std::ops::Range<usize>| {
            Fact::Planned(Planned { total: None, tests: tests.map(|i| i.to_string().into()).collect() })
        };
        let begun = || Fact::RunStarted(RunStarted::default());
        for fact in [begun(), planned(0..2), begun(), planned(2..4), started(0), started(2)] {
            run.event(&Event { time: None, fact }, at(0.0), &mut sink);
        }
        run.tick(at(5.0), &mut sink);
        let left = run.progress(at(5.0)).eta.unwrap();
        assert!(left.abs_diff(Duration::from_secs(25)) < Duration::from_secs(1), "six on two workers: {left:?}");
    }

    #[test]
    fn a_pause_of_all_workers_is_no_time_between_two_tests() {
        let (mut run, mut sink) = (normalizer(past_of(&[10.0; 8])), Sink::default());
        for (first, second) in [(0, 0.0), (2, 10.0), (4, 40.0)] {
            for fact in [started(first), started(first + 1)] {
                run.event(&Event { time: None, fact }, at(second), &mut sink);
            }
            if first < 4 {
                for fact in [ended(first), ended(first + 1)] {
                    run.event(&Event { time: None, fact }, at(second + 10.0), &mut sink);
                }
            }
        }
        run.tick(at(41.0), &mut sink);
        let left = run.progress(at(41.0)).eta.unwrap();
        assert!(left.abs_diff(Duration::from_secs(19)) < Duration::from_secs(1), "the runner waited once: {left:?}");
    }

    #[test]
    fn an_end_that_is_told_after_the_next_beginning_leaves_no_worker_without_a_test() {
        let (mut run, mut sink) = (normalizer(past_of(&[10.0; 8])), Sink::default());
        let took = |i: usize| {
            let duration = Some(Duration::from_secs(10));
            Fact::TestFinished(TestFinished { duration, ..TestFinished::new(test(i), Status::Passed) })
        };
        // Two workers, five seconds apart; each end is told when the other worker's next test has begun.
        let story = [
            (0.0, started(0)),
            (5.0, started(1)),
            (10.0, started(2)),
            (15.0, took(0)),
            (15.0, started(3)),
            (20.0, took(1)),
            (20.0, started(4)),
            (25.0, took(2)),
            (25.0, started(5)),
            (30.0, took(3)),
        ];
        for (second, fact) in story {
            run.event(&Event { time: None, fact }, at(second), &mut sink);
        }
        run.tick(at(30.0), &mut sink);
        // Test 4 ends now, 5 in five seconds; 6 and 7 follow them.
        let left = run.progress(at(30.0)).eta.unwrap();
        assert!(left.abs_diff(Duration::from_secs(15)) < Duration::from_secs(1), "{left:?}");
    }

    #[test]
    fn what_the_runner_does_after_its_last_test_is_kept_and_counts_as_left_the_next_time() {
        let kept = Arc::default();
        let mut run = Normalizer::new(RunInfo { run_id: "before".into(), ..RunInfo::default() });
        run.remember(Box::new(Given(Arc::default(), Arc::clone(&kept))));
        for (fact, second) in [(started(0), 0.0), (started(1), 0.0), (ended(0), 2.0), (ended(1), 2.0)] {
            run.event(&Event { time: None, fact }, at(second), &mut Sink::default());
        }
        run.finish(&RunEnd::Exited(0), at(7.0), &mut Sink::default());
        let mut past = Past::new(Vec::new(), true);
        kept.lock().unwrap().iter().for_each(|result: &Observed| past.insert(result.test, result.slot, 0));
        assert_eq!((past.len(), past.get(RUN_END).is_some()), (2, true), "it is no test");
        // A second run ended on a busy machine, which says less than one that had nothing else to do.
        let busy = Slot::new(at(900.0), 2, Outcome::Passed, Some(Duration::from_secs(30)));
        for more in [None, Some(busy)] {
            more.iter().for_each(|slot| past.insert(RUN_END, *slot, 0));
            let mut run = normalizer(Arc::new(past.clone()));
            for (fact, second) in [(started(0), 0.0), (ended(0), 2.0)] {
                run.event(&Event { time: None, fact }, at(second), &mut Sink::default());
            }
            run.tick(at(2.0), &mut Sink::default());
            let left = run.progress(at(2.0)).eta.unwrap();
            assert!(left.abs_diff(Duration::from_secs(2 + 5)) < Duration::from_millis(200), "{left:?}");
        }
    }

    #[test]
    fn without_a_history_nothing_is_said_of_what_nobody_announced() {
        let mut run = Normalizer::new(RunInfo::default());
        for i in 0..3 {
            run.event(&Event { time: None, fact: started(i) }, at(0.0), &mut Sink::default());
        }
        run.event(&Event { time: None, fact: ended(0) }, at(1.0), &mut Sink::default());
        assert_eq!(run.progress(at(1.0)).eta, None);
    }

    #[test]
    fn a_hung_test_is_announced_once_with_its_last_output_and_taken_back_at_its_end() {
        // Test 0 usually takes a second, test 1 a minute, test 2 is not known.
        let (mut run, mut sink) = (normalizer(past_of(&[1.0, 60.0])), Sink::default());
        for i in 0..3 {
            run.event(&Event { time: None, fact: started(i) }, at(0.0), &mut sink);
        }
        let log = LogLine {
            test: Some(TestRef { id: "0".into(), ..TestRef::default() }),
            source: Source::Stdout,
            level: None,
            text: "connecting\nwaiting for the printer\n".into(),
        };
        run.event(&Event { time: None, fact: Fact::Log(log) }, at(1.0), &mut sink);
        let hung = |sink: &Sink| {
            let entries = sink.0.iter().filter(|(e, _)| e.contains_key("hung"));
            entries
                .map(|(e, line)| (e["test"].clone(), e["hung"].clone(), e["level"].clone(), line.clone()))
                .collect::<Vec<_>>()
        };
        for second in [299.0, 301.0, 302.0, 400.0] {
            run.tick(at(second), &mut sink);
        }
        let found = hung(&sink);
        let tests: Vec<&str> = found.iter().map(|(test, ..)| test.as_str()).collect();
        assert_eq!(tests, ["0", "2"], "five minutes are over for those");
        assert!(found.iter().all(|(_, hung, level, _)| (hung.as_str(), level.as_str()) == ("true", "error")));
        assert!(found[0].3.contains("its last output: waiting for the printer"), "{}", found[0].3);
        assert_eq!(run.progress(at(400.0)).hung, 2);
        run.tick(at(610.0), &mut sink);
        assert_eq!(hung(&sink).len(), 3, "ten times a minute");
        run.event(&Event { time: None, fact: ended(0) }, at(700.0), &mut sink);
        assert_eq!(
            hung(&sink).last().map(|(test, hung, level, _)| (test.as_str(), hung.as_str(), level.as_str())),
            Some(("0", "false", "info"))
        );
        assert_eq!(run.progress(at(700.0)).hung, 2);
    }

    const TWO: &str = r#"{"testwire":1,"event":"run_started","runner":"custom","time":1795200000}
{"event":"test_finished","test":"a","status":"passed","duration_ms":5,"time":1795200001}
{"event":"test_finished","test":"b","status":"STATUS","duration_ms":5,"time":1795200002}
{"event":"run_finished","time":1795200003}
"#;

    /// The change of test `b` in a run at this many minutes.
    fn change_of_b(scratch: &Scratch, minute: i64, status: &str) -> (String, Done) {
        let mut input = TWO.replace("STATUS", status);
        for second in 0..4 {
            let time = 1_795_200_000 + second;
            input = input.replace(&time.to_string(), &(time + minute * 60).to_string());
        }
        let done = pipe(scratch, &format!("r{minute}"), &[], &input);
        assert_eq!(done.code, 0, "{}", done.err());
        let all = entries(&done);
        let end = all.iter().find(|(e, _)| e.get("test").is_some_and(|t| t == "b") && e["status"] == status).unwrap();
        (end.0.get("change").cloned().unwrap_or_default(), done)
    }

    #[test]
    fn a_run_goes_on_without_a_damaged_history_says_so_once_and_makes_a_new_one() {
        let scratch = Scratch::new();
        assert_eq!(change_of_b(&scratch, 1, "passed").0, "");
        assert_eq!(change_of_b(&scratch, 2, "failed").0, "new_failure");
        let file = history_file(&scratch);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let (change, done) = change_of_b(&scratch, 3, "failed");
        assert_eq!((change.as_str(), done.err().matches("cannot be read").count()), ("", 1), "{}", done.err());
        let (change, done) = change_of_b(&scratch, 4, "failed");
        assert_eq!((change.as_str(), done.err().matches("cannot be").count()), ("still_failing", 0), "{}", done.err());
    }

    fn history_file(scratch: &Scratch) -> std::path::PathBuf {
        let mut files = std::fs::read_dir(scratch.state().join("history")).unwrap().map(|e| e.unwrap().path());
        files.find(|path| path.extension().is_some_and(|e| e == "history")).unwrap()
    }

    #[test]
    fn a_run_goes_on_where_its_history_cannot_be_written_and_says_so_once() {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.state()).unwrap();
        // A disk without room for it, as far as that can be had without being root: no folder can be made there.
        std::fs::write(scratch.state().join("history"), b"").unwrap();
        let (change, done) = change_of_b(&scratch, 1, "failed");
        assert_eq!(
            (
                change.as_str(),
                done.err().lines().filter(|l| l.contains("earlier runs") || l.contains("later ones")).count()
            ),
            ("", 1),
            "{}",
            done.err()
        );
    }

    #[test]
    fn a_full_disk_costs_the_results_of_a_run_but_not_the_run_nor_what_was_kept_before() {
        let scratch = Scratch::new();
        change_of_b(&scratch, 1, "passed");
        // The draft of the next file is on a device that is always full, until it is given up.
        std::os::unix::fs::symlink("/dev/full", history_file(&scratch).with_extension("new")).unwrap();
        let (change, done) = change_of_b(&scratch, 2, "failed");
        let said = done.err().matches("cannot be kept for later ones").count();
        assert_eq!((change.as_str(), said), ("new_failure", 1), "{}", done.err());
        assert!(done.err().contains("No space left on device"), "{}", done.err());
        let (change, done) = change_of_b(&scratch, 3, "failed");
        assert_eq!((change.as_str(), done.err().contains("cannot be")), ("new_failure", false), "{}", done.err());
        assert_eq!(change_of_b(&scratch, 4, "failed").0, "still_failing");
    }

    #[test]
    fn a_process_that_is_killed_while_it_saves_leaves_the_history_as_it_was_and_locks_nobody_out() {
        const TESTS: usize = 5_000;
        let scratch = Scratch::new();
        change_of_b(&scratch, 1, "passed");
        let (file, before) = (history_file(&scratch), std::fs::read(history_file(&scratch)).unwrap());
        // It waits for somebody who reads its draft, which is a pipe: so it is killed in the middle for sure.
        let draft = file.with_extension("new");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &draft, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let end = |i: usize| {
            format!("{{\"event\":\"test_finished\",\"test\":\"t{i}\",\"status\":\"passed\",\"time\":1795200150}}\n")
        };
        let begun = "{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"custom\",\"time\":1795200150}\n";
        let input = begun.to_owned() + &(0..TESTS).map(end).collect::<String>();
        let mut command = scratch.testwire(["pipe", "--output", "none", "--project", "shop", "--run-id", "r2"]);
        let mut killed = start_as_set(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()));
        killed.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let pipe = draft.clone();
        std::thread::spawn(move || {
            let mut half = vec![0; 20_000];
            let read = std::fs::File::open(pipe).and_then(|mut pipe| pipe.read_exact(&mut half).map(|()| pipe));
            sender.send(read.map(|pipe| (pipe, half))).ok();
        });
        let (pipe, half) = receiver.recv_timeout(Duration::from_secs(80)).unwrap().unwrap();
        drop(killed);
        drop(pipe);
        std::fs::remove_file(&draft).unwrap();
        std::fs::write(&draft, half).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), before);
        let (change, done) = change_of_b(&scratch, 3, "failed");
        assert_eq!((change.as_str(), done.err().contains("cannot be")), ("new_failure", false), "{}", done.err());
        assert_eq!(change_of_b(&scratch, 4, "failed").0, "still_failing");
    }

    #[test]
    fn the_end_of_a_run_says_how_much_changed_and_names_it() {
        let scratch = Scratch::new();
        change_of_b(&scratch, 1, "passed");
        let (_, done) = change_of_b(&scratch, 2, "failed");
        let all = entries(&done);
        let (end, line) = all.last().unwrap();
        assert_eq!((end["new_failures"].as_str(), end["fixed"].as_str(), end["kind"].as_str()), ("1", "0", "run"));
        assert!(line.contains("\nnew failures: 1\n  b"), "{line}");
        assert!(line.contains("1 new failure"), "{line}");
    }

    #[test]
    fn known_failures_are_marked_counted_apart_and_fail_the_run_still() {
        let scratch = Scratch::new();
        let file = scratch.work().join("known.toml");
        std::fs::write(
            &file,
            "[[known]]\npattern = \"b*\"\nreason = \"ticket 1\"\n[[known]]\npattern = \"z\"\nreason = \"gone\"\n\
             [[known]]\npattern = \"a\"\nreason = \"old\"\nuntil = 2020-01-01\n",
        )
        .unwrap();
        let done = pipe(&scratch, "r", &["--known-failures", "known.toml"], &TWO.replace("STATUS", "failed"));
        let all = entries(&done);
        let end = all.iter().find(|(e, _)| e.get("known").is_some_and(|known| known == "true")).unwrap();
        assert_eq!((end.0["test"].as_str(), end.0["status"].as_str()), ("b", "failed"));
        let (run, line) = all.last().unwrap();
        assert_eq!(
            (run["known"].as_str(), run["failed"].as_str(), run["status"].as_str()),
            ("1", "1", "failed"),
            "{line}"
        );
        let notes: Vec<&String> = all.iter().filter(|(e, _)| e["kind"] == "note").map(|(_, line)| line).collect();
        assert!(notes.iter().any(|n| n.contains("\"z\" (gone) matches no test")), "{notes:?}");
        assert!(notes.iter().any(|n| n.contains("\"a\" (old) has expired")), "{notes:?}");
        assert_eq!(done.err().matches("warning: the known failure").count(), 2, "{}", done.err());
        let wrong = pipe(&scratch, "r", &["--known-failures", "missing.toml"], "");
        assert_eq!(wrong.code, 3, "{}", wrong.err());
    }

    /// Entries with their times, as Loki has them.
    #[derive(Default)]
    struct Stored(Vec<(i64, BTreeMap<String, String>, String)>);

    impl EntrySink for Stored {
        fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
            let mut one = Sink::default();
            one.entry(stream, entry);
            let (pairs, line) = one.0.remove(0);
            self.0.push((entry.time.0, pairs, line));
        }
    }

    /// Answers queries by the kind of entry and the time, and those for tests after `most` not at all. Gives its address.
    async fn loki_of(entries: Vec<(i64, BTreeMap<String, String>, String)>, most: i64) -> String {
        use axum::http::{StatusCode, Uri};
        let entries = Arc::new(entries);
        let answer = move |uri: Uri| {
            let url = reqwest::Url::parse(&format!("http://loki{uri}")).unwrap();
            let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            let (start, end): (i64, i64) = (asked["start"].parse().unwrap(), asked["end"].parse().unwrap());
            let is_for = |kind: &str| asked["query"].contains(&format!("kind=\"{kind}\""));
            let rows = entries.iter().filter(|(time, pairs, _)| (start..end).contains(time) && is_for(&pairs["kind"]));
            let rows: Vec<_> = rows
                .filter(|(_, pairs, _)| pairs["kind"] != "test" || pairs["status"] != "started")
                .map(|(time, pairs, line)| serde_json::json!({"stream": pairs, "values": [[time.to_string(), line]]}))
                .collect();
            let answer = serde_json::json!({"data": {"resultType": "streams", "result": rows}}).to_string();
            let status = if is_for("test") && end > most { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            std::future::ready((status, answer))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(axum::routing::get(answer));
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }

    /// The entries of a run of so many tests, an hour ago, every tenth of which fails.
    fn stored_run(tests: usize) -> (i64, Stored) {
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let begun = hour_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
        let (mut run, mut stored) = (normalizer(Arc::new(Past::new(Vec::new(), true))), Stored::default());
        for i in 0..tests {
            let status = if i % 10 == 0 { Status::Failed } else { Status::Passed };
            let fact = Fact::TestFinished(TestFinished::new(test(i), status));
            run.event(&Event { time: None, fact }, Timestamp(begun + i as i64 * 1_000_000), &mut stored);
        }
        run.finish(&RunEnd::InputEnded, Timestamp(begun + tests as i64 * 1_000_000), &mut stored);
        (begun, stored)
    }

    async fn rebuilt(entries: Vec<(i64, BTreeMap<String, String>, String)>, most: i64) -> Rebuilt {
        let client = Client::new(&Transport::new(&loki_of(entries, most).await)).unwrap();
        rebuild(&client, &Opening { run_id: "next".into(), ..Opening::default() }, "", Duration::from_secs(60))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_large_run_writes_its_results_in_a_few_entries_and_they_are_all_that_a_new_machine_reads() {
        let (_, stored) = stored_run(MIN_TESTS - 1);
        assert!(stored.0.iter().all(|(_, pairs, _)| pairs["kind"] != "metric"), "a small one has none");
        let (begun, stored) = stored_run(30_000);
        let written: Vec<_> = stored.0.iter().filter(|(_, pairs, _)| pairs["kind"] == "metric").collect();
        assert_eq!(written.len(), 3);
        assert!(written[0].2.starts_with("RESULTS 30000 tests"), "{:.60}", written[0].2);
        let entries = stored.0.last().unwrap().1["entries"].clone();
        assert_eq!(entries, stored.0.len().to_string(), "they count");
        let no_test = begun;
        let found = rebuilt(stored.0, no_test).await;
        assert_eq!((found.runs, found.found, found.past.len()), (1, 1, 30_000));
        let now = Slot::new(Timestamp(begun + 3_600_000_000_000), 1, Outcome::Failed, None);
        let changes = [10, 11].map(|i: usize| found.past.judge(test_key(&i.to_string()), now).change);
        assert_eq!(changes, [Some(Change::StillFailing), Some(Change::NewFailure)]);
    }

    #[tokio::test]
    async fn where_loki_gives_a_part_of_a_run_its_tests_are_known_and_no_other_is_called_new() {
        let (begun, mut stored) = stored_run(6_000);
        // As an older testwire wrote it, or where something of it was lost.
        stored.0.retain(|(_, pairs, _)| pairs["kind"] != "metric");
        let found = rebuilt(stored.0, begun + 4_000_000_000).await;
        assert_eq!((found.runs, found.found, found.past.is_whole), (0, 1, false));
        assert!((2_900..3_100).contains(&found.part), "half of them: {}", found.part);
        let now = Slot::new(Timestamp(begun + 3_600_000_000_000), 1, Outcome::Failed, None);
        let changes = [11, 5_991].map(|i: usize| found.past.judge(test_key(&i.to_string()), now).change);
        assert_eq!(changes, [Some(Change::NewFailure), None]);
    }
}
