//! Cucumber messages (NDJSON; <https://github.com/cucumber/messages>) → events.
//!
//! All ids in the stream are random, so a test is `uri:line` of its scenario or example row. Its status is the worst of its
//! steps', hooks included; undefined, ambiguous and pending steps fail it, as they do in Cucumber's strict mode, the
//! default. An attempt that will be repeated says so. Workers interleave; what belongs together shares an id.

mod envelope;

use std::borrow::Cow;
use std::collections::HashMap;

use self::envelope::{
    Attachment, Envelope, Feature, Hook, Pickle, RunHookFinished, StepStatus, TestCase, TestCaseFinished,
    TestCaseStarted, TestRunFinished, TestStepFinished, Time,
};
use super::object::find_event;
use super::output::{output, run_finished, run_started};
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, Level, Note, Planned, RunStatus, Source, Status, StepFinished, SuiteFinished, TestFinished, TestRef,
    TestStarted, Timestamp,
};

type Map<V> = HashMap<String, V, foldhash::fast::RandomState>;

/// State of the format.
#[derive(Default)]
pub(super) struct Cucumber {
    title: String,
    /// Lines of scenarios and rows, for pickles of older versions, which do not say theirs.
    lines: Map<u64>,
    scenarios: Map<Scenario>,
    /// What a hook is called.
    hooks: Map<String>,
    run_hooks: Map<String>,
    cases: Map<Case>,
    /// Attempts under way.
    attempts: Map<Attempt>,
}

/// A pickle.
struct Scenario {
    id: String,
    uri: String,
    name: String,
    tags: Vec<String>,
    steps: Map<String>,
}

struct Case {
    pickle: String,
    /// What a step is called, by its id.
    steps: Map<String>,
}

struct Attempt {
    case: String,
    number: u32,
    worker: String,
    started: Option<Timestamp>,
    worst: StepStatus,
    message: String,
}

impl Decoder for Cucumber {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        match find_event(&text, "{\"", envelope::parse) {
            Some((before, envelope)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.envelope(&envelope, emit);
            }
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "cucumber"
    }
}

impl Cucumber {
    fn envelope(&mut self, envelope: &Envelope<'_>, emit: &mut Emit<'_>) {
        if let Some(finished) = &envelope.test_step_finished {
            self.step_finished(finished, emit);
        } else if let Some(started) = &envelope.test_case_started {
            self.case_started(started, emit);
        } else if let Some(finished) = &envelope.test_case_finished {
            self.case_finished(finished, emit);
        } else if let Some(attachment) = envelope.attachment.as_ref().or(envelope.external_attachment.as_ref()) {
            self.attachment(attachment, emit);
        } else if let Some(pickle) = &envelope.pickle {
            self.pickle(pickle);
        } else if let Some(case) = &envelope.test_case {
            self.case(case, emit);
        } else if let Some(started) = &envelope.test_run_started {
            let title = if self.title.is_empty() { "Cucumber" } else { &self.title };
            run_started(title, time(started.timestamp), emit);
        } else if let Some(finished) = &envelope.test_run_finished {
            run_end(finished, emit);
        } else {
            self.preparation(envelope, emit);
        }
    }

    /// What comes before the tests, and rarely.
    fn preparation(&mut self, envelope: &Envelope<'_>, emit: &mut Emit<'_>) {
        if let Some(meta) = &envelope.meta {
            self.title = format!("{} {}", meta.implementation.name, meta.implementation.version);
        } else if let Some(feature) = envelope.gherkin_document.as_ref().and_then(|document| document.feature.as_ref())
        {
            self.feature(feature);
        } else if let Some(hook) = &envelope.hook {
            self.hooks.insert(hook.id.to_string(), hook_name(hook));
        } else if let Some(started) = &envelope.test_run_hook_started {
            let name = self.hooks.get(started.hook_id.as_ref()).cloned().unwrap_or_else(|| "hook".to_owned());
            self.run_hooks.insert(started.id.to_string(), name);
        } else if let Some(finished) = &envelope.test_run_hook_finished {
            self.run_hook_finished(finished, emit);
        } else if let Some(error) = &envelope.parse_error {
            let uri = error.source.as_ref().map_or("features", |source| source.uri.as_ref());
            suite_failed(uri, &error.message, None, emit);
        } else if let Some(undefined) = &envelope.undefined_parameter_type {
            let text = format!("undefined parameter type {{{}}} in {}", undefined.name, undefined.expression);
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
        }
    }

    fn feature(&mut self, feature: &Feature<'_>) {
        for child in &feature.children {
            if let Some(scenario) = &child.scenario {
                self.lines.insert(scenario.id.to_string(), scenario.location.line);
                for row in scenario.examples.iter().flat_map(|examples| &examples.table_body) {
                    self.lines.insert(row.id.to_string(), row.location.line);
                }
            }
            // Rules hold no rules, so that this goes no deeper; a made-up document may, within serde's limit.
            if let Some(rule) = &child.rule {
                self.feature(rule);
            }
        }
    }

