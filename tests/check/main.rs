//! `testwire check`: what it finds, what it says, how it ends. And the reading from Loki that it stands on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/fake_grafana.rs"]
mod fake_grafana;
mod query;
mod reading_loki;

use std::process::Command;

use fake_grafana::{FakeGrafana, Kept, ours};
use reading_loki::{Fault, ReadingLoki};
use serde_json::json;

/// Exit code and standard output of `testwire check`, in an empty environment and directory.
fn check(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let scratch = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_testwire"))
        .arg("check")
        // Nothing answers there; a Grafana on this machine must not change what is said.
        .args(["--grafana-url", "http://127.0.0.1:9", "--project", "shop"])
        .args(arguments)
        .current_dir(scratch.path())
        .env_clear()
        .env("HOME", scratch.path())
        .env("TESTWIRE_STATE_DIR", scratch.path().join("state"))
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let text = text + &String::from_utf8(done.stderr).unwrap();
    // Lines are wrapped at an indent; here each step and each hint is one line.
    (done.status.code().unwrap(), text.replace(&format!("\n{}", " ".repeat(20)), " ").replace(" hint:", "\nhint:"))
}

async fn check_with(fault: Fault, env: &'static [(&'static str, &'static str)]) -> (i32, String, ReadingLoki) {
    let loki = ReadingLoki::start(fault, 5000).await;
    let url = loki.url.clone();
    let (code, text) = tokio::task::spawn_blocking(move || check(&["--loki-url", &url], env)).await.unwrap();
    (code, text, loki)
}

