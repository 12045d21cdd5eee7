//! The panels of the dashboards: each query is asked of a real Loki with its variables filled in, and compared with what is
//! known of the runs in it.

mod grafana;
mod more;
mod replayed;
mod samples;
mod seed;
mod seeded;
mod truths;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dashboards::{self as panels, Answer, Line, Query, Range, Series, Vars};
use crate::loki::Loki;

/// Dashboards whose every query some test here compares with a truth.
const CHECKED: &[&str] = &["failures", "flaky", "forwarder", "live", "logs", "machines", "matrix", "runs", "test"];

/// What a query must return, by panel and letter (`title`, or `title/ref`).
type Table<'a> = Vec<(&'static str, Want<'a>)>;

/// Metadata, or labels beside those that every entry has.
type Pairs<'a> = &'a [(&'a str, &'a str)];

async fn ask(loki: &Loki, query: &Query, vars: &Vars, range: Range) -> Result<Answer, String> {
    let path = query.path(vars, range)?;
    let answer = loki.client().get(format!("{}{path}", loki.url())).send().await.map_err(|e| e.to_string())?;
    let lokis = panels::answer(&answer.text().await.map_err(|e| e.to_string())?)?;
    let Some(grafana) = grafana::address() else { return Ok(lokis) };
    let grafanas = grafana::ask(loki, &grafana, query, vars, range).await?;
    if grafana::same(&grafanas, &lokis) {
        return Ok(grafanas);
    }
    Err(format!("Grafana gives {grafanas:#?}\nLoki gives {lokis:#?}"))
}

