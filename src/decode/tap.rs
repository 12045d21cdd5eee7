//! TAP, versions 12 to 14, as Test::More, node:test, vitest, mocha and others write it → events.
//!
//! The rules are those of <https://testanything.org/tap-version-14-specification.html>; where producers differ from them,
//! the producer is known by its marks. Numbers of points are worth nothing (node repeats them after a crashed file, mocha
//! after a failed hook), so a test is its description and those of the subtests around it. Nested points are tests of
//! their own in node:test and vitest; elsewhere they are parts of the test whose point follows them, as `prove` counts.

mod line;
mod pending;
mod yaml;

use std::borrow::Cow;

use self::line::{Directive, Line, Point};
use self::pending::{Body, Pending};
use super::occurrences::Occurrences;
use super::output::{run_finished, run_started, test_ref};
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, LogLine, Planned, RunStatus, Source, Status, StepFinished, SuiteFinished, SuiteStarted, TestFinished,
    Timestamp,
};

/// Between the names of nested tests.
const BETWEEN: &str = " > ";
/// Deeper subtests are taken as this deep.
const DEEPEST: usize = 64;
/// Tests that may be corrected once vitest is recognised.
const TODOS_KEPT: usize = 1_000;

/// State of the format.
#[derive(Default)]
pub(super) struct Tap {
    began: bool,
    producer: Producer,
    /// Names of the subtests around the next point, by depth.
    around: Vec<String>,
    /// `# Subtest:` came.
    has_subtests: bool,
    /// Open suites of vitest.
    blocks: Vec<Block>,
    /// Open points of Test2, whose parts stand behind them in braces.
    wholes: Vec<Pending>,
    /// A point that is not told yet, because what follows belongs to it.
    pending: Option<Pending>,
    names: Occurrences,
    plan: Option<u64>,
    planned_before: u64,
    points: u64,
    skipped: Option<String>,
    bailed: Option<String>,
    /// `ok # TODO`: unexpectedly passed, except with vitest, where it never ran.
    todos: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Producer {
    #[default]
    Unknown,
    /// node:test.
    Node,
    Vitest,
}

struct Block {
    name: String,
    point: Pending,
}

impl Decoder for Tap {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        let (indent, rest) = line::indent(&text);
        if let Some(pending) = &mut self.pending {
            match pending.take_line(&text, indent, rest) {
                Body::Taken => return,
                Body::Complete => return self.tell_pending(emit),
                Body::NotMine => {}
            }
        }
        let parsed = line::parse(rest);
        if let Some(opened) = self.opens_suite(&parsed, indent) {
            return self.open_suite(opened, emit);
        }
        self.open_whole(&parsed, indent);
        self.tell_pending(emit);
        let depth = (indent / 4).min(DEEPEST);
        match parsed {
            Line::Version if depth == 0 => self.begin(emit),
            Line::Plan { last, skip } if indent.is_multiple_of(4) => self.plan(last, skip, depth, emit),
            Line::Point(_) if indent == 0 && self.is_verdict(rest) => stdout_line(bytes, emit),
            Line::Point(point) if indent.is_multiple_of(4) => self.point(point, indent, depth, emit),
            Line::Subtest(name) => {
                self.begin(emit);
                self.has_subtests = true;
                self.around.resize(depth, String::new());
                self.around.push(line::unescape(name).into_owned());
            }
            Line::Comment(_) => self.comment(rest, emit),
            Line::BailOut(reason) => {
                self.begin(emit);
                self.bailed = Some(reason.to_owned());
                self.comment(rest, emit);
            }
            Line::Close if !self.blocks.is_empty() && self.blocks.len() == depth + 1 => self.close_suite(emit),
            Line::Close if self.wholes.last().is_some_and(|whole| whole.indent == indent) => self.close_whole(emit),
            _ => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.tell_pending(emit);
        self.close_wholes(0, emit);
        if let Some(reason) = &self.bailed {
            return run_finished(Some(RunStatus::Aborted), &format!("Bail out! {reason}"), None, emit);
        }
        let Some(plan) = self.plan else { return };
        let (plan, ran) = (self.planned_before + plan, self.points);
        if plan > ran {
            let message = format!("{plan} tests were planned, {ran} ran");
            run_finished(Some(RunStatus::Aborted), &message, None, emit);
        } else if plan < ran {
            let message = format!("{plan} tests were planned, {ran} ran");
            run_finished(Some(RunStatus::Failed), &message, None, emit);
        } else {
            let skipped = self.skipped.as_ref().map(|reason| format!("skipped: {reason}")).unwrap_or_default();
            run_finished(None, &skipped, None, emit);
        }
    }

    fn runner(&self) -> &str {
        match self.producer {
            Producer::Vitest => "vitest",
            Producer::Node => "node",
            Producer::Unknown => "tap",
        }
    }
}

impl Tap {
    fn begin(&mut self, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started("TAP", None, emit);
        }
    }

