//! `testwire check`: are the settings right, does Loki keep what it is given, and does Grafana show it?

mod canary;
mod grafana;
mod limits;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::shipping::client;
use crate::config::{Auth, Origin, Settings};
use crate::exit::{Exit, Failure};
use crate::loki::push::Client;
use crate::loki::query::QueryError;

/// How long Loki or Grafana may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

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
    let mut sent = None;
    if goes_on {
        let (findings, canary) = canary::canary(&client, settings).await;
        for (name, finding) in findings {
            page.step(name, &finding);
        }
        for finding in limits::findings(client.config(ANSWER_WITHIN).await.as_deref()) {
            page.step("limits", &finding);
        }
        sent = canary;
    }
    for (name, finding) in grafana::findings(settings, sent.as_ref()).await {
        page.step(name, &finding);
    }
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
