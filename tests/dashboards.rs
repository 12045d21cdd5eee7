//! Lints of the dashboards: what DESIGN §8 asks of each file, checked without a Loki.

#![expect(clippy::string_slice, reason = "places come from searches for ASCII signs in the same text")]

#[path = "common/panels.rs"]
mod panels;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testwire::names;

/// Complaints, each with the panel that it is about.
type Found = Vec<String>;
type Rule = fn(&str, &Value) -> Found;

const RULES: &[Rule] = &[
    identity,
    data_source,
    template_variables,
    known_variables,
    panel_texts,
    layout,
    links,
    queries_parse,
    known_names,
];

/// Ids of Grafana's units that the panels use; a misspelt unit would be shown as text behind each number.
const UNITS: &[&str] = &[
    "none",
    "short",
    "string",
    "ms",
    "s",
    "percent",
    "percentunit",
    "bytes",
    "Bps",
    "cps",
    "dateTimeAsIso",
    "dateTimeFromNow",
    "dateTimeAsLocal",
];
/// Those that every Grafana from 9.4 to 13 brings along.
const PANEL_TYPES: &[&str] = &[
    "barchart",
    "bargauge",
    "gauge",
    "logs",
    "piechart",
    "stat",
    "state-timeline",
    "status-history",
    "table",
    "text",
    "timeseries",
];
/// Pages that change while one looks at them, and how often they are read anew; others are read when they are opened.
const REFRESH: &[(&str, &str)] =
    &[("live", "5s"), ("runs", "10s"), ("machines", "10s"), ("logs", "10s"), ("forwarder", "10s")];
const DATA_SOURCE: &str = "${loki_datasource}";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Adds `what` unless it holds.
fn expect(found: &mut Found, holds: bool, what: impl Into<String>) {
    if !holds {
        found.push(what.into());
    }
}

fn identity(name: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    expect(&mut found, dashboard["uid"] == format!("testwire-{name}"), "the uid is testwire- and the file's name");
    expect(&mut found, dashboard["title"] == format!("testwire: {name}"), "the title is testwire: and the file's name");
    expect(&mut found, text(&dashboard["description"]).contains('?'), "the description states the question");
    expect(&mut found, list(&dashboard["tags"]).contains(&json!("testwire")), "the tag testwire");
    expect(&mut found, dashboard["schemaVersion"] == 39, "schema version 39, which Grafana 9 to 13 read");
    expect(&mut found, dashboard["editable"] == false, "not editable: it comes from a file");
    expect(&mut found, dashboard.get("id").is_none(), "no id: it belongs to one Grafana");
    let refresh = REFRESH.iter().find(|(live, _)| *live == name).map_or("", |(_, every)| every);
    expect(&mut found, dashboard["refresh"] == refresh, format!("refresh {refresh:?}"));
    found
}

fn data_source(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    let variables = list(&dashboard["templating"]["list"]);
    let sources: Vec<_> = variables.iter().filter(|v| v["type"] == "datasource").collect();
    let one = sources.len() == 1 && sources[0]["name"] == "loki_datasource" && sources[0]["query"] == "loki";
    expect(&mut found, one, "one data source variable, loki_datasource");
    let ours = json!({"type": "loki", "uid": DATA_SOURCE});
    for panel in panels::panels(dashboard) {
        let all = list(&panel["targets"]).iter().all(|t| t["datasource"] == ours);
        expect(
            &mut found,
            panel["datasource"] == ours && all,
            format!("{}: data source {DATA_SOURCE}", panel["title"]),
        );
    }
    for variable in variables.iter().filter(|v| v["type"] == "query") {
        expect(&mut found, variable["datasource"] == ours, format!("${}: data source {DATA_SOURCE}", variable["name"]));
    }
    found
}

