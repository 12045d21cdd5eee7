//! `testwire listen`: the daemon.

mod metrics;
mod notify;
mod reload;
mod testruns;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::metrics::delivery_metrics;
use self::notify::Manager;
use self::reload::{Reloading, rules};
use super::events_file;
use super::history::Earlier;
use super::runs_kept::{common, restore, zone};
use super::session::{output, output_to, run_info};
use super::shipping::{Says, SharedQueue, Shipping, eprint_line, limits, queue};
use super::tails::{Places, Tails, prepare};
use crate::config::{Output as Destination, Settings};
use crate::exit::{Exit, Failure};
use crate::loki::limits::Limits;
use crate::loki::push::Secret;
use crate::pipeline::beside::Beside;
use crate::pipeline::hub::{Change, Common, Hub, HubReport};
use crate::pipeline::journal::Folder;
use crate::ship::Stats;
use crate::source::http::{self, App, Attachments, Door, Job};
use crate::spool::Queue as _;
use crate::testruns::Queue as Testruns;

/// Descriptors that are kept for files, pushes and the rest of the process.
const KEPT_DESCRIPTORS: u64 = 128;
/// More connections than this are of no use: their requests would wait longer than clients do.
const MAX_CONNECTIONS: u64 = 20_000;

/// How often attachments are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Connections that may wait to be accepted; the system has a limit of its own, mostly 4096.
const ACCEPT_QUEUE: u32 = 4096;

/// What is known of the shipping side, once there is one.
type Shipped = Arc<OnceLock<Arc<Stats>>>;

/// The signals that mean something.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What answers clients: the server, and the hub behind its door.
struct Server {
    app: Arc<App>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
    hub: oneshot::Receiver<HubReport>,
    changes: Sender<Change>,
    shipped: Shipped,
    testruns: Option<Arc<Testruns>>,
}

/// Serves until SIGTERM or SIGINT. On SIGHUP the settings are read anew with `reload`.
///
/// # Errors
/// If the address cannot be used, a token cannot be read, or the shipping side cannot be started.
pub async fn listen(settings: &Settings, reload: impl Fn() -> Result<Settings, Failure>) -> Result<Exit, Failure> {
    settings.listen.check()?;
    let token = settings.listen.token.as_ref().map(|token| token.read()).transpose()?;
    let first_token = token.as_ref().map(|secret| secret.0.to_string());
    let testruns = testruns::queue(settings)?;
    let (listener, local) = bound(settings.listen.address)?;
    let mut signals = Signals::of_process()?;
    let name = events_file::name(settings.run.run_id.as_str());
    let beside = Beside::default();
    // Before earlier processes' spools are taken over, whose marks say how far logs were handed on.
    let logs = prepare(settings, &settings.tails, &Limits::default(), &[], &beside, Places::Kept)?;
    let to_loki = settings.output == Destination::Loki;
    // Before the spools of dead processes are taken over, too: theirs says how far the runs came.
    let hub = if to_loki { kept(settings, &name)? } else { Hub::new(zone(settings), common_of(settings)) };
    let gone_on = hub.runs();
    let earlier = Earlier::of_daemon(settings)?;
    let given = earlier.clone();
    let hub = hub.preparing(move |normalizer| given.prepare(normalizer)).with_beside(beside);
    let queue = to_loki.then(|| queue(settings, &name)).transpose()?;
    let mut server = Server::start(settings, listener, token, hub, queue.as_ref(), testruns)?;
    let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link: None };
    says.line(&format!("listening on http://{local}"));
    if gone_on > 0 {
        says.line(&format!("{gone_on} runs of an earlier process go on"));
    }
    // Clients are answered already; what they sent waits in the spool until it is known what Loki takes.
    let limits = limits(settings).await;
    server.changes.send(Change::Limits(limits.clone())).ok();
    let shipping = queue.map(|queue| Shipping::of(queue, settings, &limits)).transpose()?;
    if let Some(shipping) = &shipping {
        server.shipped.set(Arc::clone(shipping.shipper.stats())).ok();
    }
    let logs = logs.within(&limits).start(&name, || output(settings, shipping.as_ref()))?;
    server.begin_testruns();
    let manager = Manager::of_environment();
    manager.tell("READY=1");
    let mut reloading = Reloading::new(settings, first_token, reload, &server.app, server.changes.clone());
    let died = wait(settings, &mut signals, &manager, &mut server.hub, || reloading.reload(&says)).await;
    manager.tell("STOPPING=1");
    let testruns = server.testruns.clone();
    // It holds the app, and that the door.
    drop(reloading);
    let unexpected = died.is_some();
    let report = server.end(settings, logs, shipping.as_ref(), died).await;
    earlier.finish();
    if let Some(running) = testruns.map(|testruns| testruns.running()).filter(|running| *running > 0) {
        says.line(&format!("test runs that go on, and that the next start finds: {running}"));
    }
    let exit = end(settings, shipping, &says, &report).await?;
    if unexpected {
        return Err(Failure::new(Exit::Spool, "the hub has ended unexpectedly"));
    }
    Ok(exit)
}