    fn pickle(&mut self, pickle: &Pickle<'_>) {
        let known = pickle.ast_node_ids.iter().rev().find_map(|id| self.lines.get(id.as_ref()).copied());
        let line = pickle.location.map(|location| location.line).or(known);
        let id = match line {
            Some(line) => format!("{}:{line}", pickle.uri),
            None => format!("{}:{}", pickle.uri, pickle.name),
        };
        let steps = pickle.steps.iter().map(|step| (step.id.to_string(), step.text.to_string())).collect();
        let tags = pickle.tags.iter().map(|tag| tag.name.to_string()).collect();
        let scenario = Scenario { id, uri: pickle.uri.to_string(), name: pickle.name.to_string(), tags, steps };
        self.scenarios.insert(pickle.id.to_string(), scenario);
    }

    fn case(&mut self, case: &TestCase<'_>, emit: &mut Emit<'_>) {
        let scenario = self.scenarios.get(case.pickle_id.as_ref());
        let steps = case.test_steps.iter().map(|step| {
            let text = scenario.and_then(|scenario| scenario.steps.get(step.pickle_step_id.as_ref()));
            let hook = self.hooks.get(step.hook_id.as_ref());
            (step.id.to_string(), text.or(hook).cloned().unwrap_or_else(|| "hook".to_owned()))
        });
        let known = Case { pickle: case.pickle_id.to_string(), steps: steps.collect() };
        self.cases.insert(case.id.to_string(), known);
        if let Some(scenario) = scenario {
            let planned = Planned { total: None, tests: vec![Cow::Borrowed(&scenario.id)] };
            emit(Event { time: None, fact: Fact::Planned(planned) });
        }
    }

    /// The scenario of a case, if all that leads to it was in the stream.
    fn scenario(&self, case: &str) -> Option<&Scenario> {
        self.scenarios.get(&self.cases.get(case)?.pickle)
    }

    fn case_started(&mut self, started: &TestCaseStarted<'_>, emit: &mut Emit<'_>) {
        let attempt = Attempt {
            case: started.test_case_id.to_string(),
            number: started.attempt.saturating_add(1),
            worker: started.worker_id.to_string(),
            started: time(started.timestamp),
            worst: StepStatus::Unknown,
            message: String::new(),
        };
        let scenario = self.scenario(&attempt.case);
        let fact = TestStarted {
            test: attempt.reference(scenario),
            attempt: Some(attempt.number),
            repeat: false,
            tags: scenario.map(Scenario::tags).unwrap_or_default(),
        };
        emit(Event { time: attempt.started, fact: Fact::TestStarted(fact) });
        self.attempts.insert(started.id.to_string(), attempt);
    }

    fn step_finished(&mut self, finished: &TestStepFinished<'_>, emit: &mut Emit<'_>) {
        let Some(attempt) = self.attempts.get_mut(finished.test_case_started_id.as_ref()) else { return };
        let result = &finished.test_step_result;
        if result.status > attempt.worst {
            attempt.worst = result.status;
            result.message.as_ref().clone_into(&mut attempt.message);
        }
        let Some(attempt) = self.attempts.get(finished.test_case_started_id.as_ref()) else { return };
        let case = self.cases.get(&attempt.case);
        let name = case.and_then(|case| case.steps.get(finished.test_step_id.as_ref()));
        let name = name.map_or("step", String::as_str);
        if result.status > StepStatus::Skipped && result.message.is_empty() {
            let why = format!("{} step: {name}", word(result.status));
            if let Some(attempt) = self.attempts.get_mut(finished.test_case_started_id.as_ref())
                && attempt.worst == result.status
                && attempt.message.is_empty()
            {
                attempt.message = why;
            }
        }
        let Some(attempt) = self.attempts.get(finished.test_case_started_id.as_ref()) else { return };
        let step = StepFinished {
            test: Some(attempt.reference(self.scenario(&attempt.case))),
            suite: Cow::Borrowed(""),
            name: Cow::Borrowed(name),
            status: status_of(result.status),
            duration: result.duration.and_then(Time::length),
            message: Cow::Borrowed(&result.message),
            depth: 0,
        };
        emit(Event { time: time(finished.timestamp), fact: Fact::StepFinished(step) });
    }

    fn attachment(&self, attachment: &Attachment<'_>, emit: &mut Emit<'_>) {
        let attempt = self.attempts.get(attachment.test_case_started_id.as_ref());
        let test = attempt.map(|attempt| attempt.reference(self.scenario(&attempt.case)));
        let is_text = attachment.content_encoding == "IDENTITY" && attachment.url.is_empty();
        let when = time(attachment.timestamp);
        if is_text {
            return output(test.as_ref(), &Source::Runner, &attachment.body, when, emit);
        }
        let name = if attachment.file_name.is_empty() { "" } else { attachment.file_name.as_ref() };
        let what = if attachment.url.is_empty() {
            // Four characters of base64 are three bytes.
            format!("{} bytes", attachment.body.trim_end_matches('=').len() * 3 / 4)
        } else {
            attachment.url.to_string()
        };
        let text = format!("[attachment {name} {}: {what}]", attachment.media_type).replace("  ", " ");
        output(test.as_ref(), &Source::Runner, &text, when, emit);
    }

