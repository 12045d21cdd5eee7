//! What is in the files, byte for byte; see the tables of [the module](super). Pure.

use std::collections::HashMap;
use std::sync::Arc;

use prost::bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint};

use crate::event::Timestamp;
use crate::loki::encode::Chunk;
use crate::loki::entry::Stream;
use crate::names::label;

/// Version that is written; those from 1 to it are read. A new label is a new version too, because a reader knows labels
/// by name.
pub(super) const VERSION: u32 = 1;
/// How a segment begins. The last byte occurs in no UTF-8 text.
pub(super) const SEGMENT: [u8; 8] = *b"TWSPOOL\xf7";
/// How a cursor begins.
pub(super) const CURSOR: [u8; 8] = *b"TWCURSR\xf7";
/// Length of what comes before all else in a file.
pub(super) const PREAMBLE_LEN: usize = 16;
/// Length of a group's header.
pub(super) const HEADER_LEN: usize = 48;
/// The shortest head of a record: a checksum, two times and three small numbers.
const HEAD_MIN: u64 = 23;
/// How a group begins. Two of these bytes occur in no UTF-8 text, so no line of a log can look like a group.
pub(super) const GROUP: [u8; 4] = [0xf7, b'T', 0xc0, b'G'];
/// More than this is not put into one group. Real ones have less than 1 MiB.
const GROUP_MAX: usize = 256 * 1024 * 1024;
/// Label sets that a reader remembers; a process has a few dozen.
const STREAMS_KEPT: usize = 1024;
/// Length of a mark in a header that says that there is none.
const NO_MARK: u32 = u32::MAX;

/// The preamble of a file of this version. Its layout is the same in every version.
pub(super) fn preamble(magic: [u8; 8]) -> [u8; PREAMBLE_LEN] {
    let mut bytes = [0; PREAMBLE_LEN];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let check = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// What a preamble says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// This reader knows the version.
    Known,
    /// It does not.
    Newer(u32),
    /// It is none.
    Damaged,
}

/// Reads the preamble of a file that should begin with `magic`.
pub(super) fn read_preamble(bytes: &[u8], magic: [u8; 8]) -> Preamble {
    let Some(bytes) = bytes.first_chunk::<PREAMBLE_LEN>() else { return Preamble::Damaged };
    if bytes[..8] != magic || u32_at(bytes, 12) != crc32fast::hash(&bytes[..12]) {
        return Preamble::Damaged;
    }
    match u32_at(bytes, 8) {
        1..=VERSION => Preamble::Known,
        version => Preamble::Newer(version),
    }
}

/// The header of a group: what was appended at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Id of the first of its records.
    pub(super) first: u64,
    /// When it was appended: milliseconds since 1970.
    pub(super) time: u64,
    /// How many records it has; none if only its mark counts.
    pub(super) records: u32,
    /// How many entries those have together.
    pub(super) entries: u32,
    /// Encoded size of those entries.
    pub(super) bytes: u32,
    /// Length of the mark and the heads of the records, which follow the header. The entries follow those.
    pub(super) heads: u32,
    /// Length of the mark.
    pub(super) mark: Option<u32>,
    /// Checksum of mark and heads.
    pub(super) check: u32,
}

