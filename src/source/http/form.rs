//! Forms with files, `multipart/form-data`, that are in memory whole.

use http_body_util::{BodyDataStream, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use multer::Multipart;

/// Fields that are no files.
const MAX_FIELDS: usize = 32;

/// A form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Names and values.
    pub(super) fields: Vec<(String, String)>,
    /// Names and contents, whatever the fields are called that hold them: scripts and browsers differ in that.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn read(headers: &HeaderMap, body: Vec<u8>) -> Result<Self, String> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(kind).map_err(|_| "the body must be multipart/form-data".to_owned())?;
        let whole: BodyDataStream<Full<Bytes>> = BodyDataStream::new(Full::new(Bytes::from(body)));
        let mut parts = Multipart::new(whole, boundary);
        let mut form = Self::default();
        while let Some(part) = parts.next_field().await.map_err(|error| error.to_string())? {
            let name = part.name().unwrap_or_default().to_owned();
            // A browser sends an empty file with an empty name where none was chosen.
            let file = part.file_name().map(str::to_owned);
            let bytes = part.bytes().await.map_err(|error| error.to_string())?;
            match file {
                Some(file) if file.is_empty() && bytes.is_empty() => {}
                Some(file) => form.files.push((file, bytes.into())),
                None if form.fields.len() == MAX_FIELDS => return Err("the form has too many fields".into()),
                None => form.fields.push((name, String::from_utf8_lossy(&bytes).into_owned())),
            }
        }
        Ok(form)
    }

    /// The value of a field; empty if it is not there.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str())
    }
}
