//! A story → what its runner would write, and when. The same in every demo.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::stories::{CHATTER, PLOTS, Plot, Story, Suite};

/// One event at its time.
pub(super) struct Step {
    /// Since the start.
    pub(super) at: Duration,
    /// An event as `docs/events.md` describes it.
    pub(super) event: Value,
}

/// Events of a story, in the order of their times.
pub(super) fn script(story: &Story) -> Vec<Step> {
    let mut writer = Writer { story, rng: Rng::with_seed(story.runner.len() as u64), steps: Vec::new() };
    let tests = story.suites.iter().flat_map(|suite| suite.tests.iter().map(|test| id(story, suite, test)));
    let tests: Vec<String> = tests.collect();
    writer.event(0, json!({"testwire": 1, "event": "run_started", "runner": story.runner, "title": story.title}));
    writer.event(60, json!({"event": "planned", "tests": tests}));
    // When each worker is free again.
    let mut free = vec![200; story.workers.len()];
    for suite in story.suites {
        writer.suite(suite, &mut free);
    }
    let end = free.into_iter().max().unwrap_or_default() + 150;
    writer.event(end, json!({"event": "run_finished"}));
    // Stable, so that events of one time stay in their order.
    writer.steps.sort_by_key(|step| step.at);
    writer.steps
}

fn id(story: &Story, suite: &Suite, test: &str) -> String {
    format!("{}{}{test}", suite.name, story.joint)
}

/// One attempt of a test; its times in milliseconds.
struct Attempt<'a> {
    test: &'a str,
    suite: &'a str,
    worker: &'a str,
    number: u32,
    from: u64,
    to: u64,
}

struct Writer<'s> {
    story: &'s Story,
    rng: Rng,
    steps: Vec<Step>,
}

impl Writer<'_> {
    fn event(&mut self, at: u64, event: Value) {
        self.steps.push(Step { at: Duration::from_millis(at), event });
    }

    /// Gives each test to the worker that is free first.
    fn suite(&mut self, suite: &Suite, free: &mut [u64]) {
        let (mut first, mut last, mut failed) = (u64::MAX, 0, false);
        for name in suite.tests {
            let worker = (0..free.len()).min_by_key(|&worker| free[worker]).expect("every story has a worker");
            let from = free[worker];
            let (to, passed) = self.test(suite, name, self.story.workers[worker], from);
            free[worker] = to + 20;
            (first, last, failed) = (first.min(from), last.max(to), failed || !passed);
        }
        let status = if failed { "failed" } else { "passed" };
        // A millisecond around its tests, so that it comes before and after them.
        self.event(first - 1, json!({"event": "suite_started", "suite": suite.name}));
        let end =
            json!({"event": "suite_finished", "suite": suite.name, "status": status, "duration_ms": last - first});
        self.event(last + 1, end);
    }

    /// When it ended, and whether well.
    fn test(&mut self, suite: &Suite, name: &str, worker: &str, from: u64) -> (u64, bool) {
        let plot = PLOTS.iter().find(|(test, _)| *test == name).map(|(_, plot)| plot);
        let test = id(self.story, suite, name);
        let usual = self.rng.u64(self.story.pace.0..self.story.pace.1);
        let long = match plot {
            Some(Plot::Slow(long)) => *long,
            Some(Plot::Skipped(_)) => 5,
            _ => usual,
        };
        let mut attempt = Attempt { test: &test, suite: suite.name, worker, number: 1, from, to: from + long };
        if let Some(Plot::Flaky(message)) = plot {
            self.attempt(&attempt, suite.tags, json!({"status": "retried", "message": message}));
            let from = attempt.to + 30;
            attempt = Attempt { number: 2, from, to: from + long, ..attempt };
        }
        let end = match plot {
            Some(Plot::Fails { message, details, logs }) => {
                self.logs_of_a_failure(&attempt, logs);
                json!({"status": "failed", "message": message, "details": details})
            }
            Some(Plot::Breaks { message, details }) => {
                json!({"status": "errored", "message": message, "details": details})
            }
            Some(Plot::Skipped(message)) => json!({"status": "skipped", "message": message}),
            Some(Plot::Xfails(message)) => json!({"status": "xfailed", "message": message}),
            Some(Plot::Flaky(_) | Plot::Slow(_)) | None => json!({"status": "passed"}),
        };
        self.attempt(&attempt, suite.tags, end);
        (attempt.to, !matches!(plot, Some(Plot::Fails { .. } | Plot::Breaks { .. })))
    }

    fn attempt(&mut self, attempt: &Attempt<'_>, tags: &[&str], mut end: Value) {
        let &Attempt { test, suite, worker, number, from, to } = attempt;
        let start = json!({"event": "test_started", "test": test, "suite": suite, "worker": worker, "attempt": number,
                           "tags": tags});
        self.event(from, start);
        self.chatter(from, to);
        let failed = end["status"] == "failed";
        let steps = self.story.steps.len() as u64;
        for (i, name) in (1..).zip(self.story.steps) {
            let status = if failed && i == steps { "failed" } else { "passed" };
            let step = json!({"event": "step_finished", "test": test, "suite": suite, "name": name, "status": status,
                              "duration_ms": (to - from) / steps});
            self.event(from + (to - from) * i / steps, step);
        }
        if failed {
            let text = format!("calling the shop as user u{}", self.rng.u32(100..999));
            self.event(
                from + 5,
                json!({"event": "log", "test": test, "suite": suite, "source": "stdout", "text": text}),
            );
        }
        end["event"] = "test_finished".into();
        end["test"] = test.into();
        end["suite"] = suite.into();
        end["worker"] = worker.into();
        end["attempt"] = number.into();
        end["duration_ms"] = (to - from).into();
        self.event(to, end);
    }

    /// What the application writes meanwhile: about three lines a second.
    fn chatter(&mut self, from: u64, to: u64) {
        let mut at = from;
        loop {
            at += self.rng.u64(100..900);
            if at >= to {
                return;
            }
            let (source, level, text) = CHATTER[self.rng.usize(0..CHATTER.len())];
            let text = text.replace("{n}", &self.rng.u32(100..999).to_string());
            self.event(at, json!({"event": "log", "source": source, "level": level, "text": text}));
        }
    }

    /// Shortly before the end.
    fn logs_of_a_failure(&mut self, attempt: &Attempt<'_>, logs: &[(&str, &str, &str)]) {
        for (back, (source, level, text)) in logs.iter().rev().enumerate() {
            let at = attempt.to.saturating_sub(20 + 15 * back as u64).max(attempt.from);
            self.event(at, json!({"event": "log", "source": source, "level": level, "text": text}));
        }
    }
}
