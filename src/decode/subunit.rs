//! subunit v2 (binary), as stestr, `subunit.run` and testtools write it → events.
//!
//! Bytes that are no packets are the program's output, which is common and allowed. The signature 0xB3 occurs in them, too,
//! so version, length and checksum of a packet are checked, and on a mismatch one byte is passed over; python-subunit
//! believes the length and loses what it covers. There is no mark of the run's end.

mod packet;

use std::borrow::Cow;
use std::collections::HashMap;

use memchr::{memchr, memrchr};

use self::packet::{Found, Packet, SIGNATURE, State};
use super::output::{output, reborrow, run_finished, run_started};
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, Level, LogLine, Note, Planned, Source, Status, TestFinished, TestRef, TestStarted, Timestamp,
};

/// A line of output longer than this is passed on in pieces.
const LONGEST_LINE: usize = 1 << 20;
/// What is kept of the details of a test, for its end; the rest is only logged.
const LONGEST_DETAILS: usize = 256 * 1024;

/// State of the format.
#[derive(Default)]
pub(super) struct Subunit {
    packets: u64,
    has_text: bool,
    /// Bytes that may be the beginning of a packet.
    held: Vec<u8>,
    /// Output without a line end yet.
    line: Vec<u8>,
    open: HashMap<String, Open, foldhash::fast::RandomState>,
    /// Files of tests that come in several packets, whose last line is not whole.
    pieces: HashMap<(String, String), Vec<u8>, foldhash::fast::RandomState>,
}

#[derive(Default)]
struct Open {
    started: bool,
    worker: String,
    details: String,
    reason: String,
}

impl Decoder for Subunit {
    /// Takes the next bytes of the stream, cut anywhere; see `Format::is_binary`.
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        if self.held.is_empty() {
            return self.bytes(bytes, false, emit);
        }
        self.held.extend_from_slice(bytes);
        if packet::read(&self.held) == Found::Incomplete {
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.bytes(&held, false, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        let held = std::mem::take(&mut self.held);
        let before = self.packets;
        // What looked like a long packet may be text with packets in it.
        self.bytes(&held, true, emit);
        let cut = !held.is_empty() && self.packets == before;
        self.end_line(emit);
        if self.packets == 0 && self.has_text {
            // stestr that cannot list the tests prints text where packets should be: this was no run that passed.
            run_started("subunit", None, emit);
            let text = Cow::Borrowed("there is no packet of subunit v2 in the input");
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Error, text }) });
        }
        if self.packets > 0 && self.open.is_empty() && !cut {
            run_finished(None, "", None, emit);
        }
    }

    fn runner(&self) -> &str {
        "subunit"
    }
}

impl Subunit {
    /// Takes packets and what is between them; what may be the beginning of a packet is held, unless nothing follows.
    fn bytes(&mut self, mut rest: &[u8], last: bool, emit: &mut Emit<'_>) {
        while let Some(at) = memchr(SIGNATURE, rest) {
            let (before, candidate) = rest.split_at(at);
            self.text(before, emit);
            match packet::read(candidate) {
                Found::Packet(packet, length) => {
                    self.packet(&packet, emit);
                    rest = candidate.get(length..).unwrap_or_default();
                }
                Found::Incomplete if !last => {
                    self.held = candidate.to_vec();
                    return;
                }
                Found::Incomplete | Found::Nothing => {
                    let (byte, after) = candidate.split_at(1);
                    self.text(byte, emit);
                    rest = after;
                }
            }
        }
        self.text(rest, emit);
    }

    /// Output of the program, in lines.
    fn text(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        self.has_text |= !bytes.is_empty();
        self.line.extend_from_slice(bytes);
        let Some(end) = memrchr(b'\n', bytes) else {
            if self.line.len() > LONGEST_LINE {
                self.end_line(emit);
            }
            return;
        };
        let whole = self.line.len() - bytes.len() + end;
        let text = std::mem::take(&mut self.line);
        let (lines, rest) = text.split_at(whole);
        for line in lines.split(|byte| *byte == b'\n') {
            stdout_line(line.strip_suffix(b"\r").unwrap_or(line), emit);
        }
        self.line = rest.get(1..).unwrap_or_default().to_vec();
    }

