//! `testwire demo`: three runners at the same time, played in real time through the whole data path.

mod script;
mod stories;

use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::outcome::Outcome;
use super::session::{Ends, Session, dashboard_link, run_info};
use super::shipping::client;
use super::status_line::{StatusLine, progress_text};
use crate::config::{Name, Origin, Output, Settings, setting};
use crate::decode::Format;
use crate::exit::{Exit, Failure};
use crate::loki::query::QueryError;
use crate::names::meta;
use crate::normalize::{Normalizer, Progress, RunEnd};
use crate::pipeline::feed::{Feed, Handler};
use crate::pipeline::intake::Report;
use crate::source::Source;
use script::{Step, script};
use stories::{STORIES, Story};

/// How long Loki may take to say that it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How soon a player notices that it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(50);
/// What a shell says of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// One of the runs.
struct Run {
    runner: &'static str,
    session: Session,
}

/// Plays the demo: some 16 seconds.
///
/// # Errors
/// If the data path cannot be started: a wrong setting, no file descriptors.
pub async fn demo(settings: &Settings) -> Result<ExitCode, Failure> {
    let settings = &prepare(settings).await?;
    play(settings, 1).await
}

/// Names the project, unless somebody did, and leaves Loki out if there is none.
async fn prepare(settings: &Settings) -> Result<Settings, Failure> {
    let mut settings = settings.clone();
    let named = settings
        .shown
        .iter()
        .any(|row| row.name == setting::PROJECT.name && !matches!(row.origin, Origin::Default | Origin::Derived(_)));
    if let Some(demo) = Name::clean("demo").filter(|_| !named) {
        // These results are nobody's; they must not appear among those of the project at hand.
        settings.run.project = demo;
    }
    // What is not Loki, or does not know us, is left to the delivery to complain about.
    if settings.output == Output::Loki
        && let Err(QueryError::Connection(why)) = client(&settings)?.version(ANSWER_WITHIN).await
    {
        tell(&settings, &format!("no Loki at {} ({why}): the demo plays in the terminal only", settings.loki.url));
        settings.output = Output::None;
    }
    Ok(settings)
}

/// Plays all stories, `speed` times as fast as they happened.
async fn play(settings: &Settings, speed: u32) -> Result<ExitCode, Failure> {
    let began = crate::pipeline::intake::now();
    let stop = Arc::new(AtomicBool::new(false));
    let (said, mut sayings) = mpsc::unbounded_channel();
    let mut runs = Vec::new();
    for story in STORIES {
        let player = Player { story, speed, stop: Arc::clone(&stop), said: said.clone() };
        runs.push(Run { runner: story.runner, session: start(settings, player).await? });
    }
    let link = link(settings, began.0 / 1_000_000);
    if settings.output == Output::Loki {
        tell(settings, &format!("watch it at {link}"));
    }
    let failed = |e: io::Error| Failure::new(Exit::Input, "cannot listen for signals").cause(&e);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupted = false;
    let mut line = StatusLine::always(settings);
    let mut reports = Vec::new();
    // One after the other; that none is waited for too early makes no difference.
    while reports.len() < runs.len() {
        tokio::select! {
            report = runs[reports.len()].session.intake_ended() => reports.push(report),
            () = line.due() => line.show(&status(&runs)),
            Some(text) = sayings.recv(), if !settings.quiet => line.say(&text),
            _ = interrupts.recv() => interrupted = true,
            _ = terminations.recv() => interrupted = true,
        }
        if interrupted && !stop.swap(true, Relaxed) {
            runs.iter_mut().for_each(|run| run.session.end(RunEnd::Stopped("the demo was stopped".into())));
        }
    }
    drop(line);
    let exit = finish(settings, runs, reports, &link).await;
    Ok(if interrupted { ExitCode::from(INTERRUPTED) } else { exit.into() })
}

async fn start(settings: &Settings, player: Player) -> Result<Session, Failure> {
    let story = player.story;
    let mut settings = settings.clone();
    let run_id = format!("{}-{}", settings.run.run_id, story.runner);
    settings.run.run_id = Name::clean(&run_id).unwrap_or(settings.run.run_id);
    let mut info = run_info(&settings, story.runner);
    // Of the shop, not of the repository at hand.
    for (name, value) in &mut info.metadata {
        match name.as_str() {
            meta::BRANCH => *value = "main".into(),
            meta::COMMIT => *value = "5ca1ab1e".into(),
            meta::BUILD_URL => value.clear(),
            _ => {}
        }
    }
    info.command = story.command.into();
    let normalizer = Normalizer::new(info);
    let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot start the demo").cause(&e);
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe().map_err(failed)?;
    let feed = Feed::new(Source::from_fd(OwnedFd::from(reader)), Handler::decoder(Format::Testwire));
    let session = Session::start(&settings, vec![feed], normalizer, Ends::WithInput).await?;
    thread::Builder::new().name(format!("play {}", story.runner)).spawn(move || player.play(writer)).map_err(failed)?;
    Ok(session)
}

