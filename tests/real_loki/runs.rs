//! Real runs: what Loki says of them is what the sample projects define and what the runners report.

use crate::binary::{Scratch, run};
use crate::loki::Loki;
use crate::projects::Reported;
use crate::query::unique_project;
use crate::recorded::Recorded;
use crate::sample_runs::{SampleRun, sample_runs};
use crate::unchanging::{err_of_command, lines_in_any_order, unchanging};

/// Everything that must hold for a run of a sample project; `name` makes a test's name in the report from testwire's,
/// `rounding` is how far a duration in the report may be off, in milliseconds.
async fn assert_true(sample: &SampleRun, name: impl Fn(&str) -> String, rounding: f64) -> Recorded {
    let loki = Loki::get();
    let recorded = Recorded::read(loki, &sample_runs().project, sample.runner).await;
    let truth = &sample.truth;
    recorded.assert_whole(loki).await;
    recorded.assert_counts_agree();

    let end = recorded.end();
    for (counter, count) in truth.counters() {
        assert_eq!(end.number(counter), count, "{counter}");
    }
    assert_eq!((end.get("status"), end.get("exit_code")), ("failed", truth.exit_code.to_string().as_str()));
    assert_eq!((end.get("runner"), end.get("branch"), end.get("attr_team")), (sample.runner, "trunk", "till"));
    let elapsed = u128::from(end.number("elapsed_ms"));
    assert!(elapsed <= sample.took.as_millis() && elapsed >= 500, "{elapsed} ms of {:?}", sample.took);
    assert_eq!(recorded.named(&["failed", "errored"]), truth.failing);
    for test in &truth.failing {
        assert!(end.line.contains(test.as_str()), "{test} is not in {}", end.line);
    }
    for (test, status) in recorded.statuses() {
        assert_eq!(status, truth.status(&test), "{test}");
    }

    compare_with_report(&recorded, &sample.report, name, rounding);
    assert_eq!(last_results(&sample.bare_report), last_results(&sample.report), "the bare run's results");
    recorded
}

/// Every attempt is in both, in the same order, with the same duration; the last results are the same.
fn compare_with_report(recorded: &Recorded, report: &Reported, name: impl Fn(&str) -> String, rounding: f64) {
    let attempts = recorded.attempts();
    assert_eq!(attempts.len(), report.len());
    for (test, attempts) in attempts {
        let reported = report.get(&name(&test)).unwrap_or_else(|| panic!("the report has no {test}"));
        assert_eq!(attempts.len(), reported.len(), "attempts of {test}");
        for (attempt, (_, ms)) in attempts.iter().zip(reported) {
            let duration = attempt.duration.unwrap_or_else(|| panic!("{test} has no duration"));
            assert!((duration - ms).abs() <= rounding, "{test}: {duration} ms, the runner says {ms}");
        }
        let (ours, theirs) = (&attempts[attempts.len() - 1].status, &reported[reported.len() - 1].0);
        // JUnit's format has no word for it.
        let ours = if ours == "xpassed" { "passed" } else { ours };
        assert_eq!(ours, theirs, "{test}");
    }
}

fn last_results(report: &Reported) -> Vec<(&str, &str)> {
    report.iter().map(|(test, attempts)| (test.as_str(), attempts[attempts.len() - 1].0.as_str())).collect()
}

#[tokio::test]
async fn a_robot_run_is_in_loki_as_robot_reports_it() {
    let sample = &sample_runs().robot;
    let recorded = assert_true(sample, str::to_owned, 0.001).await;
    // Robot gives the seconds with six digits; ours are milliseconds with three.
    let tests: Vec<_> = recorded.of("test").filter(|row| row.get("status") != "started").collect();
    assert!(tests.iter().all(|row| row.get("tags").contains(",store,")), "every test has the root suite's tag");
    let smoke = tests.iter().filter(|row| row.get("tags").contains(",smoke,")).count();
    assert!(smoke > 0 && smoke < tests.len(), "{smoke} tests have the tag smoke");
    let suites = |status: &str| {
        let mut names: Vec<_> = recorded.of("suite").filter(|row| row.get("status") == status).collect();
        names.sort_by_key(|row| row.get("suite"));
        names.into_iter().map(|row| row.get("suite").to_owned()).collect::<Vec<_>>()
    };
    let all = ["Store", "Store.Catalog", "Store.Orders", "Store.Orders.Checkout", "Store.Orders.Warehouse"];
    assert_eq!((suites("started"), suites("failed")), (all.map(str::to_owned).into(), all.map(str::to_owned).into()));
    assert!(recorded.of("step").count() > 100, "keywords are steps");
}

