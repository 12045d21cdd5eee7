//! `testwire pipe`: events on standard input → Loki.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use tokio::signal::unix::{SignalKind, signal};

use super::session::{Ends, Session, run_info};
use super::shipping::zone;
use super::status_line::StatusLine;
use crate::config::Settings;
use crate::decode::{Detector, Format};
use crate::exit::{Exit, Failure};
use crate::normalize::{Normalizer, RunEnd};
use crate::pipeline::feed::{Detect, Feed, Handler, PassThrough};
use crate::source::Source;

/// Runner of an input that says nothing by which one could be known.
const UNKNOWN: &str = "unknown";

/// What `pipe` was asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Format of the input; `None`: found out from its first lines.
    pub format: Option<Format>,
    /// Copy the input to standard output.
    pub tee: bool,
    /// Do not make a failed run a failure of `pipe`.
    pub no_fail: bool,
    /// Say what the input is taken for.
    pub explain: bool,
}

/// Ships what comes on standard input until its end.
///
/// # Errors
/// If standard input cannot be read at all, or the pipeline cannot be started.
pub async fn pipe(settings: &Settings, options: Options) -> Result<Exit, Failure> {
    let zone = zone(settings);
    let handler = match options.format {
        Some(format) => Handler::Decode(format, format.decoder_in(&zone)),
        None => Handler::Detect(Detect { head: Detector::default(), zone, explain: options.explain }),
    };
    let feed = Feed::new(Source::from_fd(stdin()?), handler);
    let feed = if let Some(format) = options.format { feed.expecting(format) } else { feed };
    let feed = if options.tee { feed.with_tee(PassThrough(io::stdout())) } else { feed };
    let normalizer = Normalizer::new(run_info(settings, UNKNOWN));
    // Before the first event is read, so that no Ctrl-C ends testwire without the run's end.
    let failed = |e: io::Error| Failure::new(Exit::Input, "cannot listen for signals").cause(&e);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut session = Session::start(settings, vec![feed], normalizer, Ends::WithInput).await?;
    session.announce("");
    let report = {
        let mut line = StatusLine::new(settings);
        loop {
            let why = tokio::select! {
                report = session.intake_ended() => break report,
                _ = interrupts.recv() => "stopped by SIGINT",
                _ = terminations.recv() => "stopped by SIGTERM",
                () = line.due() => {
                    line.show(&session.status_text());
                    continue;
                }
            };
            session.hold_nobody_up();
            // What the runner has still to say is read: in a pipeline Ctrl-C has reached it as well.
            session.end(RunEnd::Stopped(why.into()));
        }
    };
    let outcome = session.deliver(report).await;
    outcome.summarise();
    Ok(outcome.exit(!options.no_fail))
}

/// A descriptor of its own for standard input.
fn stdin() -> Result<OwnedFd, Failure> {
    let failed = |e: io::Error| {
        let hint = "pipe a runner's events into it: go test -json ./... | testwire pipe";
        Failure::new(Exit::Input, "cannot read standard input").cause(&e).hint(hint)
    };
    let fd = rustix::io::dup(io::stdin()).map_err(|e| failed(e.into()))?;
    let file = File::from(fd);
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    Ok(file.into())
}
