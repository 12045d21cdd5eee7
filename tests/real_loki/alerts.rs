//! The alert rules of `grafana/provisioning/alerting`: each fires when something is wrong, is silent when all is well, and
//! resolves. Their queries are asked of a real Loki as Grafana asks them, at several instants of a story that is told in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use testwire::commands::dashboards::{ALERTS, alerts};
use yaml_rust2::{Yaml, YamlLoader};

use crate::dashboards::{self as panels, Answer, Series};
use crate::loki::Loki;
use crate::query;

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

const MINUTE: i64 = 60_000_000_000;

fn read(text: &str) -> Vec<Yaml> {
    let all = YamlLoader::load_from_str(text).unwrap();
    all[0]["groups"][0]["rules"].as_vec().unwrap().clone()
}

/// The query of a rule.
fn expr(rule: &str) -> String {
    let rules = read(ALERTS);
    let rule = rules.iter().find(|r| r["labels"]["testwire"].as_str() == Some(rule)).unwrap();
    rule["data"][0]["model"]["expr"].as_str().unwrap().to_owned()
}

/// What happened in a project, told minute by minute; 0 is now, and -5 five minutes ago.
struct Story {
    project: String,
    now: i64,
    streams: BTreeMap<String, (serde_json::Value, Vec<(i64, serde_json::Value)>)>,
}

impl Story {
    fn new(name: &str) -> Self {
        Self { project: query::unique_project(name), now: query::now(), streams: BTreeMap::new() }
    }

    fn tell(&mut self, minute: i64, labels: Pairs<'_>, metadata: Pairs<'_>) {
        let mut all = BTreeMap::from([("service_name", self.project.as_str()), ("env", "ci"), ("runner", "pytest")]);
        all.extend(labels.iter().copied());
        let time = self.now + minute * MINUTE;
        let entry = json!([time.to_string(), "a line", metadata.iter().copied().collect::<BTreeMap<_, _>>()]);
        self.streams.entry(format!("{all:?}")).or_insert_with(|| (json!(all), Vec::new())).1.push((time, entry));
    }

    fn progress(&mut self, minute: i64, run: &str, metadata: Pairs<'_>) {
        let metadata = [&[("run_id", run), ("done", "0")][..], metadata].concat();
        self.tell(minute, &[("kind", "progress")], &metadata);
    }

    fn test(&mut self, minute: i64, status: &str, test: &str, metadata: Pairs<'_>) {
        let metadata = [&[("run_id", "r"), ("test", test)][..], metadata].concat();
        self.tell(minute, &[("kind", "test"), ("status", status)], &metadata);
    }

    fn run_end(&mut self, minute: i64, run: &str, status: &str, metadata: Pairs<'_>) {
        let metadata = [&[("run_id", run), ("elapsed_ms", "1000")][..], metadata].concat();
        self.tell(minute, &[("kind", "run"), ("status", status)], &metadata);
    }

    /// All of it into Loki, oldest first, one stream a push; and once more, as after a lost answer.
    async fn push(&mut self) {
        let loki = Loki::get();
        for _ in 0..2 {
            for (labels, entries) in self.streams.values_mut() {
                entries.sort_by_key(|(time, _)| *time);
                let values: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
                let body = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
                let push = loki.client().post(format!("{}/loki/api/v1/push", loki.url()));
                let answer = push.header("Content-Type", "application/json").body(body).send().await.unwrap();
                assert_eq!(answer.status(), 204, "{labels}");
            }
        }
    }

    /// What of this project a rule finds wrong at this minute.
    async fn firing(&self, rule: &str, minute: i64) -> Vec<Series> {
        let (expr, time) = (expr(rule), (self.now + minute * MINUTE).to_string());
        let found = Loki::get().api("/loki/api/v1/query", &[("query", &expr), ("time", &time)]).await;
        let found = found.unwrap_or_else(|error| panic!("{rule}: {error}\n{expr}"));
        let Ok(Answer::Series(series)) = panels::answer(&found.to_string()) else { panic!("{rule}: {found}") };
        let mut ours: Vec<_> =
            series.into_iter().filter(|s| s.labels.get("service_name") == Some(&self.project)).collect();
        ours.sort_by(|a, b| a.labels.cmp(&b.labels));
        for series in &ours {
            assert!(series.points[0].1 > 0.0, "{rule}: Grafana takes zero for well: {series:?}");
            let missing: Vec<_> = named_labels(rule).into_iter().filter(|l| !series.labels.contains_key(l)).collect();
            assert!(
                missing.is_empty(),
                "{rule}: the texts name {missing:?}, which the query does not give: {series:?}"
            );
        }
        ours
    }

    /// The same, as the values of one label.
    async fn names(&self, rule: &str, minute: i64, label: &str) -> Vec<String> {
        let found = self.firing(rule, minute).await;
        found.into_iter().map(|series| series.labels.get(label).cloned().unwrap_or_default()).collect()
    }
}

