//! `testwire run -- CMD…`: runs any test command and ships what it does while it does it.

mod child;
mod gotext;
mod inject;
mod listeners;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::events_file::EventFile;
use super::session::{Ends, Session, limits, run_info};
use super::status_line::{StatusLine, progress_text};
use crate::config::Settings;
use crate::decode::Format;
use crate::event;
use crate::exit::{Exit, Failure};
use crate::normalize::Normalizer;
use crate::pipeline::feed::{Feed, Handler, PassThrough};
use crate::source::Source;
use crate::source::follow::Follow;
use child::{Child, Ended};
use inject::{Injection, Runner, inject, wants_json};

/// How often the line on the terminal is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Runs `argv` and ends with its exit code, whatever becomes of the delivery. Without `injection` the command is run as it
/// is: its output lines are log lines, and its exit code is the result.
///
/// # Errors
/// Before the command was started only: no such command, no spool.
pub async fn run(settings: &Settings, argv: &[OsString], injection: bool) -> Result<ExitCode, Failure> {
    let info = run_info(settings, "");
    let events = EventFile::create(&settings.state_dir, &info).map_err(|e| {
        let what = format!("cannot write below {}", settings.state_dir.display());
        Failure::new(Exit::Spool, what).cause(&e).hint("choose another directory with --state-dir")
    })?;
    let plan = plan(settings, argv, &events, injection)?;
    let (child, feeds) = start(&plan, argv, &events)?;
    let mut normalizer = Normalizer::new(info);
    // The command runs already, so that it need not wait for this.
    normalizer.set_limits(limits(settings).await);
    normalizer.set_runner(plan.runner.label());
    normalizer.set_command(argv.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let mut session = Session::start(settings, feeds, normalizer, Ends::WhenTold)?;
    session.announce(&plan.note);
    let ended = attend(child, &mut session, StatusLine::take(settings)).await?;
    session.end(ended.run_end());
    let outcome = session.finish().await;
    outcome.summarise();
    if outcome.is_safe() {
        events.remove();
    }
    Ok(ended.exit_code())
}

/// Waits for the command, showing how it goes.
async fn attend(mut child: Child, session: &mut Session, mut line: Option<StatusLine>) -> Result<Ended, Failure> {
    let mut draw = interval(DRAW_EVERY);
    draw.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            _ = draw.tick(), if line.is_some() => {
                if let Some(line) = &mut line {
                    line.show(&format!("{}{}", progress_text(&session.live().progress), session.delivery_text()));
                }
            }
        }
    }
}

fn plan(settings: &Settings, argv: &[OsString], events: &EventFile, injection: bool) -> Result<Injection, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let run_id = settings.run.run_id.as_str();
    if !injection {
        return Ok(Injection::none(argv, run_id));
    }
    let listeners = listeners::install(&settings.state_dir)
        .map_err(|e| Failure::new(Exit::Spool, "cannot write the listeners").cause(&e))?;
    Ok(inject(argv, &listeners, events.path(), run_id, env))
}

/// Starts the command with what its runner needs, and says how its events come.
fn start(plan: &Injection, typed: &[OsString], events: &EventFile) -> Result<(Child, Vec<Feed>), Failure> {
    let no_pipe = |e: io::Error| Failure::new(Exit::Spool, "cannot make a pipe").cause(&e);
    let spawn = |out, err| Child::start(&plan.argv, &plan.env, out, err);
    match plan.runner {
        // Their output is not touched at all: a run must outlive testwire, and a terminal stays a terminal for it.
        Runner::Robot | Runner::Pytest => {
            let format = if plan.runner == Runner::Robot { Format::Robot } else { Format::Pytest };
            Ok((spawn(None, None)?, vec![follow(events.path(), format)]))
        }
        Runner::GoTest => {
            let (reader, writer) = io::pipe().map_err(no_pipe)?;
            let child = spawn(Some(writer), None)?;
            let feed = Feed::new(source(reader), Handler::decoder(Format::GoTest));
            let feed = if wants_json(typed) {
                feed.with_tee(PassThrough(io::stdout()))
            } else {
                feed.with_tee(gotext::GoText::new(gotext::Style::of(typed), io::stdout(), io::stderr()))
            };
            Ok((child, vec![feed]))
        }
        Runner::Plain => {
            let (out_reader, out_writer) = io::pipe().map_err(no_pipe)?;
            let (err_reader, err_writer) = io::pipe().map_err(no_pipe)?;
            let child = spawn(Some(out_writer), Some(err_writer))?;
            let out = Feed::new(source(out_reader), Handler::Plain(event::Source::Stdout));
            let err = Feed::new(source(err_reader), Handler::Plain(event::Source::Stderr));
            Ok((child, vec![out.with_tee(PassThrough(io::stdout())), err.with_tee(PassThrough(io::stderr()))]))
        }
    }
}

fn follow(path: &Path, format: Format) -> Feed {
    Feed::new(Source::Follow(Follow::new(path)), Handler::decoder(format))
}

fn source(reader: io::PipeReader) -> Source {
    Source::from_fd(OwnedFd::from(reader))
}
