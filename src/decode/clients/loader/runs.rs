//! Jobs as runs.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::super::{Answer, Context, RunFacts, Runs};
use super::message::{Item, Loaded, Screen, What};
use crate::decode::pytest::suite_of;
use crate::event::{
    Event, Fact, Level, LogLine, Note, Planned, RunFinished, RunStarted, Source, Status, TestFinished, TestRef,
    TestStarted, Timestamp,
};

/// Message of an attempt of which nothing but its repetition is known.
const REPEATED: &str = "it was repeated; the client does not say how it failed";

/// The runs of pytest-rt and nose2rt.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Loader {
    runs: HashMap<String, Run>,
    begun: u64,
    /// Key of the run that is on, by custom id (`c…`) or job id (`j…`).
    on: HashMap<String, String>,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Run {
    /// Test by number: an item's message has nothing but the number.
    names: HashMap<String, String>,
    planned: HashSet<String>,
    done: HashSet<String>,
    began: u64,
    ended: u64,
    /// Tests that are on, and the job that each is on in.
    running: HashMap<String, String>,
    /// Pictures that were seen: the plugin sends a test's pictures with later tests, too.
    screens: HashSet<String>,
}

impl Run {
    /// The tests that were announced have ended, and so has a job: what begins now is another run.
    fn looks_over(&self) -> bool {
        self.ended > 0 && self.planned.is_subset(&self.done)
    }

    fn id<'i>(&'i self, item: &'i Item) -> &'i str {
        if !item.name.is_empty() {
            return &item.name;
        }
        self.names.get(&item.uuid).map_or(item.uuid.as_str(), String::as_str)
    }
}

impl Loader {
    pub(in super::super) fn take(&mut self, loaded: &Loaded, context: &Context, runs: &mut dyn Runs) -> Answer {
        match &loaded.what {
            What::StartRun { tests, env, attributes } => {
                let facts = RunFacts { env: env.clone(), attributes: attributes.clone(), ..RunFacts::default() };
                self.start_run(loaded, context, tests, facts, runs);
            }
            What::StartTest(item) => self.start_test(loaded, item, context, runs),
            What::StopTest { item, .. } => self.stop_test(loaded, item, context, runs),
            What::StopRun => self.stop_run(loaded, runs),
        }
        Answer::empty(200)
    }

    pub(in super::super) fn forget(&mut self, key: &str) {
        if self.runs.remove(key).is_some() {
            self.on.retain(|_, on| on != key);
        }
    }

    fn start_run(
        &mut self,
        loaded: &Loaded,
        context: &Context,
        tests: &[(String, String)],
        facts: RunFacts,
        runs: &mut dyn Runs,
    ) {
        let name = name_of(loaded);
        let over = self.on.get(&name).filter(|key| self.runs.get(*key).is_some_and(Run::looks_over)).cloned();
        if let Some(key) = over {
            // A custom id is used again. The runs before it are runs of their own.
            runs.close(&key);
            self.forget(&key);
        }
        let key = self.begin(name, loaded, context, facts, runs);
        let started = RunStarted { title: format!("{}, Testgr client", loaded.runner).into(), ..RunStarted::default() };
        runs.event(&key, &Event { time: loaded.time, fact: Fact::RunStarted(started) });
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.began += 1;
        let mut ids = Vec::with_capacity(tests.len());
        for (id, uuid) in tests {
            run.planned.insert(id.clone());
            if !uuid.is_empty() {
                run.names.insert(uuid.clone(), id.clone());
            }
            ids.push(Cow::Borrowed(id.as_str()));
        }
        runs.event(&key, &Event { time: loaded.time, fact: Fact::Planned(Planned { total: None, tests: ids }) });
    }

    fn begin(
        &mut self,
        name: String,
        loaded: &Loaded,
        context: &Context,
        facts: RunFacts,
        runs: &mut dyn Runs,
    ) -> String {
        self.begun += 1;
        let key = self.on.entry(name).or_insert_with(|| format!("loader/{}", self.begun)).clone();
        if !self.runs.contains_key(&key) {
            self.runs.insert(key.clone(), Run::default());
            let run_id = match (&context.run_id, loaded.custom.as_str()) {
                (given, _) if !given.is_empty() => given.clone(),
                (_, "") => super::super::name(&loaded.job),
                // The same id names other runs on other days.
                (_, custom) => super::super::name(&format!("{custom}-{}", compact(loaded.time.unwrap_or(runs.now())))),
            };
            let or = |own: String, other: &String| if other.is_empty() { own } else { other.clone() };
            let host = if context.peer.is_loopback() { String::new() } else { context.peer.to_string() };
            runs.open(
                &key,
                RunFacts {
                    run_id,
                    runner: loaded.runner.clone().into(),
                    project: context.project.clone(),
                    env: or(super::super::name(&facts.env), &context.env),
                    host,
                    begun: loaded.time,
                    attributes: facts.attributes,
                    ..RunFacts::default()
                },
            );
        }
        key
    }

