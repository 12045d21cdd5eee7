//! Reads records from the files: in order for who fell behind, and any for who lets go of what it read.
//!
//! The reads block. They are short, one record or a block of 32 KiB, and nearly always served from the page cache: what
//! is not there was written long ago and is read in order, ahead of which the kernel reads by itself. To hand them to
//! other threads would cost more than they do, and lose a record whenever a waiting `next` is dropped.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::files;
use super::format::{Decoder, HEADER_LEN, Head};
use super::scan::Damage;
use super::state::{Next, Place, Shared};
use super::walk::{Piece, SegmentFile};
use super::{RecordId, SpoolError};
use crate::loki::encode::Chunk;

/// Remembers the group that it read last, as the next record is mostly in it or just behind.
#[derive(Debug, Default)]
pub(super) struct Reader {
    open: Option<Open>,
    decoder: Decoder,
}

#[derive(Debug)]
struct Open {
    base: u64,
    file: SegmentFile,
    /// The first record of a group.
    first: u64,
    /// Where the group begins.
    at: u64,
    /// What it says of its records, once they were asked for, and where their entries begin.
    heads: Vec<Head>,
    entries_at: u64,
}

/// What was found where a record should be.
enum Found {
    Record(Chunk),
    /// It is damaged.
    Lost(Lost),
    /// The disk does not give it. `next`: the id after what it keeps.
    Unreadable {
        next: u64,
        error: io::Error,
    },
}

/// Records that damage has taken.
struct Lost {
    ids: Range<u64>,
    /// Their entries and encoded bytes, as far as that is known.
    size: (u64, u64),
    damage: Option<Damage>,
}

impl Reader {
    /// The next record that is to be handed out, unless there is none.
    pub(super) fn next(&mut self, shared: &Shared) -> Next {
        loop {
            let next = shared.state().next();
            let Next::Filed(id) = next else { return next };
            let place = shared.state().place(id);
            let Some(place) = place else {
                shared.state().pass(id + 1);
                continue;
            };
            match self.find(&shared.dir, place, id) {
                Ok(Found::Record(chunk)) => {
                    shared.state().hand_out(id, &chunk);
                    return Next::Here(RecordId(id), chunk);
                }
                Ok(Found::Lost(lost)) => {
                    shared.state().pass(lost.ids.end);
                    if let Err(error) = lost.settle(shared) {
                        tracing::warn!("{error}; it stays in the spool, for another try");
                    }
                }
                Ok(Found::Unreadable { next, error }) => self.pass(shared, place, next, &error),
                Err(error) => self.pass(shared, place, place.next, &error),
            }
        }
    }

    /// Passes over what the disk does not give. It stays in the queue, and another process may be able to read it.
    fn pass(&mut self, shared: &Shared, place: Place, next: u64, error: &io::Error) {
        let path = files::segment(&shared.dir, place.base);
        tracing::error!("{} cannot be read up to record {next}, which waits for another try: {error}", path.display());
        self.open = None;
        let mut state = shared.state();
        state.corrupt += 1;
        state.pass(next);
    }

    /// One record, whichever it is.
    pub(super) fn read(&mut self, shared: &Shared, id: u64) -> Result<Chunk, SpoolError> {
        let place = {
            let mut state = shared.state();
            if !state.is_out(id) {
                return Err(SpoolError::NoRecord(RecordId(id)));
            }
            if let Some(chunk) = state.remembered(id) {
                return Ok(chunk);
            }
            state.place(id).ok_or(SpoolError::NoRecord(RecordId(id)))?
        };
        match self.find(&shared.dir, place, id) {
            Ok(Found::Record(chunk)) => Ok(chunk),
            Ok(Found::Lost(lost)) => {
                lost.settle(shared)?;
                Err(SpoolError::Corrupt(RecordId(id)))
            }
            Ok(Found::Unreadable { error, .. }) | Err(error) => {
                self.open = None;
                Err(files::failed("read", &files::segment(&shared.dir, place.base))(error))
            }
        }
    }

