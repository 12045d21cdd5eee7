//! What container runtimes wrap lines in.

use std::borrow::Cow;

use serde::Deserialize;

use super::rules::Container;
use super::stamp::{Stamp, at_start, whole};
use crate::decode::fields;

/// A line as the application wrote it, or a part of it.
#[derive(Debug)]
pub(super) struct Unwrapped<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// When the runtime got it.
    pub(super) stamp: Option<Stamp>,
    /// True for standard error.
    pub(super) is_stderr: bool,
    /// True if the line goes on in the next one.
    pub(super) is_partial: bool,
}

impl<'a> Unwrapped<'a> {
    /// A line that nothing wraps.
    pub(super) fn plain(line: &'a [u8]) -> Self {
        Self { text: Cow::Borrowed(line), stamp: None, is_stderr: false, is_partial: false }
    }
}

/// Docker's `json-file` driver: <https://docs.docker.com/engine/logging/drivers/json-file/>. It cuts lines at 16 KiB, and
/// only the last part ends with a line end.
#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    log: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::text", default)]
    stream: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::text", default)]
    time: Cow<'a, str>,
}

/// The line inside, if `line` is wrapped as `container` says.
pub(super) fn unwrap(line: &[u8], container: Container) -> Option<Unwrapped<'_>> {
    match container {
        Container::None => None,
        Container::Docker => docker(line),
        Container::Cri => cri(line),
        // An application's own object with a field `log` has no stream and time beside it.
        Container::Auto if line.starts_with(b"{\"log\":\"") => docker(line).filter(|docker| docker.stamp.is_some()),
        Container::Auto => cri(line),
    }
}

fn docker(line: &[u8]) -> Option<Unwrapped<'_>> {
    let docker: Docker<'_> = serde_json::from_slice(line).ok()?;
    let stamp = whole(docker.time.as_bytes());
    let is_stderr = docker.stream == "stderr";
    let is_partial = !docker.log.ends_with('\n');
    let text = match docker.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let text = match text {
        Cow::Owned(mut text) if !is_partial => {
            text.pop();
            if text.last() == Some(&b'\r') {
                text.pop();
            }
            Cow::Owned(text)
        }
        other => other,
    };
    Some(Unwrapped { text, stamp, is_stderr, is_partial })
}

/// Kubernetes' container runtime interface: time, stream, tags, text
/// (<https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>).
fn cri(line: &[u8]) -> Option<Unwrapped<'_>> {
    // Cheap to refuse: an RFC 3339 time with a zone, 20 to 35 bytes.
    if line.get(10) != Some(&b'T') {
        return None;
    }
    let blank = line.get(19..).and_then(|rest| memchr::memchr(b' ', rest.get(..rest.len().min(24))?))? + 19;
    let rest = line.get(blank + 1..)?;
    let (is_stderr, rest) = match rest.strip_prefix(b"stdout ") {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix(b"stderr ")?),
    };
    let (is_partial, tag) = match rest.first()? {
        b'P' => (true, rest),
        b'F' => (false, rest),
        _ => return None,
    };
    // More tags may follow behind colons.
    let end = memchr::memchr(b' ', tag).unwrap_or(tag.len());
    if end > 1 && tag.get(1) != Some(&b':') {
        return None;
    }
    let stamp = at_start(line).filter(|stamp| stamp.end == blank)?;
    let text = Cow::Borrowed(tag.get(end + 1..).unwrap_or_default());
    Some(Unwrapped { text, stamp: Some(stamp), is_stderr, is_partial })
}
