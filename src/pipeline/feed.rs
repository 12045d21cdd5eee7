//! A source with its decoder, and a copy of its bytes for whoever shall see them.

use std::borrow::Cow;
use std::io::{self, Write};

use super::output::ToNothing;
use crate::decode::{self, Decoder, Detection, Detector, Format, Zone};
use crate::event::{self, Event, Fact, Level, LogLine, Note, RunFinished, RunStatus, Timestamp};
use crate::loki::entry::EntrySink;
use crate::normalize::{Normalizer, Part, Snapshot};
use crate::source::lines::LineReader;
use crate::source::{Got, Source};

/// What a feed's lines are.
pub enum Handler {
    /// Events of a known format.
    Decode(Format, Box<dyn Decoder + Send>),
    /// Not known yet: the first lines, until they tell.
    Detect(Detect),
    /// No events: every line is a log line of this source.
    Plain(event::Source<'static>),
    /// Log lines, until one of them is an event of a known format, whose times without a zone are read so.
    Watch(event::Source<'static>, Zone),
}

/// What is needed to find out a format.
pub struct Detect {
    /// The lines so far.
    pub head: Detector,
    /// Reads times that name no zone.
    pub zone: Zone,
    /// Say on standard error what was found out, and why.
    pub explain: bool,
}

/// Sees every byte of a source as it came.
pub trait Tee: Send {
    /// Takes the next bytes. On an error the feed ends, so that the writer on its other side learns of it as it would
    /// have without testwire in between.
    ///
    /// # Errors
    /// If nobody takes them.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The source has ended.
    ///
    /// # Errors
    /// If nobody takes what was held back.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes through unchanged and at once.
pub struct PassThrough<W>(pub W);

impl<W: Write + Send> Tee for PassThrough<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }
}

/// One input of the intake.
pub struct Feed {
    pub(super) source: Source,
    /// It is a file that can be read again; the source of one that has ended says no more what it was.
    is_file: bool,
    pub(super) ended: bool,
    pub(super) unknown_format: bool,
    /// What is wrong with the report, for a person.
    pub(super) damaged: Option<String>,
    /// The format that somebody said it has, and of which it has no event.
    pub(super) eventless: Option<Format>,
    /// The file of a batch that it is of.
    pub(super) part: Option<Part>,
    /// True if the last look at it gave something.
    pub(super) is_fresh: bool,
    /// True if that may not have been all there was.
    pub(super) has_more: bool,
    lines: LineReader,
    handler: Handler,
    tee: Option<Box<dyn Tee>>,
    known: Option<Known>,
}

/// The part of a source whose entries are in the spool already.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Bytes from the beginning.
    bytes: u64,
    /// Number of the last entry that they gave.
    seq: u64,
    /// Start of the run.
    started: Option<i64>,
}

impl Feed {
    /// Reads `source` as `handler` says.
    pub fn new(source: Source, handler: Handler) -> Self {
        Self {
            is_file: matches!(source, Source::Follow(_)),
            source,
            ended: false,
            unknown_format: false,
            damaged: None,
            eventless: None,
            part: None,
            is_fresh: false,
            has_more: false,
            lines: LineReader::default(),
            handler,
            tee: None,
            known: None,
        }
    }

    /// Shows every byte to `tee` too.
    #[must_use]
    pub fn with_tee(mut self, tee: impl Tee + 'static) -> Self {
        self.tee = Some(Box::new(tee));
        self
    }

    /// Ends the run as aborted if there is no event of this format in the whole input, which somebody said is in it: the
    /// runner failed before its first event, or it is another format.
    #[must_use]
    pub fn expecting(mut self, format: Format) -> Self {
        self.eventless = Some(format);
        self
    }

    /// Takes it for what a file of a batch says.
    #[must_use]
    pub fn of_part(mut self, part: &Part) -> Self {
        self.part = Some(part.clone());
        self
    }

    /// Takes the part of the source that another process has dealt with, as `snapshot` and the number of bytes say, for
    /// its state alone: entries come from what is behind it.
    #[must_use]
    pub fn resuming(mut self, bytes: u64, snapshot: &Snapshot) -> Self {
        self.known = Some(Known { bytes, seq: snapshot.seq, started: snapshot.started });
        self
    }

