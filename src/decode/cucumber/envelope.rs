//! One line of Cucumber messages → its envelope.
//!
//! Names and fields are those of the protocol's schemas (<https://github.com/cucumber/messages>), versions 13 to 32.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::fields::text;
use crate::event::Timestamp;

/// An object with one key, which names what it is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) meta: Option<Meta<'a>>,
    source: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) gherkin_document: Option<GherkinDocument<'a>>,
    #[serde(borrow)]
    pub(super) pickle: Option<Pickle<'a>>,
    #[serde(borrow)]
    pub(super) hook: Option<Hook<'a>>,
    step_definition: Option<IgnoredAny>,
    parameter_type: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) undefined_parameter_type: Option<UndefinedParameterType<'a>>,
    #[serde(borrow)]
    pub(super) parse_error: Option<ParseError<'a>>,
    pub(super) test_run_started: Option<At>,
    #[serde(borrow)]
    pub(super) test_case: Option<TestCase<'a>>,
    #[serde(borrow)]
    pub(super) test_run_hook_started: Option<RunHookStarted<'a>>,
    #[serde(borrow)]
    pub(super) test_run_hook_finished: Option<RunHookFinished<'a>>,
    #[serde(borrow)]
    pub(super) test_case_started: Option<TestCaseStarted<'a>>,
    test_step_started: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) test_step_finished: Option<TestStepFinished<'a>>,
    #[serde(borrow)]
    pub(super) attachment: Option<Attachment<'a>>,
    #[serde(borrow)]
    pub(super) external_attachment: Option<Attachment<'a>>,
    suggestion: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) test_case_finished: Option<TestCaseFinished<'a>>,
    #[serde(borrow)]
    pub(super) test_run_finished: Option<TestRunFinished<'a>>,
}

impl Envelope<'_> {
    /// True if it is one of the known kinds.
    fn is_known(&self) -> bool {
        let ignored = [&self.source, &self.step_definition, &self.parameter_type, &self.test_step_started];
        ignored.iter().any(|field| field.is_some())
            || self.suggestion.is_some()
            || self.meta.is_some()
            || self.gherkin_document.is_some()
            || self.pickle.is_some()
            || self.hook.is_some()
            || self.undefined_parameter_type.is_some()
            || self.parse_error.is_some()
            || self.test_run_started.is_some()
            || self.test_case.is_some()
            || self.test_run_hook_started.is_some()
            || self.test_run_hook_finished.is_some()
            || self.test_case_started.is_some()
            || self.test_step_finished.is_some()
            || self.attachment.is_some()
            || self.external_attachment.is_some()
            || self.test_case_finished.is_some()
            || self.test_run_finished.is_some()
    }
}

/// Reads a JSON object; `None` if it is no envelope.
pub(super) fn parse(text: &str) -> Option<Envelope<'_>> {
    // What no envelope begins with need not be read to its end.
    let key = text.get(1..)?.trim_start().strip_prefix('"')?;
    if !key.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    serde_json::from_str::<Envelope<'_>>(text).ok().filter(Envelope::is_known)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta<'a> {
    #[serde(borrow, default, rename = "protocolVersion", deserialize_with = "text")]
    _protocol_version: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) implementation: Product<'a>,
}

#[derive(Deserialize)]
pub(super) struct Product<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) version: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct GherkinDocument<'a> {
    #[serde(borrow)]
    pub(super) feature: Option<Feature<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Feature<'a> {
    #[serde(borrow, default)]
    pub(super) children: Vec<Child<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Child<'a> {
    #[serde(borrow)]
    pub(super) scenario: Option<Scenario<'a>>,
    #[serde(borrow)]
    pub(super) rule: Option<Feature<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Scenario<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) location: Location,
    #[serde(borrow, default)]
    pub(super) examples: Vec<Examples<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Examples<'a> {
    #[serde(borrow, default)]
    pub(super) table_body: Vec<Row<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) location: Location,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Location {
    pub(super) line: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pickle<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) uri: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    /// Since protocol 28.
    pub(super) location: Option<Location>,
    #[serde(borrow, default)]
    pub(super) ast_node_ids: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) tags: Vec<Named<'a>>,
    #[serde(borrow, default)]
    pub(super) steps: Vec<PickleStep<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct PickleStep<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) text: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Hook<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    pub(super) kind: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct UndefinedParameterType<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) expression: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct ParseError<'a> {
    #[serde(borrow)]
    pub(super) source: Option<SourceReference<'a>>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct SourceReference<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) uri: Cow<'a, str>,
}

/// Something that only has a time.
#[derive(Deserialize)]
pub(super) struct At {
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestCase<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) pickle_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) test_steps: Vec<TestStep<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestStep<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) pickle_step_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) hook_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunHookStarted<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) hook_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunHookFinished<'a> {
    #[serde(borrow)]
    pub(super) test_run_hook_started_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) result: StepResult<'a>,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestCaseStarted<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) test_case_id: Cow<'a, str>,
    /// From 0.
    #[serde(default)]
    pub(super) attempt: u32,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) worker_id: Cow<'a, str>,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestStepFinished<'a> {
    #[serde(borrow)]
    pub(super) test_case_started_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) test_step_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) test_step_result: StepResult<'a>,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
pub(super) struct StepResult<'a> {
    pub(super) status: StepStatus,
    pub(super) duration: Option<Time>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
}

/// In the order in which the worst one is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StepStatus {
    Passed = 1,
    Skipped,
    Pending,
    Undefined,
    Ambiguous,
    Failed,
    /// Also what a later version may bring; less than all others.
    #[default]
    #[serde(other)]
    Unknown = 0,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) body: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) url: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) content_encoding: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) media_type: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) file_name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) test_case_started_id: Cow<'a, str>,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestCaseFinished<'a> {
    #[serde(borrow)]
    pub(super) test_case_started_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) will_be_retried: bool,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
pub(super) struct TestRunFinished<'a> {
    pub(super) success: Option<bool>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) exception: Option<Exception<'a>>,
    pub(super) timestamp: Option<Time>,
}

#[derive(Deserialize)]
pub(super) struct Exception<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
}

/// A time since the epoch, or a length of time.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Time {
    seconds: i64,
    nanos: u32,
}

impl Time {
    pub(super) fn instant(self) -> Option<Timestamp> {
        Some(Timestamp(self.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(self.nanos))?))
    }

    pub(super) fn length(self) -> Option<Duration> {
        Duration::from_secs(u64::try_from(self.seconds).ok()?).checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }
}