/// Waits for a signal to end. Gives what the hub reported if it has ended, which is a bug that was printed.
async fn wait(
    settings: &Settings,
    signals: &mut Signals,
    manager: &Manager,
    hub: &mut oneshot::Receiver<HubReport>,
    mut reload: impl FnMut(),
) -> Option<HubReport> {
    let mut beat = tokio::time::interval(Manager::beat());
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = signals.interrupt.recv() => return None,
            _ = signals.terminate.recv() => return None,
            _ = signals.hangup.recv() => reload(),
            _ = beat.tick() => manager.tell("WATCHDOG=1"),
            _ = sweep.tick() => sweep_attachments(settings),
            report = &mut *hub => return Some(report.unwrap_or_default()),
        }
    }
}

impl Signals {
    fn of_process() -> Result<Self, Failure> {
        let of =
            |kind| signal(kind).map_err(|error| Failure::new(Exit::Input, "cannot listen for signals").cause(&error));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
        })
    }
}

impl Server {
    /// Begins to answer. What comes of it goes to `queue`, or where the settings say.
    fn start(
        settings: &Settings,
        listener: TcpListener,
        token: Option<Secret>,
        hub: Hub,
        queue: Option<&SharedQueue>,
        testruns: Option<Arc<Testruns>>,
    ) -> Result<Self, Failure> {
        let queue = queue.cloned();
        let watched = queue.clone();
        let backlog = move || watched.as_ref().map(|shared| shared.queue.backlog()).unwrap_or_default();
        let (full, used) = (settings.spool_max / 10 * 9, backlog.clone());
        let (door, jobs) = Door::new(Arc::new(move || used().bytes >= full));
        let (changes, changed) = channel();
        let hub = start(hub.changing(changed), jobs, output_to(settings, queue.as_ref()))?;
        let shipped = Shipped::default();
        let stats = Arc::clone(&shipped);
        let metrics = move |out: &mut String| delivery_metrics(out, stats.get().map(|stats| &**stats), &backlog());
        let app = App::new(door, rules(settings, token), attachments(settings), metrics);
        let app = Arc::new(app.with_testruns(testruns.clone()));
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(http::serve(listener, Arc::clone(&app), connections(), stopped));
        Ok(Self { app, stop, serving, hub, changes, shipped, testruns })
    }

    /// Begins to start test runs that wait, until the end.
    fn begin_testruns(&self) {
        if let Some(testruns) = &self.testruns {
            if testruns.runs_as_root() {
                tracing::warn!(
                    "test runs that clients order have root's rights; `user` of [testruns] names another account"
                );
            }
            tokio::spawn(Arc::clone(testruns).work(self.stop.subscribe()));
        }
    }