#[tokio::test]
async fn a_pytest_run_with_two_workers_is_in_loki_as_pytest_reports_it() {
    let sample = &sample_runs().pytest;
    // `test_legacy.py::Ledger::test_sum` is `test_legacy.Ledger` and `test_sum` in JUnit's format.
    let junit = |id: &str| {
        let (class, test) = id.rsplit_once("::").unwrap();
        format!("{}::{test}", class.replace(".py", "").replace("::", "."))
    };
    let recorded = assert_true(sample, junit, 0.501).await;
    let workers = |status: &str| {
        let mut names: Vec<_> = recorded.of("test").filter(|row| row.get("status") == status).collect();
        names.sort_by_key(|row| row.get("worker"));
        names.dedup_by_key(|row| row.get("worker").to_owned());
        names.into_iter().map(|row| row.get("worker").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (workers("started"), workers("passed")),
        (vec!["gw0".into(), "gw1".into()], vec!["gw0".into(), "gw1".into()])
    );
    for test in &sample.truth.flaky_tests {
        let attempts = &recorded.attempts()[test];
        assert!(attempts.len() > 1 && attempts[attempts.len() - 1].flaky, "{test}: {attempts:?}");
        assert!(
            attempts[..attempts.len() - 1].iter().all(|attempt| attempt.status == "retried"),
            "{test}: {attempts:?}"
        );
    }
}

#[tokio::test]
async fn a_go_run_is_in_loki_as_go_reports_it() {
    let sample = &sample_runs().go;
    let recorded = assert_true(sample, str::to_owned, 0.001).await;
    let mut failed: Vec<_> = recorded.of("suite").filter(|row| row.get("status") == "failed").collect();
    failed.sort_by_key(|row| row.get("suite"));
    let packages = ["broken", "cart", "price", "stock"].map(|name| format!("example.test/store/{name}"));
    assert_eq!(failed.iter().map(|row| row.get("suite")).collect::<Vec<_>>(), packages);
    assert!(
        failed[0].line.contains("undefinedFunction") || failed[0].get("message").contains("build"),
        "{:?}",
        failed[0]
    );
}

#[test]
fn exit_code_and_output_are_those_of_the_bare_command() {
    let runs = sample_runs();
    for sample in [&runs.robot, &runs.pytest, &runs.go] {
        assert_eq!(sample.wrapped.code, sample.truth.exit_code, "{}: {}", sample.runner, sample.wrapped.err());
        assert_eq!(sample.bare.code, sample.truth.exit_code, "{}", sample.runner);
    }
    let robot = &runs.robot;
    assert_eq!(robot.wrapped.out(), robot.bare.out());
    assert_eq!(err_of_command(&robot.wrapped), robot.bare.err());
    let pytest = &runs.pytest;
    assert_eq!(lines_in_any_order(&pytest.wrapped.out()), lines_in_any_order(&pytest.bare.out()));
    assert_eq!(err_of_command(&pytest.wrapped), pytest.bare.err());
    let go = &runs.go;
    assert_eq!(
        lines_in_any_order(&without_times(&go.wrapped.stdout)),
        lines_in_any_order(&without_times(&go.bare.stdout))
    );
    assert_eq!(err_of_command(&go.wrapped), go.bare.err());
}

/// `go test -json` without its times.
fn without_times(stdout: &[u8]) -> String {
    let lines = std::str::from_utf8(stdout).unwrap().lines().map(|line| {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = event.as_object_mut().unwrap();
        object.remove("Time");
        object.remove("Elapsed");
        format!("{event}\n")
    });
    lines.collect()
}

#[test]
fn the_summary_on_stderr_has_the_counts_and_says_that_all_entries_are_in_loki() {
    let runs = sample_runs();
    for (sample, counts) in [
        (&runs.robot, "FAILED 120 tests: 67 passed, 49 failed, 4 skipped in "),
        (
            &runs.pytest,
            "FAILED 120 tests: 97 passed (6 flaky), 9 failed, 4 errored, 4 skipped, 5 xfailed, 1 xpassed in ",
        ),
        (&runs.go, "FAILED 34 tests: 23 passed, 9 failed, 2 skipped in "),
    ] {
        let err = sample.wrapped.err();
        let own: Vec<_> = err.lines().filter_map(|line| line.strip_prefix("testwire: ")).collect();
        let link = own.iter().find(|line| line.starts_with("watch it at http")).expect(&err);
        assert!(link.contains(&format!("var-run_id={}", sample.runner)), "{link}");
        let (_, sent) = own[own.len() - 1].strip_prefix(counts).expect(&err).split_once("; ").expect(&err);
        let [sent, "of", all, "entries", "in", "Loki"] = &sent.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{err}")
        };
        assert_eq!(sent, all, "{err}");
    }
}

/// Output whose order is certain: one worker, and go's text, which testwire makes from JSON.
#[test]
fn output_in_a_certain_order_is_the_same_to_the_line() {
    let url = Loki::get().url();
    std::thread::scope(|scope| {
        for (sample, argv) in [
            ("pytest", &["pytest", "-v"][..]),
            ("go", &["go", "test", "-count=1", "./..."]),
            ("go", &["go", "test", "-count=1", "-v", "-run", "Sum|Table|Before|Panics", "./cart", "./stock"]),
        ] {
            scope.spawn(move || {
                let scratch = Scratch::with_project(sample);
                let project = unique_project("same");
                let typed = ["run", "--loki-url", url, "--project", &project, "--"];
                let wrapped = run(&mut Scratch::with_runners(scratch.testwire(typed.iter().chain(argv))), b"");
                let bare = run(Scratch::with_runners(scratch.command(argv[0])).args(&argv[1..]), b"");
                assert_eq!(wrapped.code, bare.code, "{argv:?}");
                let (ours, theirs) = (unchanging(&wrapped.out()), unchanging(&bare.out()));
                assert!(ours == theirs, "{argv:?}\n--- through testwire\n{ours}\n--- bare\n{theirs}");
                assert_eq!(unchanging(&err_of_command(&wrapped)), unchanging(&bare.err()), "{argv:?}");
            });
        }
    });
}
