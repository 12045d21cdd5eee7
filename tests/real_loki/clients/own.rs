//! Clients that cannot be installed, as `tests/projects/machines` makes them anew.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Listening, audit, counts, ends, only_run};
use crate::binary::{Scratch, run};
use crate::loki::Loki;
use crate::query::{now, unique_project};
use crate::recorded::Recorded;

/// One of the scripts; they need no packages.
fn script<'a>(scratch: &Scratch, name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = scratch.command("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects/machines").join(name)).args(arguments);
    command.env("TZ", "UTC");
    command
}

/// What it counted itself.
fn own_counts(mut command: Command) -> Value {
    let done = run(&mut command, b"");
    assert_eq!(done.code, 0, "{}{}", done.out(), done.err());
    serde_json::from_slice(&done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_plan_is_a_run_that_ends_when_the_next_begins() {
    let (loki, project, scratch) = (Loki::get(), unique_project("stpt"), Scratch::new());
    let daemon = Listening::start(&scratch, loki.url(), &project);
    let broken = own_counts(script(&scratch, "vtm.py", [daemon.url("").as_str(), "4"]));
    assert_eq!(broken["counts"], serde_json::json!({"passed": 1, "failed": 1, "warning": 1}));
    let whole = own_counts(script(&scratch, "vtm.py", [daemon.url("/").as_str()]));
    // 201 for the plan, 202 for all else but the stop that says no status, as with its own server.
    let answers: Vec<u64> =
        whole["answers"].as_array().unwrap().iter().map(|status| status.as_u64().unwrap()).collect();
    assert_eq!((answers[0], answers.last()), (201, Some(&400)));
    assert!(answers[1..answers.len() - 1].iter().all(|status| *status == 202), "{answers:?}");
    daemon.stop();
    let mut ends = ends(loki, &project, 2).await;
    assert_eq!(ends.len(), 2, "{} runs", ends.len());
    ends.sort_by_key(|end| end.time);
    // A warning is a pass with a tag; of what is unknown nobody knows that it passed.
    let n = |status: &str| whole["counts"][status].as_u64().unwrap();
    let passed = n("passed") + n("warning");
    let expected = [
        ("2/1/0/0/0 of 9".to_owned(), 1),
        (format!("{passed}/{}/{}/0/0 of 9", n("failed"), n("error")), n("unknown") + n("None")),
    ];
    for (end, (expected, unfinished)) in ends.iter().zip(expected) {
        let run_id = end.get("run_id");
        let recorded = Recorded::read(loki, &project, run_id).await;
        recorded.assert_whole(loki).await;
        recorded.assert_counts_agree();
        audit(&scratch, loki, &project, run_id);
        let end = recorded.end();
        assert_eq!((counts(end), end.number("unfinished")), (expected, unfinished));
        assert_eq!((end.get("host"), end.get("runner")), ("machine #1", "stpt"));
        let scripts = recorded.of("log").filter(|row| row.get("source") == "script").count();
        assert_eq!(scripts, 12, "of 9 tests and 3 scenarios");
    }
    assert_eq!(Recorded::read(loki, &project, ends[0].get("run_id")).await.never_ran().0, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_counts_as_the_uploader_does_and_again_adds_nothing_even_after_a_restart() {
    let (loki, project, scratch) = (Loki::get(), unique_project("resultsdb"), Scratch::new());
    let began = (now() / 1_000_000_000 - 120).to_string();
    let zip = scratch.work().join("a.zip");
    // The smallest archive that there is.
    std::fs::write(&zip, b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    let upload = |url: &str| own_counts(script(&scratch, "upload.py", [url, "1000", &began, zip.to_str().unwrap()]));
    let daemon = Listening::start(&scratch, loki.url(), &project);
    let told = upload(&daemon.url(""));
    assert_eq!(upload(&daemon.url("/")), told, "a base URL may end in a slash");
    daemon.stop();
    // Another process knows nothing of it but what is on disk.
    let daemon = Listening::start(&scratch, loki.url(), &project);
    upload(&daemon.url(""));
    daemon.stop();
    let recorded = only_run(&scratch, loki, &project).await;
    let (end, n) = (recorded.end(), |name: &str| told[name].as_u64().unwrap());
    let (passed, failed, errored) = (n("passed") + n("flaky"), n("failed"), n("errored"));
    assert_eq!(counts(end), format!("{passed}/{failed}/{errored}/0/{} of 1000", n("expected")));
    assert_eq!(end.number("flaky"), n("flaky"));
    assert_eq!((end.get("status"), end.get("build_url")), ("failed", "https://build.example/#/builders/1/builds/5"));
    assert!(recorded.rows.iter().all(|row| !format!("{row:?}").contains("sekret")), "keys are not kept");
    let archive = scratch.state().join("attachments/archives").join(format!("{}.zip", end.get("run_id")));
    assert_eq!(std::fs::read(archive).unwrap(), std::fs::read(&zip).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploader_is_told_why_it_is_refused_and_fails_as_with_its_own_server() {
    let (project, scratch) = (unique_project("refused"), Scratch::new());
    let daemon = Listening::start(&scratch, Loki::get().url(), &project);
    let began = (now() / 1_000_000_000).to_string();
    let done = run(&mut script(&scratch, "upload.py", [daemon.url("/t/none").as_str(), "10", &began]), b"");
    assert_eq!(done.code, 0, "a token that nobody asks for is no reason to refuse: {}", done.err());
    let url = daemon.url("");
    daemon.stop();
    let done = run(&mut script(&scratch, "upload.py", [url.as_str(), "10", &began]), b"");
    assert_eq!(done.code, 255);
    assert!(done.err().contains("results server not online"), "{}", done.err());
}