    fn plan(&mut self, last: u64, skip: Option<&str>, depth: usize, emit: &mut Emit<'_>) {
        self.begin(emit);
        if depth > 0 {
            return;
        }
        if let Some(before) = self.plan {
            if self.points < self.planned_before + before {
                // A program printed what looks like one.
                return self.comment_of(last, emit);
            }
            // Streams of several files one after the other.
            self.planned_before += before;
        }
        self.plan = Some(last);
        self.skipped = skip.map(str::to_owned);
        // Of node and vitest it is the number of top-level tests or files only.
        if self.producer == Producer::Unknown {
            let planned = Planned { total: Some(self.planned_before + last), tests: Vec::new() };
            emit(Event { time: None, fact: Fact::Planned(planned) });
        }
    }

    fn point(&mut self, point: Point<'_>, indent: usize, depth: usize, emit: &mut Emit<'_>) {
        self.begin(emit);
        self.close_wholes(indent, emit);
        // node-tap writes times, too, but only of subtests, which it announces, or whose parts are in braces behind them.
        let is_flat = !self.has_subtests && !point.brace;
        if point.duration.is_some() && is_flat && self.producer == Producer::Unknown {
            self.is_vitest(emit);
        }
        if depth == 0 {
            self.points += 1;
        }
        let announced = self.around.get(depth).is_some_and(|name| *name == point.name);
        // Only these can have a body; others are told at once, because the next line may be long in coming.
        let held = !point.ok || point.brace || announced;
        let mut pending = Pending::new(&point, indent, self.parents(depth));
        pending.announced = announced;
        self.around.truncate(depth);
        self.pending = Some(pending);
        if !held {
            self.tell_pending(emit);
        }
    }

    /// Names around a point of this depth.
    fn parents(&self, depth: usize) -> String {
        if !self.blocks.is_empty() {
            return self.blocks.iter().map(|block| block.name.as_str()).collect::<Vec<_>>().join(BETWEEN);
        }
        let names = self.around.iter().take(depth).map(String::as_str).filter(|name| !name.is_empty());
        names.collect::<Vec<_>>().join(BETWEEN)
    }

    /// A line that ended in `{` opened a suite of vitest if its block begins with a plan; a test's name may end so, too.
    fn opens_suite(&mut self, next: &Line<'_>, indent: usize) -> Option<Pending> {
        let is_block = matches!(next, Line::Plan { .. });
        let is_vitest = self.producer == Producer::Vitest;
        self.pending.take_if(|pending| is_block && (is_vitest || pending.brace_is_last) && pending.opens(indent))
    }

    /// Elsewhere a block has the parts of the point above it.
    fn open_whole(&mut self, next: &Line<'_>, indent: usize) {
        let is_block = matches!(next, Line::Plan { .. } | Line::Point(_) | Line::Subtest(_) | Line::Comment(_));
        let is_other = self.producer != Producer::Vitest;
        if let Some(mut whole) = self.pending.take_if(|pending| is_block && is_other && pending.opens(indent)) {
            whole.brace = false;
            self.around.resize((whole.indent / 4).min(DEEPEST), String::new());
            self.around.push(whole.name.clone());
            self.wholes.push(whole);
        }
    }

    /// The innermost block ends: its point is told, if it failed with what follows the block.
    fn close_whole(&mut self, emit: &mut Emit<'_>) {
        let Some(whole) = self.wholes.pop() else { return };
        self.around.truncate(whole.indent / 4);
        let ok = whole.ok;
        self.pending = Some(whole);
        if ok {
            self.tell_pending(emit);
        }
    }

    /// Ends the blocks that a point with this indentation is not in.
    fn close_wholes(&mut self, indent: usize, emit: &mut Emit<'_>) {
        while self.wholes.last().is_some_and(|whole| whole.indent >= indent) {
            self.close_whole(emit);
            self.tell_pending(emit);
        }
    }

    /// True for what `prove -v` says of a file behind its TAP: without a number, and when all points are there.
    fn is_verdict(&self, text: &str) -> bool {
        let plan = self.plan.filter(|plan| self.points >= self.planned_before + plan);
        text.trim_end() == "ok" && plan.is_some() && self.producer == Producer::Unknown
    }

    fn open_suite(&mut self, point: Pending, emit: &mut Emit<'_>) {
        self.is_vitest(emit);
        let suite = point.path();
        let started = SuiteStarted { suite: Cow::Borrowed(&suite), worker: Cow::Borrowed("") };
        emit(Event { time: None, fact: Fact::SuiteStarted(started) });
        self.blocks.push(Block { name: point.name.clone(), point });
    }

    fn close_suite(&mut self, emit: &mut Emit<'_>) {
        let Some(block) = self.blocks.pop() else { return };
        suite_finished(&block.point, emit);
    }