/// What a query must return.
#[derive(Debug)]
enum Want<'a> {
    /// One series without labels.
    Value(f64),
    /// No series, no line: the panel shows its `noValue`.
    Nothing,
    /// One value, for this run.
    Run(&'a str, f64),
    /// One value for each run, in the order of their ids.
    Runs(&'a [(&'a str, f64)]),
    /// The same, of values that are worked out.
    Values(Vec<(&'a str, f64)>),
    /// Series with these labels among others, whatever the values.
    Labels(&'a [Pairs<'a>]),
    /// One series of a range query: its last value, and values that it takes at some step.
    Course { last: f64, among: &'a [f64] },
    /// One series of a range query whose values, one at least, are all from the first to the second of these.
    Between(f64, f64),
    /// Lines, newest first, each with these labels or metadata among others.
    Lines(&'a [Pairs<'a>]),
    /// Text of the lines, newest first.
    Texts(&'a [&'a str]),
    /// Text of the lines, sorted.
    TextsInAnyOrder(Vec<String>),
    /// Values of a label or metadata that a line each has, sorted.
    EachOnce(&'a str, Vec<String>),
    /// Lines in groups by this label or metadata: how many there are of each value, in the order of the values.
    Groups(&'a str, &'a [(&'a str, usize)]),
    /// Newest entry by this key: which of them have status `started`.
    StillStarted(&'a str, &'a [&'a str]),
}

fn value_of(series: &[Series]) -> f64 {
    series[0].points[0].1
}

fn has(labels: &Vars, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| labels.get(*name).map(String::as_str) == Some(*value))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

fn same_runs(series: &[Series], want: &[(&str, f64)]) -> bool {
    let mut got: Vec<_> =
        series.iter().map(|s| (s.labels["run_id"].as_str(), value_of(std::slice::from_ref(s)))).collect();
    got.sort_by(|a, b| a.0.cmp(b.0));
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| g.0 == w.0 && close(g.1, w.1))
}

fn still_started<'a>(lines: &'a [Line], key: &str) -> Vec<&'a str> {
    let mut newest = BTreeMap::new();
    for line in lines {
        newest.entry(line.labels[key].as_str()).or_insert(line.labels["status"].as_str());
    }
    newest.into_iter().filter(|(_, status)| *status == "started").map(|(name, _)| name).collect()
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts
}

fn holds(want: &Want<'_>, got: &Answer) -> bool {
    match (want, got) {
        (Want::Value(v), Answer::Series(s)) => s.len() == 1 && s[0].labels.is_empty() && close(value_of(s), *v),
        (Want::Nothing, Answer::Series(s)) => s.is_empty(),
        (Want::Nothing, Answer::Lines(l)) => l.is_empty(),
        (Want::Run(run, v), Answer::Series(s)) => same_runs(s, &[(*run, *v)]),
        (Want::Runs(runs), Answer::Series(s)) => same_runs(s, runs),
        (Want::Values(runs), Answer::Series(s)) => same_runs(s, runs),
        (Want::Labels(rows), Answer::Series(s)) => {
            s.len() == rows.len() && rows.iter().all(|row| s.iter().any(|s| has(&s.labels, row)))
        }
        (Want::Course { last, among }, Answer::Series(s)) => {
            let points = s.first().map_or(&[][..], |s| &s.points);
            let takes = |value: &f64| points.iter().any(|p| close(p.1, *value));
            s.len() == 1 && points.last().is_some_and(|p| close(p.1, *last)) && among.iter().all(takes)
        }
        (Want::Between(from, to), Answer::Series(s)) => {
            let within = |value: f64| (*from - 1e-9..=*to + 1e-9).contains(&value);
            s.len() == 1 && !s[0].points.is_empty() && s[0].points.iter().all(|p| within(p.1))
        }
        (Want::TextsInAnyOrder(texts), Answer::Lines(l)) => sorted(l.iter().map(|line| line.text.clone())) == *texts,
        (Want::EachOnce(name, values), Answer::Lines(l)) => {
            sorted(l.iter().filter_map(|line| line.labels.get(*name).cloned())) == *values
        }
        (Want::Lines(rows), Answer::Lines(l)) => {
            l.len() == rows.len() && l.iter().zip(*rows).all(|(line, row)| has(&line.labels, row))
        }
        (Want::Texts(texts), Answer::Lines(l)) => l.iter().map(|line| line.text.as_str()).eq(texts.iter().copied()),
        (Want::Groups(name, groups), Answer::Lines(l)) => {
            let mut found = BTreeMap::<&str, usize>::new();
            for line in l {
                *found.entry(line.labels.get(*name).map_or("", String::as_str)).or_default() += 1;
            }
            found.into_iter().eq(groups.iter().copied())
        }
        (Want::StillStarted(key, names), Answer::Lines(l)) => still_started(l, key) == *names,
        _ => false,
    }
}

/// Variables and time range of a page that shows the last hour.
fn page(dashboard: &Value, set: Pairs<'_>, project: &str, now: i64) -> (Vars, Range) {
    let mut vars = panels::defaults(dashboard);
    vars.insert("project".to_owned(), project.to_owned());
    vars.extend(set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    (vars, Range { from_ms: now / 1_000_000 - 3_600_000, to_ms: now / 1_000_000, step_s: 20 })
}

/// Asks each query of the dashboard about the last hour, and compares; the table must name each query once.
async fn compare(loki: &Loki, name: &str, set: Pairs<'_>, project: &str, now: i64, table: &[(&str, Want<'_>)]) {
    let (vars, range) = page(&panels::load(name), set, project, now);
    compare_page(loki, name, &vars, range, table).await;
}

/// Asks each query of the dashboard with these variables and this time range, and compares; the table must name each query
/// once. Returns panel and letter of each query.
async fn compare_page(loki: &Loki, name: &str, vars: &Vars, range: Range, table: &[(&str, Want<'_>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut table: BTreeMap<&str, &Want<'_>> = table.iter().map(|(key, want)| (*key, want)).collect();
    let queries = panels::queries(&panels::load(name));
    let mut keys = Vec::new();
    for query in &queries {
        let key = format!("{}/{}", query.title, query.ref_id);
        let Some(want) = table.remove(key.as_str()).or_else(|| table.remove(query.title.as_str())) else {
            wrong.push(format!("{key}: no truth in the table"));
            continue;
        };
        match ask(loki, query, vars, range).await {
            Ok(got) if holds(want, &got) => {}
            Ok(got) => {
                wrong.push(format!(
                    "{key}: {got:#?}\n  wanted: {want:?}\n  asked: {}",
                    query.fill(vars, range).unwrap_or_default()
                ));
            }
            Err(e) => wrong.push(format!("{key}: {e}\n  asked: {}", query.fill(vars, range).unwrap_or_default())),
        }
        keys.push(key);
    }
    wrong.extend(table.keys().map(|key| format!("{key}: no such query in the dashboard")));
    assert!(wrong.is_empty(), "{name} with {vars:?}: {} of {} wrong\n{}", wrong.len(), queries.len(), wrong.join("\n"));
    println!("{name} with {vars:?}: {} queries return the truth", queries.len());
    keys
}

#[test]
fn every_dashboard_has_a_truth() {
    let files = std::fs::read_dir(panels::folder()).expect("the folder is there");
    let names = files.map(|file| file.expect("a readable folder").file_name().to_string_lossy().into_owned());
    assert_eq!(sorted(names), CHECKED.iter().map(|name| format!("{name}.json")).collect::<Vec<_>>());
}
