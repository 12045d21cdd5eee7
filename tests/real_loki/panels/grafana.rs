//! The same queries through a Grafana, as its pages send them: `POST /api/ds/query`, and its frames read back.
//!
//! `TESTWIRE_TEST_GRAFANA` names one, with `user:password@` if it wants to know who asks; its data source `testwire-loki` is the
//! Loki of `LOKI_URL`. Then each answer that the tests compare with the truth is Grafana's, and it must be Loki's too.

use serde_json::{Value, json};

use crate::dashboards::{Answer, Kind, Line, Query, Range, Series, Vars};
use crate::loki::Loki;

const DATA_SOURCE: &str = "testwire-loki";

/// Address of the Grafana, if there is one.
pub(super) fn address() -> Option<String> {
    let url = std::env::var("TESTWIRE_TEST_GRAFANA").ok().filter(|url| !url.is_empty())?;
    Some(url.trim_end_matches('/').to_owned())
}

pub(super) async fn ask(
    loki: &Loki,
    grafana: &str,
    query: &Query,
    vars: &Vars,
    range: Range,
) -> Result<Answer, String> {
    let body = json!({
        "from": range.from_ms.to_string(),
        "to": range.to_ms.to_string(),
        "queries": [{
            "refId": query.ref_id,
            "datasource": {"type": "loki", "uid": DATA_SOURCE},
            "expr": query.fill_page(vars)?,
            "queryType": if query.kind == Kind::Instant { "instant" } else { "range" },
            "maxLines": query.limit,
            "intervalMs": range.step_s * 1000,
            "maxDataPoints": 1000,
        }],
    });
    let request = loki.client().post(format!("{grafana}/api/ds/query")).header("Content-Type", "application/json");
    let answer = request.body(body.to_string()).send().await.map_err(|e| e.to_string())?;
    let text = answer.text().await.map_err(|e| e.to_string())?;
    read(&text, query).ok_or(text)
}

fn read(text: &str, query: &Query) -> Option<Answer> {
    let json: Value = serde_json::from_str(text).ok()?;
    let result = &json["results"][&query.ref_id];
    if result["status"] != 200 || result.get("error").is_some() {
        return None;
    }
    // An empty answer has none at all.
    let frames = result["frames"].as_array().map_or(&[][..], Vec::as_slice);
    if query.kind != Kind::Logs {
        return frames.iter().map(series).collect::<Option<Vec<Vec<_>>>>().map(|all| Answer::Series(all.concat()));
    }
    let mut lines = frames.iter().map(lines).collect::<Option<Vec<Vec<_>>>>()?.concat();
    lines.sort_by_key(|line| std::cmp::Reverse(line.time));
    Some(Answer::Lines(lines))
}

/// A field of a frame, and its values.
fn field<'f>(frame: &'f Value, name: &str) -> Option<(&'f Value, &'f [Value])> {
    let at = frame["schema"]["fields"].as_array()?.iter().position(|field| field["name"] == name)?;
    Some((&frame["schema"]["fields"][at], frame["data"]["values"][at].as_array()?))
}

fn labels(value: &Value) -> Vars {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// A frame of a metric query is one series; without values it is none.
fn series(frame: &Value) -> Option<Vec<Series>> {
    let Some((about, values)) = field(frame, "Value") else {
        return frame["schema"]["fields"].as_array().is_none_or(Vec::is_empty).then(Vec::new);
    };
    let (_, times) = field(frame, "Time")?;
    // What JSON has no number for comes as null.
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let points: Vec<_> = times.iter().zip(values).map(|(time, value)| (number(time) / 1000.0, number(value))).collect();
    let labels = labels(&about["labels"]);
    Some(if points.is_empty() { Vec::new() } else { vec![Series { labels, points }] })
}

/// A frame of a log query has a row for each line.
fn lines(frame: &Value) -> Option<Vec<Line>> {
    if frame["schema"]["fields"].as_array().is_none_or(Vec::is_empty) {
        return Some(Vec::new());
    }
    let [(_, pairs), (_, texts), (_, times)] = [field(frame, "labels")?, field(frame, "Line")?, field(frame, "tsNs")?];
    let rows = pairs.iter().zip(texts).zip(times);
    rows.map(|((pairs, text), time)| {
        let time = time.as_str()?.parse().ok()?;
        Some(Line { time, text: text.as_str()?.to_owned(), labels: labels(pairs) })
    })
    .collect()
}

/// Whether Grafana gives what Loki gave.
pub(super) fn same(grafana: &Answer, loki: &Answer) -> bool {
    let alike = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || a.is_nan() && !b.is_finite();
    match (grafana, loki) {
        (Answer::Lines(a), Answer::Lines(b)) => {
            let sorted = |lines: &[Line]| {
                let mut all: Vec<_> = lines.iter().map(|l| (l.time, l.text.clone(), l.labels.clone())).collect();
                // Counted until the moment at which Loki answers; an entry that is there twice is then two.
                all.iter_mut().for_each(|line| drop(line.2.remove("running_ms")));
                all.sort();
                all.dedup();
                all
            };
            sorted(a) == sorted(b)
        }
        (Answer::Series(a), Answer::Series(b)) => {
            let sorted = |series: &[Series]| {
                let mut all = series.to_vec();
                all.sort_by(|one, other| one.labels.cmp(&other.labels));
                all
            };
            let same_points = |a: &Series, b: &Series| {
                let pairs = || a.points.iter().zip(&b.points);
                a.points.len() == b.points.len()
                    && pairs().all(|(one, other)| (one.0 - other.0).abs() < 0.002 && alike(one.1, other.1))
            };
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.labels == b.labels && same_points(a, b))
        }
        _ => false,
    }
}
