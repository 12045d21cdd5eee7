//! The harness itself: what is pushed can be read back.

use std::time::Duration;

use crate::loki::{Loki, pinned_version};
use crate::query::{Row, now, unique_project, wait_for};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_line_that_is_pushed_can_be_read_back_with_its_labels_metadata_and_time() {
    for (name, loki) in [("shipped", Loki::get()), ("stock", Loki::stock())] {
        let (project, time) = (unique_project("harness"), now());
        loki.push(&[("service_name", &project), ("kind", "log")], time, "héllo", &[("run_id", "r1")]).await;
        let expr = format!("{{service_name=\"{project}\"}}");
        let rows = wait_for("the line", SOON, || async {
            let rows = loki.query_range(&expr, time - 1, time + 1, 10).await;
            (!rows.is_empty()).then_some(rows)
        })
        .await;
        let [Row { labels, time: read, line }] = &rows[..] else { panic!("{name}: {rows:?}") };
        assert_eq!((*read, line.as_str()), (time, "héllo"), "{name}");
        assert_eq!((labels["kind"].as_str(), labels["run_id"].as_str()), ("log", "r1"), "{name}");
        let count = loki.query(&format!("sum by (run_id) (count_over_time({expr}[1m]))")).await;
        assert_eq!(count.len(), 1, "{name}: {count:?}");
        assert_eq!((count[0].0["run_id"].as_str(), count[0].1), ("r1", 1.0), "{name}");
    }
}

#[tokio::test]
async fn more_entries_than_loki_gives_at_once_are_read_page_by_page() {
    let loki = Loki::get();
    let (project, start) = (unique_project("pages"), now() - 60_000_000_000);
    let total = 5003;
    // Five entries have the instant at which the first page ends.
    let time = |i: i64| start + if (4998..5003).contains(&i) { 4998 } else { i };
    let values: Vec<_> = (0..total).map(|i| serde_json::json!([time(i).to_string(), format!("line {i}")])).collect();
    let body = serde_json::json!({"streams": [{"stream": {"service_name": project}, "values": values}]});
    let request =
        loki.client().post(format!("{}/loki/api/v1/push", loki.url())).header("Content-Type", "application/json");
    assert_eq!(request.body(body.to_string()).send().await.unwrap().status(), 204);
    let expr = format!("{{service_name=\"{project}\"}}");
    let rows = wait_for("all lines", SOON, || async {
        let rows = loki.query_range(&expr, start, now(), usize::MAX).await;
        (rows.len() == 5003).then_some(rows)
    })
    .await;
    let mut lines: Vec<i64> = rows.iter().map(|row| row.line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..total));
    assert_eq!(loki.query_range(&expr, start, now(), 7).await.len(), 7);
}

#[tokio::test]
async fn a_wrong_query_is_an_error_with_lokis_words() {
    let error = Loki::get().api("/loki/api/v1/query", &[("query", "{")]).await.unwrap_err();
    assert!(error.starts_with("400") && error.contains("parse error"), "{error}");
}

#[test]
fn the_pinned_version_names_the_binary() {
    let version = pinned_version(include_str!("../loki/go.mod"));
    assert!(version.starts_with("3.7."), "{version}");
}