    /// vitest is recognised: what passed as a surprise never ran.
    fn is_vitest(&mut self, emit: &mut Emit<'_>) {
        self.producer = Producer::Vitest;
        for id in std::mem::take(&mut self.todos) {
            let finished = TestFinished::new(test_ref(&id, suite_of(&id)), Status::Skipped);
            emit(Event { time: None, fact: Fact::TestCorrected(finished) });
        }
    }

    /// Tells of the point that was held back, if there is one.
    fn tell_pending(&mut self, emit: &mut Emit<'_>) {
        let Some(mut pending) = self.pending.take() else { return };
        pending.close();
        if pending.block.has_duration && pending.announced && self.producer == Producer::Unknown {
            self.producer = Producer::Node;
        }
        if pending.block.suite {
            return suite_finished(&pending, emit);
        }
        if pending.indent > 0 && self.producer == Producer::Unknown {
            return step_finished(&pending, emit);
        }
        if pending.brace {
            // It was no suite.
            pending.name.push_str(" {");
        }
        let path = pending.path();
        let id = self.names.next(&path);
        let status = self.status(&pending);
        if pending.ok && pending.directive == Some(Directive::Todo) && self.producer == Producer::Unknown {
            self.todos.truncate(TODOS_KEPT);
            self.todos.push(id.clone().into_owned());
        }
        let mut finished = TestFinished::new(test_ref(&id, &pending.parents), status);
        finished.duration = pending.duration();
        finished.message = pending.message().into();
        finished.details = Cow::Borrowed(pending.details());
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }

    fn status(&self, pending: &Pending) -> Status {
        match (pending.ok, pending.directive) {
            (_, Some(Directive::Skip)) => Status::Skipped,
            (true, Some(Directive::Todo)) if self.producer == Producer::Vitest => Status::Skipped,
            (true, Some(Directive::Todo)) => Status::Xpassed,
            (false, Some(Directive::Todo)) => Status::Xfailed,
            (true, None) => Status::Passed,
            (false, None) => Status::Failed,
        }
    }

    /// A plan that is none.
    fn comment_of(&self, last: u64, emit: &mut Emit<'_>) {
        super::stdout_text(&format!("1..{last}"), emit);
    }

    fn comment(&self, text: &str, emit: &mut Emit<'_>) {
        let log = LogLine { test: None, source: Source::Runner, level: None, text: Cow::Borrowed(text) };
        emit(Event { time: None::<Timestamp>, fact: Fact::Log(log) });
    }
}

/// The suite of a test.
fn suite_of(id: &str) -> &str {
    id.rsplit_once(BETWEEN).map_or("", |(suite, _)| suite)
}

fn suite_finished(point: &Pending, emit: &mut Emit<'_>) {
    let suite = point.path();
    let finished = SuiteFinished {
        suite: Cow::Borrowed(&suite),
        worker: Cow::Borrowed(""),
        status: match (point.ok, point.directive) {
            (_, Some(Directive::Skip)) => Status::Skipped,
            (true, _) | (_, Some(Directive::Todo)) => Status::Passed,
            (false, None) => Status::Failed,
        },
        duration: point.duration(),
        message: point.message().into(),
    };
    emit(Event { time: None, fact: Fact::SuiteFinished(finished) });
}

/// A point of a subtest whose parent is the test.
fn step_finished(point: &Pending, emit: &mut Emit<'_>) {
    let path = point.path();
    let test = point.parents.split(BETWEEN).next().filter(|name| !name.is_empty());
    let step = StepFinished {
        test: test.map(|name| test_ref(name, "")),
        suite: Cow::Borrowed(""),
        name: Cow::Borrowed(&path),
        status: Some(match (point.ok, point.directive) {
            (_, Some(Directive::Skip)) => Status::Skipped,
            (true, Some(Directive::Todo)) => Status::Xpassed,
            (false, Some(Directive::Todo)) => Status::Xfailed,
            (true, None) => Status::Passed,
            (false, None) => Status::Failed,
        }),
        duration: point.duration(),
        message: point.message().into(),
        depth: u32::try_from(point.indent / 4).unwrap_or(0).saturating_sub(1),
    };
    emit(Event { time: None, fact: Fact::StepFinished(step) });
}

/// What a line that begins an input says for this format; `None` if nothing.
pub(super) fn announces(text: &str) -> Option<&'static str> {
    match line::parse(text) {
        Line::Version => Some("is a TAP version line"),
        Line::Plan { .. } => Some("is a TAP plan"),
        // Words that begin with `ok` are frequent in output; a number or a dash is not.
        Line::Point(_) => {
            let rest = text.strip_prefix("not ").unwrap_or(text).strip_prefix("ok ")?;
            (rest.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with("- ")).then_some("is a TAP test point")
        }
        Line::BailOut(_) => Some("is TAP's Bail out!"),
        Line::Subtest(_) | Line::Comment(_) | Line::YamlBegin | Line::Close | Line::Other => None,
    }
}
