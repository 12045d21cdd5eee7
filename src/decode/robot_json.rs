//! Robot Framework's output.json (since 7.2) → events.
//!
//! A suite's name stands behind its tests, because Robot writes while it runs. So tests are held back, without their keywords'
//! details, until the outermost suite ends.

use std::borrow::Cow;

use serde::Deserialize;

use super::Emit;
use super::robot_xml::tell::{Outcome, Teller, level_of, status_of, turns};
use super::split::{Parts, list, read};
use super::wall::{Zone, timestamp};
use crate::event::{
    Event, Fact, Level, LogLine, RunFinished, RunStarted, Source, Status, StepFinished, TestRef, Timestamp,
};

/// State of the format.
pub(super) struct RobotJson {
    zone: Zone,
    open: Vec<Node>,
    generator: String,
    generated: Option<Timestamp>,
}

/// A suite as far as it was read.
#[derive(Default)]
struct Node {
    name: String,
    outcome: Outcome,
    teardown: Option<(Status, String)>,
    members: Vec<Member>,
}

enum Member {
    Suite(Node),
    Test(Box<Test>),
    Step(Box<Item>),
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<String>,
    #[serde(flatten)]
    item: Item,
}

/// A keyword, a control structure, a message, or a test without its name.
#[derive(Default, Deserialize)]
struct Item {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(rename = "name", default)]
    keyword: Option<String>,
    #[serde(default, deserialize_with = "list")]
    args: Vec<serde_json::Value>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    elapsed_time: Option<f64>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    setup: Option<Box<Item>>,
    #[serde(default, deserialize_with = "list")]
    body: Vec<Item>,
    #[serde(default)]
    teardown: Option<Box<Item>>,
}

impl Item {
    fn outcome(&self, zone: &Zone) -> Outcome {
        Outcome {
            status: self.status.clone(),
            start: self.start_time.as_deref().and_then(|text| timestamp(text, zone)),
            duration: self.elapsed_time.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok()),
            message: self.message.clone(),
        }
    }
}

impl Parts for RobotJson {
    const RUNNER: &'static str = "robot";
    const FIRST_KEYS: &'static [&'static str] = &["generator"];

    fn begin(&mut self, _: &mut Emit<'_>) {
        *self = Self::new(Zone::clone(&self.zone));
    }

    fn opens(&self, path: &[String]) -> bool {
        let mut keys = path.iter().map(String::as_str);
        // suite, suite.suites, suite.suites.[], …, and the tests of each.
        keys.next() == Some("suite")
            && keys.all(|key| matches!(key, "suites" | "[]" | "tests"))
            && !(path.ends_with(&["tests".into(), "[]".into()]))
    }

    fn part(&mut self, path: &[String], json: &str, _: &mut Emit<'_>) -> Result<(), serde_json::Error> {
        let Some(key) = path.last().map(String::as_str) else { return Ok(()) };
        if path.len() == 1 {
            match key {
                "generator" => self.generator = read(json)?,
                "generated" => self.generated = timestamp(&read::<Cow<'_, str>>(json)?, &self.zone),
                _ => {}
            }
            return Ok(());
        }
        if path.first().is_some_and(|first| first != "suite") {
            return Ok(());
        }
        // One node for each open suite: the outermost and those in arrays.
        let depth = 1 + path.windows(2).filter(|keys| keys[0] == "suites" && keys[1] == "[]").count();
        while self.open.len() < depth {
            self.open.push(Node::default());
        }
        let zone = Zone::clone(&self.zone);
        let Some(node) = self.open.last_mut() else { return Ok(()) };
        match key {
            "[]" => node.members.push(Member::Test(read(json)?)),
            "name" => node.name = read(json)?,
            "status" => node.outcome.status = read(json)?,
            "message" => node.outcome.message = read(json)?,
            "start_time" => node.outcome.start = timestamp(&read::<Cow<'_, str>>(json)?, &zone),
            "elapsed_time" => node.outcome.duration = std::time::Duration::try_from_secs_f64(read(json)?).ok(),
            "setup" | "teardown" => {
                let item: Item = read(json)?;
                if key == "teardown" {
                    node.teardown = turns(&item.status).map(|status| (status, item.message.clone()));
                }
                node.members.push(Member::Step(Box::new(Item { kind: key.to_ascii_uppercase(), ..item })));
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, path: &[String], emit: &mut Emit<'_>) {
        let is_inner = path.ends_with(&["suites".into(), "[]".into()]);
        if is_inner && self.open.len() > 1 {
            if let Some(node) = self.open.pop()
                && let Some(parent) = self.open.last_mut()
            {
                parent.members.push(Member::Suite(node));
            }
        } else if path.len() == 1 {
            self.tell(true, emit);
        }
    }

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        if whole {
            emit(Event { time: None, fact: Fact::RunFinished(RunFinished::default()) });
            return;
        }
        // The file was cut: what is there has no name of its own yet, and is told as far as it goes.
        while self.open.len() > 1 {
            if let (Some(node), Some(parent)) = (self.open.pop(), self.open.last_mut()) {
                parent.members.push(Member::Suite(node));
            }
        }
        self.tell(false, emit);
    }
}

impl RobotJson {
    /// `zone` reads all times.
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone, open: Vec::new(), generator: String::new(), generated: None }
    }

    fn tell(&mut self, whole: bool, emit: &mut Emit<'_>) {
        let Some(root) = self.open.pop() else { return };
        let own = !self.generator.to_ascii_lowercase().starts_with("rebot");
        let started = RunStarted { title: self.generator.as_str().into(), attributes: Vec::new() };
        emit(Event { time: self.generated.filter(|_| own), fact: Fact::RunStarted(started) });
        let mut telling = Telling { zone: &self.zone, teller: Teller::default(), whole };
        telling.suite(root, emit);
    }
}

