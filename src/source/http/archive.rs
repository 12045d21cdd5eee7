//! Archives of results: multipart forms with a large file at their end, which goes to the disk as it comes.

use std::fs::File;
use std::io::{self, Write as _};

use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem;

use super::attachments::Half;

/// Bytes of an archive.
pub(super) const MAX_ARCHIVE: u64 = 256 << 20;
/// Bytes of the fields before the file.
const MAX_FIELDS: usize = 1 << 20;
/// Bytes of the end of the form that are looked through for its last boundary.
const TAIL: usize = 4 << 10;

/// Why it is no archive.
#[derive(Debug)]
pub(super) enum ArchiveError {
    /// Not what an uploader sends.
    Form(&'static str),
    /// More than is kept.
    TooLarge,
    /// The disk.
    Io(io::Error),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A form that is being read.
pub(super) struct Form {
    /// `\r\n--` and the boundary.
    boundary: Vec<u8>,
    /// Fields that are not looked at yet; then the end of the file so far.
    held: Vec<u8>,
    fields: Vec<(String, String)>,
    in_file: bool,
    file: Half,
    written: u64,
}

impl Form {
    /// A form whose file is written to `file`.
    pub(super) fn new(headers: &HeaderMap, file: Half) -> Result<Self, ArchiveError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
        let boundary = boundary.map(|text| text.trim_matches('"')).filter(|text| (1..=200).contains(&text.len()));
        let boundary = boundary.ok_or(ArchiveError::Form("the body is no multipart form"))?;
        // The first boundary has no line end before it.
        let (boundary, held) = (format!("\r\n--{boundary}").into_bytes(), b"\r\n".to_vec());
        Ok(Self { boundary, held, fields: Vec::new(), in_file: false, file, written: 0 })
    }

    /// Takes what came. Writes to the page cache, which takes microseconds.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.held.extend_from_slice(bytes);
        while !self.in_file {
            if !self.field()? {
                return if self.held.len() > MAX_FIELDS { Err(ArchiveError::TooLarge) } else { Ok(()) };
            }
        }
        self.write_all_but(TAIL + self.boundary.len())
    }

    /// Reads the next field; false if it is not there yet.
    fn field(&mut self) -> Result<bool, ArchiveError> {
        let Some(begin) = memmem::find(&self.held, &self.boundary) else { return Ok(false) };
        let begin = begin + self.boundary.len();
        let rest = self.held.get(begin..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Err(ArchiveError::Form("the form has no file"));
        }
        let Some(head) = memmem::find(rest, b"\r\n\r\n") else { return Ok(false) };
        let text = String::from_utf8_lossy(rest.get(..head).unwrap_or_default()).into_owned();
        let name = text.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(name, _)| name);
        let body = begin + head + 4;
        if name == "file" {
            self.held.drain(..body);
            self.in_file = true;
            return Ok(true);
        }
        let Some(end) = memmem::find(self.held.get(body..).unwrap_or_default(), &self.boundary) else {
            return Ok(false);
        };
        let value = String::from_utf8_lossy(self.held.get(body..body + end).unwrap_or_default()).into_owned();
        self.fields.push((name.to_owned(), value));
        self.held.drain(..body + end);
        Ok(true)
    }

    fn write_all_but(&mut self, keep: usize) -> Result<(), ArchiveError> {
        let count = self.held.len().saturating_sub(keep);
        self.written += count as u64;
        if self.written > MAX_ARCHIVE {
            return Err(ArchiveError::TooLarge);
        }
        let mut file: &File = self.file.file();
        file.write_all(self.held.get(..count).unwrap_or_default())?;
        self.held.drain(..count);
        Ok(())
    }

    /// The fields and the whole file.
    pub(super) fn finish(mut self) -> Result<(Vec<(String, String)>, Half), ArchiveError> {
        let end = memmem::rfind(&self.held, &self.boundary).filter(|_| self.in_file);
        let end = end.ok_or(ArchiveError::Form("the form is not whole"))?;
        self.held.truncate(end);
        self.write_all_but(0)?;
        Ok((self.fields, self.file))
    }
}
