//! Settings of what is told beside earlier runs.

use std::time::Duration;

use super::super::value::{Name, Period};
use super::super::{History, setting};
use super::{ConfigError, Layers};

/// Running tests are looked at once a second.
const MIN_HUNG_AFTER: Duration = Duration::from_secs(1);

pub(super) fn history(from: &mut Layers<'_>) -> Result<History, ConfigError> {
    let long_enough = |period: &Period| period.0 >= MIN_HUNG_AFTER;
    Ok(History {
        baseline_branch: from.value::<Name>(&setting::BASELINE_BRANCH)?,
        hung_after: from.value_if(&setting::HUNG_AFTER, long_enough, "a duration of at least 1s")?.0,
        known_failures: from.path(&setting::KNOWN_FAILURES)?,
    })
}
