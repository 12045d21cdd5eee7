//! `testwire dashboards install` against a Grafana that answers by a script: what it sends, says, and leaves alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/fake_grafana.rs"]
mod fake_grafana;

use std::process::Command;

use fake_grafana::{FakeGrafana, ours};
use serde_json::json;

/// Exit code and output of `testwire dashboards install`.
async fn install(grafana: &FakeGrafana, arguments: &[&str], token: &str) -> (i32, String) {
    let (url, token) = (grafana.url.clone(), token.to_owned());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let scratch = tempfile::tempdir().unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_testwire"))
            .args(["dashboards", "install", "--grafana-url", &url])
            .args(arguments)
            .current_dir(scratch.path())
            .env_clear()
            .env("HOME", scratch.path())
            .env("TESTWIRE_GRAFANA_TOKEN", token)
            .output()
            .unwrap();
        let text = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
        (done.status.code().unwrap(), text)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dashboards_are_installed_once_with_the_data_source_that_is_there() {
    let grafana = FakeGrafana::usual().await;
    let (code, text) = install(&grafana, &[], "").await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Logs (logs)") && text.contains("testwire (new)"), "{text}");
    let all = ours();
    assert_eq!(grafana.changes().len(), all.len() + 1, "a folder and each dashboard");
    {
        let kept = grafana.kept.lock().unwrap();
        assert!(kept.dashboards.keys().eq(all.keys()), "{:?}", kept.dashboards.keys());
        for (uid, (dashboard, folder, _)) in &kept.dashboards {
            assert_eq!(folder, "made", "{uid}");
            assert_eq!(dashboard["panels"].as_array().unwrap().len(), all[uid]["panels"].as_array().unwrap().len());
            let source = &dashboard["templating"]["list"][0];
            assert_eq!((&source["name"], &source["current"]["value"]), (&json!("loki_datasource"), &json!("logs")));
        }
    }
    let (code, text) = install(&grafana, &[], "").await;
    assert_eq!((code, text.matches("unchanged").count()), (0, all.len()), "{text}");
    assert_eq!(grafana.changes(), Vec::<String>::new(), "the second time changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_there_is_shown_and_put_right_and_a_dry_run_only_shows_it() {
    let grafana = FakeGrafana::usual().await;
    let (code, text) = install(&grafana, &["--dry-run"], "").await;
    assert_eq!((code, text.matches("would be new").count()), (0, ours().len()), "{text}");
    assert_eq!(grafana.changes(), Vec::<String>::new());
    install(&grafana, &[], "").await;
    grafana.changes();
    let edit = || {
        let mut kept = grafana.kept.lock().unwrap();
        let (dashboard, _, _) = kept.dashboards.get_mut("testwire-runs").unwrap();
        dashboard["panels"][0]["title"] = json!("Mine");
        dashboard["refresh"] = json!("1m");
    };
    edit();
    let (_, text) = install(&grafana, &["--dry-run"], "").await;
    assert!(text.contains("runs         would change in 2 places"), "{text}");
    assert!(
        text.contains(&format!("refresh: \"1m\" becomes {}", ours()["testwire-runs"]["refresh"]))
            && text.contains("title: \"Mine\" becomes"),
        "{text}"
    );
    assert_eq!(grafana.changes(), Vec::<String>::new());
    let (_, text) = install(&grafana, &[], "").await;
    assert!(text.contains("runs         changed in 2 places"), "{text}");
    assert_eq!(grafana.changes(), ["POST /api/dashboards/db"]);
    assert!(!install(&grafana, &[], "").await.1.contains("changed in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_removes_ours_and_the_folder_only_if_nothing_else_is_in_it() {
    let grafana = FakeGrafana::usual().await;
    install(&grafana, &["--folder", "Tests"], "").await;
    let mine = (json!({"uid": "mine"}), "made".to_owned(), false);
    grafana.kept.lock().unwrap().dashboards.insert("mine".into(), mine);
    grafana.changes();
    let (_, text) = install(&grafana, &["--folder", "Tests", "--uninstall", "--dry-run"], "").await;
    assert_eq!(text.matches("would be removed").count(), ours().len(), "{text}");
    assert_eq!(grafana.changes(), Vec::<String>::new());
    let (code, text) = install(&grafana, &["--folder", "Tests", "--uninstall"], "").await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Tests has other dashboards; left alone"), "{text}");
    assert!(grafana.kept.lock().unwrap().dashboards.keys().eq(["mine"]));
    grafana.kept.lock().unwrap().dashboards.clear();
    install(&grafana, &["--folder", "Tests"], "").await;
    let (code, text) = install(&grafana, &["--folder", "Tests", "--uninstall"], "").await;
    assert!(code == 0 && text.contains("Tests was empty then; removed"), "{text}");
    let kept = grafana.kept.lock().unwrap();
    assert!(kept.dashboards.is_empty() && kept.folders.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_from_files_are_left_alone() {
    let grafana = FakeGrafana::usual().await;
    let provisioned = (json!({"uid": "testwire-live"}), "made".to_owned(), true);
    grafana.kept.lock().unwrap().dashboards.insert("testwire-live".into(), provisioned);
    for arguments in [&[][..], &["--uninstall"]] {
        let (code, text) = install(&grafana, arguments, "").await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("live         comes from a file"), "{text}");
        assert_eq!(grafana.kept.lock().unwrap().dashboards["testwire-live"].0, json!({"uid": "testwire-live"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_shown_and_never_printed_and_without_it_the_hint_tells_how_to_get_one() {
    for (token, header) in [("glsa_s3cret", "Bearer glsa_s3cret"), ("ann:s3cret", "Basic YW5uOnMzY3JldA==")] {
        let grafana = FakeGrafana::usual().await;
        grafana.kept.lock().unwrap().wants = Some(header);
        let (code, text) = install(&grafana, &[], token).await;
        assert_eq!(code, 0, "{text}");
        let (code, text) = install(&grafana, &[], "wrong:s3cret").await;
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("401") && text.contains("hint: make a service account"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_source_that_is_not_there_or_no_grafana_at_all_is_said() {
    let grafana = FakeGrafana::usual().await;
    let (code, text) = install(&grafana, &["--datasource", "Prometheus"], "").await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no Loki data source \"Prometheus\"") && text.contains("it has: Logs (logs)"), "{text}");
    assert_eq!(grafana.changes(), Vec::<String>::new());
    // The last one counts.
    let (code, text) = install(&grafana, &["--grafana-url", "http://127.0.0.1:9"], "").await;
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("hint: start Grafana"), "{text}");
}
