//! The thread of a followed source: files → lines → records → entries → an output.
//!
//! A batch is what is handed on at once: the journal says what it is made of, then its entries go to the output, and only
//! then are their bytes dealt with. Where the output is the spool and that is full, the source waits there.

mod pen;

use std::collections::{BTreeMap, HashMap};
use std::io::PipeReader;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant, SystemTime};

use self::pen::Pen;
use super::beside::Beside;
use super::output::{Mark, Output, OutputError};
use crate::decode::applog::{Assembler, Rules};
use crate::event::Timestamp;
use crate::loki::entry::Stream;
use crate::loki::limits::Limits;
use crate::names::{kind, label};
use crate::normalize::Snapshot;
use crate::source::tail::{
    Batch, Encoding, FileNumber, Follower, Journal, JournalError, Known, Lines, News, Saved, Spec,
};

/// Text that makes a batch. A larger one costs memory, a smaller one time: each is an append to the spool.
const BATCH_BYTES: usize = 1 << 20;
/// What is read at once.
const READ_BYTES: usize = 256 << 10;
/// A record of several lines is complete when nothing came for so long.
const GROUP_PATIENCE: Duration = Duration::from_millis(60);
/// A line without an end is taken for whole when nothing came for so long.
const LINE_PATIENCE: Duration = Duration::from_secs(2);
/// So long at least between two looks: what many files get meanwhile is handed on together.
const PAUSE: Duration = Duration::from_millis(20);
/// An ending process reads what is there for so long at most.
const LAST_READ: Duration = Duration::from_secs(10);
/// The label `runner` of entries of no runner.
const APP: &str = "app";

/// What is to be followed, and what its entries say.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Names the source among all: its journal, and its part of marks.
    pub key: String,
    /// The label `source`.
    pub name: String,
    /// Label `service_name`.
    pub project: String,
    /// Label `env`.
    pub env: String,
    /// The files.
    pub spec: Spec,
    /// How their bytes are read.
    pub encoding: Encoding,
    /// How their lines are understood.
    pub rules: Rules,
    /// Metadata of every entry, such as the run.
    pub metadata: Vec<(String, String)>,
    /// Whether entries name their file.
    pub names_files: bool,
    /// What Loki takes.
    pub limits: Limits,
    /// The runs that lines may belong to.
    pub beside: Beside,
}

/// What became of a source.
#[derive(Debug, Default)]
pub struct TailReport {
    /// Entries that were handed on.
    pub entries: u64,
    /// Files that were followed.
    pub files: u64,
    /// Secrets that were taken out.
    pub redacted: u64,
    /// Why it ended before it was told to.
    pub error: Option<TailError>,
}

/// Why a source is not followed any more.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Its places cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its entries cannot be handed on.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A source that is followed.
pub struct Tail {
    setup: Setup,
    follower: Follower,
    journal: Option<Journal>,
    output: Box<dyn Output>,
    files: HashMap<FileNumber, Reading>,
    pen: Pen,
    report: TailReport,
}

/// A file, from its bytes to records.
struct Reading {
    lines: Lines,
    assembler: Assembler,
    fed: Instant,
}

impl Tail {
    /// Finds the files. What is written to them from now on is read, whatever their source begins with.
    pub fn find(setup: &Setup, saved: Option<&Saved>) -> Follower {
        let nothing = BTreeMap::new();
        let files = saved.map_or(&nothing, |saved| &saved.files);
        let at = saved.map_or(0, |saved| u64::try_from(saved.place.at).unwrap_or(0));
        Follower::new(setup.spec.clone(), files, SystemTime::UNIX_EPOCH + Duration::from_nanos(at))
    }

    /// Begins with the files that [`Tail::find`] found, where an earlier process left off, if a `journal` says so; without
    /// one, places are not kept. `spool` is the name of this process's queue; what `saved` has in doubt is made again, and
    /// becomes the same entries.
    ///
    /// # Errors
    /// If the journal cannot be written, or the output takes no more.
    pub fn begin(
        setup: Setup,
        follower: Follower,
        journal: Option<(Journal, Saved)>,
        output: Box<dyn Output>,
        spool: &str,
    ) -> Result<Self, TailError> {
        let (journal, saved) = journal.map_or_else(Default::default, |(journal, saved)| (Some(journal), saved));
        let stream = Stream::new(vec![
            (label::SERVICE_NAME, setup.project.clone()),
            (label::ENV, setup.env.clone()),
            (label::RUNNER, APP.to_owned()),
            (label::KIND, kind::LOG.to_owned()),
            (label::SOURCE, setup.name.clone()),
        ]);
        let pen = Pen::new(stream, &setup, &saved.place);
        let mut tail =
            Self { setup, follower, journal, output, files: HashMap::new(), pen, report: TailReport::default() };
        if let Some(journal) = &mut tail.journal {
            // What is in doubt must not be forgotten if this process dies as well.
            journal.begin(spool, &saved)?;
        }
        if let Some(batch) = saved.pending {
            tail.again(&batch)?;
        }
        Ok(tail)
    }

