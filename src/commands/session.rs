//! What `run`, `pipe` and `demo` have in common: an intake, the shipping side, and what is said about them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::adopt::Adoption;
use super::events_file;
use super::outcome::{Outcome, Says, link};
use super::status_line::{progress_text, seconds};
use super::totals::Totals;
use crate::config::{Output as Destination, Settings};
use crate::exit::{Exit, Failure};
use crate::loki::limits::Limits;
use crate::loki::push::{Client, Transport};
use crate::names::meta;
use crate::normalize::{Normalizer, RunEnd, RunInfo};
use crate::pipeline::feed::Feed;
use crate::pipeline::intake::{Handle, Intake, Live, Report};
use crate::pipeline::output::{Output, ToNdjson, ToNothing, ToQueue};
use crate::ship::{DeliveryState, Drain, RejectedFiles, Shipper};
use crate::spool::{self, DiskQueue, Queue as _, SpoolError};

/// How long a start may wait for Loki to tell its limits; a Loki near by takes some 5 ms.
const LIMITS_PATIENCE: Duration = Duration::from_millis(500);

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// When its inputs are.
    WithInput,
    /// When [`Session::end`] says so.
    WhenTold,
}

/// A place for a run's entries, before there are any.
pub(super) struct Opened {
    name: String,
    shipping: Option<Shipping>,
}

/// A run on its way.
pub(super) struct Session {
    handle: Handle,
    report: oneshot::Receiver<Report>,
    shipping: Option<Shipping>,
    drain_timeout: Duration,
    says: Says,
}

/// A queue on its way to Loki, and what earlier processes left.
struct Shipping {
    state_dir: PathBuf,
    adoption: Adoption,
    shipper: Shipper<DiskQueue>,
    queue: Arc<DiskQueue>,
}

/// What is known of a run before it begins.
pub(super) fn run_info(settings: &Settings, runner: &str) -> RunInfo {
    let run = &settings.run;
    let text = |name: &Option<crate::config::Name>| name.as_ref().map(|n| n.as_str().to_owned()).unwrap_or_default();
    let mut metadata = vec![
        (meta::USER.to_owned(), text(&run.user)),
        (meta::COMMIT.to_owned(), text(&run.commit)),
        (meta::BRANCH.to_owned(), text(&run.branch)),
        (meta::BUILD_URL.to_owned(), run.build_url.clone().unwrap_or_default()),
    ];
    metadata.extend(run.attributes.iter().map(|a| (format!("{}{}", meta::ATTR_PREFIX, a.name), a.value.clone())));
    RunInfo {
        run_id: run.run_id.as_str().to_owned(),
        project: run.project.as_str().to_owned(),
        env: run.env.as_str().to_owned(),
        runner: runner.to_owned(),
        host: text(&run.host),
        shard: text(&run.shard),
        command: String::new(),
        metadata,
    }
}

/// How the spool works, as configured.
pub(super) fn spool_settings(settings: &Settings) -> spool::Settings {
    spool::Settings::new(settings.spool_max, settings.fsync)
}

/// How entries are shipped, as configured and as Loki's limits ask for.
pub(super) fn ship_settings(settings: &Settings, limits: &Limits) -> crate::ship::Settings {
    crate::ship::Settings { linger: settings.linger, ..crate::ship::Settings::default() }
        .below_sharding(limits.shard_rate)
}

/// A client for the configured Loki; the secrets are read here.
///
/// # Errors
/// If a secret or certificate cannot be read, or the URL is unusable.
pub(super) fn client(settings: &Settings) -> Result<Client, Failure> {
    let loki = &settings.loki;
    let transport = Transport {
        tenant: loki.tenant.as_ref().map(|t| t.as_str().to_owned()),
        auth: loki.auth.credentials()?,
        headers: loki.headers.clone(),
        tls: loki.tls.clone(),
        ..Transport::new(loki.url.as_str())
    };
    Client::new(&transport).map_err(|e| Failure::new(Exit::Config, "cannot make the HTTP client").cause(&e))
}

/// What the configured Loki takes, as far as it says so soon.
pub(super) async fn limits(settings: &Settings) -> Limits {
    // A client that cannot be made is an error later, when it is needed.
    match client(settings) {
        Ok(client) if settings.output == Destination::Loki => client.limits(LIMITS_PATIENCE).await.unwrap_or_default(),
        _ => Limits::default(),
    }
}

