//! Entries ↔ Loki's push messages, without a struct in between.
//!
//! The messages (grafana/loki `pkg/push/push.proto`): `PushRequest { streams = 1 }`, `StreamAdapter { labels = 1,
//! entries = 2, hash = 3 }`, `EntryAdapter { timestamp = 1, line = 2, structuredMetadata = 3 }`, `LabelPairAdapter
//! { name = 1, value = 2 }`, and the well-known `Timestamp { seconds = 1, nanos = 2 }`. A body is a `PushRequest` in
//! snappy's block format.
//!
//! An entry is encoded once, when it is made: what the queue holds is what the push sends, so a re-sent entry is
//! identical to the byte.

use std::ops::Range;
use std::sync::Arc;

use prost::bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::entry::{Entry, EntrySink, Stream};
use crate::event::Timestamp;

/// A chunk is closed before it would grow above this many bytes; only a single entry can make a larger one.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Field 2, length-delimited: an entry in a stream, and also the line in an entry.
const TAG_2: u8 = 0x12;
/// Field 1, length-delimited.
const TAG_1: u8 = 0x0a;
/// Field 3, length-delimited.
const TAG_3: u8 = 0x1a;
/// Field 1, varint.
const TAG_1_VARINT: u8 = 0x08;
/// Field 2, varint.
const TAG_2_VARINT: u8 = 0x10;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Encoded entries of one stream, in order. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Whose entries they are.
    pub stream: Arc<Stream>,
    /// The entries as concatenated fields 2 of `StreamAdapter`; [`entries_of`] finds them.
    pub entries: Bytes,
    /// How many they are; at least 1.
    pub count: u32,
    /// The earliest time among them.
    pub first: Timestamp,
    /// The latest time among them.
    pub last: Timestamp,
}

/// Collects entries as chunks, one open chunk a stream.
#[derive(Debug, Default)]
pub struct Encoder {
    /// One for each stream seen; a process has a few dozen.
    open: Vec<Open>,
    closed: Vec<Chunk>,
}

/// The chunk being filled, empty (`count` 0) between two takes.
#[derive(Debug)]
struct Open {
    stream: Arc<Stream>,
    entries: Vec<u8>,
    count: u32,
    first: Timestamp,
    last: Timestamp,
    /// Size of the chunk before this one, so that the next one need not grow in steps.
    hint: usize,
}

impl Encoder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.iter().all(|open| open.count == 0)
    }

    /// Everything since the last call; the chunks of a stream are in its order.
    pub fn take(&mut self) -> Vec<Chunk> {
        let mut chunks = std::mem::take(&mut self.closed);
        chunks.extend(self.open.iter_mut().filter_map(Open::close));
        chunks
    }

    /// The open chunk of a stream. The sender of an entry mostly sends the next one too, and keeps its `Arc`s, so the
    /// pointer nearly always decides.
    fn open(&mut self, stream: &Arc<Stream>) -> &mut Open {
        let found = self
            .open
            .iter()
            .position(|open| Arc::ptr_eq(&open.stream, stream))
            .or_else(|| self.open.iter().position(|open| open.stream == *stream));
        let index = found.unwrap_or_else(|| {
            self.open.push(Open::new(Arc::clone(stream)));
            self.open.len() - 1
        });
        &mut self.open[index]
    }
}

impl EntrySink for Encoder {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        let seconds = entry.time.0.div_euclid(NANOS_PER_SECOND) as u64;
        let nanos = entry.time.0.rem_euclid(NANOS_PER_SECOND) as u64;
        let time = varint_field(seconds) + varint_field(nanos);
        let metadata: usize = entry.metadata.iter().map(|pair| bytes_field(pair_len(pair))).sum();
        let body = bytes_field(time) + bytes_field(entry.line.len()) + metadata;
        let whole = bytes_field(body);

        let open = self.open(stream);
        let full = if open.entries.len() + whole > CHUNK_BYTES { open.close() } else { None };
        open.count_in(entry.time);

        let out = &mut open.entries;
        out.reserve(if out.is_empty() { whole.max(open.hint) } else { whole });
        let mut start = Small::default();
        start.key(TAG_2, body);
        start.key(TAG_1, time);
        start.varint(TAG_1_VARINT, seconds);
        start.varint(TAG_2_VARINT, nanos);
        start.key(TAG_2, entry.line.len());
        out.extend_from_slice(start.bytes());
        out.extend_from_slice(entry.line.as_bytes());
        for pair in entry.metadata {
            let mut start = Small::default();
            start.key(TAG_3, pair_len(pair));
            start.key(TAG_1, pair.0.len());
            out.extend_from_slice(start.bytes());
            out.extend_from_slice(pair.0.as_bytes());
            let mut middle = Small::default();
            middle.key(TAG_2, pair.1.len());
            out.extend_from_slice(middle.bytes());
            out.extend_from_slice(pair.1.as_bytes());
        }
        self.closed.extend(full);
    }
}

