//! What `run`, `pipe`, `listen` and `demo` know of earlier runs and of known failures.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tokio::runtime::Handle;

use super::shipping::client;
use crate::config::{Output as Destination, Settings, Zone};
use crate::exit::{Exit, Failure};
use crate::history::disk::Historian;
use crate::history::rebuild::Rebuilder;
use crate::normalize::{Known, KnownFailure, Normalizer};

/// What every run is given at its beginning.
#[derive(Clone)]
pub(crate) struct Earlier {
    historian: Historian,
    known: Known,
    hung_after: std::time::Duration,
}

impl Earlier {
    /// As configured; nothing is asked of Loki yet.
    ///
    /// # Errors
    /// If the file of known failures cannot be used, or a secret cannot be read.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        Self::with(settings, false)
    }

    /// The same for a process that has all of its runs, whatever their shards are called.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of_daemon(settings: &Settings) -> Result<Self, Failure> {
        Self::with(settings, true)
    }

    fn with(settings: &Settings, has_all: bool) -> Result<Self, Failure> {
        let history = &settings.history;
        let known = history.known_failures.as_deref().map(|path| read(path, settings.timezone)).transpose()?;
        let rebuilder = if settings.output == Destination::Loki {
            Some(Rebuilder::new(client(settings)?, Handle::current(), history.baseline_branch.to_string()))
        } else {
            None
        };
        Ok(Self {
            historian: Historian::new(&settings.state_dir, rebuilder, has_all),
            known: known.unwrap_or_default(),
            hung_after: history.hung_after,
        })
    }

    /// For runs of dead processes: which failures were known is not known any more.
    pub(crate) fn of_dead(settings: &Settings) -> Self {
        let historian = Historian::new(&settings.state_dir, None, true);
        Self { historian, known: Known::default(), hung_after: settings.history.hung_after }
    }

    /// Waits until the results of all runs are kept.
    pub(crate) fn finish(&self) {
        self.historian.finish();
    }

    /// Gives it to a run.
    pub(crate) fn prepare(&self, normalizer: &mut Normalizer) {
        normalizer.remember(self.historian.memory());
        normalizer.set_known(self.known.clone());
        normalizer.set_hung_after(self.hung_after);
    }
}

/// The file of known failures.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    known: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    pattern: String,
    reason: String,
    until: Option<toml::value::Datetime>,
}

fn read(path: &Path, zone: Zone) -> Result<Known, Failure> {
    let what = || format!("cannot use the known failures in {}", path.display());
    let hint = "it is TOML: [[known]], pattern = \"shop.test_pay*\", reason = \"ticket 12\", until = 2026-12-31";
    let text = fs::read_to_string(path).map_err(|e| Failure::new(Exit::Config, what()).cause(&e))?;
    parse(&text, zone).map_err(|e| Failure::new(Exit::Config, format!("{}: {e}", what())).hint(hint))
}

fn parse(text: &str, zone: Zone) -> Result<Known, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim().replace('\n', " "))?;
    let entries = file.known.into_iter().map(|Row { pattern, reason, until }| {
        if pattern.is_empty() || reason.trim().is_empty() {
            return Err("a pattern and a reason must not be empty".to_owned());
        }
        let until = until
            .map(|until| {
                let day = until.date.filter(|_| until.time.is_none()).and_then(|date| {
                    chrono::NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())
                });
                // The day itself counts still.
                let end = day.and_then(|day| zone.timestamp(day.succ_opt()?.and_hms_opt(0, 0, 0)?));
                end.ok_or_else(|| format!("{until} is no day"))
            })
            .transpose()?;
        Ok(KnownFailure { pattern, reason, until })
    });
    Ok(Known::new(entries.collect::<Result<_, String>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_known_failures_has_patterns_reasons_and_days() {
        let zone: Zone = "UTC".parse().unwrap();
        let text = "[[known]]\npattern = \"a*\"\nreason = \"x\"\nuntil = 2026-12-31\n[[known]]\npattern = \"b\"\nreason = \"y\"\n";
        let known = format!("{:?}", parse(text, zone).unwrap());
        assert!(known.contains("until: Some(Timestamp(1798761600000000000))"), "{known}");
        assert!(known.contains("pattern: \"b\", reason: \"y\", until: None"), "{known}");
        for wrong in [
            "[[known]]\npattern = \"a\"\n",
            "[[known]]\npattern = \"\"\nreason = \"x\"\n",
            "[[known]]\npattern = \"a\"\nreason = \"x\"\nuntil = 10:00:00\n",
            "[[known]]\npattern = \"a\"\nreason = \"x\"\nuntli = 2026-12-31\n",
            "known = 1",
        ] {
            assert!(parse(wrong, zone).is_err(), "{wrong}");
        }
    }
}