impl Opened {
    /// Makes the spool and begins to ship, also what earlier processes left.
    ///
    /// # Errors
    /// If the client cannot be made (certificates), or the spool cannot.
    pub(super) fn new(settings: &Settings, limits: &Limits) -> Result<Self, Failure> {
        let name = events_file::name(settings.run.run_id.as_str());
        let to_loki = settings.output == Destination::Loki;
        let shipping = to_loki.then(|| Shipping::start(settings, &name, limits)).transpose()?;
        Ok(Self { name, shipping })
    }

    /// Makes the place of the run's event file and gives the file's path.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub(super) fn event_file(&self, settings: &Settings, run: &RunInfo) -> Result<PathBuf, Failure> {
        let run = self.shipping.as_ref().map(|_| run);
        events_file::create(&settings.state_dir, &self.name, run).map_err(|e| {
            let what = format!("cannot write to {}", settings.state_dir.display());
            Failure::new(Exit::Spool, what).cause(&e).hint("choose another directory with --state-dir")
        })
    }

    /// Removes the event file: every entry of it is in the spool, or nobody shall have it.
    pub(super) fn remove_event_file(name: &str, settings: &Settings) {
        events_file::remove(&settings.state_dir, name);
    }

    /// Name of the run's directories.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Starts the intake, on a thread of its own.
    ///
    /// # Errors
    /// If the system has no threads or descriptors left.
    pub(super) fn begin(
        self,
        settings: &Settings,
        feeds: Vec<Feed>,
        normalizer: Normalizer,
        ends: Ends,
    ) -> Result<Session, Failure> {
        let shipping = self.shipping;
        let link = shipping.as_ref().map(|_| link(settings, normalizer.info()));
        let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link };
        let output: Box<dyn Output> = match (&shipping, settings.output) {
            (Some(shipping), _) => Box::new(ToQueue::new(Arc::clone(&shipping.queue))),
            (None, Destination::Ndjson) => Box::new(ToNdjson::new(io::stdout())),
            (None, _) => Box::new(ToNothing),
        };
        let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot start the intake").cause(&e);
        let (intake, handle) = Intake::new(feeds, normalizer, output, ends == Ends::WithInput).map_err(failed)?;
        let (sender, report) = oneshot::channel();
        // A thread, no task: it blocks in poll(2), and at the spool's cap.
        std::thread::Builder::new()
            .name("intake".into())
            .spawn(move || drop(sender.send(intake.run(ends == Ends::WhenTold))))
            .map_err(failed)?;
        Ok(Session { handle, report, shipping, drain_timeout: settings.drain_timeout, says })
    }
}

impl Session {
    /// Opens a spool and begins, within Loki's limits.
    ///
    /// # Errors
    /// As [`Opened::new`] and [`Opened::begin`].
    pub(super) async fn start(
        settings: &Settings,
        feeds: Vec<Feed>,
        mut normalizer: Normalizer,
        ends: Ends,
    ) -> Result<Self, Failure> {
        let limits = limits(settings).await;
        let opened = Opened::new(settings, &limits)?;
        normalizer.set_limits(limits);
        opened.begin(settings, feeds, normalizer, ends)
    }

    /// Says where the run can be watched, and `note`, what was done to make the runner speak.
    pub(super) fn announce(&self, note: &str) {
        if !note.is_empty() {
            self.says.line(note);
        }
        if let Some(link) = &self.says.link {
            self.says.line(&format!("watch it at {link}"));
        }
    }

    /// The run is over, as `end` says.
    pub(super) fn end(&mut self, end: RunEnd) {
        self.handle.end(end);
    }

    /// Counters as of just now.
    pub(super) fn live(&self) -> Live {
        self.handle.live()
    }

    /// How the run and its delivery go, for the status line.
    pub(super) fn status_text(&self) -> String {
        progress_text(&self.live().progress, &self.delivery_text())
    }

    /// Waits for the intake to end by itself.
    pub(super) async fn intake_ended(&mut self) -> Report {
        // The intake's thread sends a report in every case but a panic, which is a bug that was printed already.
        (&mut self.report).await.unwrap_or_default()
    }

    /// How delivery goes, for the line on the terminal; empty if all is well.
    pub(super) fn delivery_text(&self) -> String {
        let Some(shipping) = &self.shipping else { return String::new() };
        let delivery = shipping.shipper.delivery();
        match delivery.state {
            DeliveryState::Ok => String::new(),
            // Why is on testwire's log; here it would push everything else out of the terminal.
            DeliveryState::Waiting { .. } => format!("{} entries wait for Loki", delivery.backlog.entries),
        }
    }

