//! What a process says of its own delivery: it arrives, and no run's numbers know of it.

use std::time::Duration;

use crate::binary::{Scratch, run};
use crate::loki::Loki;
use crate::query::{now, unique_project, wait_for};
use crate::recorded::Recorded;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_process_tells_how_its_delivery_goes_and_the_run_does_not_count_it() {
    let loki = Loki::get();
    let (project, begun) = (unique_project("health"), now());
    let scratch = Scratch::new();
    let typed = ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "told", "--drain-timeout", "60s"];
    let mut command =
        scratch.testwire(typed.iter().chain(&["--health-every", "50ms", "--", "sh", "-c", "echo out; sleep 2"]));
    let done = run(command.env_remove("TESTWIRE_HEALTH_EVERY"), b"");
    assert_eq!(done.code, 0, "{}", done.err());

    let expr = format!(r#"{{service_name="{project}", kind="metric", source="testwire"}}"#);
    let recorded = Recorded::read(loki, &project, "told").await;
    recorded.assert_whole(loki).await;
    let delivered = recorded.end().number("entries").to_string();
    let rows = wait_for("the last report", SOON, || async {
        let rows = loki.query_range(&expr, begun, now(), 1000).await;
        rows.iter().any(|row| row.labels["pushed"] == delivered).then_some(rows)
    })
    .await;
    for row in &rows {
        assert!(row.labels["process"].starts_with("told/"), "{row:?}");
        assert!(!row.labels.contains_key("run_id"), "{row:?}");
        assert_eq!((row.labels["runner"].as_str(), row.labels["rejected"].as_str()), ("app", "0"), "{row:?}");
    }
    let last = rows.iter().find(|row| row.labels["pushed"] == delivered).map(|row| &row.labels["waiting"]);
    assert_eq!(last.map(String::as_str), Some("0"));
}

#[tokio::test]
async fn a_short_run_without_trouble_says_nothing_of_itself() {
    let loki = Loki::get();
    let (project, begun) = (unique_project("silent"), now());
    let scratch = Scratch::new();
    let typed = ["run", "--loki-url", loki.url(), "--project", &project, "--health-every", "1h", "--", "true"];
    let done = run(scratch.testwire(typed).env_remove("TESTWIRE_HEALTH_EVERY"), b"");
    assert_eq!(done.code, 0, "{}", done.err());
    let expr = format!(r#"{{service_name="{project}", kind="metric"}}"#);
    assert_eq!(loki.query_range(&expr, begun, now(), 10).await, []);
}
