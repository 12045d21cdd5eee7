//! How a run and its delivery ended, for the person and for the exit code.

use std::io::{self, Write as _};

use super::status_line::seconds;
use crate::config::Settings;
use crate::event::RunStatus;
use crate::exit::Exit;
use crate::normalize::RunInfo;
use crate::pipeline::intake::Report;

/// Speaks to the person, unless `--quiet`.
pub(super) struct Says {
    pub(super) quiet: bool,
    /// Where Loki is.
    pub(super) loki: String,
    /// Where the run can be watched, if it is sent to Loki.
    pub(super) link: Option<String>,
}

/// How it all ended.
pub(super) struct Outcome {
    /// What the intake saw.
    pub(super) report: Report,
    /// Entries that Loki has not got.
    pub(super) left: u64,
    /// Entries that Loki refused.
    pub(super) rejected: u64,
    /// What went wrong last on the way to Loki.
    pub(super) last_error: Option<String>,
    pub(super) says: Says,
}

impl Outcome {
    /// True if every entry has arrived or is in the spool, where the next process finds it.
    pub(super) fn is_safe(&self) -> bool {
        self.report.output_error.is_none()
    }

    /// Says how the run and the delivery ended.
    pub(super) fn summarise(&self) {
        self.says.line(&self.text());
        self.warn();
    }

    /// The same in a line, without what went wrong with the delivery.
    pub(super) fn text(&self) -> String {
        let report = &self.report;
        let mut text = match report.status {
            None => "no run was seen".to_owned(),
            Some(status) => {
                let time = seconds(report.elapsed);
                format!("{} {} in {time}", status.as_str().to_uppercase(), report.counters.summary())
            }
        };
        if self.says.link.is_some() {
            let sent = report.entries.saturating_sub(self.left + self.rejected);
            text.push_str(&format!("; {sent} of {} entries in Loki", report.entries));
        }
        text
    }

    /// Says what went wrong, if anything did.
    pub(super) fn warn(&self) {
        let report = &self.report;
        if self.left > 0 {
            let why = self.last_error.as_deref().unwrap_or("it did not answer in time");
            eprint_line(&format!(
                "warning: {} entries wait in the spool for Loki at {}: {why}; the next start or `testwire flush` delivers them",
                self.left, self.says.loki
            ));
        }
        if self.rejected > 0 {
            eprint_line(&format!(
                "warning: Loki refused {} entries; they are kept in rejected/ with its answer",
                self.rejected
            ));
        }
        if let Some(error) = &report.input_error {
            eprint_line(&format!("error: an input could not be read to its end: {error}"));
        }
        if let Some(error) = &report.output_error {
            eprint_line(&format!("error: {error}"));
        }
        if report.unknown_format {
            eprint_line(
                "warning: the input's format was not recognised, so every line was kept as a log line; name it with --format",
            );
        }
    }

    /// The exit code of a command that only forwards. `judge`: a failed run is a failure.
    pub(super) fn exit(&self, judge: bool) -> Exit {
        let failed = matches!(self.report.status, Some(RunStatus::Failed | RunStatus::Aborted));
        if self.report.input_error.is_some() || self.report.output_error.is_some() {
            Exit::Input
        } else if judge && failed {
            Exit::RunFailed
        } else if self.left > 0 {
            Exit::Undelivered
        } else if self.rejected > 0 {
            Exit::Rejected
        } else {
            Exit::Ok
        }
    }
}

impl Says {
    pub(super) fn line(&self, text: &str) {
        if !self.quiet {
            eprint_line(&format!("testwire: {text}"));
        }
    }
}

/// A closed standard error is no reason to stop.
fn eprint_line(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// The run on the `live` dashboard.
pub(super) fn link(settings: &Settings, info: &RunInfo) -> String {
    let variables = [("var-project", &info.project), ("var-env", &info.env), ("var-run_id", &info.run_id)];
    let variables = variables.map(|(name, value)| (name, value.as_str()));
    dashboard_link(settings, "testwire-live", &variables, crate::pipeline::intake::now().0 / 1_000_000)
}

/// A dashboard with these variables, from a minute before `began`, in milliseconds since the epoch, until now.
pub(super) fn dashboard_link(settings: &Settings, uid: &str, variables: &[(&str, &str)], began: i64) -> String {
    let base = settings.grafana_url.join(&format!("/d/{uid}"));
    let from = (began - 60_000).to_string();
    let query = variables.iter().copied().chain([("from", from.as_str()), ("to", "now")]);
    reqwest::Url::parse_with_params(&base, query).map_or(base, String::from)
}
