//! Which run an event is of, and what it says.

use core::net::IpAddr;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::json::{self, Fields};
use super::super::{Ambient, Answer, Context, RunFacts, Runs, Zone, level};
use super::parse::{Kind, Parsed, RECEIVED};
use crate::decode::time::rfc3339;
use crate::event::{
    Event, Fact, LogLine, Planned, RunFinished, RunStarted, Source, Status, StepFinished, SuiteFinished, SuiteStarted,
    TestFinished, TestRef, TestStarted, Timestamp,
};

/// Ended tests of a run that are remembered, because a message may come late.
const ENDED: usize = 8;

/// The runs of RealtimeResults listeners.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Realtime {
    runs: HashMap<String, Run>,
    begun: u64,
    clock: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Run {
    peer: IpAddr,
    /// Whole name of the outermost suite; empty while nothing says it.
    root: String,
    /// Suites that began and did not end.
    suites: Vec<String>,
    /// The test that is on: its `testid` and whole name.
    test: Option<(String, String)>,
    /// `testid`s of the last ones that ended.
    ended: VecDeque<String>,
    heard: u64,
}

/// An event's fields, read once.
struct Said<'f> {
    fields: &'f Fields,
    name: String,
    longname: String,
    testid: String,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Said<'_> {
    /// The suite around it. A name may have dots in it, so the name itself is cut off.
    fn parent(&self) -> &str {
        let cut = self.longname.strip_suffix(&self.name).and_then(|parent| parent.strip_suffix('.'));
        cut.unwrap_or_else(|| self.longname.rsplit_once('.').map_or("", |(parent, _)| parent))
    }

    fn test(&self) -> TestRef<'_> {
        TestRef { id: Cow::Borrowed(&self.longname), suite: Cow::Borrowed(self.parent()), worker: Cow::Borrowed("") }
    }

    fn status(&self) -> Status {
        match json::text(self.fields, "status").as_str() {
            "PASS" => Status::Passed,
            "SKIP" => Status::Skipped,
            "NOT RUN" => Status::Unfinished,
            _ => Status::Failed,
        }
    }

    fn duration(&self) -> Option<Duration> {
        let given = json::number(self.fields, "elapsed").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        given.or_else(|| Some(self.end?.since(self.start?)))
    }
}

impl Realtime {
    pub(in super::super) fn take(
        &mut self,
        parsed: &Parsed,
        context: &Context,
        zone: &Zone,
        runs: &mut dyn Runs,
    ) -> Answer {
        for (kind, fields) in &parsed.events {
            match kind {
                Kind::Event | Kind::LogMessage => self.clock += 1,
                Kind::Log | Kind::Metric => {}
            }
            match kind {
                Kind::Event => self.event(fields, context, zone, runs),
                Kind::LogMessage => self.log_message(fields, context, zone, runs),
                Kind::Log => runs.ambient(&app_log(fields, context, zone)),
                Kind::Metric => runs.ambient(&metric(fields, context, zone)),
            }
        }
        Answer::json(200, RECEIVED)
    }

    pub(in super::super) fn forget(&mut self, key: &str) {
        self.runs.remove(key);
    }

    fn event(&mut self, fields: &Fields, context: &Context, zone: &Zone, runs: &mut dyn Runs) {
        let said = said(fields, zone);
        match json::text(fields, "event_type").as_str() {
            "start_suite" => self.start_suite(&said, context, runs),
            "end_suite" => self.end_suite(&said, context, runs),
            "start_test" => {
                let key = self.run_of_new(&said, context, runs);
                self.start_test(&key, &said, json::texts(fields, "tags"), runs);
            }
            "end_test" => self.end_test(&said, context, runs),
            "start_keyword" => {}
            // The listener of today sends no keywords, but its server takes them.
            _ => {
                let key = self.run_of_test(&said, context, runs);
                let step = StepFinished {
                    test: None,
                    suite: Cow::Borrowed(""),
                    name: Cow::Borrowed(&said.name),
                    status: Some(said.status()),
                    duration: said.duration(),
                    message: json::text(fields, "message").into(),
                    depth: 0,
                };
                runs.event(&key, &Event { time: said.end, fact: Fact::StepFinished(step) });
            }
        }
    }

