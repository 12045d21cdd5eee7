//! Cucumber's JSON report, one document at the end → events.
//!
//! The document is that of cucumber-js' `json` formatter and its siblings in Java and Ruby: features, their elements, their
//! steps. A test is `uri:line`. Backgrounds are elements of their own in some of them and belong to the scenario that follows.
//!
//! behave's (`behave.formatter.json`) is like it, with a `location` in place of `uri` and `line`, tags without objects, messages
//! as lists of lines, seconds, a status of its own for each scenario, and backgrounds whose steps are the scenario's, too.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer as _, SeqAccess, Visitor};

use super::fields::text;
use super::output::{output, run_finished, run_started};
use super::time::rfc3339;
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, Level, Note, Source, Status, StepFinished, TestFinished, TestRef, TestStarted, Timestamp,
};

/// A report larger than this is not read; its lines are kept as log lines.
const LARGEST: usize = 1 << 30;

/// State of the format.
#[derive(Default)]
pub(super) struct CucumberJson {
    document: Vec<u8>,
    too_large: bool,
}

impl Decoder for CucumberJson {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        if self.too_large || self.document.is_empty() && !begins(&String::from_utf8_lossy(bytes)) {
            return stdout_line(bytes, emit);
        }
        if self.document.is_empty() {
            run_started("Cucumber", None, emit);
        }
        if self.document.len() + bytes.len() > LARGEST {
            self.too_large = true;
            self.keep_as_text(emit);
            return stdout_line(bytes, emit);
        }
        self.document.extend_from_slice(bytes);
        self.document.push(b'\n');
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if self.document.is_empty() {
            return;
        }
        let document = std::mem::take(&mut self.document);
        let text = String::from_utf8_lossy(&document);
        // What runs on behind the document is output.
        let mut reader = serde_json::Deserializer::from_str(&text);
        match reader.deserialize_seq(Features(emit)) {
            Ok(0) if !text.trim_start().starts_with("[]") && text.len() > 4 => {
                text.lines().for_each(|line| stdout_line(line.as_bytes(), emit));
            }
            Ok(_) => {
                run_finished(None, "", None, emit);
            }
            Err(error) => {
                let text = format!("the report ends or breaks off: {error}; what was before is kept").into();
                emit(Event { time: None, fact: Fact::Note(Note { level: Level::Error, text }) });
            }
        }
    }

    fn runner(&self) -> &str {
        "cucumber"
    }
}

impl CucumberJson {
    fn keep_as_text(&mut self, emit: &mut Emit<'_>) {
        for line in std::mem::take(&mut self.document).split(|byte| *byte == b'\n') {
            stdout_line(line, emit);
        }
    }
}

/// Tells of each feature as it is read, so that a document that breaks off loses only its last one.
struct Features<'f, 'e>(&'f mut Emit<'e>);

impl<'de> Visitor<'de> for Features<'_, '_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of features")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut features: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while features.next_element_seed(FeatureSeed(self.0))?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

struct FeatureSeed<'f, 'e>(&'f mut Emit<'e>);

impl<'de> DeserializeSeed<'de> for FeatureSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let feature = Feature::deserialize(deserializer)?;
        let mut background: Option<&Element<'_>> = None;
        for element in &feature.elements {
            if element.kind == "background" {
                background = Some(element);
            } else if element.location.is_empty() {
                let place = Place { uri: &feature.uri, line: &element.line.to_string(), nanos: 1.0 };
                scenario(&place, background, element, self.0);
            } else {
                let (uri, line) = element.location.rsplit_once(':').unwrap_or((&element.location, "0"));
                scenario(&Place { uri, line, nanos: 1e9 }, None, element, self.0);
            }
        }
        Ok(())
    }
}

/// Where a scenario stands, and how long its unit of time is.
struct Place<'p> {
    uri: &'p str,
    line: &'p str,
    nanos: f64,
}

