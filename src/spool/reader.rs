//! Reads records from the files: in order for who fell behind, and any for who lets go of what it read.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::files;
use super::format::{Decoder, Header};
use super::scan::Damage;
use super::state::{Next, Place, Shared};
use super::walk::{Piece, SegmentFile};
use super::{RecordId, SpoolError};
use crate::loki::encode::Chunk;

/// Reads one group after the other, and remembers where it was.
#[derive(Debug, Default)]
pub(super) struct Reader {
    open: Option<Open>,
    decoder: Decoder,
    /// What the last group had, from the record that was asked for.
    group: VecDeque<(u64, Chunk)>,
}

#[derive(Debug)]
struct Open {
    base: u64,
    file: SegmentFile,
    /// A group, and where it begins.
    first: u64,
    at: u64,
}

/// What was found where a record should be.
enum Found {
    /// Its group.
    Group(Header, Vec<Chunk>),
    /// It is damaged.
    Lost(Lost),
    /// The disk does not give its body. `next`: the id after it.
    Unreadable { next: u64, error: io::Error },
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
            while self.group.front().is_some_and(|(first, _)| *first < id) {
                self.group.pop_front();
            }
            if self.group.front().is_none_or(|(first, _)| *first != id) {
                self.fetch(shared, id);
            }
            if self.group.front().is_some_and(|(first, _)| *first == id)
                && let Some((_, chunk)) = self.group.pop_front()
            {
                shared.state().hand_out(id, &chunk);
                return Next::Here(RecordId(id), chunk);
            }
        }
    }

    /// Gets the group of a record, or passes over what cannot be read.
    fn fetch(&mut self, shared: &Shared, id: u64) {
        self.group.clear();
        let Some(place) = shared.state().place(id) else { return shared.state().pass(id + 1) };
        match self.find(&shared.dir, place, id) {
            Ok(Found::Group(header, chunks)) => {
                self.group = (header.first..).zip(chunks).skip_while(|(first, _)| *first < id).collect();
            }
            Ok(Found::Lost(lost)) => {
                shared.state().pass(lost.ids.end);
                // If it cannot be kept aside, another process will find it again.
                lost.settle(shared).ok();
            }
            Ok(Found::Unreadable { next, error }) => self.pass(shared, place, next, &error),
            Err(error) => self.pass(shared, place, place.next, &error),
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
            Ok(Found::Group(header, chunks)) => {
                let index = usize::try_from(id - header.first).unwrap_or(usize::MAX);
                chunks.into_iter().nth(index).ok_or(SpoolError::NoRecord(RecordId(id)))
            }
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

    /// Walks from a place to the group of the record.
    fn find(&mut self, dir: &Path, place: Place, id: u64) -> io::Result<Found> {
        let open = match self.open.take().filter(|open| open.base == place.base) {
            // Who reads in order is just before it.
            Some(open) if (place.first..=id).contains(&open.first) => self.open.insert(open),
            Some(open) => self.open.insert(Open { first: place.first, at: place.at, ..open }),
            None => {
                let file = SegmentFile::open(&files::segment(dir, place.base))?;
                self.open.insert(Open { base: place.base, file, first: place.first, at: place.at })
            }
        };
        let mut damage: Option<Damage> = None;
        loop {
            let damaged = damage.map_or(0, |damage| damage.end - damage.at);
            let (base, at) = (place.base, damage.map_or(open.at, |damage| damage.end));
            match open.file.piece(at, place.end, open.first, damaged)? {
                Piece::Group(header) if header.next() <= id => {
                    (open.first, open.at, damage) = (header.next(), at + header.len(), None);
                }
                Piece::Group(header) if header.first > id => {
                    return Ok(Found::Lost(Lost { ids: id..header.first, size: (0, 0), damage }));
                }
                Piece::Group(header) => {
                    (open.first, open.at) = (header.first, at);
                    let body = match open.file.body(&header, at, place.end) {
                        Ok(body) => body,
                        Err(error) => return Ok(Found::Unreadable { next: header.next(), error }),
                    };
                    return Ok(match body.and_then(|body| self.decoder.chunks(&header, body)) {
                        Some(chunks) => Found::Group(header, chunks),
                        None => Found::Lost(Lost {
                            ids: header.first..header.next(),
                            size: (header.entries.into(), header.bytes.into()),
                            damage: Some(Damage { base, at, end: at + header.len() }),
                        }),
                    });
                }
                Piece::Damage { end } => {
                    damage = Some(Damage { base, at: damage.map_or(at, |damage| damage.at), end });
                }
                // These bytes were written whole, so a file that ends here was cut.
                Piece::Torn | Piece::End => {
                    let damage = damage.or(Some(Damage { base, at, end: place.end })).filter(|d| d.at < d.end);
                    return Ok(Found::Lost(Lost { ids: id..place.next, size: (0, 0), damage }));
                }
            }
        }
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
