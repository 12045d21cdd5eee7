//! `testwire listen`: the daemon.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::events_file;
use super::history::Earlier;
use super::session::{output, run_info};
use super::shipping::{Says, Shipping, eprint_line, limits};
use crate::config::{Output as Destination, Settings};
use crate::decode::clients::Clients;
use crate::exit::{Exit, Failure};
use crate::pipeline::hub::{Hub, HubReport};
use crate::ship::Stats;
use crate::source::http::metrics::{head, sample};
use crate::source::http::{self, App, Attachments, Door, Token};
use crate::spool::{Backlog, Queue as _};

/// Descriptors that are kept for files, pushes and the rest of the process.
const KEPT_DESCRIPTORS: u64 = 128;
/// More connections than this are of no use: their requests would wait longer than clients do.
const MAX_CONNECTIONS: u64 = 20_000;

/// Connections that may wait to be accepted; the system has a limit of its own, mostly 4096.
const ACCEPT_QUEUE: u32 = 4096;

type Watch = Arc<dyn Fn() -> Backlog + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be used, a token cannot be read, or the shipping side cannot be started.
pub async fn listen(settings: &Settings) -> Result<Exit, Failure> {
    settings.listen.check()?;
    let token = settings.listen.token.as_ref().map(|token| token.read()).transpose()?;
    let failed = |what: String| move |e: std::io::Error| Failure::new(Exit::Input, what).cause(&e);
    let address = settings.listen.address;
    let listener = bind(address).map_err(failed(format!("cannot listen on {address}")))?;
    let local = listener.local_addr().map_err(failed("cannot listen".into()))?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed("cannot listen for signals".into()))?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed("cannot listen for signals".into()))?;

    let limits = limits(settings).await;
    let name = events_file::name(settings.run.run_id.as_str());
    let to_loki = settings.output == Destination::Loki;
    let shipping = to_loki.then(|| Shipping::start(settings, &name, &limits)).transpose()?;
    let backlog = watch_of(shipping.as_ref());
    let (full, used) = (settings.spool_max / 10 * 9, Arc::clone(&backlog));
    let is_full = move || used().bytes >= full;
    let (door, jobs) = Door::new(Arc::new(is_full));
    let mut common = run_info(settings, "");
    // The commit and the user of the daemon are not those of the runs.
    common.metadata.retain(|(name, _)| name.starts_with(crate::names::meta::ATTR_PREFIX));
    if common.shard.is_empty() {
        // Clients bring ids of runs that other processes may have parts of.
        common.shard = common.run_id.rsplit('-').next().unwrap_or_default().to_owned();
    }
    let timezone = settings.timezone;
    let clients = Clients::new(Box::new(move |wall| timezone.timestamp(wall)));
    let output = output(settings, shipping.as_ref());
    let earlier = Earlier::of_daemon(settings)?;
    let hub = Hub::new(jobs, clients, common, settings.listen.run_timeout, output)
        .within(limits)
        .preparing(move |normalizer| earlier.prepare(normalizer));
    let mut report = start(hub)?;

    let stats = shipping.as_ref().map(|shipping| Arc::clone(shipping.shipper.stats()));
    let metrics = move |out: &mut String| delivery_metrics(out, stats.as_deref(), &backlog());
    let app = App::new(
        door,
        token.map(|secret| Token::new(secret.0)),
        settings.listen.max_body,
        settings.listen.loader_path.as_deref(),
        Attachments::new(settings.state_dir.join("attachments")),
        metrics,
    );
    let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link: None };
    says.line(&format!("listening on http://{local}"));
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(http::serve(listener, app, connections(), stopped));
    let died = tokio::select! {
        _ = interrupts.recv() => None,
        _ = terminations.recv() => None,
        // It ends after the door is closed, and before that by a bug only, which was printed.
        report = &mut report => Some(report.unwrap_or_default()),
    };
    stop.send(true).ok();
    let unexpected = died.is_some();
    // The last request's end closes the door, and that ends the hub.
    let ended = async {
        drop(serving.await);
        match died {
            Some(report) => report,
            None => report.await.unwrap_or_default(),
        }
    };
    tokio::pin!(ended);
    let report = tokio::select! {
        report = &mut ended => report,
        () = tokio::time::sleep(settings.drain_timeout) => {
            // A hub that waits for room in a full spool is given up; its clients are told that nothing was taken.
            if let Some(shipping) = &shipping {
                shipping.queue.close();
            }
            ended.await
        }
    };
    let exit = end(settings, shipping, &says, &report).await?;
    if unexpected {
        return Err(Failure::new(Exit::Spool, "the hub has ended unexpectedly"));
    }
    Ok(exit)
}

