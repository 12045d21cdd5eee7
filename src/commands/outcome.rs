//! How a run and its delivery ended, for a person and for the shell.

use super::shipping::{Says, eprint_line};
use super::status_line::seconds;
use crate::event::RunStatus;
use crate::exit::Exit;
use crate::pipeline::intake::Report;

/// How it all ended.
pub(super) struct Outcome {
    /// What the intake saw.
    pub report: Report,
    /// Entries that Loki has not got.
    pub(super) left: u64,
    pub(super) rejected: u64,
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
            let sent = report.handed_on.saturating_sub(self.left + self.rejected);
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
        for complaint in &report.complaints {
            eprint_line(&format!("warning: {complaint}"));
        }
        if let Some(error) = &report.input_error {
            eprint_line(&format!("error: an input could not be read to its end: {error}"));
        }
        if let Some(damage) = &report.damaged {
            eprint_line(&format!("error: the report is damaged: {damage}; what came before is kept"));
        } else if let (Some(format), Some(_)) = (report.eventless, report.status) {
            eprint_line(&format!("error: the input has no event of the format {format}, so its run counts as aborted"));
        }
        if let Some(error) = &report.output_error {
            eprint_line(&format!("error: {error}"));
        }
        let lost_room = report.entries.saturating_sub(report.handed_on);
        if lost_room > 0 && self.says.link.is_some() {
            let then = if report.is_left_to_others {
                "what the listener wrote is in its event file still, and the next start takes it up"
            } else {
                "they are not kept, and `testwire audit` shows them as missing"
            };
            eprint_line(&format!("warning: {lost_room} entries found no room in the spool (--spool-max); {then}"));
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
        let unread = self.report.input_error.is_some() || self.report.damaged.is_some();
        if unread || self.report.output_error.is_some() {
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
