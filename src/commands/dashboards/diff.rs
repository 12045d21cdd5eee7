//! What a dashboard in Grafana has otherwise than ours.
//!
//! Grafana adds fields when it keeps a dashboard, and newer versions raise its schema. So only what ours says counts.

use serde_json::Value;

/// Fields at the top that are Grafana's own business.
const GRAFANAS: &[&str] = &["id", "schemaVersion", "version"];
/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// The places where `there` is not as `ours`, a line each; empty if it is the same dashboard.
pub(super) fn differences(ours: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", ours, there, &mut found);
    found
}

fn compare(place: &str, ours: &Value, there: &Value, found: &mut Vec<String>) {
    match (ours, there) {
        (Value::Object(fields), Value::Object(others)) => {
            for (name, value) in fields {
                let is_grafanas = place.is_empty() && GRAFANAS.contains(&name.as_str());
                let inner = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                match others.get(name) {
                    _ if is_grafanas => {}
                    Some(other) => compare(&inner, value, other, found),
                    // Grafana leaves out what says nothing.
                    None if is_nothing(value) => {}
                    None => found.push(format!("{inner}: will be {}", show(value))),
                }
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            for (i, item) in items.iter().enumerate() {
                let inner = format!("{place}[{}]", name_of(item, i));
                match partner(item, i, others) {
                    Some(other) => compare(&inner, item, other, found),
                    None => found.push(format!("{inner}: new")),
                }
            }
            for (i, other) in others.iter().enumerate() {
                if partner(other, i, items).is_none() {
                    found.push(format!("{place}[{}]: goes", name_of(other, i)));
                }
            }
        }
        (ours, there) if same(ours, there) => {}
        (ours, there) => found.push(format!("{place}: {} becomes {}", show(there), show(ours))),
    }
}

/// 1 and 1.0 are the same to Grafana.
fn same(ours: &Value, there: &Value) -> bool {
    ours == there || (ours.is_number() && ours.as_f64() == there.as_f64())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// What tells the items of a list apart: a panel's id, a query's letter, a variable's name; else their order.
fn key(item: &Value) -> Option<&Value> {
    ["id", "refId", "name"].iter().find_map(|name| item.get(name))
}

fn partner<'v>(item: &Value, index: usize, others: &'v [Value]) -> Option<&'v Value> {
    match key(item) {
        // Overrides and transformations have ids too, and several may have the same.
        Some(wanted) if others.iter().filter(|other| key(other) == Some(wanted)).count() < 2 => {
            others.iter().find(|other| key(other) == Some(wanted))
        }
        _ => others.get(index),
    }
}

fn name_of(item: &Value, index: usize) -> String {
    let name = ["title", "refId", "name", "id"].iter().find_map(|name| item.get(name)?.as_str());
    name.filter(|name| !name.is_empty()).map_or_else(|| index.to_string(), str::to_owned)
}

fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_grafana_adds_or_raises_is_no_difference() {
        let ours =
            json!({"uid": "u", "schemaVersion": 39, "version": 1, "weekStart": "", "panels": [{"id": 1, "x": 1}]});
        let there = json!({"uid": "u", "schemaVersion": 42, "version": 7, "id": 3,
            "panels": [{"id": 1, "x": 1.0, "pluginVersion": "12"}]});
        assert_eq!(differences(&ours, &there), Vec::<String>::new());
    }

    #[test]
    fn changes_are_named_by_panel_query_and_field() {
        let ours = json!({"title": "new", "panels": [
            {"id": 1, "title": "A", "targets": [{"refId": "A", "expr": "x"}]},
            {"id": 3, "title": "C"}]});
        let there = json!({"title": "old", "panels": [
            {"id": 2, "title": "B"},
            {"id": 1, "title": "A", "targets": [{"refId": "A", "expr": "y"}]}]});
        let mut found = differences(&ours, &there);
        found.sort();
        assert_eq!(
            found,
            [
                "panels[A].targets[A].expr: \"y\" becomes \"x\"",
                "panels[B]: goes",
                "panels[C]: new",
                "title: \"old\" becomes \"new\""
            ]
        );
    }

    #[test]
    fn items_that_share_an_id_are_told_apart_by_their_order_and_long_values_are_cut() {
        let override_of = |value: &str| json!([{"id": "unit", "value": "ms"}, {"id": "unit", "value": value}]);
        let found = differences(&override_of(&"a".repeat(100)), &override_of("b"));
        assert_eq!(found, [format!("[unit].value: \"b\" becomes \"{}…", "a".repeat(59))]);
    }
}