/// With the usual queue of 128 a burst of clients overflows it, and each of those waits a second for its next try.
fn bind(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait until old connections are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Runs the hub on a thread of its own: it blocks at the spool's cap.
fn start(hub: Hub) -> Result<oneshot::Receiver<HubReport>, Failure> {
    let (sender, report) = oneshot::channel();
    std::thread::Builder::new()
        .name("hub".into())
        .spawn(move || drop(sender.send(hub.run())))
        .map_err(|e| Failure::new(Exit::Spool, "cannot start the hub").cause(&e))?;
    Ok(report)
}

async fn end(
    settings: &Settings,
    shipping: Option<Shipping>,
    says: &Says,
    report: &HubReport,
) -> Result<Exit, Failure> {
    let (mut left, mut rejected) = (0, 0);
    if let Some(mut shipping) = shipping {
        let begun = Instant::now();
        left = shipping.drain(settings.drain_timeout, says).await;
        rejected = shipping.shipper.stats().rejected_total();
        shipping.end(settings.drain_timeout.saturating_sub(begun.elapsed()), says).await;
    }
    says.line(&format!("stopped; {} runs, {} entries", report.runs, report.entries));
    if left > 0 {
        eprint_line(&format!(
            "warning: {left} entries wait in the spool for Loki at {}; the next start or `testwire flush` delivers them",
            says.loki
        ));
    }
    if rejected > 0 {
        eprint_line(&format!("warning: Loki refused {rejected} entries; they are kept in rejected/ with its answer"));
    }
    if let Some(error) = &report.output_error {
        eprint_line(&format!("error: {error}"));
        return Ok(Exit::Spool);
    }
    Ok(match (left, rejected) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Rejected,
        _ => Exit::Undelivered,
    })
}

/// How much waits, now.
fn watch_of(shipping: Option<&Shipping>) -> Watch {
    match shipping {
        None => Arc::new(Backlog::default),
        Some(shipping) => {
            let queue = Arc::clone(&shipping.queue);
            Arc::new(move || queue.backlog())
        }
    }
}

/// How many connections the descriptors are enough for, after the limit was raised as far as it goes.
fn connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused where a sandbox says so; then the old limit holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok();
    let descriptors = if raised { limit.maximum } else { limit.current }.unwrap_or(MAX_CONNECTIONS);
    usize::try_from(descriptors.saturating_sub(KEPT_DESCRIPTORS).clamp(16, MAX_CONNECTIONS)).unwrap_or(16)
}

fn delivery_metrics(out: &mut String, stats: Option<&Stats>, backlog: &Backlog) {
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        head(out, name, kind, help);
        sample(out, name, "", value);
    };
    one("testwire_spool_entries", "gauge", "Entries that wait for Loki.", backlog.entries as f64);
    one("testwire_spool_bytes", "gauge", "Bytes of entries that wait for Loki.", backlog.bytes as f64);
    let oldest = backlog.oldest.unwrap_or_default().as_secs_f64();
    one("testwire_spool_oldest_seconds", "gauge", "How long the oldest of them has waited.", oldest);
    let none = Stats::default();
    let stats = stats.unwrap_or(&none);
    one("testwire_pushed_entries_total", "counter", "Entries that Loki took.", stats.pushed_entries() as f64);
    one("testwire_pushed_bytes_total", "counter", "Bytes of entries that Loki took.", stats.pushed_bytes() as f64);
    let last = stats.last_success().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    one("testwire_last_push_timestamp_seconds", "gauge", "When Loki last took entries; 0: never.", last.as_secs_f64());
    head(out, "testwire_pushes_total", "counter", "Pushes, by what became of them.");
    for (outcome, count) in stats.outcomes() {
        sample(out, "testwire_pushes_total", &format!("{{outcome=\"{outcome}\"}}"), count);
    }
    head(out, "testwire_rejected_entries_total", "counter", "Entries that Loki refused, by its reason.");
    for (reason, count) in stats.rejected() {
        sample(out, "testwire_rejected_entries_total", &format!("{{reason=\"{}\"}}", reason.as_str()), count);
    }
}
