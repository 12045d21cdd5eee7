//! Deals files out to workers, and keeps account of what becomes of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::child::{Child, Gone, Stop};
use super::feeds::feeds;
use super::guard::Guard;
use super::jobs::Job;
use super::journal::{Journal, Line, State};
use super::output::OutputLog;
use crate::commands::events_file::{self, EventFile};
use crate::commands::run::plan;
use crate::commands::run::recognise::recognise;
use crate::commands::session::Session;
use crate::commands::shipping::{eprint_line, zone};
use crate::commands::status_line::{StatusLine, progress_text};
use crate::config::{self, Settings};
use crate::exit::{Exit, Failure};
use crate::normalize::Part;
use crate::pipeline::feed::Feed;
use crate::pipeline::parts::{PartOver, PartStart};

/// What became of a file.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) name: String,
    pub(super) state: State,
    /// Why it did not pass.
    pub(super) why: String,
    pub(super) output: PathBuf,
}

/// What became of all.
#[derive(Debug)]
pub(super) struct Worked {
    pub(super) files: Vec<Done>,
    pub(super) took: Duration,
    /// Why it was stopped from outside, and the exit code for that.
    pub(super) stopped: Option<(String, u8)>,
}

/// A batch at work.
pub(super) struct Work<'a> {
    settings: &'a Settings,
    options: &'a config::Batch,
    jobs: Vec<Job>,
    done: Vec<Done>,
    queue: VecDeque<usize>,
    free: BTreeSet<usize>,
    journal: Journal,
    session: Session,
    guard: Guard,
    stop: watch::Sender<Stop>,
    why_stopped: String,
    stopped: Option<(String, u8)>,
    tasks: JoinSet<News>,
    running: usize,
    began: Instant,
    has_started: bool,
}

/// What a task has to tell.
enum News {
    /// A process is gone.
    Gone(Box<Attempt>, Gone),
    /// All that a file said is in the spool; which it is if it is to be run again.
    Kept(Box<Line>, Option<usize>),
}

/// An attempt of a file under way.
struct Attempt {
    at: usize,
    worker: usize,
    part: Part,
    number: u32,
    /// Name of the directory of its events, and the lock on them.
    events: Option<(String, EventFile)>,
    /// True once the intake knows of it.
    is_known: bool,
}

