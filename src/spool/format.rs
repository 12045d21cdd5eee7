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
/// The shortest record: its head has two times and three small numbers.
const RECORD_MIN: u64 = 19;
/// How a group begins. Two of these bytes occur in no UTF-8 text, so no line of a log can look like a group.
pub(super) const GROUP: [u8; 4] = [0xf7, b'T', 0xc0, b'G'];
/// More than this is not put into one group. Real ones have less than 1 MiB.
pub(super) const BODY_MAX: usize = 256 * 1024 * 1024;
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
    /// Length of what follows the header.
    pub(super) body: u32,
    /// Length of the mark with which the body begins.
    pub(super) mark: Option<u32>,
    /// Checksum of the body.
    pub(super) check: u32,
}

impl Header {
    /// Id after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.records)
    }

    /// True if its first record can come where `id` is the next, with so many damaged bytes in between.
    pub(super) fn may_follow(&self, id: u64, damaged: u64) -> bool {
        (id..=id.saturating_add(damaged / RECORD_MIN)).contains(&self.first)
    }

    /// Length of the whole group.
    pub(super) fn len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.body)
    }

    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&GROUP);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_le_bytes());
        let rest = [self.records, self.entries, self.bytes, self.body, self.mark.unwrap_or(NO_MARK), self.check];
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
            body: u32_at(bytes, 36),
            mark,
            check: u32_at(bytes, 44),
        };
        // Whoever counts its records may rely on there being room for them.
        let least = u64::from(header.mark.unwrap_or(0)) + u64::from(header.records) * RECORD_MIN;
        let fits = least <= u64::from(header.body) && header.first <= u64::MAX / 2;
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
        let body = start.len() - HEADER_LEN + bytes;
        if body > BODY_MAX {
            return None;
        }
        let mut check = crc32fast::Hasher::new();
        check.update(&start[HEADER_LEN..]);
        chunks.iter().for_each(|chunk| check.update(&chunk.entries));
        let header = Header {
            first: 0,
            time: 0,
            records: u32::try_from(chunks.len()).ok()?,
            entries: u32::try_from(chunks.iter().map(|chunk| u64::from(chunk.count)).sum::<u64>()).ok()?,
            bytes: u32::try_from(bytes).ok()?,
            body: u32::try_from(body).ok()?,
            mark: mark.as_ref().map(|mark| mark.len() as u32),
            check: check.finalize(),
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

/// What the body says of a record, without its entries.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) count: u32,
    pub(super) len: usize,
    first: Timestamp,
    last: Timestamp,
    labels: &'a [u8],
}

/// The heads of a group's records, and where in the body the entries begin. `None` if header and body do not agree.
pub(super) fn heads<'a>(header: &Header, body: &'a [u8]) -> Option<(Vec<Head<'a>>, usize)> {
    let mut rest = body.get(header.mark.unwrap_or(0) as usize..)?;
    let mut heads = Vec::new();
    for _ in 0..header.records {
        heads.push(head(&mut rest)?);
    }
    let bytes = heads.iter().try_fold(0_usize, |sum, head| sum.checked_add(head.len))?;
    let entries: u64 = heads.iter().map(|head| u64::from(head.count)).sum();
    (bytes == rest.len() && entries == u64::from(header.entries)).then_some((heads, body.len() - bytes))
}

fn head<'a>(rest: &mut &'a [u8]) -> Option<Head<'a>> {
    let count = u32::try_from(decode_varint(rest).ok()?).ok()?;
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let first = Timestamp(i64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?));
    let last = Timestamp(i64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?));
    let labels = counted(rest)?;
    Some(Head { count, len, first, last, labels })
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    rest.split_off(..len)
}

/// Makes chunks of the bodies of groups. Records of one label set share their stream, as they did before.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    streams: HashMap<Vec<u8>, Arc<Stream>, foldhash::fast::RandomState>,
}

impl Decoder {
    /// The chunks of a group whose checksum is right. `None` if they are not as this version writes them.
    pub(super) fn chunks(&mut self, header: &Header, body: Vec<u8>) -> Option<Vec<Chunk>> {
        let body = Bytes::from(body);
        let (heads, mut at) = heads(header, &body)?;
        let mut chunks = Vec::with_capacity(heads.len());
        for head in heads {
            let slice = body.slice(at..at + head.len);
            at += head.len;
            // A slice keeps the whole body in memory, and nobody would count that.
            let entries = if head.len * 2 < body.len() { Bytes::copy_from_slice(&slice) } else { slice };
            let Head { count, first, last, labels, .. } = head;
            chunks.push(Chunk { stream: self.stream(labels)?, entries, count, first, last });
        }
        Some(chunks)
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