    fn end_line(&mut self, emit: &mut Emit<'_>) {
        if !self.line.is_empty() {
            stdout_line(&std::mem::take(&mut self.line), emit);
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, emit: &mut Emit<'_>) {
        // A program writes its line before the packet that follows it.
        self.end_line(emit);
        let time = packet.time.map(|(seconds, nanos)| Timestamp(i64::from(seconds) * 1_000_000_000 + i64::from(nanos)));
        self.packets += 1;
        if self.packets == 1 {
            run_started("subunit", time, emit);
        }
        let worker = packet.tags.iter().find(|tag| tag.starts_with("worker-")).map_or(packet.route, |tag| *tag);
        let Some(id) = packet.id else {
            if let Some((name, contents)) = packet.file {
                self.file(None, name, packet.mime, contents, packet.eof, time, emit);
            }
            return;
        };
        // A test of two workers (a class that cannot be set up) is open in each of them.
        let key = if packet.route.is_empty() { id.to_owned() } else { format!("{}/{id}", packet.route) };
        if let Some((name, contents)) = packet.file {
            let open = self.open.entry(key.clone()).or_default();
            keep(open, name, packet.mime, contents);
            let test = reference(id, worker);
            self.file(Some(&test), name, packet.mime, contents, packet.eof, time, emit);
        }
        match packet.state {
            State::None => {}
            State::Exists => {
                let planned = Planned { total: None, tests: vec![Cow::Borrowed(id)] };
                emit(Event { time, fact: Fact::Planned(planned) });
            }
            State::InProgress => {
                let open = self.open.entry(key).or_default();
                open.started = true;
                worker.clone_into(&mut open.worker);
                let tags = tags(packet);
                let test = reference(id, worker);
                emit(Event { time, fact: Fact::TestStarted(TestStarted { test, attempt: None, repeat: false, tags }) });
            }
            State::Success => self.end(packet, id, &key, Status::Passed, time, emit),
            State::UnexpectedSuccess => self.end(packet, id, &key, Status::Xpassed, time, emit),
            State::Skip => self.end(packet, id, &key, Status::Skipped, time, emit),
            State::Fail => self.end(packet, id, &key, Status::Failed, time, emit),
            State::ExpectedFailure => self.end(packet, id, &key, Status::Xfailed, time, emit),
        }
    }

    fn end(
        &mut self,
        packet: &Packet<'_>,
        id: &str,
        key: &str,
        status: Status,
        time: Option<Timestamp>,
        emit: &mut Emit<'_>,
    ) {
        let open = self.open.remove(key).unwrap_or_default();
        let worker = if open.worker.is_empty() { packet.route } else { &open.worker };
        let test = reference(id, worker);
        if !open.started {
            // What has no start is no attempt of a test; every worker may report the same one.
            let started = TestStarted { test: reborrow(&test), attempt: None, repeat: true, tags: Vec::new() };
            emit(Event { time, fact: Fact::TestStarted(started) });
        }
        let mut finished = TestFinished::new(test, status);
        finished.message = Cow::Borrowed(match status {
            Status::Failed | Status::Xfailed if open.reason.is_empty() => last_line(&open.details),
            _ => open.reason.trim_end(),
        });
        finished.details = Cow::Borrowed(&open.details);
        finished.tags = tags(packet);
        emit(Event { time, fact: Fact::TestFinished(finished) });
    }

    /// A piece of a file: text is output of the test, anything else is only mentioned.
    #[expect(clippy::too_many_arguments, reason = "the fields of one packet")]
    fn file(
        &mut self,
        test: Option<&TestRef<'_>>,
        name: &str,
        mime: &str,
        contents: &[u8],
        eof: bool,
        time: Option<Timestamp>,
        emit: &mut Emit<'_>,
    ) {
        let key = (test.map(|test| test.id.to_string()).unwrap_or_default(), name.to_owned());
        if !is_text(name, mime) {
            if !contents.is_empty() {
                let text = format!("[attachment {name}, {mime}: {} bytes]", contents.len());
                let log = LogLine { test: test.map(reborrow), source: Source::Runner, level: None, text: text.into() };
                emit(Event { time, fact: Fact::Log(log) });
            }
            return;
        }
        // Trace backs and reasons are told with the test's end.
        if is_failure(name) {
            return;
        }
        let mut piece = self.pieces.remove(&key).unwrap_or_default();
        piece.extend_from_slice(contents);
        let end =
            if eof || piece.len() > LONGEST_LINE { piece.len() } else { memrchr(b'\n', &piece).map_or(0, |at| at + 1) };
        let rest = piece.split_off(end);
        let source = if name.starts_with("stderr") { Source::Stderr } else { Source::Stdout };
        let source = if name.starts_with("pythonlogging") { Source::Runner } else { source };
        output(test, &source, &String::from_utf8_lossy(&piece), time, emit);
        if !rest.is_empty() {
            self.pieces.insert(key, rest);
        }
    }
}

fn keep(open: &mut Open, name: &str, mime: &str, contents: &[u8]) {
    if !is_text(name, mime) || !is_failure(name) {
        return;
    }
    let into = if name.starts_with("reason") { &mut open.reason } else { &mut open.details };
    if into.len() < LONGEST_DETAILS {
        into.push_str(&String::from_utf8_lossy(contents));
    }
}

/// testtools numbers files of a name: `traceback-1`.
fn is_failure(name: &str) -> bool {
    name.starts_with("traceback") || name.starts_with("reason")
}

fn is_text(name: &str, mime: &str) -> bool {
    mime.starts_with("text/") || mime.starts_with("application/json") || mime.is_empty() && !name.contains('.')
}

fn reference<'r>(id: &'r str, worker: &'r str) -> TestRef<'r> {
    let suite = if id.contains(' ') { "" } else { id.rsplit_once('.').map_or("", |(suite, _)| suite) };
    TestRef { id: Cow::Borrowed(id), suite: Cow::Borrowed(suite), worker: Cow::Borrowed(worker) }
}

/// Tags of a test; workers are told elsewhere.
fn tags<'p>(packet: &'p Packet<'_>) -> Vec<Cow<'p, str>> {
    packet.tags.iter().filter(|tag| !tag.starts_with("worker-")).map(|tag| Cow::Borrowed(*tag)).collect()
}

/// The line of a trace back that says what went wrong: the last one that is not indented, and names an exception.
fn last_line(details: &str) -> &str {
    let named = |line: &&str| {
        let (head, _) = line.split_once(':').unwrap_or((line, ""));
        !head.is_empty() && head.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_'))
    };
    let after = details.rfind("\n  File \"").and_then(|at| details.get(at + 1..)).unwrap_or(details);
    let mut lines = after.lines().filter(|line| !line.starts_with(' ') && !line.trim().is_empty());
    let first = lines.clone().find(named);
    first.or_else(|| lines.next_back()).unwrap_or_default()
}

/// Where the first packet in `bytes` begins, if there is one.
pub(super) fn first_packet(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(SIGNATURE, bytes)
        .find(|at| matches!(packet::read(bytes.get(*at..).unwrap_or_default()), Found::Packet(..)))
}

/// True for bytes that begin as packets do, though the first one may be cut: no text in UTF-8 begins so.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.len() >= 2 && packet::read(bytes) != Found::Nothing
}
