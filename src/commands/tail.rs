//! `testwire tail`: follows log files until it is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::events_file;
use super::session::output;
use super::shipping::{Says, Shipping, eprint_line, limits};
use super::tails::{Places, prepare};
use crate::config::{Output as Destination, Settings, TailSource};
use crate::exit::{Exit, Failure};
use crate::names::meta;
use crate::pipeline::beside::Beside;
use crate::pipeline::tail::{TailError, TailReport};
use crate::spool::Queue as _;

/// How often it is looked whether a source has ended by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows `tails`, or those of the settings if there are none.
///
/// # Errors
/// If there is nothing to follow, or places or spool cannot be kept.
pub async fn tail(settings: &Settings, tails: Vec<TailSource>) -> Result<Exit, Failure> {
    let tails = if tails.is_empty() { settings.tails.clone() } else { tails };
    if tails.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is nothing to follow")
            .hint("name files: testwire tail app.log; or tables [[tail]] in testwire.toml"));
    }
    let failed = |e: std::io::Error| Failure::new(Exit::Input, "cannot listen for signals").cause(&e);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let limits = limits(settings).await;
    let run_id = settings.run.run_id.as_str();
    let metadata: Vec<_> =
        settings.run.run_id_given.then(|| (meta::RUN_ID.to_owned(), run_id.to_owned())).into_iter().collect();
    let prepared = prepare(settings, &tails, &limits, &metadata, &Beside::default(), Places::Kept)?;
    let name = events_file::name(run_id);
    let to_loki = settings.output == Destination::Loki;
    let shipping = to_loki.then(|| Shipping::start(settings, &name, &limits)).transpose()?;
    let mut following = prepared.start(&name, || output(settings, shipping.as_ref()))?;
    let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link: None };
    let names: Vec<&str> = tails.iter().map(|tail| tail.name.as_str()).collect();
    says.line(&format!("following {}", names.join(", ")));
    loop {
        tokio::select! {
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
            () = tokio::time::sleep(LOOK_EVERY) => if following.has_ended() { break },
        }
    }
    following.stop();
    let begun = Instant::now();
    let report = tokio::select! {
        report = following.ended() => report,
        () = tokio::time::sleep(settings.drain_timeout) => {
            // It waits for room in a full spool. What was not taken is read again by the next start.
            if let Some(shipping) = &shipping {
                shipping.queue.close();
            }
            following.ended().await
        }
    };
    end(settings, shipping, &says, report, begun).await
}

/// Delivers what is in the spool, and says how it went.
async fn end(
    settings: &Settings,
    shipping: Option<Shipping>,
    says: &Says,
    report: TailReport,
    begun: Instant,
) -> Result<Exit, Failure> {
    let (mut left, mut rejected) = (0, 0);
    if let Some(mut shipping) = shipping {
        let limit = |begun: Instant| settings.drain_timeout.saturating_sub(begun.elapsed());
        left = shipping.drain(limit(begun).max(LOOK_EVERY), says).await;
        rejected = Arc::clone(shipping.shipper.stats()).rejected_total();
        shipping.end(limit(begun), says).await;
    }
    let secrets = match report.redacted {
        0 => String::new(),
        count => format!(", {count} secrets taken out"),
    };
    says.line(&format!("stopped; {} entries of {} files{secrets}", report.entries, report.files));
    if left > 0 {
        eprint_line(&format!(
            "warning: {left} entries wait in the spool for Loki at {}; the next start or `testwire flush` delivers them",
            says.loki
        ));
    }
    if rejected > 0 {
        eprint_line(&format!("warning: Loki refused {rejected} entries; they are kept in rejected/ with its answer"));
    }
    match &report.error {
        Some(error) => {
            eprint_line(&format!("error: {error}"));
            Ok(if matches!(error, TailError::Journal(_)) { Exit::Spool } else { Exit::Input })
        }
        None => Ok(match (left, rejected) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Rejected,
            _ => Exit::Undelivered,
        }),
    }
}