    /// Bytes of the source that were taken, if it is a file that can be read again.
    pub(super) fn offset(&self) -> Option<u64> {
        // Whoever runs a batch has many; none of them is read again.
        (self.is_file && self.part.is_none()).then(|| self.lines.consumed())
    }

    /// Reads once and takes what came.
    pub(super) fn take(
        &mut self,
        normalizer: &mut Normalizer,
        out: &mut dyn EntrySink,
        now: Timestamp,
    ) -> io::Result<Got> {
        normalizer.enter(self.part.as_ref());
        let Self { source, lines, handler, tee, unknown_format, eventless, known, .. } = self;
        let mut tee_error = None;
        let got = lines.fill(source, |bytes| {
            if let Some(tee) = tee.as_mut() {
                tee_error = tee.bytes(bytes).err();
            }
        })?;
        let mut take = |handler: &mut Handler, line: &[u8], end: u64| match known {
            Some(part) if end <= part.bytes => {
                handler.line(line, normalizer, &mut ToNothing, now);
                if end == part.bytes {
                    normalizer.resume(part.seq, part.started);
                    *known = None;
                }
            }
            _ => {
                let took = handler.line(line, normalizer, out, now);
                *unknown_format |= took.unknown;
                if took.event {
                    *eventless = None;
                }
            }
        };
        if let Got::Bytes(fresh) = got {
            if handler.has_no_lines(lines.pending()) {
                lines.drain(|bytes, end| take(handler, bytes, end));
            } else {
                lines.split(fresh, |line, end| take(handler, line, end));
            }
        }
        match tee_error {
            None => Ok(got),
            Some(e) => Err(io::Error::new(e.kind(), format!("nobody takes its copy any more: {e}"))),
        }
    }

    /// Takes what was held back; the source is not read any more.
    pub(super) fn end(&mut self, normalizer: &mut Normalizer, out: &mut dyn EntrySink, now: Timestamp) {
        normalizer.enter(self.part.as_ref());
        let Self { lines, handler, tee, unknown_format, damaged, eventless, .. } = self;
        let mut took = Took::default();
        lines.finish(|line, _| took.add(handler.line(line, normalizer, out, now)));
        took.add(handler.finish(normalizer, out, now));
        *unknown_format |= took.unknown;
        if took.event {
            *eventless = None;
        }
        *damaged = handler.damaged();
        if normalizer.has_started()
            && let Some(format) = eventless
        {
            let message = format!("the input has no event of the format {format}").into();
            let aborted = RunFinished { status: Some(RunStatus::Aborted), message };
            normalizer.event(&Event { time: None, fact: Fact::RunFinished(aborted) }, now, out);
        }
        if let Some(tee) = tee {
            // It was told of its reader's death before, if that is the reason.
            tee.end().ok();
        }
        self.ended = true;
        // Closes the reading side, so that a writer that goes on learns it.
        if let Source::Fd(_) = self.source {
            self.source = Source::Follow(crate::source::follow::Follow::new("/dev/null"));
        }
    }
}

/// What was in a piece of the input.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    /// It became clear that the format is unknown.
    unknown: bool,
    /// There was an event, and not only output.
    event: bool,
}

impl Took {
    fn add(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.event |= other.event;
    }
}

/// Hands an event on, and tells whether it is one, and not a line of output that stood between events.
fn hand_on(event: &Event<'_>, normalizer: &mut Normalizer, out: &mut dyn EntrySink, now: Timestamp) -> bool {
    normalizer.event(event, now, out);
    match &event.fact {
        Fact::Note(_) => false,
        // What the format itself brings says when it was written, or where.
        Fact::Log(log) => event.time.is_some() || log.source != event::Source::Stdout,
        _ => true,
    }
}

impl Handler {
    /// True if the input is to be taken as it comes, and not by lines: its format is binary, or turns out to be by the bytes
    /// that come next.
    fn has_no_lines(&mut self, next: &[u8]) -> bool {
        match self {
            Self::Decode(format, _) => format.is_binary(),
            Self::Detect(_) => decode::binary_format(next).is_some(),
            Self::Plain(_) | Self::Watch(..) => false,
        }
    }

