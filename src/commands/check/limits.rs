//! Limits of a Loki that will hurt one day, read from its `/config`. Pure: the text is an argument.

use std::time::Duration;

use super::Finding;
use crate::loki::limits::{config_value, duration};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Dashboards group by run and by test: a busy month has some thousand runs.
const ENOUGH_SERIES: u64 = 5_000;
/// Lines that a table or a log pane asks for.
const ENOUGH_LINES: u64 = 1_000;
/// The longest time range that the dashboards offer to look back.
const ENOUGH_HISTORY: Duration = Duration::from_secs(90 * 24 * 3600);

/// A warning for each limit that will hurt; one good word if there is none, or if Loki does not show them.
pub(super) fn findings(config: Option<&str>) -> Vec<Finding> {
    let Some(config) = config.filter(|text| config_value(text, "limits_config", "max_query_series").is_some()) else {
        return vec![Finding::Ok("not shown by this Loki; loki/loki.yaml of testwire says which matter".into())];
    };
    let rules = [series, lines, history, ages, ingesters];
    let found: Vec<Finding> = rules.iter().filter_map(|rule| rule(config)).collect();
    if found.is_empty() { vec![Finding::Ok("none of Loki's limits is in the way".into())] } else { found }
}

fn limit<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    config_value(config, "limits_config", key)
}

/// Zero is Loki's word for no limit.
fn number(config: &str, key: &str) -> Option<u64> {
    limit(config, key)?.parse().ok().filter(|number| *number > 0)
}

fn period(config: &str, section: &str, key: &str) -> Option<Duration> {
    duration(config_value(config, section, key)?).filter(|period| !period.is_zero())
}

fn series(config: &str) -> Option<Finding> {
    let most = number(config, "max_query_series").filter(|most| *most < ENOUGH_SERIES)?;
    Some(Finding::Warning(
        format!("a query may give {most} series: panels that list runs or tests fail where there are more"),
        "set max_query_series: 10000 in limits_config".into(),
    ))
}

fn lines(config: &str) -> Option<Finding> {
    let most = number(config, "max_entries_limit_per_query").filter(|most| *most < ENOUGH_LINES)?;
    Some(Finding::Warning(
        format!("a query may give {most} entries: tables and log panes ask for {ENOUGH_LINES} and fail"),
        "set max_entries_limit_per_query: 5000 in limits_config".into(),
    ))
}

fn history(config: &str) -> Option<Finding> {
    let longest = period(config, "limits_config", "max_query_length").filter(|longest| *longest < ENOUGH_HISTORY)?;
    Some(Finding::Warning(
        format!("a query may span {}: dashboards fail for longer time ranges", days(longest)),
        "set max_query_length: 0 in limits_config".into(),
    ))
}

/// What is kept longer than it is taken cannot be imported; what is taken and soon removed surprises.
fn ages(config: &str) -> Option<Finding> {
    let taken = match limit(config, "reject_old_samples") {
        Some("false") => None,
        _ => period(config, "limits_config", "reject_old_samples_max_age"),
    };
    let is_on = config_value(config, "compactor", "retention_enabled") == Some("true");
    let kept = period(config, "limits_config", "retention_period").filter(|_| is_on);
    let text = match (taken, kept) {
        (Some(taken), Some(kept)) if taken < kept => {
            format!("entries are kept for {}, but refused when they are older than {}", days(kept), days(taken))
        }
        (Some(taken), None) => {
            format!("entries are kept for ever, but refused when they are older than {}", days(taken))
        }
        (Some(taken), Some(kept)) if taken > kept => {
            format!("entries up to {} old are taken, but removed after {}", days(taken), days(kept))
        }
        (None, Some(kept)) => format!("entries of any age are taken, but removed after {}", days(kept)),
        _ => return None,
    };
    Some(Finding::Warning(
        format!("{text}: that matters for imports and long backlogs"),
        "set reject_old_samples_max_age and retention_period together in limits_config".into(),
    ))
}

/// In one process, both bounds hide old entries that are still in memory; -1 of the second removes the first.
fn ingesters(config: &str) -> Option<Finding> {
    let within = period(config, "querier", "query_ingesters_within")?;
    let looks_back = config_value(config, "ingester", "query_store_max_look_back_period")?;
    if looks_back.starts_with('-') {
        return None;
    }
    Some(Finding::Warning(
        format!("imported runs older than {} stay invisible until Loki has written them out", days(within)),
        "set query_ingesters_within: 0 in querier and, for Loki in one process, query_store_max_look_back_period: -1ns in \
         ingester"
            .into(),
    ))
}

/// `7 days`, or hours where it is less than two days.
fn days(period: Duration) -> String {
    let hours = period.as_secs() / 3600;
    if period < 2 * DAY { format!("{hours} hours") } else { format!("{} days", hours / 24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
compactor:
  retention_enabled: true
limits_config:
  reject_old_samples: true
  reject_old_samples_max_age: 52w1d
  max_query_series: 10000
  max_query_length: 8784h0m0s
  max_entries_limit_per_query: 5000
  retention_period: 52w1d
querier:
  query_ingesters_within: 0s
ingester:
  query_store_max_look_back_period: -1ns
";

    /// Texts of the warnings, and of the good word.
    fn texts(config: Option<&str>) -> Vec<String> {
        let text = |finding: Finding| match finding {
            Finding::Ok(text) => format!("ok {text}"),
            Finding::Warning(text, hint) => format!("{text} | {hint}"),
            Finding::Failed(..) => panic!("limits are no failure"),
        };
        findings(config).into_iter().map(text).collect()
    }

    #[test]
    fn a_good_loki_and_one_that_shows_nothing_get_one_good_word() {
        assert_eq!(texts(Some(GOOD)), ["ok none of Loki's limits is in the way"]);
        for config in [None, Some(""), Some("<html>")] {
            assert!(texts(config)[0].starts_with("ok not shown"), "{config:?}");
        }
    }

    #[test]
    fn each_limit_that_hurts_is_told_with_what_to_set() {
        for (good, bad, text, hint) in [
            ("max_query_series: 10000", "max_query_series: 500", "may give 500 series", "max_query_series: 10000"),
            (
                "max_entries_limit_per_query: 5000",
                "max_entries_limit_per_query: 100",
                "may give 100 entries",
                "max_entries_limit_per_query: 5000",
            ),
            ("8784h0m0s", "30d1h", "may span 30 days", "max_query_length: 0"),
            (
                "max_age: 52w1d",
                "max_age: 1w",
                "kept for 365 days, but refused when they are older than 7 days",
                "together",
            ),
            ("retention_enabled: true", "retention_enabled: false", "kept for ever, but refused", "together"),
            (
                "retention_period: 52w1d",
                "retention_period: 31d",
                "365 days old are taken, but removed after 31",
                "together",
            ),
            ("reject_old_samples: true", "reject_old_samples: false", "of any age are taken, but removed", "together"),
        ] {
            let found = texts(Some(&GOOD.replace(good, bad)));
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert!(found[0].contains(text) && found[0].contains(hint), "{bad}: {found:?}");
        }
        let late = GOOD.replace("within: 0s", "within: 3h0m0s");
        assert_eq!(texts(Some(&late)).len(), 1, "-1 removes the bound in one process");
        assert!(texts(Some(&late.replace("-1ns", "0s")))[0].contains("older than 3 hours stay invisible"));
    }
}
