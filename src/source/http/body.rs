//! Bodies: bounded in bytes and in time, unpacked.

use std::io::{self, Write};
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes a permit.
pub(super) const UNIT: usize = 1024;
/// How long the next part of a body may take to come.
const PART_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a body may take, and what it must come with beyond that: slower ones only hold memory.
const BODY_TIME: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND: u64 = 16 * 1024;
/// How long a body waits for room in memory.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// More than is allowed.
    TooLarge,
    /// It did not come in time.
    Slow,
    /// Bodies of other requests fill the memory.
    NoRoom,
    /// The connection broke, or the body is not packed as its header says.
    Broken(&'static str),
    /// Packed in another way than gzip.
    Encoding,
}

/// A body in memory, and its place there.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    _room: Vec<OwnedSemaphorePermit>,
}

/// Reads the parts of a body.
pub(super) struct Parts {
    incoming: Incoming,
    packed: Option<Unpack>,
    begun: Instant,
    read: u64,
    ended: bool,
}

/// Collects what is unpacked, up to a limit.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Unpack = MultiGzDecoder<Limited>;

impl Parts {
    /// `limit` bounds what one part may become when it is unpacked.
    pub(super) fn new(headers: &HeaderMap, incoming: Incoming, limit: usize) -> Result<Self, BodyError> {
        let encoding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
        let packed = match encoding.as_deref() {
            None | Some(b"" | b"identity") => None,
            Some(b"gzip" | b"x-gzip") => Some(MultiGzDecoder::new(Limited { bytes: Vec::new(), limit })),
            Some(_) => return Err(BodyError::Encoding),
        };
        Ok(Self { incoming, packed, begun: Instant::now(), read: 0, ended: false })
    }

    /// The next part, unpacked; `None` at the end. `streams`: the body may take as long as it likes.
    pub(super) async fn next(&mut self, streams: bool) -> Result<Option<Vec<u8>>, BodyError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let whole = BODY_TIME + Duration::from_secs(self.read / BYTES_PER_SECOND);
            let part_until = Instant::now() + PART_TIMEOUT;
            let until = if streams { None } else { Some(part_until.min(self.begun + whole)) };
            let frame = match until {
                Some(until) => {
                    tokio::time::timeout_at(until, self.incoming.frame()).await.map_err(|_| BodyError::Slow)?
                }
                None => self.incoming.frame().await,
            };
            let Some(frame) = frame else {
                self.ended = true;
                let Some(packed) = &mut self.packed else { return Ok(None) };
                packed.try_finish().map_err(unpacking)?;
                return Ok(Some(std::mem::take(&mut packed.get_mut().bytes)).filter(|rest| !rest.is_empty()));
            };
            let frame = frame.map_err(|_| BodyError::Broken("the body did not come whole"))?;
            let Ok(data) = frame.into_data() else { continue };
            self.read += data.len() as u64;
            match &mut self.packed {
                None => return Ok(Some(data.into())),
                Some(packed) => {
                    packed.write_all(&data).map_err(unpacking)?;
                    let unpacked = std::mem::take(&mut packed.get_mut().bytes);
                    if !unpacked.is_empty() {
                        return Ok(Some(unpacked));
                    }
                }
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn unpacking(error: io::Error) -> BodyError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        BodyError::TooLarge
    } else {
        BodyError::Broken("the body is not in gzip format")
    }
}

/// Reads a whole body of at most `limit` bytes, unpacked.
pub(super) async fn read(
    headers: &HeaderMap,
    incoming: Incoming,
    limit: usize,
    room: &std::sync::Arc<Semaphore>,
) -> Result<Held, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut parts = Parts::new(headers, incoming, limit)?;
    let mut held = Held { bytes: Vec::new(), _room: Vec::new() };
    let mut paid = 0;
    while let Some(part) = parts.next(false).await? {
        let length = held.bytes.len() + part.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        // Room is taken in growing steps, as the vector does.
        if length.div_ceil(UNIT) > paid {
            let wanted = length.div_ceil(UNIT).max(2 * paid) - paid;
            let permits = std::sync::Arc::clone(room).acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX));
            let permit = tokio::time::timeout(ROOM_TIMEOUT, permits).await.map_err(|_| BodyError::NoRoom)?;
            held._room.push(permit.map_err(|_| BodyError::NoRoom)?);
            paid += wanted;
        }
        if held.bytes.is_empty() {
            held.bytes = part;
        } else {
            held.bytes.extend_from_slice(&part);
        }
    }
    Ok(held)
}