    /// Finds a record, from the remembered group or a place before it.
    fn find(&mut self, dir: &Path, place: Place, id: u64) -> io::Result<Found> {
        let open = self.open.take().filter(|open| open.base == place.base);
        let mut open = match open {
            Some(open) if (place.first..=id).contains(&open.first) => open,
            open => {
                let file =
                    open.map_or_else(|| SegmentFile::open(&files::segment(dir, place.base)), |open| Ok(open.file))?;
                Open { base: place.base, file, first: place.first, at: place.at, heads: Vec::new(), entries_at: 0 }
            }
        };
        let lost = open.walk(&mut self.decoder, place, id);
        let found = match lost {
            Ok(None) => open.record(place.end, id),
            Ok(Some(found)) => Ok(found),
            Err(error) => Err(error),
        };
        self.open = Some(open);
        found
    }
}

impl Open {
    fn head(&self, id: u64) -> Option<&Head> {
        self.heads.get(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    /// Goes to the group of the record and reads its heads. What it found if the record is not there.
    fn walk(&mut self, decoder: &mut Decoder, place: Place, id: u64) -> io::Result<Option<Found>> {
        let mut damage: Option<Damage> = None;
        while self.head(id).is_none() {
            let damaged = damage.map_or(0, |damage| damage.end - damage.at);
            let (base, at) = (self.base, damage.map_or(self.at, |damage| damage.end));
            let lost = match self.file.piece(at, place.end, self.first, damaged)? {
                Piece::Group(header) if header.next() <= id => {
                    (self.first, self.at, damage) = (header.next(), at + header.len(), None);
                    self.heads.clear();
                    continue;
                }
                Piece::Damage { end } => {
                    damage = Some(Damage { base, at: damage.map_or(at, |damage| damage.at), end });
                    continue;
                }
                Piece::Group(header) if header.first > id => Lost { ids: id..header.first, size: (0, 0), damage },
                Piece::Group(header) => {
                    (self.first, self.at) = (header.first, at);
                    self.heads.clear();
                    let bytes = match self.file.heads(&header, at, place.end) {
                        Ok(bytes) => bytes,
                        Err(error) => return Ok(Some(Found::Unreadable { next: header.next(), error })),
                    };
                    if let Some(heads) = decoder.heads(&header, &bytes) {
                        (self.heads, self.entries_at) = (heads, at + HEADER_LEN as u64 + u64::from(header.heads));
                        continue;
                    }
                    let damage = Some(Damage { base, at, end: at + header.len() });
                    Lost {
                        ids: header.first..header.next(),
                        size: (header.entries.into(), header.bytes.into()),
                        damage,
                    }
                }
                // These bytes were written whole, so a file that ends here was cut.
                Piece::Torn | Piece::End => {
                    let rest = Damage { base, at: damage.map_or(at, |damage| damage.at), end: place.end };
                    Lost { ids: id..place.next, size: (0, 0), damage: Some(rest).filter(|rest| rest.at < rest.end) }
                }
            };
            return Ok(Some(Found::Lost(lost)));
        }
        Ok(None)
    }

    /// The record, which is in the group that was walked to.
    fn record(&mut self, end: u64, id: u64) -> io::Result<Found> {
        let Some(head) = self.head(id) else {
            return Ok(Found::Unreadable { next: id + 1, error: io::ErrorKind::NotFound.into() });
        };
        let (at, len, count) = (self.entries_at + head.at, head.len, head.count);
        let entries = match self.file.take(at, len, end) {
            Ok(entries) => entries,
            Err(error) => return Ok(Found::Unreadable { next: id + 1, error }),
        };
        let chunk = self.head(id).and_then(|head| head.chunk(entries));
        Ok(chunk.map_or_else(
            || {
                let damage = Damage { base: self.base, at, end: at + len as u64 };
                Found::Lost(Lost { ids: id..id + 1, size: (count.into(), len as u64), damage: Some(damage) })
            },
            Found::Record,
        ))
    }
}

impl Lost {
    /// Keeps aside what is there of the records, and settles them. On an error they stay in the queue.
    fn settle(self, shared: &Shared) -> Result<(), SpoolError> {
        let (dir, count) = (&shared.dir, self.ids.end - self.ids.start);
        shared.state().corrupt += 1;
        tracing::error!("{count} records of the spool {} are damaged; what is left is kept beside it", dir.display());
        self.damage.map_or(Ok(()), |damage| damage.keep(dir))?;
        shared.settle(|state| state.settle_lost(self.ids, self.size));
        Ok(())
    }
}
