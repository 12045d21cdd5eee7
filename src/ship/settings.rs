//! How much is pushed at a time, and when.

use std::time::Duration;

/// How entries are batched.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the entries of a busy stream are collected.
    pub linger: Duration,
    /// Encoded entries of one push in bytes, labels not counted. Loki's real limit is 4 MiB.
    pub batch_bytes: usize,
    /// Pushes under way at a time; those of streams in trouble take at most half.
    pub in_flight: usize,
    /// Bytes of entries that one stream may hold in memory before they are pushed.
    pub stream_ahead: usize,
    /// The same for all streams.
    pub ahead: usize,
    /// Most bytes a second of one stream; `None`: no bound. See [`Settings::below_sharding`].
    pub stream_rate: Option<usize>,
}

impl Settings {
    /// Keeps each stream below the rate (bytes a second) from which on Loki deals the entries of a push out to several
    /// streams of its own. It then answers as for a push with several streams: 204 although it has refused some (measured
    /// on 3.7: 56 of 89 refused entries). Loki adds the size of the push to the stream's rate, so pushes become smaller too.
    #[must_use]
    pub fn below_sharding(mut self, rate: Option<usize>) -> Self {
        if let Some(rate) = rate {
            self.stream_rate = Some(rate / 4 * 3);
            self.batch_bytes = self.batch_bytes.min(rate / 8);
        }
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            linger: Duration::from_millis(50),
            batch_bytes: MIB,
            in_flight: 8,
            stream_ahead: 2 * MIB,
            ahead: 8 * MIB,
            stream_rate: None,
        }
    }
}
