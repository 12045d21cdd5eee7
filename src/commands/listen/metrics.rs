//! Metrics of the shipping side.

use crate::ship::Stats;
use crate::source::http::metrics::{head, sample};
use crate::spool::Backlog;

/// Writes them in Prometheus' text format.
pub(super) fn delivery_metrics(out: &mut String, stats: Option<&Stats>, backlog: &Backlog) {
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        head(out, name, kind, help);
        sample(out, name, "", value);
    };
    one("testwire_spool_entries", "gauge", "Entries that wait for Loki.", backlog.entries as f64);
    one("testwire_spool_bytes", "gauge", "Bytes of entries that wait for Loki.", backlog.bytes as f64);
    let oldest = backlog.oldest.unwrap_or_default().as_secs_f64();
    one("testwire_spool_oldest_seconds", "gauge", "How long the oldest of them has waited.", oldest);
    let none = Stats::default();
    let stats = stats.unwrap_or(&none);
    one("testwire_pushed_entries_total", "counter", "Entries that Loki took.", stats.pushed_entries() as f64);
    one("testwire_pushed_bytes_total", "counter", "Bytes of entries that Loki took.", stats.pushed_bytes() as f64);
    let last = stats.last_success().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    one("testwire_last_push_timestamp_seconds", "gauge", "When Loki last took entries; 0: never.", last.as_secs_f64());
    head(out, "testwire_pushes_total", "counter", "Pushes, by what became of them.");
    for (outcome, count) in stats.outcomes() {
        sample(out, "testwire_pushes_total", &format!("{{outcome=\"{outcome}\"}}"), count);
    }
    let name = "testwire_push_duration_seconds";
    let answers = stats.answers();
    head(out, name, "histogram", "How long Loki took to answer pushes.");
    for (bound, count) in answers.cumulative() {
        let le = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
        sample(out, &format!("{name}_bucket"), &format!("{{le=\"{le}\"}}"), count);
    }
    sample(out, &format!("{name}_sum"), "", answers.total().as_secs_f64());
    sample(out, &format!("{name}_count"), "", answers.count());
    head(out, "testwire_rejected_entries_total", "counter", "Entries that Loki refused, by its reason.");
    for (reason, count) in stats.rejected() {
        sample(out, "testwire_rejected_entries_total", &format!("{{reason=\"{}\"}}", reason.as_str()), count);
    }
}
