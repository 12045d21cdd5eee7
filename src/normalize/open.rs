//! Tests under way.

use std::ops::Range;
use std::time::Duration;

use crate::event::{TestRef, Timestamp};

/// A test under way.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) suite: String,
    pub(super) worker: String,
    pub(super) tags: String,
    pub(super) attempt: u32,
    pub(super) started: Timestamp,
    /// Since when it runs; `None` while it waits for its turn.
    #[serde(default)]
    pub(super) since: Option<Timestamp>,
    /// How long it ran before that.
    #[serde(default)]
    pub(super) ran: Duration,
    /// Key of the test that it is a part of, if that is under way.
    #[serde(default)]
    pub(super) whole: Option<u64>,
    /// Parts of it that are under way.
    #[serde(default)]
    pub(super) parts: u32,
    /// True once it had a part, so that its time is mostly that of its parts.
    #[serde(default)]
    pub(super) has_parts: bool,
    /// Its last line of output, as far as it is kept.
    pub(super) last_output: String,
    /// True once it was announced as hung.
    pub(super) is_hung: bool,
}

impl Open {
    /// An attempt that begins.
    pub(super) fn new(test: &TestRef<'_>, attempt: u32, started: Timestamp) -> Self {
        Self {
            id: test.id.clone().into_owned(),
            suite: test.suite.clone().into_owned(),
            worker: test.worker.clone().into_owned(),
            tags: String::new(),
            attempt,
            started,
            since: Some(started),
            ran: Duration::ZERO,
            whole: None,
            parts: 0,
            has_parts: false,
            last_output: String::new(),
            is_hung: false,
        }
    }

    /// How long it has been running; waiting does not count.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        self.ran + self.since.map(|since| now.since(since)).unwrap_or_default()
    }

    /// From when to when it ran last, if it took so long altogether and its end is told now.
    pub(super) fn last_turn(&self, took: Duration, told: Timestamp) -> Range<Timestamp> {
        let last = i64::try_from(took.saturating_sub(self.ran).as_nanos()).unwrap_or(i64::MAX);
        let since = self.since.unwrap_or(told);
        since..Timestamp(since.0.saturating_add(last)).min(told)
    }

    /// True while it waits for its turn.
    pub(super) fn is_paused(&self) -> bool {
        self.since.is_none()
    }

    /// True if it runs by itself: it neither waits for its turn, nor for its parts.
    pub(super) fn is_working(&self) -> bool {
        self.since.is_some() && self.parts == 0
    }
}
