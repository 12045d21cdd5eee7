//! What the panels of the dashboards cost on a large history.
//!
//! `LOKI_BIN=… cargo bench --bench panels -- 100000` starts a Loki of one process with `loki/loki.yaml`, stores two years of
//! runs with that many test results in it (with progress, and a month of logs and metrics), and asks every query of every
//! dashboard as Grafana would: once over the range that the page opens with, once over a month, once over a year. It prints
//! a table of bytes, lines and time. `LOKI_URL` asks a Loki that runs: with `FILL_LOKI=1` it is filled first, else it was, with the
//! same number, and only the run that is under way is told anew. `DASHBOARDS=runs,live` asks those only, and
//! `AS_OPENED=1` not about a month and a year.

#[path = "panels/history.rs"]
mod history;
#[path = "../tests/common/panels.rs"]
mod panels;
#[path = "panels/server.rs"]
mod server;

use std::time::{Duration, Instant};

use serde_json::Value;

use panels::{Query, Range, Vars};

const DAY_MS: i64 = 24 * 3_600_000;

/// What one query cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: f64,
    lines: f64,
    seconds: f64,
}

/// A span of time, and the step that Grafana would take for a panel with that many points.
fn range(to_ms: i64, length_ms: i64, most_points: i64) -> Range {
    Range { from_ms: to_ms - length_ms, to_ms, step_s: panels::step_s(length_ms, most_points) }
}

/// The range that a page opens with, in milliseconds.
fn opens_with(dashboard: &Value) -> i64 {
    let from = dashboard["time"]["from"].as_str().unwrap_or_default();
    let number: i64 = from.trim_start_matches("now-").trim_end_matches(['m', 'h', 'd']).parse().expect("now-24h");
    number * if from.ends_with('d') { DAY_MS } else { 3_600_000 }
}

async fn ask(client: &reqwest::Client, url: &str, query: &Query, vars: &Vars, range: Range) -> Result<Cost, String> {
    let path = query.path(vars, range)?;
    let begun = Instant::now();
    let answer = client.get(format!("{url}{path}")).send().await.map_err(|e| e.to_string())?;
    let text = answer.text().await.map_err(|e| e.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    let json: Value = serde_json::from_str(&text).map_err(|_| text)?;
    let summary = &json["data"]["stats"]["summary"];
    let of = |name: &str| summary[name].as_f64().unwrap_or_default();
    Ok(Cost { bytes: of("totalBytesProcessed"), lines: of("totalLinesProcessed"), seconds })
}

/// A panel's queries one after another; the better of two rounds, unless one takes long.
async fn cost(client: &reqwest::Client, url: &str, panel: &Panel<'_>, range: Range) -> Result<Cost, String> {
    let mut best: Option<Cost> = None;
    for _ in 0..2 {
        let mut sum = Cost::default();
        for query in &panel.queries {
            let one = ask(client, url, query, panel.vars, range).await.map_err(|e| brief(&e))?;
            sum =
                Cost { bytes: sum.bytes + one.bytes, lines: sum.lines + one.lines, seconds: sum.seconds + one.seconds };
        }
        // What an answer of many lines has begun, Loki ends after it; the first round may have to wait for that.
        let slow = sum.seconds > 10.0;
        best = Some(best.filter(|b| b.seconds < sum.seconds).unwrap_or(sum));
        if slow {
            break;
        }
    }
    best.ok_or_else(String::new)
}

fn brief(error: &str) -> String {
    error.lines().next().unwrap_or_default().chars().take(60).collect()
}

struct Panel<'a> {
    title: &'a str,
    most_points: i64,
    queries: Vec<Query>,
    vars: &'a Vars,
}

fn shown(cost: &Result<Cost, String>) -> String {
    match cost {
        Ok(Cost { bytes, lines, seconds }) => {
            format!("{:.1} MB, {:.0}k lines, {seconds:.2} s", bytes / 1e6, lines / 1e3)
        }
        Err(error) => error.clone(),
    }
}

/// Prints a row for each panel; gives the panels that took longer than they may.
async fn table(url: &str, run: &str, test: &str, now_ms: i64) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().expect("a client");
    let mut slow = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(panels::folder()).expect("the folder is there").flatten().collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    let wanted = std::env::var("DASHBOARDS").unwrap_or_default();
    let as_opened = std::env::var_os("AS_OPENED").is_some();
    println!("| dashboard | panel | as it opens | a month | a year |\n| --- | --- | --- | --- | --- |");
    for name in names {
        let name = name.file_name().into_string().expect("a name in UTF-8");
        let name = name.trim_end_matches(".json");
        if !wanted.is_empty() && !wanted.split(',').any(|one| one == name) {
            continue;
        }
        let dashboard = panels::load(name);
        let mut vars = panels::defaults(&dashboard);
        if name == "live" {
            vars.insert("run_id".into(), run.into());
        }
        if name == "test" {
            vars.insert("test".into(), format!("\\Q{test}\\E"));
        }
        let all = panels::queries(&dashboard);
        for panel in panels::panels(&dashboard) {
            let id = panel["id"].as_u64().unwrap_or_default();
            let of_panel: Vec<Query> = all.iter().filter(|q| q.panel == id).cloned().collect();
            if of_panel.is_empty() {
                continue;
            }
            let most_points = panel["maxDataPoints"].as_i64().unwrap_or(1400);
            let title = panel["title"].as_str().unwrap_or_default();
            let asked = Panel { title, most_points, queries: of_panel, vars: &vars };
            let opens = opens_with(&dashboard);
            let mut cells = Vec::new();
            for length in [opens, 30 * DAY_MS, 365 * DAY_MS] {
                // One run is looked at in its own time.
                let of_run = (name == "live" || as_opened) && length > opens;
                cells.push(match of_run {
                    true => Err("–".to_owned()),
                    false => cost(&client, url, &asked, range(now_ms, length, asked.most_points)).await,
                });
            }
            let most = if matches!(name, "live" | "runs") { 1.0 } else { 5.0 };
            if !matches!(&cells[0], Ok(cost) if cost.seconds < most) {
                slow.push(format!("{name}/{}: {}", asked.title, shown(&cells[0])));
            }
            let cells: Vec<String> = cells.iter().map(shown).collect();
            println!("| {name} | {} | {} |", asked.title, cells.join(" | "));
        }
    }
    slow
}

fn main() {
    // Cargo adds `--bench`.
    let wanted = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok());
    let given = std::env::var("LOKI_URL").ok().filter(|url| !url.is_empty());
    let Some(results) = wanted else {
        println!("panels: say how many test results: cargo bench --bench panels -- 100000");
        return;
    };
    assert!(results <= 5_000_000, "at most 5 million results");
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = if given.is_none() { Some(server::Server::start().await) } else { None };
        let url = given.unwrap_or_else(|| server.as_ref().map(|s| s.url.clone()).unwrap_or_default());
        let stored = history::store(&url, results, server.is_some() || std::env::var_os("FILL_LOKI").is_some()).await;
        println!(
            "{results} test results; stored now: {} entries, {:.0} MB; {url}",
            stored.entries,
            stored.bytes as f64 / 1e6
        );
        let slow = table(&url, &stored.live_run, &stored.a_test, stored.now_ms).await;
        println!("\ntoo slow as they open: {}", if slow.is_empty() { "none".into() } else { slow.join("; ") });
    });
}