    /// Answers what is under way, and ends the hub and the logs.
    async fn end(
        self,
        settings: &Settings,
        mut logs: Tails,
        shipping: Option<&Shipping>,
        died: Option<HubReport>,
    ) -> HubReport {
        drop(self.app);
        self.stop.send(true).ok();
        // The last request's end closes the door, and that ends the hub.
        let ended = async {
            logs.stop();
            drop(self.serving.await);
            let mut report = match died {
                Some(report) => report,
                None => self.hub.await.unwrap_or_default(),
            };
            let read = logs.ended().await;
            report.entries += read.entries;
            if let Some(error) = read.error {
                eprint_line(&format!("error: logs could not be followed to their end: {error}"));
            }
            report
        };
        tokio::pin!(ended);
        tokio::select! {
            report = &mut ended => report,
            () = tokio::time::sleep(settings.drain_timeout) => {
                // A hub that waits for room in a full spool is given up; its clients are told that nothing was taken.
                if let Some(shipping) = shipping {
                    shipping.queue.close();
                }
                ended.await
            }
        }
    }
}

/// Removes attachments that are too many or too old, beside everything else.
fn sweep_attachments(settings: &Settings) {
    let attachments = attachments(settings);
    let (most, age) = (settings.listen.attachments_max, settings.listen.attachments_age);
    // Nobody waits for it, and it is done when the process ends, or done again by the next.
    drop(tokio::task::spawn_blocking(move || match attachments.sweep(most, age) {
        Ok(swept) if swept.removed > 0 => tracing::info!(removed = swept.removed, "old attachments are removed"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "attachments cannot be looked through"),
    }));
}

fn attachments(settings: &Settings) -> Attachments {
    Attachments::new(settings.state_dir.join("attachments"))
}

fn bound(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = bind(address).and_then(|listener| listener.local_addr().map(|local| (listener, local)));
    bound.map_err(|error| Failure::new(Exit::Input, format!("cannot listen on {address}")).cause(&error))
}

/// With the usual queue of 128 a burst of clients overflows it, and each of those waits a second for its next try.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait until old connections are forgotten.
    socket.set_reuseaddr(true)?;
    // A stream of events may be quiet for hours; that its client's machine is gone shows by this alone. Connections have
    // it from here.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// The hub of the daemon that was here before, or a new one; from now on its runs survive it.
fn kept(settings: &Settings, queue: &str) -> Result<Hub, Failure> {
    let failed =
        |e: std::io::Error| Failure::new(Exit::Spool, "the runs cannot be kept in the state directory").cause(&e);
    let folder = Folder::take(&settings.state_dir, &settings.listen.address.to_string()).map_err(failed)?;
    let common = common_of(settings);
    let hub = match restore(settings, &folder) {
        Some(hub) => hub.commonly(common),
        None => Hub::new(zone(settings), common),
    };
    let journal = folder.begin(queue, &|out| hub.write_state(out), settings.fsync).map_err(failed)?;
    Ok(hub.keeping(journal))
}

fn common_of(settings: &Settings) -> Common {
    common(settings, run_info(settings, ""))
}

/// Runs the hub on a thread of its own: it blocks at the spool's cap.
fn start(
    hub: Hub,
    jobs: Receiver<Job>,
    output: Box<dyn crate::pipeline::output::Output>,
) -> Result<oneshot::Receiver<HubReport>, Failure> {
    let (sender, report) = oneshot::channel();
    std::thread::Builder::new()
        .name("hub".into())
        .spawn(move || drop(sender.send(hub.run(&jobs, output))))
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
    if report.left > 0 {
        says.line(&format!("{} runs are on still and wait for the next start", report.left));
    }
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

/// How many connections the descriptors are enough for, after the limit was raised as far as it goes.
fn connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused where a sandbox says so; then the old limit holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok();
    let descriptors = if raised { limit.maximum } else { limit.current }.unwrap_or(MAX_CONNECTIONS);
    usize::try_from(descriptors.saturating_sub(KEPT_DESCRIPTORS).clamp(16, MAX_CONNECTIONS)).unwrap_or(16)
}
