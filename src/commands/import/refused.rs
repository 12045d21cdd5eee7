//! Sends entries that Loki refused once more, after the cause is mended.
//!
//! They go through a spool like any others, as they are: with their labels, time, line and metadata. A file is read to its
//! end before anything of it is sent. While its entries go into the spool it is called `<file>.importing`, so that new
//! refusals of the same day are not mixed with it, and then `<file>.sent`. It is kept, because what is refused again loses
//! nothing by it, and because whoever looks for an entry may want to see why it was refused the first time.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::super::events_file;
use super::super::shipping::{Says, Shipping, eprint_line, limits};
use crate::config::{Output, Settings};
use crate::event::Timestamp;
use crate::exit::{Exit, Failure};
use crate::loki::encode::Encoder;
use crate::loki::entry::{Entry, EntrySink as _, Stream};
use crate::names::label;
use crate::spool::{DiskQueue, Queue as _};

/// So many entries go into the spool at once.
const AT_ONCE: u64 = 500;

/// Sends the entries of these files.
///
/// # Errors
/// If a file is not one of refused entries; then nothing is sent. If the spool or the client cannot be made.
pub(super) async fn import(settings: &Settings, files: &[PathBuf]) -> Result<Exit, Failure> {
    if settings.output != Output::Loki {
        return Err(Failure::new(Exit::Config, "import sends to Loki only").hint("leave out --output"));
    }
    for path in files {
        let mut reader = open(path).map_err(|error| unreadable(path, &error))?;
        read(&mut reader, path, &mut |_| Ok(()))?;
    }
    let limits = limits(settings).await;
    let name = events_file::name(settings.run.run_id.as_str());
    let mut shipping = Shipping::start(settings, &name, &limits)?;
    let (queue, paths) = (Arc::clone(&shipping.queue), files.to_vec());
    // It blocks on disk, and at the spool's cap.
    let spooled = tokio::task::spawn_blocking(move || {
        let mut total = 0;
        for path in &paths {
            total += spool(path, &queue)?;
        }
        Ok(total)
    });
    let spooled: Result<u64, Failure> =
        spooled.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link: None };
    let left = shipping.drain(settings.drain_timeout, &says).await;
    let stats = shipping.shipper.stats();
    let (rejected, error) = (stats.rejected_total(), stats.last_error().map(|(_, error)| error));
    shipping.end(settings.drain_timeout, &says).await;
    let total = spooled?;
    says.line(&format!("{} of {total} entries in Loki", total.saturating_sub(left + rejected)));
    if left > 0 {
        let why = error.as_deref().unwrap_or("it did not answer in time");
        eprint_line(&format!(
            "warning: {left} entries wait in the spool for Loki: {why}; the next start or `testwire flush` delivers them"
        ));
        return Ok(Exit::Undelivered);
    }
    if rejected > 0 {
        eprint_line(&format!(
            "warning: Loki refused {rejected} of them again; they are kept in rejected/ with its answer"
        ));
        return Ok(Exit::Rejected);
    }
    Ok(Exit::Ok)
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Input, format!("cannot read {}", path.display())).cause(error)
}

/// Puts the entries of a file into the spool; gives their number.
fn spool(path: &Path, queue: &DiskQueue) -> Result<u64, Failure> {
    let claimed = beside(path, "importing");
    let failed =
        |error: &io::Error| Failure::new(Exit::Input, format!("cannot rename {}", path.display())).cause(error);
    std::fs::rename(path, &claimed).map_err(|error| failed(&error))?;
    let mut reader = open(&claimed).map_err(|error| unreadable(&claimed, &error))?;
    let mut count = append(&mut reader, &claimed, queue)?;
    std::fs::rename(&claimed, beside(path, "sent")).map_err(|error| failed(&error))?;
    // A process that had the file open when it was renamed may have added to it.
    count += append(&mut reader, path, queue)?;
    Ok(count)
}

/// A name that is free: the file's and this ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 1 { format!(".{ending}") } else { format!(".{ending}.{number}") });
        PathBuf::from(name)
    };
    (1..).map(name).find(|path| !path.exists()).expect("nobody has made four billion files")
}

