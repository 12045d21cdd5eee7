//! Entries and their streams: what every entry has, log lines, and lines that are too long for one.

use std::borrow::Cow;
use std::sync::Arc;

use super::pairs::Pairs;
use super::running::{Found, Hints, Window};
use super::{Normalizer, hung, text};
use crate::event::{self, LogLine, Timestamp};
use crate::history::past::test_key;
use crate::loki::entry::{Entry, EntrySink, Stream};
use crate::names::{kind, label, meta, source};

/// What tells the streams of a run apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamKey {
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) source: Cow<'static, str>,
}

impl Normalizer {
    pub(super) fn log(&mut self, log: &LogLine<'_>, has_time: bool, time: Timestamp, out: &mut dyn EntrySink) {
        let source = match &log.source {
            event::Source::Named(name) => Cow::Owned(name.clone().into_owned()),
            event::Source::Stdout => Cow::Borrowed(source::STDOUT),
            event::Source::Stderr => Cow::Borrowed(source::STDERR),
            event::Source::Runner => Cow::Borrowed(source::RUNNER),
        };
        let found = match &log.test {
            Some(_) => Found::None,
            None if has_time => self.running.lock().find(Window::new(Some(time), 0, time), Hints::default()),
            None => self.running.lock().now(),
        };
        let several = if let Found::Several(count) = &found { count.to_string() } else { String::new() };
        let mut pairs = Pairs::new(log.level.map_or("info", event::Level::as_str));
        if let Some(id) = log.test.as_ref().map(|test| test.id.as_ref()).or(found.test())
            && let Some(open) = self.tests.get_open_mut(test_key(id))
        {
            open.last_output.clear();
            open.last_output.push_str(hung::last_line(&log.text));
        }
        match (&log.test, &found) {
            (Some(test), _) => pairs.push(meta::TEST, &test.id),
            (None, Found::Test(id)) => pairs.push(meta::TEST, id),
            (None, _) => pairs.push(meta::TESTS_RUNNING, &several),
        }
        self.write(StreamKey { kind: kind::LOG, status: "", source }, time, &log.text, pairs, out);
    }

    /// Writes a line as one entry, or as several if it is too long for one.
    pub(super) fn write(
        &mut self,
        key: StreamKey,
        time: Timestamp,
        line: &str,
        pairs: Pairs<'_>,
        out: &mut dyn EntrySink,
    ) {
        let stream = self.stream(key);
        let max = self.longest_line();
        if line.len() <= max {
            return self.write_piece(&stream, time, line, "", pairs, out);
        }
        let pieces = text::pieces(line, max);
        for (i, piece) in pieces.iter().enumerate() {
            let part = format!("{}/{}", i + 1, pieces.len());
            self.write_piece(&stream, time, piece, &part, pairs.clone(), out);
        }
    }

    fn write_piece(
        &mut self,
        stream: &Arc<Stream>,
        time: Timestamp,
        line: &str,
        part: &str,
        pairs: Pairs<'_>,
        out: &mut dyn EntrySink,
    ) {
        self.seq += 1;
        // A duplicate is dropped by Loki only if the time stamp is equal too, and equal entries are lost: the
        // sequence number in the nanoseconds keeps different entries apart and re-sent ones identical.
        let time = Timestamp(time.0.div_euclid(1000) * 1000 + (self.seq % 1000) as i64);
        let mut pairs = pairs;
        let metadata = pairs.finish(&self.info, part, &self.limits);
        out.entry(stream, &Entry { time, seq: self.seq, line, metadata });
    }

    pub(super) fn stream(&mut self, key: StreamKey) -> Arc<Stream> {
        if let Some(stream) = self.streams.get(&key) {
            return Arc::clone(stream);
        }
        let value = |text: &str| text::prefix(text, self.limits.label_value).to_owned();
        let stream = Stream::new(vec![
            (label::SERVICE_NAME, value(&self.info.project)),
            (label::ENV, value(&self.info.env)),
            (label::RUNNER, value(&self.info.runner)),
            (label::KIND, key.kind.to_owned()),
            (label::STATUS, key.status.to_owned()),
            (label::SOURCE, value(&key.source)),
        ]);
        self.streams.insert(key, Arc::clone(&stream));
        stream
    }
}

pub(super) fn key(kind: &'static str, status: &'static str) -> StreamKey {
    StreamKey { kind, status, source: Cow::Borrowed("") }
}