fn scenario(place: &Place<'_>, background: Option<&Element<'_>>, element: &Element<'_>, emit: &mut Emit<'_>) {
    let id = format!("{}:{}", place.uri, place.line);
    let test = || TestRef { id: id.as_str().into(), suite: place.uri.into(), worker: Cow::Borrowed("") };
    let began = rfc3339(&element.start_timestamp);
    let tags: Vec<Cow<'_, str>> = element.tags.iter().map(|tag| Cow::Borrowed(tag.name())).collect();
    let started = TestStarted { test: test(), attempt: None, repeat: false, tags: tags.clone() };
    emit(Event { time: began, fact: Fact::TestStarted(started) });
    let own = background.into_iter().flat_map(Element::all_steps).chain(element.all_steps());
    let mut worst = (0, "", Cow::Borrowed(""));
    let mut nanos = 0.0;
    for step in own {
        let result = &step.result;
        let duration = result.duration.map(|duration| duration.max(0.0) * place.nanos);
        nanos += duration.unwrap_or(0.0);
        if rank(&result.status) > worst.0 {
            worst = (rank(&result.status), result.status.as_ref(), step.message());
        }
        let time = began.map(|began| Timestamp(began.0.saturating_add(nanos as i64)));
        for text in &step.output {
            output(Some(&test()), &Source::Stdout, text, time, emit);
        }
        for embedding in &step.embeddings {
            embedded(&test(), embedding, time, emit);
        }
        let finished = StepFinished {
            test: Some(test()),
            suite: Cow::Borrowed(""),
            name: step.title().into(),
            status: status_of(&result.status),
            duration: duration.and_then(length),
            message: result.error_message.text(),
            depth: 0,
        };
        emit(Event { time, fact: Fact::StepFinished(finished) });
    }
    let own = rank(&element.status);
    if own > 2 && worst.0 <= 2 {
        worst = (own, element.status.as_ref(), "a hook failed".into());
    } else if own == 2 && worst.0 < 2 {
        // Not all of its steps were run, and none failed.
        worst = (own, element.status.as_ref(), element.status.as_ref().into());
    }
    let mut finished = TestFinished::new(test(), status_of(worst.1).unwrap_or(Status::Passed));
    finished.duration = length(nanos);
    finished.message = worst.2;
    finished.details = format!("Scenario: {}", element.name).into();
    finished.tags = tags;
    let time = began.map(|began| Timestamp(began.0.saturating_add(nanos as i64)));
    emit(Event { time, fact: Fact::TestFinished(finished) });
}

/// Text of a step's `attach` and `log` comes as base64 of its own media type.
fn embedded(test: &TestRef<'_>, embedding: &Embedding<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    use base64::Engine as _;
    let media = if embedding.mime_type.is_empty() { &embedding.media.kind } else { &embedding.mime_type };
    let decoded = base64::engine::general_purpose::STANDARD.decode(embedding.data.as_bytes());
    let is_text = media.starts_with("text/") || media.contains("json");
    let text = match decoded {
        Ok(bytes) if is_text => String::from_utf8_lossy(&bytes).into_owned(),
        _ if is_text => embedding.data.to_string(),
        Ok(bytes) => format!("[attachment {media}: {} bytes]", bytes.len()),
        Err(_) => format!("[attachment {media}: {} characters]", embedding.data.len()),
    };
    output(Some(test), &Source::Runner, &text, time, emit);
}