/// The line of a step.
fn step<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    line.strip_prefix(name).unwrap().trim_start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_keeps_what_it_is_given_passes_every_step() {
    let (code, text, _loki) = check_with(Fault::None, &[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(step(&text, "settings").starts_with("ok      project shop, env local"), "{text}");
    assert!(step(&text, "state").starts_with("ok "), "{text}");
    assert!(step(&text, "Loki").ends_with("answers, version 3.7.8"), "{text}");
    assert!(step(&text, "canary").starts_with("ok      an entry came back"), "{text}");
    assert!(step(&text, "metadata").starts_with("ok "), "{text}");
    // Grafana is not needed.
    assert!(step(&text, "Grafana").starts_with("warning "), "{text}");
    assert!(!text.contains('\x1b'), "colour without a terminal: {text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_answers_204_and_drops_is_found() {
    let (code, text, _loki) = check_with(Fault::Drops, &[]).await;
    assert_eq!(code, 5, "{text}");
    assert!(step(&text, "canary").starts_with("FAILED  Loki accepted an entry (204), but no query finds it"), "{text}");
    assert!(text.contains("hint: see Loki's log"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_without_structured_metadata_is_found_whether_it_refuses_or_loses_it() {
    for fault in [Fault::RefusesMetadata, Fault::LosesMetadata] {
        let (code, text, _loki) = check_with(fault, &[]).await;
        assert_eq!(code, 6, "{fault:?}: {text}");
        assert!(step(&text, "metadata").starts_with("FAILED"), "{fault:?}: {text}");
        assert!(text.contains("allow_structured_metadata: true"), "{fault:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_servers_and_credentials_fail_with_what_to_do() {
    for (fault, wanted, hint) in [
        (Fault::Unauthorised, "FAILED  Loki answered 401: no org id", "--tenant"),
        (Fault::NotLoki, "FAILED  Loki answered 404", "--loki-url"),
    ] {
        let (code, text, _loki) = check_with(fault, &[]).await;
        assert_eq!(code, 5, "{text}");
        assert!(step(&text, "canary").starts_with(wanted), "{text}");
        assert!(text.split_once("hint:").unwrap().1.contains(hint), "{text}");
    }
    let (code, text, _loki) = check_with(Fault::NotReady, &[]).await;
    assert_eq!(code, 5, "{text}");
    assert!(step(&text, "Loki").contains("503: Ingester not ready"), "{text}");
    let (code, text) = check(&["--loki-url", "http://127.0.0.1:9"], &[]);
    assert_eq!(code, 5, "{text}");
    assert!(step(&text, "Loki").starts_with("FAILED  http://127.0.0.1:9: Connection refused"), "{text}");
    assert!(text.contains("docker compose up -d"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_write_is_warned_and_no_more() {
    let (code, text, _loki) = check_with(Fault::WriteOnly, &[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(step(&text, "canary").starts_with("warning an entry was accepted, but it may not be read back"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_loki_only_and_are_never_shown() {
    let env = &[("TESTWIRE_USER", "anna"), ("TESTWIRE_PASSWORD", "hunter2-secret"), ("TESTWIRE_TENANT", "qa")];
    let grafana = ReadingLoki::start(Fault::None, 1).await;
    let loki = ReadingLoki::start(Fault::None, 5000).await;
    let arguments = ["--loki-url".to_owned(), loki.url.clone(), "--grafana-url".to_owned(), grafana.url.clone()];
    let run = move || check(&arguments.each_ref().map(String::as_str), env);
    let (code, text) = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("tenant qa, user anna with the password from TESTWIRE_PASSWORD"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    // Version, readiness, push, query: all of them carry both.
    assert!(loki.seen().len() >= 4);
    for (path, headers) in loki.seen() {
        assert_eq!(headers["authorization"], "Basic YW5uYTpodW50ZXIyLXNlY3JldA==", "{path}");
        assert_eq!(headers["x-scope-orgid"], "qa", "{path}");
    }
    for (path, headers) in grafana.seen() {
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x-scope-orgid"), "{path}");
    }
    assert_eq!(grafana.seen()[0].0, "/api/health");
}

#[test]
fn bad_settings_end_with_3_and_an_unusable_state_directory_with_7() {
    let (code, text) = check(&[], &[("TESTWIRE_LOKI_URL", "localhost:3100")]);
    assert_eq!(code, 3, "{text}");
    let (code, text) = check(&["--user", "anna", "--password-file", "no-such-file"], &[]);
    assert_eq!(code, 3, "{text}");
    assert!(step(&text, "settings").starts_with("FAILED"), "{text}");
    assert!(text.contains("no-such-file"), "{text}");
    let (code, text) = check(&["--state-dir", "/dev/null/x", "--loki-url", "http://127.0.0.1:9"], &[]);
    assert_eq!(code, 7, "{text}");
    assert!(step(&text, "state").starts_with("FAILED  cannot write below /dev/null/x"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_will_hurt_are_told_and_change_no_exit_code() {
    let (code, text, _loki) = check_with(Fault::ShowsConfig, &[]).await;
    assert_eq!(code, 0, "{text}");
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("limits ")).collect();
    assert!(told[0].starts_with("limits      warning a query may give 500 series"), "{text}");
    assert!(text.contains("hint: set max_query_series: 10000"), "{text}");
    assert!(told.iter().any(|line| line.contains("a query may span 30 days")), "{text}");
    assert!(
        told.iter().any(|line| line.contains("kept for ever, but refused when they are older than 7 days")),
        "{text}"
    );
    let (_, text, _loki) = check_with(Fault::None, &[]).await;
    assert!(step(&text, "limits").starts_with("ok      not shown by this Loki"), "{text}");
}

/// What `check` says of a Grafana whose data source reads from this Loki, after a change to what it holds.
async fn check_grafana(loki: &ReadingLoki, change: impl FnOnce(&mut Kept)) -> String {
    let grafana = FakeGrafana::usual().await;
    {
        let mut kept = grafana.kept.lock().unwrap();
        kept.loki = Some(loki.url.clone());
        kept.dashboards = ours().into_iter().map(|(uid, dashboard)| (uid, (dashboard, "f".into(), false))).collect();
        change(&mut kept);
    }
    let (loki, url) = (loki.url.clone(), grafana.url.clone());
    let asked = move || check(&["--loki-url", &loki, "--grafana-url", &url], &[]);
    let (code, text) = tokio::task::spawn_blocking(asked).await.unwrap();
    assert_eq!(code, 0, "Grafana is not needed: {text}");
    assert_eq!(grafana.changes(), Vec::<String>::new(), "it only looks");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_must_find_the_entry_and_have_the_dashboards() {
    let loki = ReadingLoki::start(Fault::None, 5000).await;
    let text = check_grafana(&loki, |_| {}).await;
    assert!(step(&text, "Grafana").ends_with("answers, version 12.4.10"), "{text}");
    assert!(step(&text, "shown").starts_with("ok      its data source Logs (logs) finds the entry"), "{text}");
    let count = ours().len();
    assert!(step(&text, "dashboards").starts_with(&format!("ok      all {count} are there")), "{text}");

    let other = ReadingLoki::start(Fault::Drops, 5000).await;
    let url = other.url.clone();
    let text = check_grafana(&loki, |kept| {
        kept.loki = Some(url);
        kept.dashboards.remove("testwire-live");
    })
    .await;
    assert!(step(&text, "shown").starts_with("warning no data source finds the entry"), "{text}");
    assert!(step(&text, "dashboards").starts_with("warning it lacks live"), "{text}");
    assert!(text.contains("hint: `testwire dashboards install`"), "{text}");

    let text = check_grafana(&loki, |kept| {
        kept.sources.clear();
        kept.dashboards.get_mut("testwire-runs").unwrap().0["refresh"] = json!("1h");
    })
    .await;
    assert!(step(&text, "shown").starts_with("warning it has no data source of type Loki"), "{text}");
    assert!(step(&text, "dashboards").starts_with("warning it has other versions of runs"), "{text}");

    let text = check_grafana(&loki, |kept| kept.wants = Some("Bearer x")).await;
    assert!(step(&text, "shown").starts_with("ok      not for everyone to see"), "{text}");
    assert!(step(&text, "dashboards").starts_with("ok      whether it has them is not for everyone"), "{text}");
}
