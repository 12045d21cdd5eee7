//! What HTTP clients post, kept in a file → events: pytest-rt and nose2rt, System Test Progress Tracking, and WebKit's
//! results database. The same state machines as behind `testwire listen` take it.
//!
//! A line is a body, or a JSON object with the body as `body`, or as text in `body_text`, as recording proxies write it. An upload
//! to the results database may be one document over many lines. One input is one run, whatever its bodies say.

use core::net::{IpAddr, Ipv4Addr};
use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::clients::loader::{self, Screen};
use super::clients::stpt::{self, Kind};
use super::clients::{Ambient, Answer, Clients, Context, Message, RunFacts, Runs, resultsdb};
use super::wall::Zone;
use super::{Decoder, Emit, stdout_line};
use crate::event::{Event, Fact, Level, Note, Timestamp};

/// Largest document of more than one line that is kept until its end; what is longer is kept as lines.
const MAX_DOCUMENT: usize = 256 << 20;

/// Whose bodies they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// pytest-rt and nose2rt.
    Loader,
    /// System Test Progress Tracking.
    Stpt,
    /// WebKit's results database.
    ResultsDb,
}

/// State of the format.
pub(super) struct Bodies {
    client: Client,
    clients: Clients,
    /// A document that is not whole yet.
    document: Vec<u8>,
    lines: u64,
    uploads: u64,
    run: Run,
}

/// The one run of the input.
#[derive(Default)]
struct Run {
    key: String,
    runner: String,
    attributes: Vec<(String, String)>,
    /// Another run began in the same input.
    is_mixed: bool,
    /// Time of the body that is taken.
    now: Timestamp,
}

/// Fields by which a body, or a request that was recorded, is known.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    fw: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    machine_name: Option<&'a RawValue>,
    #[serde(borrow)]
    master_scenario: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp_start: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp_stop: Option<&'a RawValue>,
    #[serde(borrow)]
    configuration: Option<&'a RawValue>,
    #[serde(borrow)]
    test_results: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    body_text: Option<Cow<'a, str>>,
}

impl Shape<'_> {
    fn client(&self) -> Option<Client> {
        if self.fw.is_some() && self.kind.is_some() {
            Some(Client::Loader)
        } else if self.machine_name.is_some()
            && (self.master_scenario.is_some() || self.timestamp_start.is_some() || self.timestamp_stop.is_some())
        {
            Some(Client::Stpt)
        } else if self.configuration.is_some() && self.test_results.is_some() {
            Some(Client::ResultsDb)
        } else {
            None
        }
    }
}

/// The body of a line, and whose it is.
fn body_of(line: &[u8]) -> Option<(Client, Cow<'_, [u8]>)> {
    let shape: Shape<'_> = serde_json::from_slice(line).ok()?;
    if let Some(client) = shape.client() {
        return Some((client, Cow::Borrowed(line)));
    }
    let body = match (shape.body, shape.body_text) {
        (Some(body), _) => Cow::Owned(body.get().as_bytes().to_vec()),
        (None, Some(text)) => Cow::Owned(text.into_owned().into_bytes()),
        (None, None) => return None,
    };
    let client = serde_json::from_slice::<Shape<'_>>(&body).ok()?.client()?;
    Some((client, body))
}

/// Whose body is in a line; `None` if it is none.
pub(super) fn client_of(line: &str) -> Option<Client> {
    // Cheap first: every line of every input is asked.
    let hints = ["\"fw\"", "\"machine_name\"", "\"test_results\"", "\\\"fw\\\"", "\\\"machine_name\\\""];
    let likely = line.trim_start().starts_with('{') && hints.iter().any(|hint| line.contains(hint));
    if likely || line.contains("\\\"test_results\\\"") {
        body_of(line.as_bytes()).map(|(client, _)| client)
    } else {
        None
    }
}

impl Bodies {
    pub(super) fn new(client: Client, zone: Zone) -> Self {
        let clients = Clients::new(Box::new(move |wall| zone(wall)));
        Self { client, clients, document: Vec::new(), lines: 0, uploads: 0, run: Run::default() }
    }