impl Open {
    fn new(stream: Arc<Stream>) -> Self {
        let (first, last) = (Timestamp(i64::MAX), Timestamp(i64::MIN));
        Self { stream, entries: Vec::new(), count: 0, first, last, hint: 0 }
    }

    fn count_in(&mut self, time: Timestamp) {
        self.count += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    fn close(&mut self) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let size = self.entries.len();
        let fresh = Self { hint: (size + size / 8).min(CHUNK_BYTES), ..Self::new(Arc::clone(&self.stream)) };
        let Self { stream, mut entries, count, first, last, .. } = std::mem::replace(self, fresh);
        // A queue in memory counts what an entry weighs, so it must weigh no more than that.
        if entries.capacity() > size + size / 4 {
            entries.shrink_to_fit();
        }
        Some(Chunk { stream, entries: Bytes::from(entries), count, first, last })
    }
}

/// Size of a field with a varint and a one-byte key.
fn varint_field(value: u64) -> usize {
    1 + encoded_len_varint(value)
}

/// Size of a length-delimited field with a one-byte key.
fn bytes_field(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn pair_len((name, value): &(&str, &str)) -> usize {
    bytes_field(name.len()) + bytes_field(value.len())
}

fn put_key(out: &mut Vec<u8>, key: u8, len: usize) {
    out.push(key);
    encode_varint(len as u64, out);
}

/// Up to five keys with their numbers. They are put together here, because a growing vector asks at every byte whether it
/// must grow.
struct Small {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Small {
    fn default() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }
}

impl Small {
    fn key(&mut self, key: u8, len: usize) {
        self.varint(key, len as u64);
    }

    /// At most 11 bytes.
    fn varint(&mut self, key: u8, mut value: u64) {
        self.bytes[self.len] = key;
        self.len += 1;
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Makes push bodies; keeps its buffers from one to the next.
#[derive(Debug)]
pub struct Packer {
    plain: Vec<u8>,
    /// As long as the longest body could have become: what snappy does not fill is kept for the next one.
    packed: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl Default for Packer {
    fn default() -> Self {
        Self { plain: Vec::new(), packed: Vec::new(), snappy: snap::raw::Encoder::new() }
    }
}

impl Packer {
    /// The body of a push of these encoded entries to one stream. Together they must stay far below 4 GiB, which is
    /// all that snappy can say; pushes are about 1 MiB.
    pub fn body(&mut self, stream: &Stream, parts: &[&[u8]]) -> Bytes {
        let labels = stream.selector();
        let entries: usize = parts.iter().map(|part| part.len()).sum();
        let adapter = bytes_field(labels.len()) + entries;
        self.plain.clear();
        self.plain.reserve(bytes_field(adapter));
        put_key(&mut self.plain, TAG_1, adapter);
        put_key(&mut self.plain, TAG_1, labels.len());
        self.plain.extend_from_slice(labels.as_bytes());
        for part in parts {
            self.plain.extend_from_slice(part);
        }
        let longest = snap::raw::max_compress_len(self.plain.len());
        if self.packed.len() < longest {
            self.packed.resize(longest, 0);
        }
        let len = self.snappy.compress(&self.plain, &mut self.packed).expect("snappy takes all below 4 GiB");
        // A body waits for its answer, so that it holds what it needs and no more.
        Bytes::copy_from_slice(&self.packed[..len])
    }
}

/// Where each entry of a chunk is, key and length included. Bytes that are not an entry come as one last range, so
/// that nothing goes unseen; [`decode`] says that they are none.
pub fn entries_of(chunk: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let rest = chunk.get(start..).filter(|rest| !rest.is_empty())?;
        at = field(rest).map_or(chunk.len(), |(_, _, after)| chunk.len() - after.len());
        Some(start..at)
    })
}

/// An entry as it was before it was encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Its time.
    pub time: Timestamp,
    /// Its line.
    pub line: &'a str,
    /// Its structured metadata, in order.
    pub metadata: Vec<(&'a str, &'a str)>,
}

/// Reads back one entry of a chunk, the bytes that [`entries_of`] found; `None` if they are not one entry.
pub fn decode(entry: &[u8]) -> Option<Decoded<'_>> {
    let (TAG_2, mut body, []) = field(entry)? else { return None };
    let mut decoded = Decoded { time: Timestamp(0), line: "", metadata: Vec::new() };
    while !body.is_empty() {
        let (key, value, rest) = field(body)?;
        match key {
            TAG_1 => decoded.time = decode_time(value)?,
            TAG_2 => decoded.line = std::str::from_utf8(value).ok()?,
            TAG_3 => decoded.metadata.push(decode_pair(value)?),
            _ => return None,
        }
        body = rest;
    }
    Some(decoded)
}