    fn start_suite(&mut self, said: &Said<'_>, context: &Context, runs: &mut dyn Runs) {
        let parent = said.parent();
        let inner =
            self.latest(context, |run| run.test.is_none() && run.suites.last().is_some_and(|suite| suite == parent));
        let key = match inner {
            Some(key) => key,
            None => {
                let key = self.begin(context, &said.longname, said.start, runs);
                let started = RunStarted { title: "Robot Framework, RealtimeResults".into(), ..RunStarted::default() };
                runs.event(&key, &Event { time: said.start, fact: Fact::RunStarted(started) });
                key
            }
        };
        let total = json::number(said.fields, "totaltests").filter(|total| *total >= 1.0);
        if let Some(total) = total {
            let planned = Planned { total: Some(total as u64), tests: Vec::new() };
            runs.event(&key, &Event { time: said.start, fact: Fact::Planned(planned) });
        }
        let suite = SuiteStarted { suite: Cow::Borrowed(&said.longname), worker: Cow::Borrowed("") };
        runs.event(&key, &Event { time: said.start, fact: Fact::SuiteStarted(suite) });
        if let Some(run) = self.runs.get_mut(&key) {
            run.suites.push(said.longname.clone());
            run.heard = self.clock;
        }
    }

    fn end_suite(&mut self, said: &Said<'_>, context: &Context, runs: &mut dyn Runs) {
        let open = self.latest(context, |run| run.suites.last() == Some(&said.longname));
        let key = open.unwrap_or_else(|| self.run_of_name(&said.longname, context, runs));
        let suite = SuiteFinished {
            suite: Cow::Borrowed(&said.longname),
            worker: Cow::Borrowed(""),
            status: said.status(),
            duration: said.duration(),
            message: json::text(said.fields, "message").into(),
        };
        runs.event(&key, &Event { time: said.end, fact: Fact::SuiteFinished(suite) });
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.heard = self.clock;
        if run.suites.last() == Some(&said.longname) {
            run.suites.pop();
        }
        let over = run.suites.is_empty() && run.root == said.longname;
        if over {
            runs.event(&key, &Event { time: said.end, fact: Fact::RunFinished(RunFinished::default()) });
            runs.close(&key);
            self.runs.remove(&key);
        }
    }

    fn start_test(&mut self, key: &str, said: &Said<'_>, tags: Vec<String>, runs: &mut dyn Runs) {
        let tags = tags.into_iter().map(Cow::Owned).collect();
        let started = TestStarted { test: said.test(), attempt: None, repeat: false, tags };
        runs.event(key, &Event { time: said.start, fact: Fact::TestStarted(started) });
        if let Some(run) = self.runs.get_mut(key) {
            run.test = Some((said.testid.clone(), said.longname.clone()));
            run.heard = self.clock;
        }
    }

    fn end_test(&mut self, said: &Said<'_>, context: &Context, runs: &mut dyn Runs) {
        let key = self.run_of_test(said, context, runs);
        let finished = TestFinished {
            duration: said.duration(),
            message: json::text(said.fields, "message").into(),
            tags: json::texts(said.fields, "tags").into_iter().map(Cow::Owned).collect(),
            ..TestFinished::new(said.test(), said.status())
        };
        runs.event(&key, &Event { time: said.end, fact: Fact::TestFinished(finished) });
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.heard = self.clock;
        run.test = None;
        run.ended.truncate(ENDED - 1);
        run.ended.push_front(said.testid.clone());
    }

    fn log_message(&mut self, fields: &Fields, context: &Context, zone: &Zone, runs: &mut dyn Runs) {
        let mut said = said(fields, zone);
        let time = said.start;
        // The identity of a test holds its name and its start.
        if let Some((longname, start)) = said.testid.rsplit_once("::") {
            said.start = instant(start, zone).or(time);
            said.longname = longname.to_owned();
        }
        let named = !said.testid.is_empty();
        let key = match named {
            true => self.run_of_test(&said, context, runs),
            false => self.latest(context, |_| true).unwrap_or_else(|| self.begin(context, "", time, runs)),
        };
        let Some(run) = self.runs.get(&key) else { return };
        let known = run.test.as_ref().is_some_and(|(id, _)| *id == said.testid) || run.ended.contains(&said.testid);
        if named && !known {
            // Robot ≤ 6: no start was sent. What is missing is its tags, and its end brings those.
            self.start_test(&key, &said, Vec::new(), runs);
        }
        let test = named.then(|| said.test());
        let text = json::text(fields, "message").into();
        let log = LogLine { test, source: Source::Runner, level: level(&json::text(fields, "level")), text };
        runs.event(&key, &Event { time, fact: Fact::Log(log) });
        if let Some(run) = self.runs.get_mut(&key) {
            run.heard = self.clock;
        }
    }

    /// The run that was heard last among those that can be meant.
    fn latest(&self, context: &Context, fits: impl Fn(&Run) -> bool) -> Option<String> {
        if !context.run_id.is_empty() {
            let key = named_key(context);
            return self.runs.contains_key(&key).then_some(key);
        }
        let fitting =
            self.runs.iter().filter(|(key, run)| !key.starts_with(NAMED) && run.peer == context.peer && fits(run));
        fitting.max_by_key(|(_, run)| run.heard).map(|(key, _)| key.clone())
    }

