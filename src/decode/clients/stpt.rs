//! System Test Progress Tracking.
//!
//! A machine announces its whole plan with a dry run, then the start and end of each test by its file. Nothing ends a run:
//! it is over when every planned test has a result, when the machine announces another one, or by the timeout. A file may
//! be planned several times; its first waiting place is meant.

mod message;

use std::borrow::Cow;
use std::collections::HashMap;

use self::message::File;
pub use self::message::{Kind, Told, parse};
use super::{Answer, Context, RunFacts, Runs, Zone};
use crate::event::{
    Event, Fact, Level, LogLine, Planned, RunFinished, RunStarted, RunStatus, Source, Status, TestFinished, TestRef,
    TestStarted, Timestamp,
};

/// Label `source` of the scripts of a plan.
const SCRIPT: &str = "script";

/// The machines.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Stpt {
    /// By name in lower case, as the client's own server looks them up.
    machines: HashMap<String, Run>,
    begun: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Run {
    key: String,
    tests: Vec<Test>,
    /// False where the dry run never came, so that nobody knows when all is done.
    planned: bool,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Test {
    file: String,
    id: String,
    suite: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum State {
    Waiting,
    Running,
    Final,
}

impl Run {
    /// The first place of a file in one of these states, the first state first; else a new place behind the plan.
    fn find(&mut self, file: &str, states: &[State]) -> usize {
        let at = |state: &State| self.tests.iter().position(|test| test.file == file && test.state == *state);
        states.iter().find_map(at).unwrap_or_else(|| self.add(file, ""))
    }

    fn add(&mut self, file: &str, suite: &str) -> usize {
        let before = self.tests.iter().filter(|test| test.file == file).count();
        let id = if before == 0 { file.to_owned() } else { format!("{file} ({})", before + 1) };
        self.tests.push(Test { file: file.to_owned(), id, suite: suite.to_owned(), state: State::Waiting });
        self.tests.len() - 1
    }
}

impl Test {
    fn reference(&self) -> TestRef<'_> {
        TestRef { id: Cow::Borrowed(&self.id), suite: Cow::Borrowed(&self.suite), worker: Cow::Borrowed("") }
    }
}

impl Stpt {
    pub(super) fn take(&mut self, told: &Told, context: &Context, zone: &Zone, runs: &mut dyn Runs) -> Answer {
        let time = told.time(zone);
        match told.kind {
            Kind::DryRun => self.dry_run(told, time, context, runs),
            Kind::Start => self.start(told, time, context, runs),
            Kind::Stop => self.stop(told, time, context, runs),
        }
        told.answer(zone)
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.machines.retain(|_, run| run.key != key);
    }

    fn dry_run(&mut self, told: &Told, time: Option<Timestamp>, context: &Context, runs: &mut dyn Runs) {
        if let Some(old) = self.machines.remove(&told.machine.to_lowercase()) {
            // What is open there becomes unfinished, and what waits never ran.
            runs.close(&old.key);
        }
        let mut run = self.begin(told, time, context, runs);
        run.planned = true;
        for (suite, file) in &told.tests {
            run.add(&file.path, suite);
        }
        let tests = run.tests.iter().map(|test| Cow::Borrowed(test.id.as_str())).collect();
        runs.event(&run.key, &Event { time, fact: Fact::Planned(Planned { total: None, tests }) });
        for file in &told.scenarios {
            script(&run.key, file, None, time, runs);
        }
        for ((_, file), test) in told.tests.iter().zip(&run.tests) {
            script(&run.key, file, Some(test.reference()), time, runs);
        }
        self.machines.insert(told.machine.to_lowercase(), run);
    }

    fn begin(&mut self, told: &Told, time: Option<Timestamp>, context: &Context, runs: &mut dyn Runs) -> Run {
        self.begun += 1;
        let key = format!("stpt/{}", self.begun);
        // To the microsecond, as the client says it: a machine may begin twice in a second.
        let begun = chrono::DateTime::from_timestamp_nanos(time.unwrap_or(runs.now()).0).format("%Y%m%dT%H%M%S%.fZ");
        let slug: String = told.machine.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let run_id = if context.run_id.is_empty() { format!("{begun}-{slug}") } else { context.run_id.clone() };
        let master = told.scenarios.first().map(|file| ("master_scenario".to_owned(), file.path.clone()));
        let facts = RunFacts {
            run_id: super::name(&run_id),
            runner: "stpt".into(),
            project: context.project.clone(),
            env: context.env.clone(),
            host: super::name(&told.machine),
            begun: time,
            attributes: master.into_iter().collect(),
            ..RunFacts::default()
        };
        runs.open(&key, facts);
        let title = "System Test Progress Tracking".into();
        let started = RunStarted { title, ..RunStarted::default() };
        runs.event(&key, &Event { time, fact: Fact::RunStarted(started) });
        Run { key, tests: Vec::new(), planned: false }
    }

    /// The machine's run; one whose plan never came is begun with what there is.
    fn run_of(&mut self, told: &Told, time: Option<Timestamp>, context: &Context, runs: &mut dyn Runs) -> &mut Run {
        let machine = told.machine.to_lowercase();
        if !self.machines.contains_key(&machine) {
            let run = self.begin(told, time, context, runs);
            self.machines.insert(machine.clone(), run);
        }
        self.machines.get_mut(&machine).expect("it was put there")
    }

    fn start(&mut self, told: &Told, time: Option<Timestamp>, context: &Context, runs: &mut dyn Runs) {
        let run = self.run_of(told, time, context, runs);
        let place = run.find(&told.file, &[State::Waiting]);
        let test = &mut run.tests[place];
        test.state = State::Running;
        let started = TestStarted { test: test.reference(), ..TestStarted::default() };
        runs.event(&run.key, &Event { time, fact: Fact::TestStarted(started) });
    }

    fn stop(&mut self, told: &Told, time: Option<Timestamp>, context: &Context, runs: &mut dyn Runs) {
        match told.status.as_str() {
            "waiting" => return,
            "running" => return self.start(told, time, context, runs),
            _ => {}
        }
        let run = self.run_of(told, time, context, runs);
        let place = run.find(&told.file, &[State::Running, State::Waiting]);
        finish(run, place, told.result(), time, runs);
        let cancelled = told.status == "cancelled";
        if cancelled {
            // It goes for whatever is still on.
            for place in 0..run.tests.len() {
                if run.tests[place].state != State::Final {
                    finish(run, place, told.result(), time, runs);
                }
            }
        }
        if run.planned && run.tests.iter().all(|test| test.state == State::Final) {
            let status = cancelled.then_some(RunStatus::Aborted);
            let finished = RunFinished { status, message: Cow::Borrowed("") };
            runs.event(&run.key, &Event { time, fact: Fact::RunFinished(finished) });
            let key = run.key.clone();
            runs.close(&key);
            self.forget(&key);
        }
    }
}

fn finish(
    run: &mut Run,
    place: usize,
    (status, message, tag): (Status, String, &str),
    time: Option<Timestamp>,
    runs: &mut dyn Runs,
) {
    let test = &mut run.tests[place];
    test.state = State::Final;
    let finished = TestFinished {
        message: message.into(),
        tags: Some(tag).filter(|tag| !tag.is_empty()).into_iter().map(Cow::Borrowed).collect(),
        ..TestFinished::new(test.reference(), status)
    };
    runs.event(&run.key, &Event { time, fact: Fact::TestFinished(finished) });
}

/// Keeps the source of a test or scenario, so that a page can show it.
fn script(key: &str, file: &File, test: Option<TestRef<'_>>, time: Option<Timestamp>, runs: &mut dyn Runs) {
    if !file.script.is_empty() {
        let text = format!("{}\n{}", file.path, file.script).into();
        let log = LogLine { test, source: Source::Named(SCRIPT.into()), level: Some(Level::Debug), text };
        runs.event(key, &Event { time, fact: Fact::Log(log) });
    }
}