fn template_variables(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    for variable in list(&dashboard["templating"]["list"]) {
        let mut must = |holds, what: &str| expect(&mut found, holds, format!("${}: {what}", variable["name"]));
        must(!text(&variable["label"]).is_empty(), "a label");
        must(text(&variable["description"]).ends_with('.'), "a description");
        must(!text(&variable["name"]).starts_with("__"), "a name of its own");
        // Loki refuses a selector all of whose matchers take the empty string.
        // Metadata may be absent, so that All of a fixed list may take the empty string, too.
        let every = variable["allValue"] == ".*" && variable["type"] == "custom";
        must(variable["includeAll"] != true || variable["allValue"] == ".+" || every, "All is .+");
        must(variable["type"] != "query" || variable["refresh"] == 2, "read anew when the time range changes");
        if variable["type"] == "query" {
            let label = text(&variable["query"]["label"]);
            must(names::label::ALL.contains(&label), "values of a label");
            for complaint in unknown_names(text(&variable["query"]["stream"])) {
                must(false, &complaint);
            }
        }
    }
    found
}

/// Variables in queries, links and titles exist.
fn known_variables(_: &str, dashboard: &Value) -> Found {
    let known: BTreeSet<&str> = list(&dashboard["templating"]["list"]).iter().map(|v| text(&v["name"])).collect();
    let mut found = Found::new();
    let mut seen = Vec::new();
    texts(dashboard, &mut seen);
    for text in seen {
        for (_, _, name) in panels::variables(text) {
            expect(&mut found, name.starts_with("__") || known.contains(name), format!("unknown ${name} in {text}"));
        }
    }
    found
}

/// Every string of a JSON value.
fn texts<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn panel_texts(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    let mut titles = BTreeSet::new();
    for panel in panels::panels(dashboard) {
        let title = text(&panel["title"]);
        let mut must = |holds, what: &str| expect(&mut found, holds, format!("{title}: {what}"));
        must(!title.is_empty() && titles.insert(title), "a title of its own");
        let description = text(&panel["description"]);
        must(description.len() > 15 && description.ends_with(['.', '?']), "a description");
        must(PANEL_TYPES.contains(&text(&panel["type"])), "a panel type that Grafana brings along");
        let defaults = &panel["fieldConfig"]["defaults"];
        if panel["type"] == "text" {
            continue;
        }
        must(text(&defaults["noValue"]).split(' ').count() > 2, "a noValue that tells what to do");
        must(UNITS.contains(&text(&defaults["unit"])), "a known unit");
        for property in list(&panel["fieldConfig"]["overrides"]).iter().flat_map(|o| list(&o["properties"])) {
            must(property["id"] != "unit" || UNITS.contains(&text(&property["value"])), "known units in overrides");
        }
        must(!list(&panel["targets"]).is_empty(), "a query");
    }
    found
}

fn layout(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels::panels(dashboard) {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(99);
        expect(&mut found, ids.insert(panel["id"].as_u64()), format!("{}: an id of its own", panel["title"]));
        expect(&mut found, at("x") + at("w") <= 24, format!("{}: within 24 columns", panel["title"]));
        let cell = (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)));
        let free = cell.filter(|cell| !cells.insert(*cell)).count() == 0;
        expect(&mut found, free, format!("{}: overlaps another panel", panel["title"]));
    }
    found
}

/// The drop-down to the other dashboards, and links that lead to dashboards and variables that exist.
fn links(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    let drop_down = list(&dashboard["links"]).iter().any(|link| {
        link["type"] == "dashboards"
            && link["tags"] == json!(["testwire"])
            && [&link["asDropdown"], &link["includeVars"], &link["keepTime"]].iter().all(|flag| **flag == true)
    });
    expect(&mut found, drop_down, "a drop-down to the dashboards with the tag, which keeps time and variables");
    let mut seen = Vec::new();
    texts(dashboard, &mut seen);
    for url in seen.iter().filter(|text| text.starts_with("/d/")) {
        let target = url.trim_start_matches("/d/testwire-").split('/').next().unwrap_or_default();
        let Some((_, other)) = dashboards().into_iter().find(|(name, _)| name == target) else {
            found.push(format!("no such dashboard: {url}"));
            continue;
        };
        let known: BTreeSet<String> =
            list(&other["templating"]["list"]).iter().map(|v| text(&v["name"]).to_owned()).collect();
        for parameter in url.split(['?', '&']).filter_map(|p| p.strip_prefix("var-")) {
            let name = parameter.split('=').next().unwrap_or_default();
            expect(&mut found, known.contains(name), format!("no variable {name} there: {url}"));
        }
    }
    found
}

