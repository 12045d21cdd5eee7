//! `testwire check`: are the settings right, and does Loki keep what it is given?

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::time::{Instant, sleep};

use super::session::run_info;
use super::shipping::client;
use crate::config::{Auth, Origin, Settings};
use crate::event::Timestamp;
use crate::exit::{Exit, Failure};
use crate::loki::encode::{Encoder, Packer};
use crate::loki::entry::{Entry, EntrySink as _, Stream};
use crate::loki::push::{Client, Outcome, RetryClass, Transport, brief};
use crate::loki::query::{QueryError, Row};
use crate::loki::reason::Reason;
use crate::names::{kind, label, meta};

/// How long Loki or Grafana may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the canary may take from Loki's 204 until a query finds it. In one process that is some milliseconds.
const CANARY_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Label `runner` of the canary, so that no dashboard takes it for a runner's.
const RUNNER: &str = "check";
/// Dashboard whose presence is looked for.
const DASHBOARD: &str = "/api/dashboards/uid/testwire-live";

/// Result of a step, and what to do about it.
enum Finding {
    Ok(String),
    Warning(String, String),
    Failed(Exit, String, String),
}

/// Prints what is found, step by step, and says how it ends: the code of the first failure.
///
/// # Errors
/// If a secret or a certificate cannot be used.
pub async fn check(settings: &Settings) -> Result<Exit, Failure> {
    let mut page = Page { colour: colour(), width: width(), exit: Exit::Ok };
    let client = match client(settings) {
        Ok(client) => client,
        Err(failure) => {
            page.step("settings", &Finding::Failed(failure.exit(), describe(settings), "see below".into()));
            return Err(failure);
        }
    };
    page.step("settings", &Finding::Ok(describe(settings)));
    page.step("state", &state_dir(&settings.state_dir));
    let found = loki(&client, settings).await;
    let goes_on = !matches!(found, Finding::Failed(..));
    page.step("Loki", &found);
    if goes_on {
        for (name, finding) in canary(&client, settings).await {
            page.step(name, &finding);
        }
    }
    page.step("Grafana", &grafana(settings).await);
    Ok(page.exit)
}

/// As wide as name and word of a step.
const INDENT: &str = "                    ";

/// What was said so far.
struct Page {
    colour: bool,
    /// Columns beside the indent.
    width: usize,
    exit: Exit,
}

impl Page {
    fn step(&mut self, name: &str, finding: &Finding) {
        let (word, colour, text, hint) = match finding {
            Finding::Ok(text) => ("ok", "32", text, ""),
            Finding::Warning(text, hint) => ("warning", "33", text, hint.as_str()),
            Finding::Failed(exit, text, hint) => {
                if self.exit == Exit::Ok {
                    self.exit = *exit;
                }
                ("FAILED", "1;31", text, hint.as_str())
            }
        };
        let word = format!("{word:8}");
        let word = if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        let mut lines = format!("{name:11} {word}");
        let hint = (!hint.is_empty()).then(|| format!("hint: {hint}"));
        for (i, line) in text.lines().chain(hint.as_deref()).flat_map(|text| wrap(text, self.width)).enumerate() {
            lines.push_str(if i > 0 { INDENT } else { "" });
            lines.push_str(&line);
            lines.push('\n');
        }
        // A reader that has gone needs no report; the exit code still says how it ended.
        io::stdout().write_all(lines.as_bytes()).ok();
    }
}

fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A terminal's width up to 100 columns, less the indent.
fn width() -> usize {
    let columns = tcgetwinsize(io::stdout()).map_or(100, |size| usize::from(size.ws_col));
    columns.clamp(60, 100) - INDENT.len()
}

/// Breaks a line between words. A single word may be longer.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The settings that matter here; no secret.
fn describe(settings: &Settings) -> String {
    let loki = &settings.loki;
    let tenant = loki.tenant.as_ref().map_or_else(|| "no tenant".to_owned(), |t| format!("tenant {}", t.as_str()));
    let auth = match &loki.auth {
        Auth::None => "no authentication".to_owned(),
        Auth::Basic { user, password } => format!("user {user} with the password from {password}"),
        Auth::Bearer { token } => format!("the bearer token from {token}"),
    };
    let mut text = format!("project {}, env {}\n", settings.run.project, settings.run.env);
    text.push_str(&format!("Loki {}, {tenant}, {auth}", loki.url));
    let file = settings.shown.iter().find_map(|row| match &row.origin {
        Origin::File(path, _) => Some(path.display()),
        _ => None,
    });
    match file {
        Some(file) => text.push_str(&format!("\nfile {file}")),
        None => text.push_str("\nno file of settings"),
    }
    text
}

