//! Entries of log lines and metrics that belong to no run.

use std::collections::HashMap;
use std::sync::Arc;

use super::hub::Values;
use crate::decode::clients::Ambient;
use crate::event::{Level, Timestamp};
use crate::loki::entry::{Entry, EntrySink, Stream};
use crate::loki::limits::Limits;
use crate::names::{kind, label, meta};
use crate::normalize::{fit, longest_line, pieces};

/// The label `runner` of entries of no runner.
const APP: &str = "app";
/// Loki refuses what is older than a week or more than 10 minutes ahead; a tailer reads such times out of lines now and
/// then, and mostly wrongly.
const PAST_NANOS: i64 = 6 * 24 * 3_600 * 1_000_000_000;
const AHEAD_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// Writes them, numbered by themselves.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct AmbientWriter {
    pub(super) seq: u64,
    #[serde(skip)]
    streams: HashMap<[String; 4], Arc<Stream>>,
    sources: Values,
    #[serde(skip)]
    pub(super) limits: Limits,
}

impl AmbientWriter {
    pub(super) fn write(
        &mut self,
        what: &Ambient,
        project: String,
        env: String,
        now: Timestamp,
        out: &mut dyn EntrySink,
    ) {
        let source = self.sources.bounded(source_name(&what.source));
        let kind = if what.metric.is_some() { kind::METRIC } else { kind::LOG };
        let stream =
            Arc::clone(self.streams.entry([project, env, kind.to_owned(), source]).or_insert_with_key(|key| {
                let [project, env, kind, source] = key.clone();
                Stream::new(vec![
                    (label::SERVICE_NAME, project),
                    (label::ENV, env),
                    (label::RUNNER, APP.to_owned()),
                    (label::KIND, kind),
                    (label::SOURCE, source),
                ])
            }));
        let own = what.time.unwrap_or(now);
        let usable = (now.0 - PAST_NANOS..now.0 + AHEAD_NANOS).contains(&own.0);
        let time = if usable { own } else { now };
        let event_time = if usable { String::new() } else { rfc3339(own) };
        let (value, unit) =
            what.metric.as_ref().map(|(value, unit)| (value.to_string(), unit.as_str())).unwrap_or_default();
        let pairs = [
            (meta::LEVEL, what.level.unwrap_or(Level::Info).as_str()),
            (meta::HOST, what.host.as_str()),
            (meta::VALUE, value.as_str()),
            (meta::UNIT, unit),
            (meta::EVENT_TIME, event_time.as_str()),
        ];
        let mut metadata: Vec<(&str, &str)> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        fit(&mut metadata, &self.limits);
        let pieces = pieces(&what.text, longest_line(self.limits.line));
        for (number, line) in pieces.iter().enumerate() {
            self.seq += 1;
            let part = format!("{}/{}", number + 1, pieces.len());
            let mut metadata = metadata.clone();
            if pieces.len() > 1 {
                metadata.push((meta::PART, &part));
            }
            // As in a run: the last digits of the time keep equal lines apart.
            let time = Timestamp(time.0.div_euclid(1000) * 1000 + (self.seq % 1000) as i64);
            out.entry(&stream, &Entry { time, seq: self.seq, line, metadata: &metadata });
        }
    }
}

/// A label value for people: at most 64 characters, none a control character.
fn source_name(text: &str) -> String {
    let name: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(64).collect();
    if name.is_empty() { "unknown".into() } else { name }
}

fn rfc3339(time: Timestamp) -> String {
    chrono::DateTime::from_timestamp_nanos(time.0).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
