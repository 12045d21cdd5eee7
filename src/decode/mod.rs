//! Bytes of a runner → [`Event`]s: one file per format, pure state machines without I/O or clock.

pub mod applog;
mod bodies;
mod cargo;
pub mod clients;
mod ctest;
mod cucumber;
mod cucumber_json;
mod detect;
mod document;
mod excerpt;
mod fields;
mod format;
mod gotest;
mod gtest;
mod gtest_json;
mod gtest_stream;
mod jest;
mod jest_reporter;
mod junit;
mod libtest;
mod mocha;
mod mocha_json;
mod node_events;
mod object;
mod occurrences;
mod output;
mod playwright;
mod pytest;
mod robot;
mod robot_json;
mod robot_xml;
mod split;
mod subunit;
mod tap;
mod teamcity;
mod testwire;
mod time;
mod wall;
mod xml;

pub use self::cargo::streams as cargo_streams;
pub use self::detect::{DETECT_LIMIT, Detection, Detector, binary_format, detect, stream_format};
pub use self::document::{Broken, Document};
pub use self::format::{Format, UnknownFormat};
pub use self::junit::{AGAIN as REPORT_AGAIN, ReportHead};
pub use self::wall::{Zone, utc};
use crate::event::{Event, Fact, LogLine, Source};

/// Takes events in the order in which they happened. A plain callback, so that events may borrow from the line.
pub type Emit<'e> = dyn FnMut(Event<'_>) + 'e;

/// A format's state machine over lines.
pub trait Decoder {
    /// Takes the next line, without its end (LF or CRLF), of any length and in any encoding.
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>);

    /// The input ended: says what is still held back. Open tests are normalize's to close.
    fn finish(&mut self, emit: &mut Emit<'_>);

    /// The value of the label `runner` for what was decoded so far.
    fn runner(&self) -> &str;

    /// Why the input could not be read to its end, after [`Decoder::finish`]; only reports can be damaged.
    fn broken(&self) -> Option<&Broken> {
        None
    }
}

/// A line that is no event: it is kept as the runner's standard output.
fn stdout_line(line: &[u8], emit: &mut Emit<'_>) {
    stdout_text(&String::from_utf8_lossy(line), emit);
}

fn stdout_text(text: &str, emit: &mut Emit<'_>) {
    let line = LogLine { test: None, source: Source::Stdout, level: None, text: text.into() };
    emit(Event { time: None, fact: Fact::Log(line) });
}