/// A piece of LogQL, as far as the lints need to tell pieces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// What is between the quotes.
    Text(&'a str),
    Sign(char),
}

/// Splits LogQL; numbers, durations and variables are left out. An open quote is an error.
fn tokens(expr: &str) -> Result<Vec<Token<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
        let taken = match first {
            '"' | '`' => {
                let open = &rest[1..];
                let end =
                    open.char_indices().find(|(i, c)| *c == first && (first == '`' || !open[..*i].ends_with('\\')));
                let (end, _) = end.ok_or_else(|| format!("an open quote: {rest}"))?;
                out.push(Token::Text(&open[..end]));
                end + 2
            }
            '$' => panels::variables(rest).first().map_or(1, |(_, end, _)| *end),
            c if c.is_ascii_digit() => word,
            c if c.is_ascii_alphabetic() || c == '_' => {
                out.push(Token::Word(&rest[..word]));
                word
            }
            c => {
                if !c.is_whitespace() {
                    out.push(Token::Sign(c));
                }
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    Ok(out)
}

/// Brackets match, quotes are closed, and a range has a length.
fn balanced(expr: &str) -> Result<(), String> {
    let mut open = Vec::new();
    for token in tokens(expr)? {
        match token {
            Token::Sign(c @ ('(' | '[' | '{')) => open.push(c),
            Token::Sign(c @ (')' | ']' | '}')) => {
                let want = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(want) {
                    return Err(format!("a {c} too many"));
                }
            }
            Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
        }
    }
    if expr.contains("[]") {
        return Err("an empty range".to_owned());
    }
    if open.is_empty() { Ok(()) } else { Err(format!("not closed: {open:?}")) }
}

/// Words of LogQL that stand where a name could, and are none.
const KEYWORDS: &[&str] = &[
    "and",
    "bool",
    "by",
    "drop",
    "group_left",
    "group_right",
    "ignoring",
    "keep",
    "label_format",
    "line_format",
    "offset",
    "on",
    "or",
    "unless",
    "unwrap",
    "without",
];

/// Names that are none of `testwire::names`, labels outside the selector, metadata inside, unknown kinds and statuses.
fn unknown_names(expr: &str) -> Found {
    let Ok(tokens) = tokens(expr) else { return vec![format!("an open quote: {expr}")] };
    let mut found = Found::new();
    let counters = names::meta::counter::ALL;
    let mut own: Vec<&str> = Vec::new();
    let mut in_selector = false;
    let mut formatting = false;
    for (i, token) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1);
        match token {
            Token::Sign('{') => in_selector = true,
            Token::Sign('}') => in_selector = false,
            Token::Sign('|' | '[') => formatting = false,
            Token::Word("label_format") => formatting = true,
            Token::Word(word) if KEYWORDS.contains(word) || next == Some(&Token::Sign('(')) => {}
            Token::Word(word) if formatting && next == Some(&Token::Sign('=')) => own.push(word),
            // `sum by (…)`: a function whose arguments come later.
            Token::Word(_) if matches!(next, Some(Token::Word("by" | "without"))) => {}
            Token::Word(word) => {
                let label = names::label::ALL.contains(word);
                let health = names::meta::health::ALL.contains(word);
                let metadata =
                    health || names::meta::ALL.contains(word) || counters.contains(word) || own.contains(word);
                expect(&mut found, label || metadata, format!("unknown name {word}"));
                expect(
                    &mut found,
                    !in_selector || label,
                    format!("{word} is not a label: filter it behind the selector"),
                );
                let filtered = matches!(next, Some(Token::Sign('=' | '!' | '<' | '>')));
                expect(
                    &mut found,
                    in_selector || !label || !filtered,
                    format!("{word} is a label: filter it in the selector"),
                );
                if in_selector && (*word == names::label::KIND || *word == names::label::STATUS) {
                    found.extend(unknown_values(word, &tokens[i + 1..]));
                }
            }
            Token::Text(template) if formatting => found.extend(unknown_fields(template, &own)),
            Token::Text(_) | Token::Sign(_) => {}
        }
    }
    found
}