    fn case_finished(&mut self, finished: &TestCaseFinished<'_>, emit: &mut Emit<'_>) {
        let Some(attempt) = self.attempts.remove(finished.test_case_started_id.as_ref()) else { return };
        let scenario = self.scenario(&attempt.case);
        let status = match status_of(attempt.worst) {
            _ if finished.will_be_retried => Status::Retried,
            Some(status) => status,
            // A scenario without steps.
            None => Status::Passed,
        };
        let when = time(finished.timestamp);
        let mut end = TestFinished::new(attempt.reference(scenario), status);
        end.attempt = Some(attempt.number);
        end.duration = when.zip(attempt.started).map(|(end, start)| end.since(start));
        end.tags = scenario.map(Scenario::tags).unwrap_or_default();
        end.message = Cow::Borrowed(&attempt.message);
        end.details = scenario.map(|scenario| format!("Scenario: {}", scenario.name)).unwrap_or_default().into();
        emit(Event { time: when, fact: Fact::TestFinished(end) });
    }

    fn run_hook_finished(&mut self, finished: &RunHookFinished<'_>, emit: &mut Emit<'_>) {
        let name = self.run_hooks.remove(finished.test_run_hook_started_id.as_ref());
        if finished.result.status > StepStatus::Skipped {
            let name = name.unwrap_or_else(|| "hook".to_owned());
            suite_failed(&name, &finished.result.message, time(finished.timestamp), emit);
        }
    }
}

impl Scenario {
    fn tags(&self) -> Vec<Cow<'_, str>> {
        self.tags.iter().map(|tag| Cow::Borrowed(tag.as_str())).collect()
    }
}

impl Attempt {
    fn reference<'r>(&'r self, scenario: Option<&'r Scenario>) -> TestRef<'r> {
        let (id, suite) = scenario.map_or((self.case.as_str(), ""), |scenario| (&scenario.id, &scenario.uri));
        TestRef { id: Cow::Borrowed(id), suite: Cow::Borrowed(suite), worker: Cow::Borrowed(&self.worker) }
    }
}

/// The status of a step or test; `None` if nothing was done.
fn status_of(status: StepStatus) -> Option<Status> {
    match status {
        StepStatus::Unknown => None,
        StepStatus::Passed => Some(Status::Passed),
        StepStatus::Skipped => Some(Status::Skipped),
        StepStatus::Pending | StepStatus::Undefined | StepStatus::Ambiguous | StepStatus::Failed => {
            Some(Status::Failed)
        }
    }
}

fn word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Pending => "pending",
        StepStatus::Undefined => "undefined",
        StepStatus::Ambiguous => "ambiguous",
        _ => "failed",
    }
}

/// `BEFORE_TEST_CASE` with the name `fill tank` → `Before test case: fill tank`.
fn hook_name(hook: &Hook<'_>) -> String {
    let kind = hook.kind.to_lowercase().replace('_', " ");
    let mut kind = if kind.is_empty() { "hook".to_owned() } else { kind };
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if hook.name.is_empty() { kind } else { format!("{kind}: {}", hook.name) }
}

fn suite_failed(suite: &str, message: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let finished = SuiteFinished {
        suite: Cow::Borrowed(suite),
        worker: Cow::Borrowed(""),
        status: Status::Failed,
        duration: None,
        message: Cow::Borrowed(message),
    };
    emit(Event { time, fact: Fact::SuiteFinished(finished) });
}

fn run_end(finished: &TestRunFinished<'_>, emit: &mut Emit<'_>) {
    let status = finished.success.map(|success| if success { RunStatus::Passed } else { RunStatus::Failed });
    let thrown = finished.exception.as_ref().map_or("", |exception| exception.message.as_ref());
    let message = if finished.message.is_empty() { thrown } else { finished.message.as_ref() };
    run_finished(status, message, time(finished.timestamp), emit);
}

fn time(time: Option<Time>) -> Option<Timestamp> {
    time.and_then(Time::instant)
}

/// Tells whether a JSON object is an envelope of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    let envelope = envelope::parse(text)?;
    // `hook`, `source` and the like are words that others use as well.
    let sure = envelope.meta.is_some()
        || envelope.test_run_started.is_some()
        || envelope.test_case.is_some()
        || envelope.test_case_started.is_some()
        || envelope.pickle.is_some()
        || envelope.gherkin_document.is_some();
    sure.then_some(())
}
