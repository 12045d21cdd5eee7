//! pytest-rt and nose2rt.

use super::{Listening, client, counts, only_run, shown};
use crate::binary::{Scratch, run};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::unique_project;

/// What pytest-rt can tell of the sample project: a test that fails in its set-up has failed, one that fails in its teardown
/// has passed, and so has one that passed unexpectedly.
fn told(truth: &Truth) -> String {
    let teardown = truth.errored_tests.iter().filter(|test| test.ends_with("::test_drawer")).count() as u64;
    let failed = truth.failed + truth.errored - teardown;
    let passed = truth.passed + truth.xpassed + teardown;
    format!("{passed}/{failed}/0/{}/{} of {}", truth.skipped, truth.xfailed, truth.tests)
}

#[tokio::test(flavor = "multi_thread")]
async fn pytest_rt_counts_as_pytest_does_and_pytest_is_the_same_with_it_as_without() {
    let (loki, project, scratch) = (Loki::get(), unique_project("pytest-rt"), Scratch::with_project("pytest"));
    let truth = Truth::of("pytest");
    let bare = run(&mut client(&scratch, "pytest", ["-q"]), b"");
    assert_eq!(bare.code, truth.exit_code, "{}", bare.out());
    let daemon = Listening::start(&scratch, loki.url(), &project);
    let rtu = format!("--rtu={}", daemon.url("/loader"));
    let typed = ["-q", "--rt", &rtu, "--rte=STAGE", "--rt-custom-data={\"Git\": \"dev\"}", "--rt-job-report"];
    let with = run(&mut client(&scratch, "pytest", typed), b"");
    assert_eq!(shown(&with), shown(&bare));
    daemon.stop();

    let recorded = only_run(&scratch, loki, &project).await;
    let end = recorded.end();
    assert_eq!(counts(end), told(&truth));
    assert_eq!((end.number("flaky"), end.number("retried")), (truth.flaky, truth.retries));
    assert_eq!((end.get("status"), end.get("env"), end.get("attr_git")), ("failed", "STAGE", "dev"));
    let mut failing = truth.failing.clone();
    failing.remove("test_inventory.py::test_drawer");
    assert_eq!(recorded.named(&["failed"]), failing);
    assert_eq!(recorded.named(&["skipped"]), truth.skipped_tests);
    assert_eq!(recorded.named(&["xfailed"]), truth.xfailed_tests);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_xdist_under_a_custom_id_are_one_run_and_the_next_is_another() {
    let (loki, project, scratch) = (Loki::get(), unique_project("xdist"), Scratch::with_project("pytest"));
    let truth = Truth::of("pytest");
    let summary = |done: &crate::binary::Done| {
        let (code, out, _) = shown(done);
        let mut lines: Vec<String> =
            out.lines().filter(|line| line.contains("FAILED") || line.contains("ERROR")).map(str::to_owned).collect();
        lines.sort();
        lines.push(out.lines().last().unwrap().to_owned());
        (code, lines)
    };
    let bare = run(&mut client(&scratch, "pytest", ["-q", "-n", "2"]), b"");
    let daemon = Listening::start(&scratch, loki.url(), &project);
    let rtu = format!("--rtu={}", daemon.url("/loader"));
    for _ in 0..2 {
        let with = run(&mut client(&scratch, "pytest", ["-q", "-n", "2", "--rt", &rtu, "--rt-custom-id=nightly"]), b"");
        assert_eq!(summary(&with), summary(&bare));
    }
    daemon.stop();
    let ends = super::ends(loki, &project, 2).await;
    assert_eq!(ends.len(), 2, "{ends:#?}");
    assert_ne!(ends[0].get("run_id"), ends[1].get("run_id"));
    for end in &ends {
        let run_id = end.get("run_id");
        assert!(run_id.starts_with("nightly-"), "{run_id}");
        let recorded = crate::recorded::Recorded::read(loki, &project, run_id).await;
        recorded.assert_whole(loki).await;
        recorded.assert_counts_agree();
        super::audit(&scratch, loki, &project, run_id);
        assert_eq!(counts(recorded.end()), told(&truth));
        assert_eq!(recorded.end().number("flaky"), truth.flaky);
        let workers: std::collections::BTreeSet<&str> = recorded.of("test").map(|row| row.get("worker")).collect();
        assert_eq!(workers.len(), 2, "{workers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nose2rt_counts_as_nose2_does_and_nose2_is_the_same_with_it_as_without() {
    let (loki, project, scratch) = (Loki::get(), unique_project("nose2rt"), Scratch::with_project("nose2"));
    let daemon = Listening::start(&scratch, loki.url(), &project);
    scratch.add(
        "nose2.cfg",
        &format!(
            "[unittest]\nplugins = nose2rt.rt\n\n[rt]\nendpoint = {}\nshow_errors = True\n",
            daemon.url("/loader")
        ),
    );
    let bare = run(&mut client(&scratch, "nose2", ["-v"]), b"");
    let typed = ["-v", "--rt", "--rte", "STAGE", "--rt-custom-data", "{\"Git\": \"dev\"}"];
    let with = run(&mut client(&scratch, "nose2", typed), b"");
    assert_eq!(shown(&with), shown(&bare));
    daemon.stop();
    let said = with.err();
    // With one of the three failures in a subtest, which nose2 counts once and nose2rt has no word for.
    assert!(
        said.contains("Ran 13 tests") && said.contains("failures=3, errors=2, skipped=2, expected failures=1"),
        "{said}"
    );
    let recorded = only_run(&scratch, loki, &project).await;
    let end = recorded.end();
    assert_eq!(counts(end), "5/3/2/2/1 of 13");
    assert_eq!((end.get("status"), end.get("env"), end.get("runner")), ("failed", "STAGE", "nose2"));
    let errored: Vec<String> = recorded.named(&["errored"]).into_iter().collect();
    assert_eq!(errored, ["test_shop.Closed.test_door", "test_shop.Prices.test_missing_key"]);
}