/// Labels that the texts of a rule name, but for those that they ask for with `if`.
fn named_labels(rule: &str) -> BTreeSet<String> {
    let rules = read(ALERTS);
    let rule = rules.iter().find(|r| r["labels"]["testwire"].as_str() == Some(rule)).unwrap();
    let mut found = BTreeSet::new();
    let mut optional = BTreeSet::new();
    for text in rule["annotations"].as_hash().unwrap().values().filter_map(Yaml::as_str) {
        let words = |prefix: &str| {
            let after = text.split(prefix).skip(1);
            let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            after.map(name).collect::<Vec<String>>()
        };
        found.extend(words("$labels."));
        optional.extend(words("if $labels."));
    }
    found.difference(&optional).cloned().collect()
}

#[test]
fn the_rules_are_off_tell_people_what_to_do_and_can_be_printed_for_another_data_source() {
    let rules = read(ALERTS);
    let uids: BTreeSet<_> = rules.iter().map(|rule| rule["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), rules.len());
    for rule in &rules {
        let name = rule["labels"]["testwire"].as_str().unwrap();
        assert_eq!(rule["uid"].as_str().unwrap(), format!("testwire-{name}"));
        assert_eq!(rule["isPaused"].as_bool(), Some(true), "{name}");
        assert_eq!(rule["noDataState"].as_str(), Some("OK"), "{name}: no series means that all is well");
        assert_eq!(rule["data"][0]["datasourceUid"].as_str(), Some("testwire-loki"), "{name}");
        assert_eq!(rule["condition"].as_str(), rule["data"][1]["refId"].as_str(), "{name}");
        for annotation in ["summary", "description", "page"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        }
        // Grafana puts variables of its environment in the place of such words.
        assert!(!expr(name).contains('$'), "{name}");
    }
    for rule in read(&alerts(Some("my: loki"), true)) {
        assert_eq!(rule["data"][0]["datasourceUid"].as_str(), Some("my: loki"));
        assert_eq!(rule["data"][1]["datasourceUid"].as_str(), Some("__expr__"));
        assert_eq!(rule["isPaused"].as_bool(), Some(false));
    }
}

#[tokio::test]
async fn a_run_that_falls_silent_is_stalled_until_it_ends_or_goes_on() {
    let mut story = Story::new("stalled");
    let host = ("host", "h1");
    for minute in [-30, -29] {
        story.progress(minute, "silent", &[host]);
        story.progress(minute, "well", &[host]);
        story.progress(minute, "shards", &[host, ("shard", "1/2")]);
        story.progress(minute, "shards", &[("host", "h2"), ("shard", "2/2")]);
    }
    story.run_end(-28, "well", "failed", &[]);
    story.run_end(-28, "shards", "passed", &[("shard", "1/2")]);
    story.run_end(-20, "silent", "aborted", &[]);
    story.progress(-20, "shards", &[("host", "h2"), ("shard", "2/2")]);
    story.push().await;
    assert_eq!(story.names("run-stalled", -28, "run_id").await, Vec::<String>::new());
    assert_eq!(story.names("run-stalled", -25, "run_id").await, ["silent", "shards"]);
    assert_eq!(story.names("run-stalled", -25, "host").await, ["h1", "h2"]);
    assert_eq!(story.names("run-stalled", -19, "run_id").await, Vec::<String>::new());
    assert_eq!(story.names("run-stalled", -10, "run_id").await, ["shards"]);
}

#[tokio::test]
async fn a_hung_test_is_named_with_worker_and_machine_until_it_or_its_run_ends() {
    let mut story = Story::new("hung");
    let hung = [("worker", "gw1"), ("hung", "true"), ("duration_ms", "300500")];
    for minute in [-30, -20, -10] {
        story.progress(minute, "r", &[("host", "h1")]);
    }
    // The job was begun anew on another machine, under the same id.
    story.progress(-25, "r", &[("host", "h0")]);
    story.test(-29, "started", "a.fine", &[("worker", "gw0")]);
    story.test(-20, "started", "a.hangs", &hung);
    story.test(-15, "failed", "a.hangs", &[("worker", "gw1"), ("hung", "false"), ("duration_ms", "600000")]);
    story.test(-12, "started", "a.never", &hung);
    story.run_end(-5, "r", "aborted", &[]);
    story.push().await;
    assert!(story.firing("test-hung", -21).await.is_empty());
    let found = story.firing("test-hung", -19).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((found[0].points[0].1 - 300.5).abs() < 1e-9, "{found:?}");
    for (label, value) in [("test", "a.hangs"), ("worker", "gw1"), ("host", "h1"), ("run_id", "r")] {
        assert_eq!(found[0].labels[label], value);
    }
    assert!(story.firing("test-hung", -14).await.is_empty());
    assert_eq!(story.names("test-hung", -11, "test").await, ["a.never"]);
    assert!(story.firing("test-hung", -4).await.is_empty());
}

#[tokio::test]
async fn a_branch_is_failing_while_its_last_run_failed_in_any_shard() {
    let mut story = Story::new("failed");
    let (main, dev) = (("branch", "main"), ("branch", "dev"));
    story.run_end(-50, "r1", "passed", &[main]);
    story.run_end(-45, "d1", "aborted", &[dev]);
    story.run_end(-40, "r2", "failed", &[main]);
    story.run_end(-30, "r3", "passed", &[main]);
    story.run_end(-21, "r4", "failed", &[main, ("shard", "1/2")]);
    story.run_end(-20, "r4", "passed", &[main, ("shard", "2/2")]);
    story.push().await;
    let failing: [(i64, &[&str]); 5] =
        [(-49, &[]), (-44, &["d1"]), (-39, &["d1", "r2"]), (-29, &["d1"]), (-19, &["d1", "r4"])];
    for (minute, wanted) in failing {
        assert_eq!(story.names("run-failed", minute, "run_id").await, wanted, "at {minute}");
    }
    assert!(story.firing("run-failed", 24 * 60).await.is_empty(), "after a day without a run");
}

#[tokio::test]
async fn new_failures_count_on_the_main_branch_over_all_shards() {
    let mut story = Story::new("anew");
    let new = |count| ("new_failures", count);
    story.run_end(-50, "good", "failed", &[("branch", "main"), new("0")]);
    story.run_end(-30, "bad", "failed", &[("branch", "main"), new("2"), ("shard", "1/2")]);
    story.run_end(-29, "bad", "failed", &[("branch", "main"), new("1"), ("shard", "2/2")]);
    story.run_end(-30, "other", "failed", &[("branch", "feature/main"), new("5")]);
    // A run without a history says nothing.
    story.run_end(-30, "first", "failed", &[("branch", "main")]);
    story.push().await;
    assert!(story.firing("new-failure", -49).await.is_empty());
    let found = story.firing("new-failure", -28).await;
    assert_eq!((found.len(), &*found[0].labels["run_id"], found[0].points[0].1), (1, "bad", 3.0), "{found:?}");
    assert!(story.firing("new-failure", -13).await.is_empty());
}

#[tokio::test]
async fn a_fallen_pass_rate_is_told_until_the_day_is_better_again() {
    let mut story = Story::new("rate");
    let hour = 60;
    let of = |passed, failed| [("passed", passed), ("failed", failed), ("errored", "0")];
    story.run_end(-72 * hour, "before", "failed", &of("90", "10"));
    story.run_end(-10 * hour, "like before", "failed", &of("85", "15"));
    story.run_end(-6 * hour, "bad", "failed", &of("5", "95"));
    story.run_end(-hour, "good", "passed", &of("1000", "0"));
    story.push().await;
    assert!(story.firing("pass-rate", -12 * hour).await.is_empty(), "no run on that day");
    assert!(story.firing("pass-rate", -9 * hour).await.is_empty(), "0.85 is not much less than 0.9");
    let found = story.firing("pass-rate", -5 * hour).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((found[0].points[0].1 - 0.45).abs() < 1e-9, "{found:?}");
    assert!(story.firing("pass-rate", 0).await.is_empty());
}

#[tokio::test]
async fn a_backlog_and_refused_entries_are_told_of_the_process_that_has_them() {
    let mut story = Story::new("forwarder");
    let mut says = |minute, process, waiting_ms, rejected| {
        let who = [("host", "h1"), ("process", process), ("waiting_ms", waiting_ms), ("rejected", rejected)];
        story.tell(minute, &[("kind", "metric"), ("source", "testwire")], &who);
    };
    says(-40, "1", "10000", "0");
    says(-30, "1", "400000", "3");
    says(-25, "1", "0", "3");
    says(-5, "1", "0", "3");
    says(-5, "2", "0", "2");
    story.push().await;
    assert!(story.firing("backlog", -39).await.is_empty());
    let found = story.firing("backlog", -29).await;
    assert_eq!((found.len(), &*found[0].labels["host"], found[0].points[0].1), (1, "h1", 400.0), "{found:?}");
    assert!(story.firing("backlog", -24).await.is_empty());
    assert!(story.firing("rejections", -39).await.is_empty());
    let found = story.firing("rejections", -29).await;
    assert_eq!((found.len(), found[0].points[0].1), (1, 3.0), "{found:?}");
    let found = story.firing("rejections", -4).await;
    assert_eq!((found.len(), &*found[0].labels["process"], found[0].points[0].1), (1, "2", 2.0), "only what is new");
}
