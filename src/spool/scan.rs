//! Learns from a queue's files what is in it. Changes nothing, so it also looks at the queue of a living owner.

use std::io;
use std::path::Path;

use super::SpoolError;
use super::cursor::Cursor;
use super::files::{self, failed};
use super::format::{self, Decoder, Header, PREAMBLE_LEN, Preamble};
use super::segment::Segment;
use super::walk::{Piece, SegmentFile};

/// What a queue's files hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// In order; those without a record too.
    pub(super) segments: Vec<Segment>,
    /// Damaged pieces, to be kept aside.
    pub(super) damage: Vec<Damage>,
    /// Segments that end in an unfinished write, and where it begins.
    pub(super) torn: Vec<(u64, u64)>,
    /// Segments with a mark.
    pub(super) marked: Vec<u64>,
    /// The id after the last that was ever given.
    pub(super) next: u64,
    /// When the oldest record that is not settled was appended: milliseconds since 1970.
    pub(super) oldest: Option<u64>,
}

/// A piece of a segment that is no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// The segment.
    pub(super) base: u64,
    /// Where it begins.
    pub(super) at: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// What a walk comes across.
enum Found<'a> {
    Group(&'a Header),
    Damage {
        end: u64,
    },
    /// The walk ends here.
    Torn,
}

/// Looks at every header of a queue, and further only where a cursor settled some of a group's records.
pub(super) fn scan(dir: &Path) -> Result<Scan, SpoolError> {
    let mut cursor = Cursor::read(dir)?;
    let bases = files::segments(dir)?;
    let mut scan = Scan { next: cursor.next().max(1), ..Scan::default() };
    for (number, base) in bases.iter().enumerate() {
        let limit = bases.get(number + 1).copied().unwrap_or(u64::MAX);
        let segment = Segment::with_settled(*base, cursor.settled(*base));
        scan.segment(dir, segment, limit)?;
    }
    Ok(scan)
}

impl Scan {
    fn segment(&mut self, dir: &Path, mut segment: Segment, limit: u64) -> Result<(), SpoolError> {
        let path = files::segment(dir, segment.base);
        let mut file = match SegmentFile::open(&path) {
            // A living owner has just delivered it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(failed("open", &path))?,
        };
        check_version(&mut file, &path)?;
        let base = segment.base;
        let walked = walk(&mut file, base, limit, &mut |file, at, found| {
            match found {
                Found::Group(header) => {
                    let (entries, bytes) = left(&segment, file, header, at)?;
                    segment.add(header, at, (entries, bytes));
                    if entries > 0 {
                        self.oldest.get_or_insert(header.time);
                    }
                    if header.mark.is_some() && self.marked.last() != Some(&base) {
                        self.marked.push(base);
                    }
                }
                Found::Damage { end } => self.damage.push(Damage { base, at, end }),
                Found::Torn => self.torn.push((base, at)),
            }
            Ok(())
        });
        walked.map_err(failed("read", &path))?;
        self.next = self.next.max(segment.next);
        self.segments.push(segment);
        Ok(())
    }

    /// The newest mark that is whole.
    pub(super) fn mark(&self, dir: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
        for base in self.marked.iter().rev() {
            let path = files::segment(dir, *base);
            let limit = self.segments.iter().map(|segment| segment.base).find(|other| other > base);
            let mut mark = None;
            let mut file = SegmentFile::open(&path).map_err(failed("open", &path))?;
            let walked = walk(&mut file, *base, limit.unwrap_or(u64::MAX), &mut |file, at, found| {
                if let Found::Group(header @ Header { mark: Some(len), .. }) = found
                    && let mut heads = file.heads(header, at, u64::MAX)?
                    && crc32fast::hash(&heads) == header.check
                {
                    heads.truncate(*len as usize);
                    mark = Some(heads);
                }
                Ok(())
            });
            walked.map_err(failed("read", &path))?;
            if mark.is_some() {
                return Ok(mark);
            }
        }
        Ok(None)
    }

    /// Entries that are not settled, and their encoded bytes.
    pub(super) fn left(&self) -> (u64, u64) {
        self.segments.iter().fold((0, 0), |(entries, bytes), s| (entries + s.entries, bytes + s.bytes))
    }
}

fn check_version(file: &mut SegmentFile, path: &Path) -> Result<(), SpoolError> {
    let bytes = file.bytes(0, PREAMBLE_LEN, u64::MAX).map_err(failed("read", path))?;
    match format::read_preamble(bytes, format::SEGMENT) {
        Preamble::Newer(found) => Err(SpoolError::Version { path: path.to_owned(), found }),
        // A damaged preamble is met again by the walk.
        Preamble::Known | Preamble::Damaged => Ok(()),
    }
}

/// Tells all that is in a segment whose records are below `limit`, where the next one begins.
fn walk(
    file: &mut SegmentFile,
    base: u64,
    limit: u64,
    tell: &mut dyn FnMut(&mut SegmentFile, u64, Found<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let end = file.len()?;
    let (mut at, mut id, mut damaged) = (PREAMBLE_LEN as u64, base, 0);
    let preamble = file.bytes(0, PREAMBLE_LEN, end)?;
    if preamble.len() < PREAMBLE_LEN || preamble.iter().all(|byte| *byte == 0) && file.is_zero(0, end)? {
        return tell(file, 0, Found::Torn);
    }
    if format::read_preamble(file.bytes(0, PREAMBLE_LEN, end)?, format::SEGMENT) == Preamble::Damaged {
        tell(file, 0, Found::Damage { end: at })?;
    }
    loop {
        match file.piece(at, end, id, damaged)? {
            // Left by a write that failed and could not be taken back; it was made again in the next segment.
            Piece::Group(header) if header.next() > limit => return tell(file, at, Found::Torn),
            Piece::Group(header) => {
                tell(file, at, Found::Group(&header))?;
                (at, id, damaged) = (at + header.len(), header.next(), 0);
            }
            Piece::Damage { end } => {
                tell(file, at, Found::Damage { end })?;
                (at, damaged) = (end, damaged + end - at);
            }
            Piece::Torn => return tell(file, at, Found::Torn),
            Piece::End => return Ok(()),
        }
    }
}

/// How many entries of a group are not settled, and their bytes.
fn left(segment: &Segment, file: &mut SegmentFile, header: &Header, at: u64) -> io::Result<(u64, u64)> {
    let settled = (header.first..header.next()).filter(|id| segment.is_settled(*id)).count();
    let all = (u64::from(header.entries), u64::from(header.bytes));
    if settled == 0 || settled == header.records as usize {
        return Ok(if settled == 0 { all } else { (0, 0) });
    }
    let heads = file.heads(header, at, at + header.len())?;
    let Some(heads) = Decoder::default().heads(header, &heads) else { return Ok(all) };
    let open = (header.first..).zip(heads).filter(|(id, _)| !segment.is_settled(*id));
    Ok(open.fold((0, 0), |(entries, bytes), (_, head)| (entries + u64::from(head.count), bytes + head.len as u64)))
}

impl Damage {
    /// Keeps the damaged bytes aside.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), SpoolError> {
        let path = files::segment(dir, self.base);
        let len = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let bytes = SegmentFile::open(&path).and_then(|mut file| file.take(self.at, len, self.end));
        let kept = bytes.and_then(|bytes| files::keep_aside(dir, self.base, self.at, &bytes));
        kept.map_err(failed("keep aside a damaged piece of", &path))
    }
}