    /// The run of a test that begins: its suite is open, and no other test is.
    fn run_of_new(&mut self, said: &Said<'_>, context: &Context, runs: &mut dyn Runs) -> String {
        let parent = said.parent();
        let fits = |run: &Run| run.test.is_none() && run.suites.last().is_some_and(|suite| suite == parent);
        let waiting = self.latest(context, fits);
        waiting.unwrap_or_else(|| self.run_of_name(&said.longname, context, runs))
    }

    /// The run of a test that is on, or was.
    fn run_of_test(&mut self, said: &Said<'_>, context: &Context, runs: &mut dyn Runs) -> String {
        let on = |run: &Run| run.test.as_ref().is_some_and(|(id, _)| *id == said.testid);
        let known = self.latest(context, on).or_else(|| self.latest(context, |run| run.ended.contains(&said.testid)));
        known.unwrap_or_else(|| self.run_of_name(&said.longname, context, runs))
    }

    /// The run with this outermost suite; begins one if there is none.
    fn run_of_name(&mut self, longname: &str, context: &Context, runs: &mut dyn Runs) -> String {
        let root = longname.split('.').next().unwrap_or_default();
        let within =
            |outer: &str| longname == outer || longname.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        // With a test on, it would be another listener's.
        let key = self
            .latest(context, |run| run.test.is_none() && !run.root.is_empty() && within(&run.root))
            .or_else(|| self.latest(context, |run| run.root.is_empty()));
        let key = key.unwrap_or_else(|| self.begin(context, root, None, runs));
        if let Some(run) = self.runs.get_mut(&key).filter(|run| run.root.is_empty()) {
            root.clone_into(&mut run.root);
        }
        key
    }

    fn begin(&mut self, context: &Context, root: &str, time: Option<Timestamp>, runs: &mut dyn Runs) -> String {
        self.begun += 1;
        let key = if context.run_id.is_empty() { format!("rt/{}", self.begun) } else { named_key(context) };
        let run = Run {
            peer: context.peer,
            root: root.to_owned(),
            suites: Vec::new(),
            test: None,
            ended: VecDeque::new(),
            heard: self.clock,
        };
        self.runs.insert(key.clone(), run);
        let host = if context.peer.is_loopback() { String::new() } else { context.peer.to_string() };
        let facts = RunFacts {
            run_id: context.run_id.clone(),
            runner: "robot".into(),
            project: context.project.clone(),
            env: context.env.clone(),
            host,
            begun: time,
            ..RunFacts::default()
        };
        runs.open(&key, facts);
        key
    }
}

const NAMED: &str = "rt//";

fn named_key(context: &Context) -> String {
    format!("{NAMED}{}", context.run_id)
}

fn said<'f>(fields: &'f Fields, zone: &Zone) -> Said<'f> {
    let time = |name: &str| instant(&json::text(fields, name), zone);
    // The first versions had one time for all, in the runner's own zone.
    let one = time("timestamp");
    Said {
        fields,
        name: json::text(fields, "name"),
        longname: json::text(fields, "longname"),
        testid: json::text(fields, "testid"),
        start: time("starttime").or(one),
        end: time("endtime").or(one),
    }
}

/// ISO 8601 with a zone, or Robot's own `20250620 22:03:27.788524` without one.
fn instant(text: &str, zone: &Zone) -> Option<Timestamp> {
    let wall = || chrono::NaiveDateTime::parse_from_str(text, "%Y%m%d %H:%M:%S%.f").ok();
    rfc3339(text).or_else(|| zone(wall()?))
}

fn app_log(fields: &Fields, context: &Context, zone: &Zone) -> Ambient {
    let source = json::text(fields, "source");
    Ambient {
        metric: None,
        source: if source.is_empty() { json::text(fields, "event_type") } else { source },
        time: instant(&json::text(fields, "timestamp"), zone),
        level: level(&json::text(fields, "level")),
        text: json::text(fields, "message"),
        host: String::new(),
        project: context.project.clone(),
        env: context.env.clone(),
    }
}

fn metric(fields: &Fields, context: &Context, zone: &Zone) -> Ambient {
    let (name, unit) = (json::text(fields, "metric_name"), json::text(fields, "unit"));
    let value = json::text(fields, "value");
    Ambient {
        text: format!("{name} {value} {unit}").trim_end().to_owned(),
        metric: json::number(fields, "value").map(|value| (value, unit)),
        source: name,
        time: instant(&json::text(fields, "timestamp"), zone),
        level: None,
        host: json::text(fields, "source"),
        project: context.project.clone(),
        env: context.env.clone(),
    }
}