    /// Takes a line.
    fn line(&mut self, line: &[u8], normalizer: &mut Normalizer, out: &mut dyn EntrySink, now: Timestamp) -> Took {
        let mut took = Took::default();
        match self {
            Self::Decode(format, decoder) => {
                if !normalizer.has_started() {
                    // A stream of testwire's own format names its runner in its first event, which starts the run.
                    let mut probe = format.decoder();
                    probe.line(line, &mut |_| {});
                    normalizer.set_runner(probe.runner());
                }
                decoder.line(line, &mut |event| took.event |= hand_on(&event, normalizer, out, now));
            }
            Self::Watch(_, zone) if let Some(format) = decode::stream_format(line) => {
                *self = Self::Decode(format, format.decoder_in(zone));
                return self.line(line, normalizer, out, now);
            }
            Self::Plain(source) | Self::Watch(source, _) => {
                let text = String::from_utf8_lossy(line);
                let log = LogLine { test: None, source: source.clone(), level: None, text };
                normalizer.event(&Event { time: None, fact: Fact::Log(log) }, now, out);
            }
            Self::Detect(Detect { head, .. }) => {
                if let Some(format) = decode::binary_format(line) {
                    let head = head.take();
                    *self = Self::decoder(format);
                    if !head.is_empty() {
                        took.add(self.line(&head, normalizer, out, now));
                    }
                    took.add(self.line(line, normalizer, out, now));
                    return took;
                }
                head.line(line);
                return self.detect(false, normalizer, out, now);
            }
        }
        took
    }

    fn finish(&mut self, normalizer: &mut Normalizer, out: &mut dyn EntrySink, now: Timestamp) -> Took {
        let mut took = self.detect(true, normalizer, out, now);
        if let Self::Decode(_, decoder) = self {
            decoder.finish(&mut |event| took.event |= hand_on(&event, normalizer, out, now));
        }
        took
    }

    /// What is wrong with a report that was read to its end.
    fn damaged(&self) -> Option<String> {
        let Self::Decode(_, decoder) = self else { return None };
        decoder.broken().map(ToString::to_string)
    }

    fn detect(&mut self, eof: bool, normalizer: &mut Normalizer, out: &mut dyn EntrySink, now: Timestamp) -> Took {
        let mut took = Took::default();
        let Self::Detect(Detect { head, zone, explain }) = self else { return took };
        let (next, unknown, why) = match head.detect(eof) {
            Detection::NeedMore => return took,
            Detection::Found { format, reason } => {
                (Self::Decode(format, format.decoder_in(zone)), None, format!("{format}: {reason}"))
            }
            Detection::Unknown { reason } => {
                (Self::Plain(event::Source::Stdout), Some(reason.clone()), format!("unknown: {reason}"))
            }
        };
        if *explain {
            // A closed standard error is no reason to stop.
            writeln!(io::stderr(), "stdin: {why}").ok();
        }
        let head = head.take();
        *self = next;
        if head.is_empty() {
            // Not even an empty line came.
            return took;
        }
        if let Some(reason) = &unknown {
            let text =
                Cow::Owned(format!("the input's format is not known: {reason}; its lines are kept as log lines"));
            normalizer.event(&Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text }) }, now, out);
        }
        if let Self::Decode(format, _) = self
            && format.is_binary()
        {
            return self.line(&head, normalizer, out, now);
        }
        for line in head.strip_suffix(b"\n").unwrap_or(&head).split(|&b| b == b'\n') {
            took.add(self.line(line, normalizer, out, now));
        }
        took.unknown = unknown.is_some();
        took
    }

    /// Lines of a format that the first of them tell.
    pub fn detect_format() -> Self {
        Self::Detect(Detect { head: Detector::default(), zone: decode::utc(), explain: false })
    }

    /// What a runner writes in `format` into a file of its own.
    pub fn event_file(format: Format, zone: &Zone) -> Self {
        Self::Decode(format, format.event_file_decoder(zone))
    }

    /// Lines of `format`.
    pub fn decoder(format: Format) -> Self {
        Self::Decode(format, format.decoder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::RunInfo;
    use crate::source::follow::Follow;

    #[test]
    fn only_a_file_says_how_far_it_was_read_also_when_it_has_ended() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        for (source, is_file) in
            [(Source::from_fd(reader.into()), false), (Source::Follow(Follow::new("/dev/null")), true)]
        {
            let mut feed = Feed::new(source, Handler::Plain(event::Source::Stdout));
            assert_eq!(feed.offset().is_some(), is_file);
            feed.end(&mut Normalizer::new(RunInfo::default()), &mut ToNothing, Timestamp::default());
            assert_eq!(feed.offset().is_some(), is_file);
        }
    }
}