fn append(reader: &mut BufReader<File>, path: &Path, queue: &DiskQueue) -> Result<u64, Failure> {
    let unusable = |error| Failure::new(Exit::Spool, "the spool cannot be used").cause(&error);
    let (mut encoder, mut count, mut stream) = (Encoder::new(), 0, None);
    read(reader, path, &mut |entry| {
        count += 1;
        entry.encode(&mut encoder, &mut stream);
        if count % AT_ONCE == 0 { queue.append(encoder.take(), None).map_err(unusable) } else { Ok(()) }
    })?;
    if !encoder.is_empty() {
        queue.append(encoder.take(), None).map_err(unusable)?;
    }
    Ok(count)
}

/// Reads all lines; an error names the line.
fn read(
    reader: &mut BufReader<File>,
    path: &Path,
    take: &mut dyn FnMut(Kept<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut line, mut number) = (String::new(), 0);
    loop {
        line.clear();
        number += 1;
        if reader.read_line(&mut line).map_err(|error| unreadable(path, &error))? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        let entry = Kept::parse(&line).map_err(|why| {
            Failure::new(Exit::Input, format!("{}:{number}: {why}", path.display()))
                .hint("import takes files that testwire keeps in rejected/, and what --output ndjson prints")
        })?;
        take(entry)?;
    }
}

/// A line of `rejected/*.ndjson`. What Loki said is not needed.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    labels: Pairs<'a>,
    /// Nanoseconds, as text; replaced by the time that it says.
    timestamp: Cow<'a, str>,
    line: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Pairs<'a>,
    #[serde(skip)]
    time: Timestamp,
}

impl<'a> Kept<'a> {
    fn parse(line: &'a str) -> Result<Self, String> {
        let mut entry: Self =
            serde_json::from_str(line).map_err(|error| format!("this is no entry of testwire: {error}"))?;
        let time = entry.timestamp.parse().map_err(|_| "the timestamp is no number of nanoseconds".to_owned())?;
        entry.time = Timestamp(time);
        if entry.labels.0.is_empty() {
            return Err("it has no labels".into());
        }
        match entry.labels.0.iter().find(|(name, _)| known(name).is_none()) {
            Some((name, _)) => Err(format!("`{name}` is no label of testwire")),
            None => Ok(entry),
        }
    }

    /// `last` is the stream of the entry before, mostly the same.
    fn encode(&self, encoder: &mut Encoder, last: &mut Option<Arc<Stream>>) {
        let labels = self.labels.0.iter().filter_map(|(name, value)| Some((known(name)?, value.clone().into_owned())));
        let stream = Stream::new(labels.collect());
        let stream = last.take().filter(|last| *last == stream).unwrap_or(stream);
        let metadata: Vec<(&str, &str)> =
            self.metadata.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        // The number is in the time already.
        encoder.entry(&stream, &Entry { time: self.time, seq: 0, line: &self.line, metadata: &metadata });
        *last = Some(stream);
    }
}

/// The label of this name.
fn known(name: &str) -> Option<&'static str> {
    label::ALL.iter().find(|known| **known == name).copied()
}

/// True if an input that begins so consists of entries.
pub(super) fn is_one(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = line.trim_ascii_start();
    text.starts_with(b"{\"labels\":") && memchr::memmem::find(text, b"\"timestamp\":").is_some()
}

/// Names and values in their order, which is part of an entry's identity.
#[derive(Default)]
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_rejected_is_read_with_its_metadata_in_order() {
        let line = r#"{"labels":{"env":"local","kind":"log"},"timestamp":"1700000000123456007","line":"a \"b\"\nc","metadata":{"run_id":"r1","level":"warn","b":"é\t"},"reason":"too_far_behind","status":400,"answer":"entry too far behind"}"#;
        let entry = Kept::parse(line).unwrap();
        assert_eq!((entry.time, entry.line.as_ref()), (Timestamp(1_700_000_000_123_456_007), "a \"b\"\nc"));
        let pairs: Vec<_> = entry.metadata.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["run_id=r1", "level=warn", "b=é\t"]);
    }

    #[test]
    fn what_is_no_entry_says_why() {
        for (line, why) in [
            ("<testsuite>", "no entry of testwire"),
            (r#"{"Action":"run"}"#, "missing field `labels`"),
            (r#"{"labels":{"kind":"log"},"timestamp":1,"line":""}"#, "invalid type"),
            (r#"{"labels":{"kind":"log"},"timestamp":"soon","line":""}"#, "no number of nanoseconds"),
            (r#"{"labels":{},"timestamp":"1","line":""}"#, "no labels"),
            (r#"{"labels":{"pod":"x"},"timestamp":"1","line":""}"#, "`pod` is no label of testwire"),
        ] {
            let error = Kept::parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