    fn body(&mut self, body: &[u8], emit: &mut Emit<'_>) {
        let context = Context {
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            project: String::new(),
            env: String::new(),
            run_id: String::new(),
            part: super::clients::own::Part::default(),
        };
        let taken = match self.client {
            Client::Loader => self.loaded(body, context, emit),
            Client::Stpt => self.told(body, context, emit),
            Client::ResultsDb => self.upload(body, &context, emit),
        };
        if let Err(answer) = taken {
            let text = format!("line {}: {}", self.lines, answer.body).into();
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text }) });
        }
    }

    fn loaded(&mut self, body: &[u8], context: Context, emit: &mut Emit<'_>) -> Result<(), Answer> {
        let loaded = loader::parse(body)?;
        if let Some(Screen { name, .. }) = loaded.screens.first() {
            let text =
                format!("line {}: the picture `{name}` is not kept; only `testwire listen` keeps pictures", self.lines);
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
        }
        self.take(Message::Loader(loaded, context), emit);
        Ok(())
    }

    fn told(&mut self, body: &[u8], context: Context, emit: &mut Emit<'_>) -> Result<(), Answer> {
        let kind = match serde_json::from_slice::<Shape<'_>>(body) {
            Ok(shape) if shape.master_scenario.is_some() => Kind::DryRun,
            Ok(shape) if shape.timestamp_stop.is_some() => Kind::Stop,
            _ => Kind::Start,
        };
        self.take(Message::Stpt(stpt::parse(kind, body)?, context), emit);
        Ok(())
    }

    fn upload(&mut self, body: &[u8], context: &Context, emit: &mut Emit<'_>) -> Result<(), Answer> {
        self.uploads += 1;
        let upload = resultsdb::parse(body, context, self.uploads)?;
        let key = upload.head.key.clone();
        self.run.now = upload.head.time().unwrap_or_default();
        self.take(Message::Results(resultsdb::Part::Begin(Box::new(upload.head))), emit);
        self.take(Message::Results(resultsdb::Part::Results(key.clone(), 0, upload.leaves)), emit);
        self.take(Message::Results(resultsdb::Part::End(key)), emit);
        Ok(())
    }

    fn take(&mut self, message: Message, emit: &mut Emit<'_>) {
        self.clients.take(message, &mut OneRun { run: &mut self.run, emit });
    }
}

impl Decoder for Bodies {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        self.lines += 1;
        let whole = self.document.is_empty().then(|| body_of(line)).flatten();
        match whole {
            Some((client, body)) if client == self.client => self.body(&body, emit),
            _ if self.client == Client::ResultsDb
                && self.document.len() < MAX_DOCUMENT
                && (!self.document.is_empty() || line.trim_ascii_start().starts_with(b"{")) =>
            {
                self.document.extend_from_slice(line);
                self.document.push(b'\n');
            }
            _ if line.trim_ascii().is_empty() => {}
            _ => stdout_line(line, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        let document = std::mem::take(&mut self.document);
        if body_of(&document).is_some_and(|(client, _)| client == self.client) {
            self.body(&document, emit);
        } else {
            // It was none: nothing is lost.
            document
                .strip_suffix(b"\n")
                .into_iter()
                .flat_map(|text| text.split(|&b| b == b'\n'))
                .for_each(|line| stdout_line(line, emit));
        }
    }

    fn runner(&self) -> &str {
        match self.client {
            _ if !self.run.runner.is_empty() => &self.run.runner,
            Client::Loader => "pytest",
            Client::Stpt => "stpt",
            Client::ResultsDb => "resultsdb",
        }
    }
}

/// All that the client tells, as one run.
struct OneRun<'r, 'e> {
    run: &'r mut Run,
    emit: &'r mut Emit<'e>,
}

impl Runs for OneRun<'_, '_> {
    fn open(&mut self, key: &str, facts: RunFacts) {
        if self.run.key.is_empty() {
            self.run.runner = facts.runner;
        } else if self.run.key != key && !self.run.is_mixed {
            self.run.is_mixed = true;
            let text = "the input tells of several runs; they are taken as one".into();
            (self.emit)(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text }) });
        }
        key.clone_into(&mut self.run.key);
        let known = facts.known.into_iter().map(|(name, value)| (name.into_owned(), value));
        let host = Some(("machine".to_owned(), facts.host));
        self.run.attributes =
            facts.attributes.into_iter().chain(known).chain(host).filter(|(_, value)| !value.is_empty()).collect();
    }

    fn event(&mut self, _: &str, event: &Event<'_>) {
        let mut event = event.clone();
        // A client that says no time has none to be asked for.
        event.time = event.time.filter(|time| *time != Timestamp::default());
        if let Fact::RunStarted(started) = &mut event.fact {
            let attributes = std::mem::take(&mut self.run.attributes);
            started.attributes.extend(attributes.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        (self.emit)(event);
    }

    fn close(&mut self, _: &str) {}

    fn close_soon(&mut self, _: &str) {}

    fn discard(&mut self, _: &str) {}

    fn ambient(&mut self, _: &Ambient) {}

    fn now(&self) -> Timestamp {
        self.run.now
    }
}