/// Waits for Loki, and says how each run ended and where all of them can be seen.
async fn finish(settings: &Settings, runs: Vec<Run>, reports: Vec<Report>, link: &str) -> Exit {
    let mut exit = Exit::Ok;
    let mut failures = 0;
    for (run, report) in runs.into_iter().zip(reports) {
        let outcome: Outcome = run.session.deliver(report).await;
        failures += outcome.report.counters.failing();
        tell(settings, &format!("{:7} {}", run.runner, outcome.text()));
        outcome.warn();
        if exit == Exit::Ok {
            exit = outcome.exit(false);
        }
    }
    match settings.output {
        Output::Loki => tell(settings, &format!("see it in Grafana: {link}")),
        Output::None => tell(
            settings,
            &format!(
                "in Grafana you would have seen three runs live, {failures} failures beside the application's logs, and a \
                 flaky test: docker compose up -d, then again"
            ),
        ),
        Output::Ndjson => {}
    }
    exit
}

/// The runs on the dashboard that lists them, from a minute before.
fn link(settings: &Settings, began_ms: i64) -> String {
    let run = &settings.run;
    let (project, env) = (run.project.as_str(), run.env.as_str());
    dashboard_link(settings, "testwire-runs", &[("var-project", project), ("var-env", env)], began_ms)
}

fn tell(settings: &Settings, text: &str) {
    if !settings.quiet {
        writeln!(io::stderr(), "testwire: {text}").ok();
    }
}

/// All runs in one line, then each.
fn status(runs: &[Run]) -> String {
    let mut all = Progress::default();
    let mut each = String::new();
    for run in runs {
        let one = run.session.live().progress;
        let percent = one.counters.done() * 100 / one.counters.planned.max(1);
        each.push_str(&format!(" {} {percent}%", run.runner));
        all.counters = all.counters.plus(&one.counters);
        all.elapsed = all.elapsed.max(one.elapsed);
        all.eta = all.eta.max(one.eta);
    }
    // Short enough for 80 columns.
    all.counters.failed = all.counters.failing();
    (all.counters.errored, all.counters.running) = (0, 0);
    let waiting = runs.iter().map(|run| run.session.delivery_text()).find(|text| !text.is_empty());
    progress_text(&all, &[each.trim_start().to_owned(), waiting.unwrap_or_default()].join("  "))
}

/// Stands for a runner: writes its events into a pipe when their time comes.
struct Player {
    story: &'static Story,
    speed: u32,
    stop: Arc<AtomicBool>,
    said: mpsc::UnboundedSender<String>,
}

impl Player {
    fn play(self, mut pipe: PipeWriter) {
        let began = Instant::now();
        for Step { at, event } in script(self.story) {
            if !self.wait(began + at / self.speed) || pipe.write_all(format!("{event}\n").as_bytes()).is_err() {
                return;
            }
            if let Some(text) = saying(self.story.runner, at, &event) {
                // Nobody listens if the demo is quiet.
                self.said.send(text).ok();
            }
        }
    }

    /// False if the demo was stopped meanwhile.
    fn wait(&self, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Relaxed) {
                return !self.stop.load(Relaxed);
            }
            thread::sleep(left.min(STOP_WITHIN));
        }
    }
}

/// What is worth a line on the screen: `  4.2s pytest  FAIL  tests/test_x.py::test_y  expected 402, got 500`.
fn saying(runner: &str, at: Duration, event: &Value) -> Option<String> {
    let word = match event["status"].as_str() {
        _ if event["event"] != "test_finished" => return None,
        Some("failed") => "FAIL ",
        Some("errored") => "ERROR",
        Some("retried") => "RETRY",
        _ => return None,
    };
    let message = event["message"].as_str().and_then(|text| text.lines().next()).unwrap_or_default();
    let test = event["test"].as_str().unwrap_or_default();
    Some(format!("{:5.1}s {runner:7} {word} {test}  {message}", at.as_secs_f64()))
}

#[cfg(test)]
mod tests;