/// The time of one entry of a chunk, as [`decode`] reads it, without looking at the rest.
pub fn time_of(entry: &[u8]) -> Option<Timestamp> {
    let (TAG_2, body, []) = field(entry)? else { return None };
    let (TAG_1, time, _) = field(body)? else { return decode(entry).map(|entry| entry.time) };
    decode_time(time)
}

/// The first field of a message of length-delimited fields: key, value, rest.
fn field(mut message: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let key = *message.split_off_first()?;
    let len = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
    let (value, rest) = message.split_at_checked(len)?;
    Some((key, value, rest))
}

fn decode_time(mut message: &[u8]) -> Option<Timestamp> {
    let (mut seconds, mut nanos) = (0, 0);
    while let Some(key) = message.split_off_first() {
        let value = decode_varint(&mut message).ok()? as i64;
        match *key {
            TAG_1_VARINT => seconds = value,
            TAG_2_VARINT => nanos = value,
            _ => return None,
        }
    }
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos).map(Timestamp)
}

fn decode_pair(mut message: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    while !message.is_empty() {
        let (key, text, rest) = field(message)?;
        let text = std::str::from_utf8(text).ok()?;
        match key {
            TAG_1 => name = text,
            TAG_2 => value = text,
            _ => return None,
        }
        message = rest;
    }
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Loki's messages as prost derives would read them, written out by hand as an independent check.
    mod wire {
        use prost::encoding::{DecodeContext, WireType, message, skip_field, string};
        use prost::{DecodeError, bytes};

        macro_rules! reader {
            ($name:ident { $($tag:literal $field:ident: $type:ty = $module:ident :: $merge:ident),* }) => {
                #[derive(Debug, Default, Clone, PartialEq)]
                pub(super) struct $name { $(pub(super) $field: $type),* }
                impl prost::Message for $name {
                    fn encode_raw(&self, _: &mut impl bytes::BufMut) {}
                    fn encoded_len(&self) -> usize { 0 }
                    fn clear(&mut self) { *self = Self::default(); }
                    fn merge_field(
                        &mut self, tag: u32, wire: WireType, buf: &mut impl bytes::Buf, ctx: DecodeContext,
                    ) -> Result<(), DecodeError> {
                        match tag {
                            $($tag => $module::$merge(wire, &mut self.$field, buf, ctx),)*
                            _ => skip_field(wire, tag, buf, ctx),
                        }
                    }
                }
            };
        }
        use prost::encoding::{int32, int64};
        reader!(Push { 1 streams: Vec<StreamAdapter> = message::merge_repeated });
        reader!(StreamAdapter { 1 labels: String = string::merge, 2 entries: Vec<EntryAdapter> = message::merge_repeated });
        reader!(EntryAdapter {
            1 timestamp: Time = message::merge, 2 line: String = string::merge,
            3 metadata: Vec<Pair> = message::merge_repeated
        });
        reader!(Pair { 1 name: String = string::merge, 2 value: String = string::merge });
        reader!(Time { 1 seconds: i64 = int64::merge, 2 nanos: i32 = int32::merge });
    }

    fn stream(kind: &str) -> Arc<Stream> {
        Stream::new(vec![("service_name", "shop".into()), ("kind", kind.into())])
    }

    fn entry<'a>(time: i64, line: &'a str, metadata: &'a [(&'a str, &'a str)]) -> Entry<'a> {
        Entry { time: Timestamp(time), seq: 1, line, metadata }
    }

    #[test]
    fn a_body_is_read_by_a_protobuf_reader_as_it_was_meant() {
        let mut encoder = Encoder::new();
        let stream = stream("log");
        encoder.entry(&stream, &entry(1_700_000_000_123_456_789, "first", &[("run_id", "r1"), ("level", "info")]));
        encoder.entry(&stream, &entry(-1, "zweite Zeile ☂", &[]));
        encoder.entry(&stream, &entry(0, "", &[("level", &"x".repeat(300))]));
        let chunks = encoder.take();
        assert_eq!(chunks.len(), 1);
        let body = Packer::default().body(&stream, &[&chunks[0].entries]);
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let push = wire::Push::decode(plain.as_slice()).unwrap();
        assert_eq!(push.streams.len(), 1);
        assert_eq!(push.streams[0].labels, r#"{kind="log", service_name="shop"}"#);
        let read = &push.streams[0].entries;
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].timestamp.seconds, read[0].timestamp.nanos), (1_700_000_000, 123_456_789));
        assert_eq!(read[0].line, "first");
        let pairs: Vec<_> = read[0].metadata.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(pairs, [("run_id", "r1"), ("level", "info")]);
        assert_eq!((read[1].timestamp.seconds, read[1].timestamp.nanos), (-1, 999_999_999));
        assert_eq!(read[1].line, "zweite Zeile ☂");
        assert_eq!(read[2].metadata[0].value.len(), 300);
    }

    #[test]
    fn an_entry_is_decoded_as_it_was_encoded() {
        let long = "x".repeat(200 * 1024);
        let metadata = [("run_id", "r1"), ("test", "a::b")];
        let cases =
            [entry(1_700_000_000_123_456_789, "line", &metadata), entry(-5, "", &[]), entry(7, &long, &metadata)];
        let mut encoder = Encoder::new();
        for case in &cases {
            encoder.entry(&stream("log"), case);
        }
        let chunks = encoder.take();
        let bytes = &chunks[0].entries;
        let decoded: Vec<_> = entries_of(bytes).map(|range| decode(&bytes[range]).unwrap()).collect();
        assert_eq!(decoded.len(), 3);
        for (case, read) in cases.iter().zip(&decoded) {
            assert_eq!(read.time, case.time);
            assert_eq!(read.line, case.line);
            assert_eq!(read.metadata, case.metadata);
        }
    }

    #[test]
    fn chunks_close_at_256_kib_and_keep_the_order_of_each_stream() {
        let (log, test) = (stream("log"), stream("test"));
        let line = "y".repeat(1000);
        let mut encoder = Encoder::new();
        for i in 0..1000 {
            encoder.entry(&log, &entry(i, &line, &[]));
            if i % 100 == 0 {
                // Another Arc of the same labels is the same stream.
                encoder.entry(&stream("test"), &entry(i, "t", &[]));
            }
        }
        let chunks = encoder.take();
        assert!(encoder.is_empty());
        assert!(encoder.take().is_empty());
        assert!(chunks.iter().all(|chunk| chunk.entries.len() <= CHUNK_BYTES));
        for (wanted, number) in [(&log, 1000), (&test, 10)] {
            let mine: Vec<_> = chunks.iter().filter(|chunk| chunk.stream == *wanted).collect();
            let times: Vec<i64> = mine
                .iter()
                .flat_map(|chunk| entries_of(&chunk.entries).map(|range| decode(&chunk.entries[range]).unwrap().time.0))
                .collect();
            assert_eq!(times.len(), number);
            assert!(times.is_sorted());
            assert_eq!(mine.iter().map(|chunk| chunk.count as usize).sum::<usize>(), number);
            assert!(mine.iter().all(|chunk| chunk.first <= chunk.last));
        }
    }

    #[test]
    fn an_entry_larger_than_a_chunk_is_alone_in_its_chunk() {
        let mut encoder = Encoder::new();
        let huge = "z".repeat(CHUNK_BYTES + 1);
        for line in ["before", &huge, "after"] {
            encoder.entry(&stream("log"), &entry(1, line, &[]));
        }
        assert_eq!(encoder.take().iter().map(|chunk| chunk.count).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn bytes_that_are_no_entry_come_as_one_last_range_that_does_not_decode() {
        let mut encoder = Encoder::new();
        encoder.entry(&stream("log"), &entry(1, "good", &[]));
        let mut bytes = encoder.take()[0].entries.to_vec();
        let good = bytes.len();
        for tail in [&[0x12, 0x7f, 1][..], &[0xff], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            bytes.truncate(good);
            bytes.extend_from_slice(tail);
            let ranges: Vec<_> = entries_of(&bytes).collect();
            assert_eq!(ranges, [0..good, good..bytes.len()]);
            assert!(decode(&bytes[..good]).is_some());
            assert!(decode(&bytes[good..]).is_none());
        }
    }
}