    /// The run of an item. One whose beginning never came is begun here, with what there is.
    fn run_of(&mut self, loaded: &Loaded, context: &Context, runs: &mut dyn Runs) -> String {
        let name = name_of(loaded);
        if let Some(key) = self.on.get(&name) {
            return key.clone();
        }
        let key = self.begin(name, loaded, context, RunFacts::default(), runs);
        let text =
            "the beginning of this run did not reach testwire, so tests may be known by their numbers only".into();
        runs.event(&key, &Event { time: loaded.time, fact: Fact::Note(Note { level: Level::Warn, text }) });
        if let Some(run) = self.runs.get_mut(&key) {
            run.began = 1;
        }
        key
    }

    fn start_test(&mut self, loaded: &Loaded, item: &Item, context: &Context, runs: &mut dyn Runs) {
        let key = self.run_of(loaded, context, runs);
        let Some(run) = self.runs.get_mut(&key) else { return };
        let id = run.id(item).to_owned();
        let test = || reference(&id, loaded);
        // pytest-rt is silent about a failed attempt that pytest-rerunfailures repeats.
        if run.running.insert(id.clone(), loaded.job.clone()).is_some_and(|job| job == loaded.job) {
            let retried =
                TestFinished { message: Cow::Borrowed(REPEATED), ..TestFinished::new(test(), Status::Retried) };
            runs.event(&key, &Event { time: loaded.time, fact: Fact::TestFinished(retried) });
        }
        let started = TestStarted { test: test(), ..TestStarted::default() };
        runs.event(&key, &Event { time: loaded.time, fact: Fact::TestStarted(started) });
    }

    fn stop_test(&mut self, loaded: &Loaded, item: &Item, context: &Context, runs: &mut dyn Runs) {
        let What::StopTest { status, message, details, .. } = &loaded.what else { return };
        let key = self.run_of(loaded, context, runs);
        let Some(run) = self.runs.get_mut(&key) else { return };
        let id = run.id(item).to_owned();
        for screen in &loaded.screens {
            if !screen.path.is_empty() && run.screens.insert(screen.path.clone()) {
                let log = picture(screen, reference(&id, loaded));
                runs.event(&key, &Event { time: loaded.time, fact: Fact::Log(log) });
            }
        }
        let finished = TestFinished {
            message: Cow::Borrowed(message),
            details: Cow::Borrowed(details),
            ..TestFinished::new(reference(&id, loaded), *status)
        };
        runs.event(&key, &Event { time: loaded.time, fact: Fact::TestFinished(finished) });
        run.running.remove(&id);
        run.done.insert(id);
        if run.ended > 0 && run.ended >= run.began {
            runs.close_soon(&key);
        }
    }

    fn stop_run(&mut self, loaded: &Loaded, runs: &mut dyn Runs) {
        // Under xdist the controller ends a job that nobody announced.
        let Some(key) = self.on.get(&name_of(loaded)).cloned() else { return };
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.ended += 1;
        let (ended, began) = (run.ended, run.began);
        runs.event(&key, &Event { time: loaded.time, fact: Fact::RunFinished(RunFinished::default()) });
        if loaded.custom.is_empty() || ended > began {
            runs.close(&key);
            self.forget(&key);
        } else if ended >= began {
            runs.close_soon(&key);
        }
    }
}

fn name_of(loaded: &Loaded) -> String {
    if loaded.custom.is_empty() { format!("j{}", loaded.job) } else { format!("c{}", loaded.custom) }
}

fn reference<'r>(id: &'r str, loaded: &'r Loaded) -> TestRef<'r> {
    let suite =
        if loaded.runner == "pytest" { suite_of(id) } else { id.rsplit_once('.').map_or("", |(suite, _)| suite) };
    // The jobs of a run are its workers.
    let worker = if loaded.custom.is_empty() { "" } else { loaded.job.get(..8).unwrap_or(&loaded.job) };
    TestRef { id: Cow::Borrowed(id), suite: Cow::Borrowed(suite), worker: Cow::Borrowed(worker) }
}

fn picture<'s>(screen: &'s Screen, test: TestRef<'s>) -> LogLine<'s> {
    let name = if screen.name.is_empty() { "screenshot" } else { screen.name.as_str() };
    LogLine { test: Some(test), source: Source::Runner, level: None, text: format!("{name}: {}", screen.path).into() }
}

fn compact(time: Timestamp) -> String {
    chrono::DateTime::from_timestamp_nanos(time.0).format("%Y%m%dT%H%M%SZ").to_string()
}
