//! `testwire run -- CMD…`: runs any test command and ships what it does while it does it.

mod child;
pub(super) mod gotext;
pub(super) mod inject;
mod listeners;
pub(super) mod recognise;
mod reports;
mod terminal;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::events_file::EventFile;
use super::session::{Ends as RunEnds, Opened, Session, run_info};
use super::shipping::{eprint_line, limits, zone};
use super::status_line::StatusLine;
use super::tails::{Places, prepare};
use crate::config::{Settings, TailSource};
use crate::decode::{Format, Zone, cargo_streams};
use crate::event;
use crate::exit::{Exit, Failure};
use crate::normalize::Normalizer;
use crate::pipeline::beside::Beside;
use crate::pipeline::feed::{Feed, Handler, PassThrough};
use crate::source::Source;
use crate::source::follow::Follow;
use child::{Child, Ended};
use inject::{Channel, Injection, Place, wants_json, with_listener, without_listener};
use recognise::{Recognised, Runner, recognise};
use reports::Reports;
use terminal::{Ends, Terminals, Watched};

/// Runs `argv` and ends with its exit code, whatever becomes of the delivery. Without `injection` the command is run as it
/// is: its output lines are log lines, and its exit code is the result. What is written to `tails` meanwhile belongs to the run.
///
/// # Errors
/// Before the command was started only: no such command, no spool.
pub async fn run(
    settings: &Settings,
    argv: &[OsString],
    injection: bool,
    tails: &[TailSource],
) -> Result<ExitCode, Failure> {
    let directory = std::env::current_dir().unwrap_or_default();
    let found = if injection {
        recognise(argv, &directory)
    } else {
        Recognised { runner: Runner::Untouched, words: Vec::new() }
    };
    let mut info = run_info(settings, found.runner.label());
    info.command = argv.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let limits = limits(settings).await;
    let opened = Opened::new(settings, &limits)?;
    let name = opened.name().to_owned();
    let event_file = |format| opened.event_file(settings, &info, format);
    let (mut plan, events) = plan(settings, &found, argv, &info.run_id, event_file)?;
    let mut normalizer = Normalizer::new(info);
    // Before the command is started, so that what it writes first is seen.
    let beside = Beside::one(&normalizer.info().run_id, normalizer.running());
    let prepared = prepare(settings, tails, &limits, &[], &beside, Places::Forgotten)?;
    let mut tails = prepared.start(&name, || opened.side_output(settings))?;
    let mut started = start(found.runner, &plan, argv, &zone(settings))
        .inspect_err(|_| Opened::remove_event_file(&name, settings))?;
    // The command has its own.
    plan.lock = None;
    normalizer.set_limits(limits);
    let mut session = opened.begin(settings, std::mem::take(&mut started.feeds), normalizer, RunEnds::WhenTold)?;
    session.announce(&plan.note);
    if !matches!(plan.channel, Channel::File(_)) {
        // What it prints goes through this process.
        session.hold_nobody_up();
    }
    let ended = attend(&mut started, &session, StatusLine::new(settings)).await;
    started.reports.take().into_iter().for_each(Reports::finish);
    let ended = ended?;
    let read = session.finish_tails(&mut tails).await;
    session.end(ended.run_end());
    let outcome = session.finish().await;
    outcome.summarise();
    drop(events);
    if let Some(error) = &read.error {
        eprint_line(&format!("error: logs could not be followed to their end: {error}"));
    }
    if outcome.is_safe() {
        Opened::remove_event_file(&name, settings);
    }
    Ok(ended.exit_code())
}

/// How to run `argv` so that its runner speaks. `event_file` makes the file that its listener writes, if it has one.
///
/// # Errors
/// If the file or the listeners cannot be written.
pub(super) fn plan(
    settings: &Settings,
    found: &Recognised,
    argv: &[OsString],
    run_id: &str,
    event_file: impl FnOnce(Format) -> Result<EventFile, Failure>,
) -> Result<(Injection, Option<EventFile>), Failure> {
    let Some(format) = found.runner.listener() else {
        return Ok((without_listener(found.runner, argv, run_id), None));
    };
    let file = event_file(format)?;
    let lock = file.lock_to_inherit().map_err(|e| Failure::new(Exit::Spool, "no descriptor is left").cause(&e))?;
    let listeners = listeners::install(&settings.state_dir)
        .map_err(|e| Failure::new(Exit::Spool, "cannot write the listeners").cause(&e))?;
    let place = Place { listeners, events: file.path.clone(), lock, run_id };
    Ok((with_listener(found, format, argv, place, |name| std::env::var_os(name)), Some(file)))
}

