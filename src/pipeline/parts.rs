//! Files of a batch that come and go while the intake runs.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::feed::Feed;
use super::intake::LAST_WORDS;
use super::output::Output;
use crate::event::Timestamp;
use crate::normalize::{Normalizer, Part, PartEnd};

/// A file that begins.
pub struct PartStart {
    /// The file.
    pub part: Part,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// What it says.
    pub feeds: Vec<Feed>,
}

/// A file whose process is gone.
#[derive(Debug)]
pub struct PartOver {
    /// The file.
    pub part: Part,
    /// How it ended.
    pub end: PartEnd,
    /// Told when all that the file said has been handed on.
    pub told: oneshot::Sender<()>,
}

/// Files whose last words are still to be read.
#[derive(Default)]
pub(super) struct Ending(Vec<Over>);

struct Over {
    over: PartOver,
    since: Instant,
    heard: Instant,
}

impl Ending {
    pub(super) fn add(&mut self, over: PartOver) {
        let now = Instant::now();
        self.0.push(Over { over, since: now, heard: now });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the files that have nothing more to say, by the last look at their feeds: pipes have ended, or were silent for
    /// `quiet`, because a process that was left over has them. One that goes on writing is not listened to for ever. Returns whom to tell once that is handed on.
    pub(super) fn settle(
        &mut self,
        feeds: &mut Vec<Feed>,
        quiet: Duration,
        normalizer: &mut Normalizer,
        output: &mut dyn Output,
        now: Timestamp,
    ) -> Vec<oneshot::Sender<()>> {
        let mut told = Vec::new();
        let mut rest = Vec::new();
        for mut file in self.0.drain(..) {
            let part = file.over.part.clone();
            let of_part = |feed: &Feed| feed.part.as_ref() == Some(&part);
            let is_late = file.since.elapsed() >= LAST_WORDS;
            if feeds.iter().any(|feed| of_part(feed) && (feed.has_more || feed.is_fresh && !is_late)) {
                file.heard = Instant::now();
                rest.push(file);
                continue;
            }
            let has_pipe = feeds.iter().any(|feed| of_part(feed) && !feed.ended && feed.source.pollable().is_some());
            if has_pipe && file.heard.elapsed() < quiet && !is_late {
                rest.push(file);
                continue;
            }
            let over = file.over;
            for feed in feeds.iter_mut().filter(|feed| of_part(feed) && !feed.ended) {
                feed.end(normalizer, output, now);
            }
            feeds.retain(|feed| !of_part(feed));
            normalizer.enter(None);
            normalizer.part_finished(&over.part, &over.end, now, output);
            told.push(over.told);
        }
        self.0 = rest;
        told
    }
}