    /// Waits for the intake and then, up to the drain timeout, for Loki. A signal ends the second wait. An intake that
    /// waits for room in a full spool is given up after the same time: the run is over, and nobody shall wait for ever.
    pub(super) async fn finish(mut self) -> Outcome {
        let report = tokio::select! {
            report = &mut self.report => report.unwrap_or_default(),
            () = tokio::time::sleep(self.drain_timeout) => {
                if let Some(shipping) = &self.shipping {
                    shipping.queue.close();
                }
                self.intake_ended().await
            }
        };
        self.deliver(report).await
    }

    /// The second half of [`Session::finish`], for a command that has waited for the intake itself.
    pub(super) async fn deliver(self, report: Report) -> Outcome {
        let Self { shipping, drain_timeout, says, .. } = self;
        let Some(mut shipping) = shipping else {
            return Outcome { report, left: 0, rejected: 0, last_error: None, says };
        };
        let begun = Instant::now();
        let left = shipping.drain(drain_timeout, &says).await;
        let (rejected, last_error) = {
            let stats = shipping.shipper.stats();
            (stats.rejected_total(), stats.last_error().map(|(_, error)| error))
        };
        shipping.end(drain_timeout.saturating_sub(begun.elapsed()), &says).await;
        Outcome { report, left, rejected, last_error, says }
    }
}

impl Shipping {
    fn start(settings: &Settings, name: &str, limits: &Limits) -> Result<Self, Failure> {
        let client = client(settings)?;
        let dir = spool::folder(&settings.state_dir).join(name);
        let queue = Arc::new(DiskQueue::create(&dir, spool_settings(settings)).map_err(unusable)?);
        let rejected = RejectedFiles::new(settings.state_dir.join("rejected"));
        let shipper = Shipper::start(Arc::clone(&queue), client, rejected, ship_settings(settings, limits));
        Ok(Self { state_dir: settings.state_dir.clone(), adoption: Adoption::start(settings, limits)?, shipper, queue })
    }

    /// Removes the queue if nothing is left in it, and waits for what earlier processes left, up to `limit`.
    async fn end(self, limit: Duration, says: &Says) {
        self.shipper.abort();
        Totals::add(&self.state_dir, self.shipper.stats());
        match self.queue.remove() {
            Ok(()) | Err(SpoolError::NotEmpty) => {}
            // Everything has arrived, so this is no failure of the command.
            Err(error) => tracing::warn!("{error}"),
        }
        let earlier = self.adoption.finish(limit).await;
        if earlier.queues > 0 {
            says.line(&earlier.to_string());
        }
    }

    /// Entries that are left when all were sent, the time is over, or a signal came.
    async fn drain(&mut self, limit: Duration, says: &Says) -> u64 {
        self.queue.close();
        // From the beginning: a second Ctrl-C may come right after the first, which ended the run.
        let stop = async {
            let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
            let [interrupt, terminate] = &mut signals;
            match (interrupt, terminate) {
                (Some(a), Some(b)) => tokio::select! { _ = a.recv() => {}, _ = b.recv() => {} },
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            drained = Self::drain_within(&mut self.shipper, &self.queue, limit, says) => if drained == Drain::Drained {
                return 0;
            },
            () = stop => self.shipper.abort(),
        }
        self.queue.backlog().entries
    }

    /// Says so if it takes longer than one would notice.
    async fn drain_within(shipper: &mut Shipper<DiskQueue>, queue: &DiskQueue, limit: Duration, says: &Says) -> Drain {
        let begun = Instant::now();
        let patience = Duration::from_secs(1).min(limit);
        // A drain that reaches its own limit ends the shipping, so this one is left before that.
        if let Ok(drained) = tokio::time::timeout(patience, shipper.drain(limit)).await {
            return drained;
        }
        let left = limit.saturating_sub(begun.elapsed());
        says.line(&format!(
            "{} entries wait for Loki at {}; giving it {} (Ctrl-C: no longer)",
            queue.backlog().entries,
            says.loki,
            seconds(left)
        ));
        shipper.drain(left).await
    }
}

fn unusable(error: SpoolError) -> Failure {
    Failure::new(Exit::Spool, "the spool cannot be used").cause(&error)
}
