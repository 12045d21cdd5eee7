//! The queries of a dashboard as Grafana would send them, for tests that ask a real Loki.
//!
//! Only what our own dashboards use is understood; anything else is an error, so that a test cannot pass by
//! ignoring a query.

#![expect(clippy::string_slice, reason = "places come from searches for ASCII signs in the same text")]
#![expect(dead_code, reason = "each test crate that includes this file uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Names of variables and what they are set to.
pub(crate) type Vars = BTreeMap<String, String>;

/// How a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Metric, one value for each series at the end of the range.
    Instant,
    /// Metric, one value for each series and step.
    Range,
    /// Log lines, newest first.
    Logs,
}

/// A query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Id of its panel, unique in the dashboard.
    pub(crate) panel: u64,
    /// Title of its panel.
    pub(crate) title: String,
    /// Letter of the query within the panel.
    pub(crate) ref_id: String,
    /// LogQL with variables.
    pub(crate) expr: String,
    /// How it is asked.
    pub(crate) kind: Kind,
    /// Most lines that the panel asks for; 1000 where it does not say.
    pub(crate) limit: u64,
}

/// The time range that the page shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// Begin, in milliseconds since the epoch.
    pub(crate) from_ms: i64,
    /// End, in milliseconds since the epoch.
    pub(crate) to_ms: i64,
    /// Step of range queries, in seconds.
    pub(crate) step_s: i64,
}

/// What Grafana rounds an interval to, in seconds, up to the limit beside it, in milliseconds (its `roundInterval`).
const STEPS: [(i64, i64); 21] = [
    (1_500, 1),
    (3_500, 2),
    (7_500, 5),
    (12_500, 10),
    (17_500, 15),
    (25_000, 20),
    (45_000, 30),
    (90_000, 60),
    (210_000, 120),
    (450_000, 300),
    (750_000, 600),
    (1_050_000, 900),
    (1_500_000, 1200),
    (2_700_000, 1800),
    (5_400_000, 3600),
    (9_000_000, 2 * 3600),
    (16_200_000, 3 * 3600),
    (32_400_000, 6 * 3600),
    (24 * 3_600_000, 12 * 3600),
    (7 * 24 * 3_600_000, 24 * 3600),
    (21 * 24 * 3_600_000, 7 * 24 * 3600),
];

/// The step that Grafana would take for a panel with that many points, in seconds.
pub(crate) fn step_s(length_ms: i64, most_points: i64) -> i64 {
    let interval = length_ms / most_points.max(1);
    STEPS.iter().find(|(limit, _)| interval < *limit).map_or(30 * 24 * 3600, |(_, step)| *step)
}

/// Where the dashboards are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards")
}

/// Reads `grafana/dashboards/<name>.json`.
pub(crate) fn load(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every panel, those inside rows included; rows themselves are not panels.
pub(crate) fn panels(dashboard: &Value) -> Vec<&Value> {
    fn collect<'a>(list: &'a Value, out: &mut Vec<&'a Value>) {
        for panel in list.as_array().into_iter().flatten() {
            if panel["type"] == "row" { collect(&panel["panels"], out) } else { out.push(panel) }
        }
    }
    let mut out = Vec::new();
    collect(&dashboard["panels"], &mut out);
    out
}

/// Every query of every panel, in the order of the file.
pub(crate) fn queries(dashboard: &Value) -> Vec<Query> {
    let text = |v: &Value| v.as_str().unwrap_or_else(|| panic!("not a text: {v}")).to_owned();
    let mut out = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = text(&target["expr"]);
            let kind = match (target["queryType"].as_str(), expr.starts_with('{')) {
                (Some("range"), true) => Kind::Logs,
                (Some("range"), false) => Kind::Range,
                (Some("instant"), false) => Kind::Instant,
                (other, _) => panic!("{}: a query of type {other:?}: {expr}", panel["title"]),
            };
            out.push(Query {
                panel: panel["id"].as_u64().expect("panel ids are numbers"),
                title: text(&panel["title"]),
                ref_id: text(&target["refId"]),
                expr,
                kind,
                limit: target["maxLines"].as_u64().unwrap_or(1000),
            });
        }
    }
    out
}

/// What the dashboard's variables are when it is opened; the data source variable is left out.
pub(crate) fn defaults(dashboard: &Value) -> Vars {
    let mut out = Vars::new();
    for var in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if var["type"] == "datasource" {
            continue;
        }
        let value = match &var["current"]["value"] {
            Value::Array(all) if all.len() == 1 && all[0] == "$__all" => &var["allValue"],
            other => other,
        };
        let value = value.as_str().unwrap_or_else(|| panic!("default of {}: {value}", var["name"]));
        out.insert(var["name"].as_str().expect("variables have names").to_owned(), value.to_owned());
    }
    out
}

