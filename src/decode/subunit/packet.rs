//! One packet of subunit v2 → its fields.
//!
//! The layout is that of subunit's README ("Version 2", <https://github.com/testing-cabal/subunit>): 0xB3, flags, length
//! of the whole packet, then what the flags announce, then a CRC-32 of all before it.

/// First byte of a packet.
pub(super) const SIGNATURE: u8 = 0xb3;
/// Longest packet that the format allows.
pub(super) const LONGEST: usize = 4 << 20;
/// Signature, flags, a length of one byte, and the checksum.
const SHORTEST: usize = 8;

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    None,
    Exists,
    InProgress,
    Success,
    UnexpectedSuccess,
    Skip,
    Fail,
    ExpectedFailure,
}

/// A packet.
#[derive(Debug, PartialEq)]
pub(super) struct Packet<'a> {
    pub(super) state: State,
    pub(super) id: Option<&'a str>,
    /// Seconds and nanoseconds since the epoch.
    pub(super) time: Option<(u32, u32)>,
    pub(super) tags: Vec<&'a str>,
    pub(super) mime: &'a str,
    /// Name and contents.
    pub(super) file: Option<(&'a str, &'a [u8])>,
    pub(super) eof: bool,
    pub(super) route: &'a str,
}

/// What the bytes at a signature are.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// A packet of so many bytes.
    Packet(Packet<'a>, usize),
    /// The beginning of what may be one.
    Incomplete,
    /// None.
    Nothing,
}

/// Reads the packet at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    if bytes.first() != Some(&SIGNATURE) {
        return Found::Nothing;
    }
    let Some(high) = bytes.get(1) else { return Found::Incomplete };
    if high >> 4 != 2 {
        return Found::Nothing;
    }
    let mut reader = Reader { rest: bytes.get(1..).unwrap_or_default() };
    let (Some(flags), Some(length)) = (reader.u16(), reader.number()) else { return Found::Incomplete };
    let length = length as usize;
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Found::Nothing;
    }
    let Some(whole) = bytes.get(..length) else { return Found::Incomplete };
    let Some((body, checksum)) = whole.split_last_chunk::<4>() else { return Found::Nothing };
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Found::Nothing;
    }
    let head = bytes.len() - reader.rest.len();
    let fields = Reader { rest: body.get(head..).unwrap_or_default() };
    match fields.packet(flags) {
        Some(packet) => Found::Packet(packet, length),
        None => Found::Nothing,
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn packet(mut self, flags: u16) -> Option<Packet<'a>> {
        let has = |bit: u16| flags & bit != 0;
        let time = if has(0x0200) { Some((self.u32()?, self.number()?)) } else { None };
        let id = if has(0x0800) { Some(self.text()?) } else { None };
        let mut tags = Vec::new();
        if has(0x0080) {
            for _ in 0..self.number()? {
                tags.push(self.text()?);
            }
        }
        let mime = if has(0x0020) { self.text()? } else { "" };
        let file = if has(0x0040) { Some((self.text()?, self.counted()?)) } else { None };
        let route = if has(0x0400) { self.text()? } else { "" };
        let state = match flags & 7 {
            0 => State::None,
            1 => State::Exists,
            2 => State::InProgress,
            3 => State::Success,
            4 => State::UnexpectedSuccess,
            5 => State::Skip,
            6 => State::Fail,
            _ => State::ExpectedFailure,
        };
        Some(Packet { state, id, time, tags, mime, file, eof: has(0x0010), route })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The two highest bits say how many bytes follow the first.
    fn number(&mut self) -> Option<u32> {
        let first = *self.rest.first()?;
        let bytes = self.take(1 + usize::from(first >> 6))?;
        let value = bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        Some(value & (u32::MAX >> (32 - (8 * bytes.len() - 2))))
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.counted()?).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet with a status and an id, and a file if one is given.
    pub(crate) fn packet(state: u16, id: &str, file: Option<(&str, &[u8])>) -> Vec<u8> {
        let flags = 0x2800 | state | if file.is_some() { 0x0050 } else { 0 };
        let number = |value: usize| (0x4000 | value as u16).to_be_bytes();
        let mut body = number(id.len()).to_vec();
        body.extend_from_slice(id.as_bytes());
        if let Some((name, contents)) = file {
            body.extend_from_slice(&number(name.len()));
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&number(contents.len()));
            body.extend_from_slice(contents);
        }
        let mut packet = vec![SIGNATURE];
        packet.extend_from_slice(&flags.to_be_bytes());
        packet.extend_from_slice(&number(body.len() + 9));
        packet.extend_from_slice(&body);
        packet.extend_from_slice(&crc32fast::hash(&packet).to_be_bytes());
        packet
    }

    #[test]
    fn a_packet_is_read_and_anything_else_is_not() {
        let bytes = packet(6, "a.b", Some(("traceback", b"x\n")));
        let Found::Packet(read_back, length) = read(&bytes) else { panic!("{:?}", read(&bytes)) };
        assert_eq!((read_back.state, read_back.id, length), (State::Fail, Some("a.b"), bytes.len()));
        assert_eq!((read_back.file, read_back.eof), (Some(("traceback", &b"x\n"[..])), true));
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Found::Incomplete, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            assert!(!matches!(read(&damaged), Found::Packet(..)), "damaged at {at}");
        }
        assert_eq!(read(b""), Found::Nothing);
    }

    #[test]
    fn numbers_have_one_to_four_bytes() {
        for (bytes, value) in [
            (&[0x05_u8][..], 5),
            (&[0x41, 0x02], 0x102),
            (&[0x81, 0x02, 0x03], 0x1_0203),
            (&[0xff, 0xff, 0xff, 0xff], 0x3fff_ffff),
        ] {
            assert_eq!(Reader { rest: bytes }.number(), Some(value));
        }
    }
}
