//! Says on the log that Loki does not take entries, or refused some, without saying it all the time.

use std::time::Duration;

use tokio::time::Instant;

use super::bisect::Refusal;
use crate::loki::entry::Stream;
use crate::loki::push::brief;

/// While it lasts it is said again after this long.
const REPEAT: Duration = Duration::from_secs(60);

/// Since when something has been refused, and when that was said last.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    state: Option<(Instant, Instant)>,
}

impl Trouble {
    /// A push failed and will be tried again after `wait`.
    pub(super) fn tell(&mut self, stream: &Stream, error: &str, wait: Duration, now: Instant) {
        let since = match self.state {
            Some((_, said)) if now.duration_since(said) < REPEAT => return,
            Some((since, _)) => since,
            None => now,
        };
        self.state = Some((since, now));
        tracing::warn!("Loki takes no entries, which wait in the spool: {error}");
        tracing::debug!("{} is tried again in {wait:.1?}", stream.selector());
    }

    /// Every stream is accepted again.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some((since, _)) = self.state.take() {
            tracing::info!("Loki takes entries again, after {:.1?}", now.duration_since(since));
        }
    }

    /// Since when.
    pub(super) fn since(&self) -> Option<std::time::Instant> {
        self.state.map(|(since, _)| since.into_std())
    }
}

/// Tells of refused entries: at once, then what came since.
#[derive(Debug, Default)]
pub(super) struct RefusedLog {
    said: Option<Instant>,
    untold: usize,
}

impl RefusedLog {
    /// So many entries were refused and are kept aside; a person should know, as queries will not find them.
    pub(super) fn tell(&mut self, stream: &Stream, entries: usize, refusal: &Refusal, now: Instant) {
        self.untold += entries;
        if self.said.is_some_and(|said| now.duration_since(said) < REPEAT) {
            return;
        }
        self.said = Some(now);
        tracing::error!(
            entries = std::mem::take(&mut self.untold),
            stream = stream.selector(),
            reason = refusal.reason.as_str(),
            "Loki refused entries, which are kept aside as rejected: {}",
            brief(&refusal.answer)
        );
    }
}