fn length(nanos: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

fn status_of(word: &str) -> Option<Status> {
    match word {
        "passed" => Some(Status::Passed),
        "skipped" | "untested" => Some(Status::Skipped),
        "failed" | "undefined" | "ambiguous" | "pending" | "error" | "hook_error" | "cleanup_error" => {
            Some(Status::Failed)
        }
        _ => None,
    }
}

fn rank(word: &str) -> u8 {
    match word {
        "passed" => 1,
        "skipped" | "untested" => 2,
        "pending" => 3,
        "undefined" => 4,
        "ambiguous" => 5,
        "failed" | "error" | "hook_error" | "cleanup_error" => 6,
        _ => 0,
    }
}

#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    uri: Cow<'a, str>,
    #[serde(borrow, default)]
    elements: Vec<Element<'a>>,
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    name: Cow<'a, str>,
    #[serde(default)]
    line: u64,
    /// `uri:line`, of behave, as is the status.
    #[serde(borrow, default, deserialize_with = "text")]
    location: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    status: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    start_timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    before: Vec<Step<'a>>,
    #[serde(borrow, default)]
    steps: Vec<Step<'a>>,
    #[serde(borrow, default)]
    after: Vec<Step<'a>>,
    #[serde(borrow, default)]
    tags: Vec<Tag<'a>>,
}

impl<'a> Element<'a> {
    /// Steps and hooks in running order.
    fn all_steps(&self) -> impl Iterator<Item = &Step<'a>> {
        let steps = self.steps.iter().flat_map(|step| step.before.iter().chain([step]).chain(&step.after));
        self.before.iter().chain(steps).chain(&self.after)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Tag<'a> {
    Plain(String),
    Object {
        #[serde(borrow, default)]
        name: Cow<'a, str>,
    },
    Other(serde::de::IgnoredAny),
}

impl Tag<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Plain(name) => name,
            Self::Object { name } => name,
            Self::Other(_) => "",
        }
    }
}

/// A message, whole or by lines.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Lines(Vec<String>),
    Other(serde::de::IgnoredAny),
}

impl Default for Message {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Message {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Lines(lines) => lines.join("\n").into(),
            Self::Other(_) => "".into(),
        }
    }
}

#[derive(Deserialize)]
struct Step<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    keyword: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    result: StepResult<'a>,
    #[serde(borrow, default)]
    output: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    embeddings: Vec<Embedding<'a>>,
    /// Hooks around a step.
    #[serde(borrow, default)]
    before: Vec<Step<'a>>,
    #[serde(borrow, default)]
    after: Vec<Step<'a>>,
}

impl Step<'_> {
    /// Why it did not pass.
    fn message(&self) -> Cow<'_, str> {
        let (told, status) = (self.result.error_message.text(), &self.result.status);
        if told.is_empty() && rank(status) > 2 { format!("{status} step: {}", self.title()).into() } else { told }
    }

    fn title(&self) -> String {
        match (self.keyword.trim(), self.name.as_ref()) {
            ("", "") => "hook".to_owned(),
            (keyword, name) => format!("{keyword} {name}").trim().to_owned(),
        }
    }
}

#[derive(Default, Deserialize)]
struct StepResult<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    status: Cow<'a, str>,
    /// Nanoseconds.
    duration: Option<f64>,
    #[serde(default)]
    error_message: Message,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    data: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    mime_type: Cow<'a, str>,
    #[serde(borrow, default)]
    media: Media<'a>,
}

#[derive(Default, Deserialize)]
struct Media<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Cow<'a, str>,
}

/// True for a line that an array of objects begins with.
fn begins(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix('[').map(str::trim_start);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', ']']))
}

/// Tells whether a text begins as such a report does: an array whose first object has the keys of a feature.
pub(super) fn may_begin(text: &str) -> bool {
    // Before it may stand what was printed: behave names its runner.
    let mut rest = text;
    while !begins(rest.lines().next().unwrap_or_default()) {
        let Some((_, after)) = rest.split_once('\n') else { return false };
        rest = after;
    }
    let Some(object) = rest.trim_start().strip_prefix('[').map(str::trim_start).filter(|rest| rest.starts_with('{'))
    else {
        return false;
    };
    // Keys of a feature come in any order; `elements` are large, so that the others may be far behind.
    let has = |key: &str| memchr::memmem::find(object.as_bytes(), key.as_bytes()).is_some();
    (has("\"elements\"") || has("\"uri\"")) && has("\"keyword\"")
}
