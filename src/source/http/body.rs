//! Bodies: bounded in bytes and in time, unpacked.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
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
/// Bytes of a body that need no room: events of tests are smaller, and are taken whatever large bodies there are.
const SMALL: usize = 16 * 1024;
/// Packed bytes that are unpacked at once: they may become a thousand times as many, of which nobody has heard before.
const PACKED: usize = 1024;
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
    /// Kept as long as the bytes, or what they became.
    pub(super) room: Room,
}

/// The place in memory that a body has, of the place for all.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// No place yet.
    pub(super) fn new(all: &Arc<Semaphore>) -> Self {
        Self { all: Arc::clone(all), taken: None }
    }

    /// Takes place for so many bytes in all, in growing steps, as a vector does. Waits for it, but not for ever.
    pub(super) async fn hold(&mut self, bytes: usize) -> Result<(), BodyError> {
        if bytes <= SMALL {
            return Ok(());
        }
        let (wanted, has) = (bytes.div_ceil(UNIT), self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if wanted <= has {
            return Ok(());
        }
        let more = u32::try_from(wanted.max(2 * has) - has).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.all).acquire_many_owned(more);
        let permit = tokio::time::timeout(ROOM_TIMEOUT, permits).await.map_err(|_| BodyError::NoRoom)?;
        let permit = permit.map_err(|_| BodyError::NoRoom)?;
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) fn leave(&mut self) {
        self.taken = None;
    }
}

/// Reads the parts of a body.
pub(super) struct Parts {
    incoming: Incoming,
    packed: Option<Unpack>,
    /// Packed bytes that came.
    waiting: Bytes,
    begun: Instant,
    read: u64,
    ended: bool,
}

/// What has to come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The next part of the body, and the body as a whole.
    Body,
    /// The next part.
    Part,
    /// Nothing: a stream may be quiet for hours.
    Free,
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
        Ok(Self { incoming, packed, waiting: Bytes::new(), begun: Instant::now(), read: 0, ended: false })
    }

    /// The next part, unpacked; `None` at the end.
    pub(super) async fn next(&mut self, pace: Pace) -> Result<Option<Vec<u8>>, BodyError> {
        loop {
            if let Some(unpacked) = self.unpack()? {
                return Ok(Some(unpacked));
            }
            if self.ended {
                return Ok(None);
            }
            let whole = BODY_TIME + Duration::from_secs(self.read / BYTES_PER_SECOND);
            let part_until = Instant::now() + PART_TIMEOUT;
            let until = match pace {
                Pace::Body => Some(part_until.min(self.begun + whole)),
                Pace::Part => Some(part_until),
                Pace::Free => None,
            };
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
            if self.packed.is_none() {
                return Ok(Some(data.into()));
            }
            self.waiting = data;
        }
    }

    /// What becomes of the next packed bytes; `None` if there are no more of them.
    fn unpack(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        let Some(packed) = &mut self.packed else { return Ok(None) };
        while !self.waiting.is_empty() {
            let piece = self.waiting.split_to(self.waiting.len().min(PACKED));
            packed.write_all(&piece).map_err(unpacking)?;
            let unpacked = std::mem::take(&mut packed.get_mut().bytes);
            if !unpacked.is_empty() {
                return Ok(Some(unpacked));
            }
        }
        Ok(None)
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
    room: &Arc<Semaphore>,
) -> Result<Held, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut parts = Parts::new(headers, incoming, limit)?;
    let mut held = Held { bytes: Vec::new(), room: Room::new(room) };
    while let Some(part) = parts.next(Pace::Body).await? {
        let length = held.bytes.len() + part.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        held.room.hold(length).await?;
        if held.bytes.is_empty() {
            held.bytes = part;
        } else {
            held.bytes.extend_from_slice(&part);
        }
    }
    Ok(held)
}