/// Waits for the command, showing how it goes.
async fn attend(started: &mut Started, session: &Session, mut line: StatusLine) -> Result<Ended, Failure> {
    let Started { child, terminals, redraws, .. } = started;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            () = terminals.follow() => {}
            () = line.due() => {
                if redraws.load(Ordering::Relaxed) {
                    line.give_up();
                } else {
                    line.show(&session.status_text());
                }
            }
        }
    }
}

/// A command on its way.
struct Started {
    child: Child,
    terminals: Terminals,
    /// True once the command has drawn over what it drew before.
    redraws: Arc<AtomicBool>,
    feeds: Vec<Feed>,
    /// Copies reports to the event file.
    reports: Option<Reports>,
}

/// Starts the command with what its runner needs, and says how its events come.
fn start(runner: Runner, plan: &Injection, typed: &[OsString], zone: &Zone) -> Result<Started, Failure> {
    let no_pipe = |e: io::Error| Failure::new(Exit::Spool, "cannot make a pipe").cause(&e);
    let spawn = |out, err| Child::start(&plan.argv, &plan.env, out, err);
    let mut terminals = Terminals::default();
    let redraws = Arc::new(AtomicBool::new(runner.redraws()));
    let reports = match plan.channel {
        Channel::Reports(_) => {
            let project = std::env::current_dir().unwrap_or_default();
            let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot watch for reports").cause(&e);
            Some(Reports::start(&project, &plan.events).map_err(failed)?)
        }
        _ => None,
    };
    let (child, mut feeds) = match plan.channel {
        Channel::File(format) => (spawn(None, None)?, vec![follow(&plan.events, format, zone)]),
        Channel::Stdout(format) => {
            let (reader, writer) = io::pipe().map_err(no_pipe)?;
            let child = spawn(Some(writer.into()), None)?;
            let feed = Feed::new(Source::from_fd(reader.into()), Handler::decoder(format));
            let feed = match format {
                Format::GoTest if wants_json(typed) => feed.with_tee(PassThrough(io::stdout())),
                Format::GoTest => {
                    feed.with_tee(gotext::GoText::new(gotext::Style::of(typed), io::stdout(), io::stderr()))
                }
                _ => feed,
            };
            (child, vec![feed])
        }
        Channel::Shown(_) | Channel::Watched | Channel::Reports(_) if terminal::is_shared() => {
            let Ends { reader, writer } = terminals.ends(io::stdout()).map_err(no_pipe)?;
            let other = writer.try_clone().map_err(no_pipe)?;
            let child = spawn(Some(writer), Some(other))?;
            (child, vec![shown(reader, of_stdout(plan.channel, zone), io::stdout(), &redraws)])
        }
        Channel::Shown(_) | Channel::Watched | Channel::Reports(_) => {
            let out = terminals.ends(io::stdout()).map_err(no_pipe)?;
            let err = terminals.ends(io::stderr()).map_err(no_pipe)?;
            let child = spawn(Some(out.writer), Some(err.writer))?;
            let [err_handler, out_handler] = if plan.channel == Channel::Shown(Some(Format::Cargo)) {
                cargo_streams().map(|decoder| Handler::Decode(Format::Cargo, decoder))
            } else {
                [Handler::Plain(event::Source::Stderr), of_stdout(plan.channel, zone)]
            };
            // In this order: what cargo says of its test programs comes before what they print.
            let err = shown(err.reader, err_handler, io::stderr(), &redraws);
            (child, vec![err, shown(out.reader, out_handler, io::stdout(), &redraws)])
        }
    };
    if let Channel::Reports(format) = plan.channel {
        feeds.push(follow(&plan.events, format, zone));
    }
    Ok(Started { child, terminals, redraws, feeds, reports })
}

/// What the lines of a command's standard output are.
pub(super) fn of_stdout(channel: Channel, zone: &Zone) -> Handler {
    match channel {
        Channel::Shown(Some(format)) => Handler::Decode(format, format.decoder_in(zone)),
        Channel::Watched => Handler::Watch(event::Source::Stdout, Zone::clone(zone)),
        _ => Handler::Plain(event::Source::Stdout),
    }
}

/// A feed of what the user sees.
fn shown(reader: OwnedFd, handler: Handler, to: impl Write + Send + 'static, redraws: &Arc<AtomicBool>) -> Feed {
    let tee = Watched { tee: PassThrough(to), redraws: Arc::clone(redraws) };
    Feed::new(Source::from_fd(reader), handler).with_tee(tee)
}

pub(super) fn follow(path: &Path, format: Format, zone: &Zone) -> Feed {
    Feed::new(Source::Follow(Follow::new(path)), Handler::event_file(format, zone))
}
