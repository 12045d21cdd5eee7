//! An entry that is sent and read back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ANSWER_WITHIN, Finding};
use crate::commands::session::run_info;
use crate::config::Settings;
use crate::event::Timestamp;
use crate::exit::Exit;
use crate::loki::encode::{Encoder, Packer};
use crate::loki::entry::{Entry, EntrySink as _, Stream};
use crate::loki::push::{Client, Outcome, RetryClass, brief};
use crate::loki::query::{QueryError, Row};
use crate::loki::reason::Reason;
use crate::names::{kind, label, meta};

/// How long the canary may take from Loki's 204 until a query finds it. In one process that is some milliseconds.
const CANARY_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Label `runner` of the canary, so that no dashboard takes it for a runner's.
const RUNNER: &str = "check";

/// An entry that is in Loki.
pub(super) struct Canary {
    /// Of its stream.
    pub(super) selector: String,
    /// Its time.
    pub(super) time: Timestamp,
    /// What makes it the only one.
    pub(super) run_id: String,
}

/// Sends an entry and looks for it: Loki may answer 204 and still drop what it was given. Gives what is found, and the entry
/// if it came back.
pub(super) async fn canary(client: &Client, settings: &Settings) -> (Vec<(&'static str, Finding)>, Option<Canary>) {
    let now = crate::pipeline::intake::now();
    let time = Timestamp(now.0 / 1000 * 1000 + 1);
    let info = run_info(settings, RUNNER);
    let stream = Stream::new(vec![
        (label::SERVICE_NAME, info.project),
        (label::ENV, info.env),
        (label::RUNNER, info.runner),
        (label::KIND, kind::NOTE.into()),
    ]);
    let begun = Instant::now();
    if let Some(finding) = push(client, &stream, time, &info.run_id).await {
        return (vec![finding], None);
    }
    let finding = match look_for(client, &stream, time, &info.run_id).await {
        Ok(Some(row)) => {
            let back = format!("an entry came back {} ms after it was sent", begun.elapsed().as_millis());
            let metadata = if row.get(meta::RUN_ID) == Some(info.run_id.as_str()) {
                Finding::Ok("structured metadata is kept".into())
            } else {
                no_metadata("the entry came back without its structured metadata".into())
            };
            let canary = Canary { selector: stream.selector().to_owned(), time, run_id: info.run_id };
            return (vec![("canary", Finding::Ok(back)), ("metadata", metadata)], Some(canary));
        }
        Ok(None) => {
            let text =
                format!("Loki accepted an entry (204), but no query finds it within {} s", CANARY_WITHIN.as_secs());
            let hint = "see Loki's log and loki_discarded_samples_total in its /metrics, and whether it reads where it \
                        writes (same tenant, same store)";
            Finding::Failed(Exit::Undelivered, text, hint.into())
        }
        Err(error) if error.is_about_auth() => {
            let text = format!("an entry was accepted, but it may not be read back: {error}");
            let hint = "credentials that may only write are enough for testwire; that Loki keeps entries is not shown";
            Finding::Warning(text, hint.into())
        }
        Err(error) => {
            let text = format!("an entry was accepted, but cannot be read back: {error}");
            let hint = "testwire needs no queries, but Grafana does: see Loki's log";
            Finding::Failed(Exit::Undelivered, text, hint.into())
        }
    };
    (vec![("canary", finding)], None)
}

/// What is wrong, if it is not accepted.
async fn push(client: &Client, stream: &Arc<Stream>, time: Timestamp, id: &str) -> Option<(&'static str, Finding)> {
    let mut encoder = Encoder::new();
    let metadata = [(meta::RUN_ID, id), (meta::LEVEL, "info")];
    encoder.entry(stream, &Entry { time, seq: 1, line: "CHECK by `testwire check`", metadata: &metadata });
    let chunk = encoder.take().pop()?;
    let body = Packer::default().body(stream, &[&chunk.entries]);
    let (exit, text, hint) = match client.push(body).await {
        Outcome::Accepted => return None,
        Outcome::Refused { reason: Reason::DisallowedStructuredMetadata, answer, .. } => {
            return Some(("metadata", no_metadata(brief(&answer))));
        }
        Outcome::Refused { reason, answer, .. } => {
            let hint = match reason {
                Reason::TooFarInFuture | Reason::GreaterThanMaxSampleAge | Reason::TooFarBehind => {
                    "compare the clocks of this machine and of Loki's"
                }
                _ => "mend the limit that the answer names in Loki's limits_config",
            };
            (Exit::Rejected, format!("Loki refused an entry: {}", brief(&answer)), hint)
        }
        Outcome::Split { status, answer } => {
            let hint = "something between here and Loki allows no request of 200 bytes";
            (Exit::Undelivered, format!("Loki answered {status}: {}", brief(&answer)), hint)
        }
        Outcome::Retry { class, error, .. } => (Exit::Undelivered, error, push_hint(class)),
    };
    Some(("canary", Finding::Failed(exit, text, hint.into())))
}

fn push_hint(class: RetryClass) -> &'static str {
    match class {
        RetryClass::Person => {
            "after 401 or 403 check --user with --password-file, or --bearer-token-file, and --tenant; after 404 or a \
             redirect check --loki-url, which must be Loki's own, not Grafana's"
        }
        RetryClass::NotStored => "only 204 means stored: this Loki blocks ingestion, or it is not Loki",
        RetryClass::RateLimited => "testwire would try again; if this stays, raise ingestion_rate_mb in Loki",
        RetryClass::Server | RetryClass::Timeout | RetryClass::Connection | RetryClass::Local => {
            "testwire would try again; if this stays, see Loki's log"
        }
    }
}

fn no_metadata(text: String) -> Finding {
    let hint =
        "set allow_structured_metadata: true in Loki's limits_config; it needs schema v13 (loki/loki.yaml has both)";
    Finding::Failed(Exit::Rejected, text, hint.into())
}

/// Asks for the entry until it is there or the time is over.
async fn look_for(client: &Client, stream: &Stream, time: Timestamp, id: &str) -> Result<Option<Row>, QueryError> {
    let deadline = Instant::now() + CANARY_WITHIN;
    loop {
        let mut found = None;
        let end = Timestamp(time.0 + 1);
        // By time and labels alone, so that an entry that lost its metadata is found as well.
        let take = |row: Row| {
            if row.get(meta::RUN_ID).is_none_or(|run| run == id) {
                found = Some(row);
            }
        };
        client.query_range(stream.selector(), time, end, ANSWER_WITHIN, take).await?;
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        sleep(LOOK_EVERY).await;
    }
}