    /// Follows until `stop` is closed or readable; then reads what is there, and ends.
    pub fn run(mut self, stop: &PipeReader) -> TailReport {
        let mut buffer = vec![0; READ_BYTES];
        let mut ended = self.follow(stop, &mut buffer);
        if ended.is_ok() {
            ended = self.finish(&mut buffer);
        }
        self.report.error = ended.err();
        self.report.redacted += self.files.values().map(|reading| reading.assembler.redacted()).sum::<u64>();
        self.report.entries = self.pen.handed_on;
        self.report
    }

    fn follow(&mut self, stop: &PipeReader, buffer: &mut [u8]) -> Result<(), TailError> {
        loop {
            self.follower.notice(Instant::now());
            let all = self.read(buffer)?;
            let due = self.flush_due(Instant::now());
            self.hand_on()?;
            let now = Instant::now();
            // What comes in the meantime is dealt with together.
            if self.follower.wait(stop.as_fd(), due.unwrap_or(now + Duration::from_secs(60))) {
                return Ok(());
            }
            if all {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Takes what is there, for the last time.
    fn finish(&mut self, buffer: &mut [u8]) -> Result<(), TailError> {
        let begun = Instant::now();
        self.follower.look_at_all(begun);
        // A file that is written faster than it is read would keep us for ever; the next start goes on with it.
        while !self.read(buffer)? && begun.elapsed() < LAST_READ {}
        let files: Vec<FileNumber> = self.files.keys().copied().collect();
        for file in files {
            self.flush(file, true);
        }
        self.hand_on()?;
        match self.journal.take() {
            Some(journal) => Ok(journal.end()?),
            None => Ok(()),
        }
    }

    /// Reads what is there, for a moment. True if that was all.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, TailError> {
        // Files that grow while they are read must not keep what others wrote from being handed on, nor timers.
        let until = Instant::now() + GROUP_PATIENCE;
        loop {
            let now = Instant::now();
            if now > until {
                return Ok(false);
            }
            let Some((file, news)) = self.follower.next(buffer, now) else { return Ok(true) };
            match news {
                News::Found => self.report.files += 1,
                News::Bytes(_) | News::Changed | News::Gone => {}
            }
            match news {
                News::Bytes(bytes) => {
                    let place = self.follower.place(file);
                    let at = place.as_ref().map_or(0, |place| place.read_to - bytes.len() as u64);
                    let start = if at == 0 { bytes } else { &[] };
                    self.open(file, at, start);
                    self.feed(file, bytes, now);
                }
                News::Found | News::Changed => self.keep(file)?,
                News::Gone => self.close(file)?,
            }
            if self.pen.bytes >= BATCH_BYTES {
                self.hand_on()?;
            }
        }
    }

    /// Makes what a file needs to be read from `at` on, if it is not there. `start` is how it begins, if that is at hand.
    fn open(&mut self, file: FileNumber, at: u64, start: &[u8]) {
        if self.files.contains_key(&file) {
            return;
        }
        let found = if at == 0 { Vec::new() } else { self.follower.again(file, 0..2).unwrap_or_default() };
        let lines = Lines::new(self.setup.encoding, at, if at == 0 { start } else { &found });
        let mut assembler = Assembler::new(&self.setup.rules);
        let last = self.journal.as_ref().and_then(|journal| journal.known(file)?.last);
        assembler.resume(last.map(Timestamp));
        let path = self.follower.place(file).map(|place| place.path).unwrap_or_default();
        self.pen.open(file, &path, last);
        self.files.insert(file, Reading { lines, assembler, fed: Instant::now() });
    }

    fn feed(&mut self, file: FileNumber, bytes: &[u8], now: Instant) {
        let Some(Reading { lines, assembler, fed, .. }) = self.files.get_mut(&file) else { return };
        *fed = now;
        let pen = &mut self.pen;
        let at = pen.begin(super::intake::now);
        self.setup.beside.settle(at);
        let mut paper = pen.on(file, &mut *self.output);
        lines.take(bytes, &mut |line| {
            assembler.line(&line.bytes, line.range, at, &mut |record| paper.record(&record));
        });
    }

    /// Hands on what is held back of a file: a record that may go on, and, if `all`, also a line without an end.
    fn flush(&mut self, file: FileNumber, all: bool) {
        let Some(Reading { lines, assembler, .. }) = self.files.get_mut(&file) else { return };
        if !(assembler.is_holding() || all && lines.is_holding()) {
            return;
        }
        let pen = &mut self.pen;
        let at = pen.begin(super::intake::now);
        let mut paper = pen.on(file, &mut *self.output);
        if all {
            lines.flush(&mut |line| {
                assembler.line(&line.bytes, line.range, at, &mut |record| paper.record(&record));
            });
        }
        assembler.flush(&mut |record| paper.record(&record));
    }

    /// Hands on what has waited long enough; when the next one will have.
    fn flush_due(&mut self, now: Instant) -> Option<Instant> {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (file, reading) in &self.files {
            let line = reading.lines.is_holding().then_some(LINE_PATIENCE);
            let group = reading.assembler.is_holding().then_some(GROUP_PATIENCE);
            for patience in [line, group].into_iter().flatten() {
                let at = reading.fed + patience;
                if at <= now {
                    due.push((*file, patience == LINE_PATIENCE));
                } else {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        for (file, all) in due {
            self.flush(file, all);
        }
        next
    }

    /// Says in the journal what is known of a file.
    fn keep(&mut self, file: FileNumber) -> Result<(), TailError> {
        let (Some(place), Some(journal)) = (self.follower.place(file), &mut self.journal) else { return Ok(()) };
        let known = journal.known(file);
        let done = known.map_or(place.read_to, |known| known.done);
        let known =
            Known { file, path: place.path, identity: place.identity, done, last: known.and_then(|known| known.last) };
        // What was handed on before stands in the journal already; what was not comes with the next batch.
        Ok(journal.file(known)?)
    }

    /// A file is done with.
    fn close(&mut self, file: FileNumber) -> Result<(), TailError> {
        self.flush(file, true);
        self.hand_on()?;
        if let Some(reading) = self.files.remove(&file) {
            self.report.redacted += reading.assembler.redacted();
        }
        self.pen.close(file);
        if let Some(journal) = &mut self.journal {
            journal.gone(file)?;
        }
        Ok(())
    }

    /// Hands on the batch, if there is one. When it returns, its entries are in the output and its bytes dealt with.
    fn hand_on(&mut self) -> Result<(), TailError> {
        let Some(batch) = self.pen.take() else { return Ok(()) };
        if let Some(journal) = &mut self.journal {
            journal.batch(&batch)?;
        }
        let key = &self.setup.key;
        let mut mark = || {
            let tails = BTreeMap::from([(key.clone(), batch.number)]);
            Mark { run: Snapshot { ended: true, ..Snapshot::default() }, tails, ..Mark::default() }
        };
        self.output.flush(&mut mark)?;
        self.pen.handed_on();
        if let Some(journal) = &mut self.journal {
            journal.handed_on(&batch, self.pen.place())?;
        }
        Ok(())
    }

    /// Makes the entries of a batch again that was, or was not, handed on before this process began.
    fn again(&mut self, batch: &Batch) -> Result<(), TailError> {
        self.pen.replay(batch);
        for part in &batch.parts {
            let bytes = self.follower.again(part.file, part.from..part.to).unwrap_or_default();
            let whole = bytes.len() as u64 == part.to - part.from;
            self.open(part.file, part.from, &bytes);
            if let Some(reading) = self.files.get_mut(&part.file) {
                reading.assembler.resume(part.before.map(Timestamp));
            }
            let first = self.pen.seq();
            if whole {
                self.feed(part.file, &bytes, Instant::now());
                self.flush(part.file, true);
            } else {
                let path = self.follower.place(part.file).map(|place| place.path).unwrap_or_default();
                tracing::warn!("{}: bytes {} to {} are gone; they may be in Loki", path.display(), part.from, part.to);
            }
            self.pen.go_to(first + part.entries);
            if let Err(error) = self.follower.seek(part.file, part.to) {
                tracing::warn!("cannot read file {}: {error}", part.file);
            }
        }
        // The next bytes of these files begin behind the batch.
        self.files.clear();
        self.hand_on()
    }
}