/// A tree that is told.
struct Telling<'z> {
    zone: &'z Zone,
    teller: Teller,
    whole: bool,
}

impl Telling<'_> {
    fn suite(&mut self, node: Node, emit: &mut Emit<'_>) {
        self.teller.enter(if node.name.is_empty() { "(unnamed)" } else { &node.name });
        self.teller.announce(node.outcome.start, emit);
        if let Some(suite) = self.teller.suites.last_mut() {
            suite.teardown = node.teardown;
        }
        for member in node.members {
            match member {
                Member::Suite(inner) => self.suite(inner, emit),
                Member::Test(test) => {
                    let id = self.teller.identify(&test.name);
                    self.items(&test.item, Some(&id), 0, emit);
                    self.teller.test(&id, &test.item.outcome(self.zone), &test.tags, emit);
                }
                Member::Step(item) => self.item(&item, None, 0, emit),
            }
        }
        if self.whole || !node.outcome.status.is_empty() {
            self.teller.leave(&node.outcome, emit);
        } else {
            self.teller.suites.pop();
        }
    }

    fn items(&self, item: &Item, test: Option<&str>, depth: u32, emit: &mut Emit<'_>) {
        let of_kind = |inner: &Option<Box<Item>>, kind: &str, emit: &mut Emit<'_>| {
            if let Some(inner) = inner {
                self.named(inner, kind, test, depth, emit);
            }
        };
        of_kind(&item.setup, "SETUP", emit);
        item.body.iter().for_each(|inner| self.item(inner, test, depth, emit));
        of_kind(&item.teardown, "TEARDOWN", emit);
    }

    fn item(&self, item: &Item, test: Option<&str>, depth: u32, emit: &mut Emit<'_>) {
        self.named(item, &item.kind, test, depth, emit);
    }

    fn reference<'r>(&'r self, test: Option<&'r str>) -> Option<TestRef<'r>> {
        test.map(|id| TestRef { id: id.into(), suite: self.teller.suite().into(), worker: "".into() })
    }

    fn named(&self, item: &Item, kind: &str, test: Option<&str>, depth: u32, emit: &mut Emit<'_>) {
        if kind == "MESSAGE" {
            let level: Level = level_of(&item.level);
            let time = item.timestamp.as_deref().and_then(|text| timestamp(text, self.zone));
            let text = item.message.trim_end_matches('\n').into();
            let line = LogLine { test: self.reference(test), source: Source::Runner, level: Some(level), text };
            return emit(Event { time, fact: Fact::Log(line) });
        }
        let keyword = item.keyword.as_deref().unwrap_or_default();
        let mut name = match kind {
            "SETUP" => format!("Setup: {keyword}"),
            "TEARDOWN" => format!("Teardown: {keyword}"),
            "" | "KEYWORD" => keyword.to_owned(),
            // The frames around branches have no line of their own.
            "IF/ELSE ROOT" | "TRY/EXCEPT ROOT" => String::new(),
            other => [other, item.condition.as_deref().unwrap_or_default()].join(" ").trim_end().to_owned(),
        };
        for arg in &item.args {
            let text = arg.as_str().map_or_else(|| arg.to_string(), str::to_owned);
            if name.len() + text.len() < 1000 {
                name.push_str("    ");
                name.push_str(&text);
            }
        }
        self.items(item, test, depth + u32::from(!name.is_empty()), emit);
        if name.is_empty() || item.status.is_empty() {
            return;
        }
        let outcome = item.outcome(self.zone);
        let step = StepFinished {
            test: self.reference(test),
            suite: self.teller.suite().into(),
            name: name.into(),
            status: status_of(&item.status),
            duration: outcome.duration,
            message: item.message.as_str().into(),
            depth,
        };
        emit(Event { time: outcome.end(), fact: Fact::StepFinished(step) });
    }
}