/// Signals that stop a batch.
struct Signals {
    interrupts: Signal,
    terminations: Signal,
    hangups: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
            hangups: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one: its name, and the exit code that a shell gives it.
    async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            _ = self.interrupts.recv() => ("SIGINT", 130),
            _ = self.terminations.recv() => ("SIGTERM", 143),
            _ = self.hangups.recv() => ("SIGHUP", 129),
        }
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        options: &'a config::Batch,
        workers: usize,
        jobs: Vec<Job>,
        order: Vec<usize>,
        journal: Journal,
        session: Session,
    ) -> Result<Self, Failure> {
        let mark = format!("{}-{}-{:08x}", settings.run.run_id, std::process::id(), fastrand::u32(..));
        let guard = Guard::start(mark).map_err(|e| Failure::new(Exit::Spool, "cannot start the guard").cause(&e))?;
        let done = jobs.iter().map(|job| Done {
            name: job.file.clone(),
            state: State::Created,
            why: String::new(),
            output: journal.output(job.index),
        });
        Ok(Self {
            settings,
            options,
            done: done.collect(),
            jobs,
            queue: order.into(),
            free: (1..=workers.max(1)).collect(),
            journal,
            session,
            guard,
            stop: watch::channel(Stop::No).0,
            why_stopped: String::new(),
            stopped: None,
            tasks: JoinSet::new(),
            running: 0,
            began: Instant::now(),
            has_started: false,
        })
    }

    /// Takes what an earlier process of the batch has done.
    pub(super) fn recall(&mut self, files: &BTreeMap<String, Line>) {
        for done in &mut self.done {
            if let Some(line) = files.get(&done.name) {
                done.state = line.state;
                done.why = match (line.code, line.signal) {
                    _ if line.state == State::Aborted => "it was running when testwire ended".to_owned(),
                    _ if line.timed_out => "timed out".to_owned(),
                    (Some(code), _) => format!("exit code {code}"),
                    (None, Some(signal)) => format!("killed by signal {signal}"),
                    (None, None) => "it could not be started".to_owned(),
                };
            }
        }
    }

    /// Runs all files.
    pub(super) async fn carry_out(mut self, mut line: StatusLine) -> (Worked, Session) {
        let mut signals = Signals::new().ok();
        loop {
            self.deal_out(&line);
            if self.tasks.is_empty() {
                break;
            }
            let next_signal = async {
                match &mut signals {
                    Some(signals) => signals.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(news) = self.tasks.join_next() => if let Ok(news) = news {
                    self.hear(news, &line);
                },
                (name, code) = next_signal => self.halt(name, code),
                () = line.due() => line.show(&self.status_text()),
            }
        }
        drop(line);
        let state = match (&self.stopped, self.done.iter().all(|done| done.state == State::Passed)) {
            (Some(_), _) => State::Aborted,
            (None, true) => State::Passed,
            (None, false) => State::Failed,
        };
        self.write([Line::run(state)]);
        let worked = Worked { files: self.done, took: self.began.elapsed(), stopped: self.stopped };
        (worked, self.session)
    }

    fn status_text(&self) -> String {
        let over = self.done.iter().filter(|done| done.state.is_over()).count();
        let files = format!("{over} of {} files", self.done.len());
        let delivery = self.session.delivery_text();
        let more = if delivery.is_empty() { files } else { format!("{files}  {delivery}") };
        progress_text(&self.session.live().progress, &more)
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() > Stop::No
    }

    /// A signal: the first asks the files to end, the second kills them.
    fn halt(&mut self, name: &str, code: u8) {
        let stop = if self.stopped.is_some() { Stop::Now } else { Stop::Soon };
        if self.stopped.is_none() {
            self.why_stopped = format!("stopped by {name}");
            self.stopped = Some((self.why_stopped.clone(), code));
        }
        self.stop.send_replace(stop);
    }

    /// Gives each free worker a file.
    fn deal_out(&mut self, line: &StatusLine) {
        while !self.is_stopping()
            && let Some(worker) = self.free.first().copied()
            && let Some(at) = self.queue.pop_front()
        {
            self.free.remove(&worker);
            if !std::mem::replace(&mut self.has_started, true) {
                self.write([Line::run(State::Started)]);
            }
            let Some(job) = self.jobs.get(at).cloned() else { continue };
            self.begin(at, worker, &job, line);
        }
    }

    /// Begins an attempt. One that cannot be started has failed.
    fn begin(&mut self, at: usize, worker: usize, job: &Job, line: &StatusLine) {
        let name = format!("w{worker}");
        let part =
            Part { file: job.file.as_str().into(), worker: name.as_str().into(), prefix: job.prefix.as_str().into() };
        let state = Line { attempt: Some(job.attempt), worker: Some(name), ..Line::file(&job.file, State::Started) };
        self.write([state]);
        self.set_state(at, State::Started, String::new());
        self.running += 1;
        let mut attempt = Attempt { at, worker, part, number: job.attempt, events: None, is_known: false };
        match self.start(job, &mut attempt) {
            Ok(child) => {
                let (timeout, stop) = (self.options.timeout, self.stop.subscribe());
                self.tasks.spawn(async move { News::Gone(Box::new(attempt), child.wait(timeout, stop).await) });
            }
            Err(failure) => {
                self.say(line, &format!("{}: {}", job.file, failure.render(false).trim_end()));
                if !attempt.is_known {
                    self.tell_of(&mut attempt, Vec::new());
                }
                self.tasks.spawn(async move { News::Gone(Box::new(attempt), Gone::never()) });
            }
        }
    }

    /// Starts the process of an attempt, with its feeds in the intake before it can say anything.
    fn start(&mut self, job: &Job, attempt: &mut Attempt) -> Result<Child, Failure> {
        let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot start it").cause(&e);
        let directory = self.journal.own_directory(job.index);
        if job.wants_directory() {
            std::fs::create_dir_all(&directory).map_err(failed)?;
        }
        let argv = job.argv(&directory);
        let found = recognise(&argv, &std::env::current_dir().unwrap_or_default());
        let run_id = self.settings.run.run_id.as_str();
        let events_name = format!("{}-{}-{}", events_file::name(run_id), job.index, job.attempt);
        let event_file =
            |format| events_file::create(&self.settings.state_dir, &events_name, None, format).map_err(failed);
        let (mut plan, events) = plan(self.settings, &found, &argv, run_id, event_file)?;
        attempt.events = events.map(|file| (events_name, file));
        let log = OutputLog::create(&self.journal.output(job.index)).map_err(failed)?;
        let (out, out_writer) = io::pipe().map_err(failed)?;
        let (err, err_writer) = io::pipe().map_err(failed)?;
        let feeds = feeds(&plan, &argv, [out.into(), err.into()], &log, &zone(self.settings));
        self.tell_of(attempt, feeds);
        let mark = self.guard.mark(job.index, job.attempt);
        let writers = (out_writer, err_writer);
        let child = Child::start(&plan.argv, &plan.env, writers, mark, self.options.memory, &mut self.guard);
        // The command has its own.
        plan.lock = None;
        child.map_err(failed)
    }

    /// The intake learns of an attempt and of what it will say.
    fn tell_of(&mut self, attempt: &mut Attempt, feeds: Vec<Feed>) {
        attempt.is_known = true;
        self.session.begin_part(PartStart { part: attempt.part.clone(), attempt: attempt.number, feeds });
    }

    fn hear(&mut self, news: News, line: &StatusLine) {
        match news {
            News::Gone(attempt, gone) => self.gone(*attempt, gone, line),
            News::Kept(kept, again) => {
                self.write([*kept]);
                // Not before: two attempts of a file must not be told of at a time.
                if let Some(at) = again {
                    self.queue.push_front(at);
                }
            }
        }
    }

    /// The process of an attempt is gone: its worker is free at once, whatever is still to be read.
    fn gone(&mut self, attempt: Attempt, gone: Gone, line: &StatusLine) {
        self.running -= 1;
        self.free.insert(attempt.worker);
        if gone.group > 0 {
            self.guard.remove(gone.group);
        }
        let end = gone.part_end(&self.why_stopped);
        let state = match (gone.has_passed(), gone.stopped) {
            (true, _) => State::Passed,
            (false, true) => State::Aborted,
            (false, false) => State::Failed,
        };
        let again = state == State::Failed && attempt.number <= self.options.retry && !self.is_stopping();
        let kept = Line {
            attempt: Some(attempt.number),
            worker: Some(attempt.part.worker.to_string()),
            code: gone.code(),
            signal: gone.signal(),
            timed_out: gone.timed_out.is_some(),
            duration_ms: Some(u64::try_from(gone.took.as_millis()).unwrap_or(u64::MAX)),
            ..Line::file(&attempt.part.file, state)
        };
        let word = match state {
            State::Passed => "PASS",
            State::Aborted => "STOP",
            _ if again => "RETRY",
            _ => "FAIL",
        };
        let why = if end.message.is_empty() { String::new() } else { format!("  {}", end.message) };
        self.say(line, &format!("{word} {} ({:.2}s){why}", attempt.part.file, gone.took.as_secs_f64()));
        self.set_state(attempt.at, state, end.message.clone());
        let (told, heard) = oneshot::channel();
        self.session.end_part(PartOver { part: attempt.part, end, told });
        let state_dir = self.settings.state_dir.clone();
        let events = attempt.events;
        let next = again.then_some(attempt.at);
        self.tasks.spawn(async move {
            // An intake that is gone has told what it could.
            heard.await.ok();
            if let Some((name, file)) = events {
                drop(file);
                events_file::remove(&state_dir, &name);
            }
            News::Kept(Box::new(kept), next)
        });
        if again {
            if let Some(job) = self.jobs.get_mut(attempt.at) {
                job.attempt += 1;
            }
        } else if state == State::Failed && self.options.fail_fast && !self.is_stopping() {
            self.why_stopped =
                format!("stopped, as {} failed", self.done.get(attempt.at).map_or("", |done| &done.name));
            self.stop.send_replace(Stop::Soon);
        }
    }

    fn set_state(&mut self, at: usize, state: State, why: String) {
        if let Some(done) = self.done.get_mut(at) {
            done.state = state;
            done.why = why;
        }
    }

    fn say(&self, line: &StatusLine, text: &str) {
        if !self.settings.quiet {
            line.say(text);
        }
    }

    /// The files have run, and Loki has what they said, whether there is a journal of it or not.
    fn write(&mut self, lines: impl IntoIterator<Item = Line>) {
        if let Err(error) = self.journal.write(lines) {
            eprint_line(&format!("warning: the journal of the batch cannot be written: {error}"));
        }
    }
}