fn state_dir(directory: &Path) -> Finding {
    let probe = directory.join(format!("check.{}", std::process::id()));
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&probe, "testwire check\n"));
    let removed = written.and_then(|()| fs::remove_file(&probe));
    match removed {
        Ok(()) => Finding::Ok(format!("{} can be written", directory.display())),
        Err(error) => Finding::Failed(
            Exit::Spool,
            format!("cannot write below {}: {error}", directory.display()),
            "choose another directory with --state-dir, or mend its permissions".into(),
        ),
    }
}

/// Whether Loki answers. A gateway before it need not let these questions through: then the canary decides.
async fn loki(client: &Client, settings: &Settings) -> Finding {
    let url = &settings.loki.url;
    let failed = |error: &QueryError| {
        let hint = match error {
            QueryError::Connection(_) => {
                "start Loki and Grafana with `docker compose up -d`, or say with --loki-url where Loki is; a run \
                 started without Loki still works"
            }
            QueryError::Status { status: 503, .. } => "a Loki that has just started needs some seconds; try again",
            _ => return None,
        };
        Some(Finding::Failed(Exit::Undelivered, format!("{url}: {error}"), hint.into()))
    };
    let version = client.version(ANSWER_WITHIN).await;
    if let Some(finding) = version.as_ref().err().and_then(failed) {
        return finding;
    }
    if let Some(finding) = client.ready(ANSWER_WITHIN).await.err().as_ref().and_then(failed) {
        return finding;
    }
    match version {
        Ok(version) if version.is_empty() => Finding::Ok(format!("{url} answers; it is a build without a version")),
        Ok(version) => Finding::Ok(format!("{url} answers, version {version}")),
        Err(_) => Finding::Ok(format!("{url} answers, but does not tell its version")),
    }
}

/// Sends an entry and looks for it: Loki may answer 204 and still drop what it was given.
async fn canary(client: &Client, settings: &Settings) -> Vec<(&'static str, Finding)> {
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
        return vec![finding];
    }
    match look_for(client, &stream, time, &info.run_id).await {
        Ok(Some(row)) => {
            let back = format!("an entry came back {} ms after it was sent", begun.elapsed().as_millis());
            let metadata = if row.get(meta::RUN_ID) == Some(info.run_id.as_str()) {
                Finding::Ok("structured metadata is kept".into())
            } else {
                no_metadata("the entry came back without its structured metadata".into())
            };
            vec![("canary", Finding::Ok(back)), ("metadata", metadata)]
        }
        Ok(None) => {
            let text =
                format!("Loki accepted an entry (204), but no query finds it within {} s", CANARY_WITHIN.as_secs());
            let hint = "see Loki's log and loki_discarded_samples_total in its /metrics, and whether it reads where it \
                        writes (same tenant, same store)";
            vec![("canary", Finding::Failed(Exit::Undelivered, text, hint.into()))]
        }
        Err(error) if error.is_about_auth() => {
            let text = format!("an entry was accepted, but it may not be read back: {error}");
            let hint = "credentials that may only write are enough for testwire; that Loki keeps entries is not shown";
            vec![("canary", Finding::Warning(text, hint.into()))]
        }
        Err(error) => {
            let text = format!("an entry was accepted, but cannot be read back: {error}");
            let hint = "testwire needs no queries, but Grafana does: see Loki's log";
            vec![("canary", Finding::Failed(Exit::Undelivered, text, hint.into()))]
        }
    }
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

/// Testwire itself does not need Grafana, so nothing here is a failure.
async fn grafana(settings: &Settings) -> Finding {
    let url = &settings.grafana_url;
    // The same rules for proxies, redirects and bounds as for Loki; none of Loki's credentials.
    let Ok(client) = Client::new(&Transport::new(url.as_str())) else {
        return Finding::Warning(format!("{url} cannot be asked"), "see --grafana-url".into());
    };
    let get = |path| client.get(path, &[], ANSWER_WITHIN, 4 << 20);
    let health = match get("/api/health").await {
        Ok(health) => health,
        Err(error) => {
            let text = match error {
                QueryError::Status { status, .. } => format!("{url} answers with {status}"),
                error => format!("{url}: {error}"),
            };
            let hint =
                "start it with `docker compose up -d`, or say with --grafana-url where it is; only links need it";
            return Finding::Warning(text, hint.into());
        }
    };
    let health: serde_json::Value = serde_json::from_str(&health).unwrap_or_default();
    let version = health["version"].as_str().map(|version| format!(", version {version}")).unwrap_or_default();
    match get(DASHBOARD).await {
        Err(QueryError::Status { status: 404, .. }) => Finding::Warning(
            format!("{url} answers{version}, but does not have testwire's dashboards"),
            "`testwire dashboards export DIR` writes them; Grafana imports or provisions them".into(),
        ),
        Err(QueryError::Status { status: 401 | 403, .. }) => {
            Finding::Ok(format!("{url} answers{version}; whether it has the dashboards is not for everyone to see"))
        }
        _ => Finding::Ok(format!("{url} answers{version}")),
    }
}