/// Names of the variables in `text` (`$name`, `${name}`, `${name:format}`), each with where it begins and ends.
pub(crate) fn variables(text: &str) -> Vec<(usize, usize, &str)> {
    let bytes = text.as_bytes();
    let word = |from: usize| (from..bytes.len()).find(|&i| !(bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_'));
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let begin = at + found;
        let braced = bytes.get(begin + 1) == Some(&b'{');
        let name_begin = begin + 1 + usize::from(braced);
        let name_end = word(name_begin).unwrap_or(bytes.len());
        let end = if braced { text[name_end..].find('}').map_or(bytes.len(), |i| name_end + i + 1) } else { name_end };
        if name_end > name_begin {
            out.push((begin, end, &text[name_begin..name_end]));
        }
        at = end.max(begin + 1);
    }
    out
}

impl Range {
    /// Value of a variable that Grafana makes of the range.
    fn variable(self, name: &str) -> Option<String> {
        let length_ms = self.to_ms - self.from_ms;
        Some(match name {
            "__range" => format!("{}s", length_ms / 1000),
            "__range_s" => (length_ms / 1000).to_string(),
            "__range_ms" => length_ms.to_string(),
            "__interval" | "__auto" | "__rate_interval" => format!("{}s", self.step_s),
            "__interval_ms" => (self.step_s * 1000).to_string(),
            "__from" => self.from_ms.to_string(),
            "__to" => self.to_ms.to_string(),
            _ => return None,
        })
    }
}

impl Query {
    /// LogQL with every variable filled in; an unknown one is an error that names it.
    pub(crate) fn fill(&self, vars: &Vars, range: Range) -> Result<String, String> {
        self.filled(vars, |name, _| range.variable(name))
    }

    /// LogQL with the variables of the page filled in. Those of the time range Grafana's server fills in.
    pub(crate) fn fill_page(&self, vars: &Vars) -> Result<String, String> {
        self.filled(vars, |name, written| name.starts_with("__").then(|| written.to_owned()))
    }

    fn filled(&self, vars: &Vars, of_range: impl Fn(&str, &str) -> Option<String>) -> Result<String, String> {
        let mut out = String::new();
        let mut at = 0;
        for (begin, end, name) in variables(&self.expr) {
            out.push_str(&self.expr[at..begin]);
            at = end;
            let value = of_range(name, &self.expr[begin..end]).or_else(|| vars.get(name).cloned());
            out.push_str(&value.ok_or_else(|| format!("{}: no value for ${name}", self.title))?);
        }
        out.push_str(&self.expr[at..]);
        Ok(out)
    }

    /// Path and query to put behind Loki's address.
    pub(crate) fn path(&self, vars: &Vars, range: Range) -> Result<String, String> {
        let expr = encode(&self.fill(vars, range)?);
        let (from, to, step) = (range.from_ms * 1_000_000, range.to_ms * 1_000_000, range.step_s);
        Ok(match self.kind {
            Kind::Instant => format!("/loki/api/v1/query?query={expr}&time={to}"),
            Kind::Range => format!("/loki/api/v1/query_range?query={expr}&start={from}&end={to}&step={step}"),
            Kind::Logs => format!(
                "/loki/api/v1/query_range?query={expr}&start={from}&end={to}&limit={}&direction=backward",
                self.limit
            ),
        })
    }
}

/// Percent-encodes everything but letters and digits.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all");
        }
    }
    out
}

/// A value of a metric query.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Labels that it was grouped by.
    pub(crate) labels: Vars,
    /// Time in seconds since the epoch, and value; one point for an instant query.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A line of a log query, with labels and metadata together, as Grafana's `labels` field has them.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Nanoseconds since the epoch.
    pub(crate) time: i64,
    /// Text.
    pub(crate) text: String,
    /// Labels, structured metadata and what the query added.
    pub(crate) labels: Vars,
}

/// What Loki answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// To a metric query.
    Series(Vec<Series>),
    /// To a log query, newest first.
    Lines(Vec<Line>),
}

/// Reads the body of an answer to [`Query::path`].
pub(crate) fn answer(body: &str) -> Result<Answer, String> {
    let json: Value = serde_json::from_str(body).map_err(|_| body.to_owned())?;
    let result = json["data"]["result"].as_array().ok_or_else(|| body.to_owned())?;
    let labels = |v: &Value| -> Vars {
        let pairs = v.as_object().into_iter().flatten();
        pairs.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
    };
    let point = |v: &Value| -> (f64, f64) {
        let value = v[1].as_str().and_then(|s| s.parse().ok());
        (v[0].as_f64().unwrap_or(f64::NAN), value.unwrap_or(f64::NAN))
    };
    if json["data"]["resultType"] == "streams" {
        let mut lines = Vec::new();
        for stream in result {
            for value in stream["values"].as_array().into_iter().flatten() {
                lines.push(Line {
                    time: value[0].as_str().and_then(|s| s.parse().ok()).ok_or_else(|| body.to_owned())?,
                    text: value[1].as_str().unwrap_or_default().to_owned(),
                    labels: labels(&stream["stream"]),
                });
            }
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.time));
        return Ok(Answer::Lines(lines));
    }
    let series = result.iter().map(|s| Series {
        labels: labels(&s["metric"]),
        points: match s["values"].as_array() {
            Some(points) => points.iter().map(point).collect(),
            None => vec![point(&s["value"])],
        },
    });
    Ok(Answer::Series(series.collect()))
}