/// `kind="run"`, `status=~"passed|failed"`: each value is one that testwire writes.
fn unknown_values(name: &str, after: &[Token<'_>]) -> Found {
    let all = if name == names::label::KIND { names::kind::ALL } else { names::status::ALL };
    let value =
        after.iter().find_map(|t| if let Token::Text(text) = t { Some(*text) } else { None }).unwrap_or_default();
    let values = value.split('|').filter(|v| !v.starts_with('$') && !all.contains(v));
    values.map(|v| format!("unknown {name} {v:?}")).collect()
}

/// `{{ … .elapsed_ms … }}` in a template; `own` are names that the query makes itself.
fn unknown_fields(template: &str, own: &[&str]) -> Found {
    let words = template.split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)));
    // `{{ . }}` writes all of them.
    let fields = words.filter_map(|word| word.strip_prefix('.')).filter(|field| !field.is_empty());
    let written = [names::label::ALL, names::meta::ALL, names::meta::counter::ALL, own];
    let known = |field: &&str| written.iter().any(|names| names.contains(field));
    fields.filter(|f| !known(f)).map(|f| format!("unknown name .{f} in a template")).collect()
}

fn queries_parse(_: &str, dashboard: &Value) -> Found {
    let mut found = Found::new();
    for query in panels::queries(dashboard) {
        let place = format!("{}/{}", query.title, query.ref_id);
        if let Err(complaint) = balanced(&query.expr) {
            found.push(format!("{place}: {complaint}: {}", query.expr));
        }
        for selector in query.expr.split("{service_name").skip(1) {
            let head = selector.split('}').next().unwrap_or_default();
            // Logs of applications belong to the runs of all runners: `runner=~"$runner|app"`.
            let narrow = ["=~\"$project\"", "env=~\"$env\"", "kind=\""];
            let of_runner = head.contains("runner=~\"$runner") || head.contains("runner=\"app\"");
            expect(
                &mut found,
                of_runner && narrow.iter().all(|part| head.contains(part)),
                format!("{place}: a selector without kind or filters"),
            );
        }
        expect(&mut found, query.limit <= 5000, format!("{place}: Loki gives at most 5,000 lines"));
    }
    for panel in panels::panels(dashboard) {
        let most = list(&panel["targets"]).iter().filter_map(|t| t["maxLines"].as_u64()).max().unwrap_or_default();
        let said = most <= 1000 || text(&panel["description"]).contains("5,000");
        expect(&mut found, said, format!("{}: says that it shows at most 5,000 lines", panel["title"]));
    }
    found
}

fn known_names(_: &str, dashboard: &Value) -> Found {
    let queries = panels::queries(dashboard);
    let complaints = queries.iter().flat_map(|query| {
        unknown_names(&query.expr)
            .into_iter()
            .map(|what| format!("{}/{}: {what}: {}", query.title, query.ref_id, query.expr))
    });
    complaints.collect()
}

/// Name and content of every dashboard, by name.
fn dashboards() -> Vec<(String, Value)> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(panels::folder()).expect("the folder is there") {
        let name = file.expect("a readable folder").file_name().into_string().expect("a name in UTF-8");
        names.push(name.strip_suffix(".json").unwrap_or_else(|| panic!("{name} is no dashboard")).to_owned());
    }
    names.sort();
    names.into_iter().map(|name| (name.clone(), panels::load(&name))).collect()
}

fn lint(name: &str, dashboard: &Value) -> Found {
    RULES.iter().flat_map(|rule| rule(name, dashboard)).collect()
}