impl Header {
    /// Id after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.records)
    }

    /// True if its first record can come where `id` is the next, with so many damaged bytes in between.
    pub(super) fn may_follow(&self, id: u64, damaged: u64) -> bool {
        (id..=id.saturating_add(damaged / HEAD_MIN)).contains(&self.first)
    }

    /// Length of the whole group.
    pub(super) fn len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.heads) + u64::from(self.bytes)
    }

    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&GROUP);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_le_bytes());
        let rest = [self.records, self.entries, self.bytes, self.heads, self.mark.unwrap_or(NO_MARK), self.check];
        for (place, value) in bytes[24..].chunks_exact_mut(4).zip(rest) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        let check = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` if these are not the bytes of a header.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_LEN>()?;
        if bytes[..4] != GROUP || u32_at(bytes, 4) != crc32fast::hash(&bytes[8..]) {
            return None;
        }
        let mark = Some(u32_at(bytes, 40)).filter(|len| *len != NO_MARK);
        let header = Self {
            first: u64_at(bytes, 8),
            time: u64_at(bytes, 16),
            records: u32_at(bytes, 24),
            entries: u32_at(bytes, 28),
            bytes: u32_at(bytes, 32),
            heads: u32_at(bytes, 36),
            mark,
            check: u32_at(bytes, 44),
        };
        // Whoever counts its records may rely on there being room for them.
        let least = u64::from(header.mark.unwrap_or(0)) + u64::from(header.records) * HEAD_MIN;
        let fits = least <= u64::from(header.heads) && header.first <= u64::MAX / 2;
        fits.then_some(header)
    }
}

/// A group to be written.
#[derive(Debug)]
pub(super) struct Group {
    header: Header,
    /// Header, mark and heads of the records; the entries follow as they are in the chunks.
    start: Vec<u8>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) mark: Option<Vec<u8>>,
}

impl Group {
    /// The group of these chunks; `None` if it would be too large.
    pub(super) fn new(chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Option<Self> {
        let mut start = vec![0; HEADER_LEN];
        start.extend_from_slice(mark.as_deref().unwrap_or_default());
        for chunk in &chunks {
            put_head(chunk, &mut start);
        }
        let bytes: usize = chunks.iter().map(|chunk| chunk.entries.len()).sum();
        let heads = start.len() - HEADER_LEN;
        if heads + bytes > GROUP_MAX {
            return None;
        }
        let header = Header {
            first: 0,
            time: 0,
            records: u32::try_from(chunks.len()).ok()?,
            entries: u32::try_from(chunks.iter().map(|chunk| u64::from(chunk.count)).sum::<u64>()).ok()?,
            bytes: u32::try_from(bytes).ok()?,
            heads: u32::try_from(heads).ok()?,
            mark: mark.as_ref().map(|mark| mark.len() as u32),
            check: crc32fast::hash(&start[HEADER_LEN..]),
        };
        Some(Self { header, start, chunks, mark })
    }

    /// Gives it its place in the queue.
    pub(super) fn number(&mut self, first: u64, time: u64) {
        self.header.first = first;
        self.header.time = time;
        self.start[..HEADER_LEN].copy_from_slice(&self.header.encode());
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// What is to be written, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.start.as_slice()).chain(self.chunks.iter().map(|chunk| chunk.entries.as_ref()))
    }
}

fn put_head(chunk: &Chunk, out: &mut Vec<u8>) {
    encode_varint(u64::from(chunk.count), out);
    encode_varint(chunk.entries.len() as u64, out);
    out.extend_from_slice(&crc32fast::hash(&chunk.entries).to_le_bytes());
    out.extend_from_slice(&chunk.first.0.to_le_bytes());
    out.extend_from_slice(&chunk.last.0.to_le_bytes());
    let mut labels = Vec::with_capacity(128);
    for (name, value) in chunk.stream.labels() {
        for text in [name, value.as_str()] {
            encode_varint(text.len() as u64, &mut labels);
            labels.extend_from_slice(text.as_bytes());
        }
    }
    encode_varint(labels.len() as u64, out);
    out.extend_from_slice(&labels);
}

/// What a group says of a record before its entries.
#[derive(Debug)]
pub(super) struct Head {
    /// Number of its entries.
    pub(super) count: u32,
    /// Their length.
    pub(super) len: usize,
    /// Where they begin, from the first entry of the group.
    pub(super) at: u64,
    check: u32,
    stream: Arc<Stream>,
    first: Timestamp,
    last: Timestamp,
}

impl Head {
    /// The record with these entries; `None` if their checksum is wrong.
    pub(super) fn chunk(&self, entries: Vec<u8>) -> Option<Chunk> {
        let Self { count, len, check, first, last, .. } = *self;
        let good = entries.len() == len && crc32fast::hash(&entries) == check;
        good.then(|| Chunk { stream: Arc::clone(&self.stream), entries: Bytes::from(entries), count, first, last })
    }
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    rest.split_off(..len)
}

/// Reads the heads of groups. Records of one label set share their stream, as they did before.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    streams: HashMap<Vec<u8>, Arc<Stream>, foldhash::fast::RandomState>,
}

impl Decoder {
    /// The heads of a group's records, from the bytes between its header and its entries. `None` if those are damaged.
    pub(super) fn heads(&mut self, header: &Header, bytes: &[u8]) -> Option<Vec<Head>> {
        if bytes.len() != header.heads as usize || crc32fast::hash(bytes) != header.check {
            return None;
        }
        let mut rest = bytes.get(header.mark.unwrap_or(0) as usize..)?;
        let (mut heads, mut at, mut entries) = (Vec::new(), 0_u64, 0_u64);
        for _ in 0..header.records {
            let head = self.head(&mut rest, at)?;
            at = at.checked_add(head.len as u64)?;
            entries += u64::from(head.count);
            heads.push(head);
        }
        let agrees = rest.is_empty() && at == u64::from(header.bytes) && entries == u64::from(header.entries);
        agrees.then_some(heads)
    }

    fn head(&mut self, rest: &mut &[u8], at: u64) -> Option<Head> {
        let count = u32::try_from(decode_varint(rest).ok()?).ok()?;
        let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
        let check = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
        let first = Timestamp(i64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?));
        let last = Timestamp(i64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?));
        let stream = self.stream(counted(rest)?)?;
        Some(Head { count, len, at, check, stream, first, last })
    }

    fn stream(&mut self, labels: &[u8]) -> Option<Arc<Stream>> {
        if let Some(stream) = self.streams.get(labels) {
            return Some(Arc::clone(stream));
        }
        let (mut rest, mut pairs) = (labels, Vec::new());
        while !rest.is_empty() {
            let name = counted(&mut rest)?;
            let name = label::ALL.iter().find(|known| known.as_bytes() == name)?;
            pairs.push((*name, std::str::from_utf8(counted(&mut rest)?).ok()?.to_owned()));
        }
        let stream = Stream::new(pairs);
        if self.streams.len() >= STREAMS_KEPT {
            self.streams.clear();
        }
        self.streams.insert(labels.to_vec(), Arc::clone(&stream));
        Some(stream)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
