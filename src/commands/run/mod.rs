//! `testwire run -- CMD…`: runs any test command and ships what it does while it does it.

mod child;
mod gotext;
mod inject;
mod listeners;
mod recognise;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use super::session::{Ends, Opened, Session, run_info};
use super::shipping::limits;
use super::status_line::StatusLine;
use crate::config::Settings;
use crate::decode::Format;
use crate::event;
use crate::exit::{Exit, Failure};
use crate::normalize::Normalizer;
use crate::pipeline::feed::{Feed, Handler, PassThrough};
use crate::source::Source;
use crate::source::follow::Follow;
use child::{Child, Ended};
use inject::{Channel, Injection, Place, wants_json, with_listener, without_listener};
use recognise::{Recognised, Runner, recognise};

/// Runs `argv` and ends with its exit code, whatever becomes of the delivery. Without `injection` the command is run as it
/// is: its output lines are log lines, and its exit code is the result.
///
/// # Errors
/// Before the command was started only: no such command, no spool.
pub async fn run(settings: &Settings, argv: &[OsString], injection: bool) -> Result<ExitCode, Failure> {
    let directory = std::env::current_dir().unwrap_or_default();
    let found =
        if injection { recognise(argv, &directory) } else { Recognised { runner: Runner::Plain, words: Vec::new() } };
    let mut info = run_info(settings, found.runner.label());
    info.command = argv.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let limits = limits(settings).await;
    let opened = Opened::new(settings, &limits)?;
    let name = opened.name().to_owned();
    let mut events = None;
    let mut plan = match found.runner.listener() {
        Some(format) => {
            let file = events.insert(opened.event_file(settings, &info)?);
            let lock =
                file.lock_to_inherit().map_err(|e| Failure::new(Exit::Spool, "no descriptor is left").cause(&e))?;
            let listeners = listeners::install(&settings.state_dir)
                .map_err(|e| Failure::new(Exit::Spool, "cannot write the listeners").cause(&e))?;
            let place = Place { listeners, events: file.path.clone(), lock, run_id: &info.run_id };
            with_listener(&found, format, argv, place, |name| std::env::var_os(name))
        }
        None => without_listener(found.runner, argv, &info.run_id),
    };
    let (child, feeds) = start(&plan, argv).inspect_err(|_| Opened::remove_event_file(&name, settings))?;
    // The command has its own.
    plan.lock = None;
    let mut normalizer = Normalizer::new(info);
    normalizer.set_limits(limits);
    let mut session = opened.begin(settings, feeds, normalizer, Ends::WhenTold)?;
    session.announce(&plan.note);
    let ended = attend(child, &session, StatusLine::new(settings)).await?;
    session.end(ended.run_end());
    let outcome = session.finish().await;
    outcome.summarise();
    drop(events);
    if outcome.is_safe() {
        Opened::remove_event_file(&name, settings);
    }
    Ok(ended.exit_code())
}

/// Waits for the command, showing how it goes.
async fn attend(mut child: Child, session: &Session, mut line: StatusLine) -> Result<Ended, Failure> {
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            () = line.due() => line.show(&session.status_text()),
        }
    }
}

/// Starts the command with what its runner needs, and says how its events come.
fn start(plan: &Injection, typed: &[OsString]) -> Result<(Child, Vec<Feed>), Failure> {
    let no_pipe = |e: io::Error| Failure::new(Exit::Spool, "cannot make a pipe").cause(&e);
    let spawn = |out, err| Child::start(&plan.argv, &plan.env, out, err);
    match plan.channel {
        Channel::File(format) => Ok((spawn(None, None)?, vec![follow(&plan.events, format)])),
        Channel::Stdout(format) => {
            let (reader, writer) = io::pipe().map_err(no_pipe)?;
            let child = spawn(Some(writer), None)?;
            let feed = Feed::new(source(reader), Handler::decoder(format));
            let feed = match format {
                Format::GoTest if wants_json(typed) => feed.with_tee(PassThrough(io::stdout())),
                Format::GoTest => {
                    feed.with_tee(gotext::GoText::new(gotext::Style::of(typed), io::stdout(), io::stderr()))
                }
                _ => feed,
            };
            Ok((child, vec![feed]))
        }
        Channel::Shown(_) => {
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