#[test]
fn every_dashboard_keeps_every_rule() {
    let all = dashboards();
    assert!(all.len() >= 2, "dashboards in {}", panels::folder().display());
    let found: Found =
        all.iter().flat_map(|(name, d)| lint(name, d).into_iter().map(move |what| format!("{name}: {what}"))).collect();
    assert!(found.is_empty(), "{} complaints\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_dashboard_is_what_its_source_makes() {
    let source = panels::folder().with_file_name("source");
    let check = std::process::Command::new("python3").arg(source).arg("--check").output().expect("python3 starts");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn no_two_dashboards_share_a_uid() {
    let all = dashboards();
    let uids: BTreeSet<_> = all.iter().map(|(_, d)| text(&d["uid"])).collect();
    assert_eq!(uids.len(), all.len());
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let expr = "/panels/0/targets/0/expr";
    let cases = [
        ("/uid", json!("runs"), "the uid is"),
        ("/tags", json!([]), "the tag"),
        ("/refresh", json!(""), "refresh"),
        ("/links/0/keepTime", json!(false), "drop-down"),
        ("/templating/list/0/name", json!("ds"), "loki_datasource"),
        ("/templating/list/1/allValue", json!(".*"), "All is .+"),
        ("/templating/list/1/query/label", json!("run_id"), "values of a label"),
        ("/panels/3/title", json!(""), "a title"),
        ("/panels/3/description", json!("Runs"), "a description"),
        ("/panels/3/fieldConfig/defaults/noValue", json!("-"), "tells what to do"),
        ("/panels/3/fieldConfig/defaults/unit", json!("milliseconds"), "a known unit"),
        ("/panels/3/gridPos/x", json!(0), "overlaps"),
        ("/panels/3/id", json!(1), "an id of its own"),
        ("/panels/3/datasource/uid", json!("testwire-loki"), "data source"),
        ("/panels/3/targets/0/datasource/uid", json!("testwire-loki"), "data source"),
        ("/panels/3/links", json!([{"url": "/d/testwire-nowhere/x"}]), "no such dashboard"),
        ("/panels/3/links", json!([{"url": "/d/testwire-live/x?var-runid=1"}]), "no variable runid"),
        (expr, json!("sum(count_over_time({kind=\"run\"} [$__range])"), "not closed"),
        (expr, json!("sum(count_over_time({kind=\"run} [$__range]))"), "an open quote"),
        (expr, json!("count_over_time({service_name=~\"$project\", kind=\"run\"} [5m])"), "without kind or filters"),
        (expr, json!("count_over_time({kind=\"run\"} | run_id=~\"$runs\" [5m])"), "unknown $runs"),
        (expr, json!("count_over_time({kind=\"run\"} | runid=~\"x\" [5m])"), "unknown name runid"),
        (expr, json!("sum by (verdict) (count_over_time({kind=\"run\"} [5m]))"), "unknown name verdict"),
        (expr, json!("count_over_time({kind=\"runs\"} [5m])"), "unknown kind \"runs\""),
        (expr, json!("count_over_time({kind=\"run\", status=~\"passed|pass\"} [5m])"), "unknown status \"pass\""),
        (expr, json!("count_over_time({kind=\"run\", run_id=\"x\"} [5m])"), "run_id is not a label"),
        (expr, json!("count_over_time({kind=\"run\"} | status=\"failed\" [5m])"), "status is a label"),
        (expr, json!("max_over_time({kind=\"run\"} | unwrap done_ms [5m])"), "unknown name done_ms"),
        (expr, json!("max_over_time({kind=\"run\"} | label_format x=`{{ .nothing }}` | unwrap x [5m])"), ".nothing"),
    ];
    for (place, value, complaint) in cases {
        let mut dashboard = panels::load("runs");
        match dashboard.pointer_mut(place) {
            Some(slot) => *slot = value.clone(),
            None => dashboard["panels"][3]["links"] = value.clone(),
        }
        let found = lint("runs", &dashboard);
        assert!(
            found.iter().any(|f| f.contains(complaint)),
            "{place} = {value}: no complaint of {complaint:?}\n{found:#?}"
        );
    }
}

#[test]
fn what_grafana_s_linter_is_not_to_find_has_a_reason() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/lint.yaml");
    let read = yaml_rust2::YamlLoader::load_from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rules = read[0]["exclusions"].as_hash().unwrap();
    assert!(!rules.is_empty() && read[0].as_hash().unwrap().len() == 1, "nothing but exclusions, and no warnings");
    for (rule, excluded) in rules {
        assert!(excluded["reason"].as_str().is_some_and(|reason| reason.len() > 30), "{rule:?}");
    }
}
