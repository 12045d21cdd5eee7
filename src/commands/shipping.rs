//! From a spool of one's own to Loki: what every command that delivers something does alike.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::adopt::Adoption;
use super::pulse::{Pulse, Watched};
use super::status_line::seconds;
use super::totals::Totals;
use crate::config::{Output as Destination, Settings};
use crate::decode::Zone;
use crate::exit::{Exit, Failure};
use crate::loki::limits::Limits;
use crate::loki::push::{Client, Transport};
use crate::pipeline::output::Latest;
use crate::ship::{Drain, RejectedFiles, Shipper};
use crate::spool::{self, DiskQueue, Queue as _, SpoolError};

/// How long a start may wait for Loki to tell its limits; a Loki near by takes some 5 ms.
const LIMITS_PATIENCE: Duration = Duration::from_millis(500);

/// A queue on its way to Loki, and what earlier processes left.
pub(super) struct Shipping {
    state_dir: PathBuf,
    adoption: Adoption,
    pub(super) shipper: Shipper<DiskQueue>,
    pub(super) queue: Arc<DiskQueue>,
    /// What its marks say.
    pub(super) latest: Latest,
    /// What it says of itself.
    pulse: Option<Pulse>,
}

/// Speaks to the person, unless `--quiet`.
pub(super) struct Says {
    pub(super) quiet: bool,
    pub(super) loki: String,
    pub(super) link: Option<String>,
}

/// Reads times that name no zone, as configured.
pub(super) fn zone(settings: &Settings) -> Zone {
    let timezone = settings.timezone;
    Arc::new(move |wall| timezone.timestamp(wall))
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

/// A queue, and what those who write to it together have said in its marks.
#[derive(Clone)]
pub(super) struct SharedQueue {
    pub(super) queue: Arc<DiskQueue>,
    pub(super) latest: Latest,
}

/// Makes a queue.
///
/// # Errors
/// If its directory cannot be made.
pub(super) fn queue(settings: &Settings, name: &str) -> Result<SharedQueue, Failure> {
    let dir = spool::folder(&settings.state_dir).join(name);
    let queue = Arc::new(DiskQueue::create(&dir, spool_settings(settings)).map_err(unusable)?);
    Ok(SharedQueue { queue, latest: Latest::default() })
}

impl Shipping {
    /// Makes the spool and begins to ship.
    ///
    /// # Errors
    /// If the client or the spool cannot be made.
    pub(super) fn start(settings: &Settings, name: &str, limits: &Limits) -> Result<Self, Failure> {
        // Secrets that cannot be read leave no spool behind.
        client(settings)?;
        Self::of(queue(settings, name)?, settings, limits)
    }

    /// Begins to ship what is in a queue.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub(super) fn of(shared: SharedQueue, settings: &Settings, limits: &Limits) -> Result<Self, Failure> {
        let client = client(settings)?;
        let SharedQueue { queue, latest } = shared;
        let rejected = RejectedFiles::new(settings.state_dir.join("rejected"));
        let shipper = Shipper::start(Arc::clone(&queue), client.clone(), rejected, ship_settings(settings, limits));
        let state_dir = settings.state_dir.clone();
        let watched = Watched::default();
        watched.add(&queue, shipper.stats());
        let adoption = Adoption::start(settings, limits, &watched)?;
        let pulse = Pulse::start(settings, client, watched);
        Ok(Self { state_dir, adoption, shipper, queue, latest, pulse })
    }

    /// For those who write to its queue.
    pub(super) fn shared(&self) -> SharedQueue {
        SharedQueue { queue: Arc::clone(&self.queue), latest: self.latest.clone() }
    }

    /// Removes the queue if nothing is left in it, and waits for what earlier processes left, up to `limit`.
    pub(super) async fn end(self, limit: Duration, says: &Says) {
        self.shipper.abort();
        Totals::add(&self.state_dir, self.shipper.stats(), &self.queue.syncs());
        match self.queue.remove() {
            Ok(()) | Err(SpoolError::NotEmpty) => {}
            // Everything has arrived, so this is no failure of the command.
            Err(error) => tracing::warn!("{error}"),
        }
        let earlier = self.adoption.finish(limit).await;
        if let Some(pulse) = self.pulse {
            pulse.end().await;
        }
        if earlier.queues > 0 {
            says.line(&earlier.to_string());
        }
    }

    /// Entries that are left when all were sent, the time is over, or a signal came.
    pub(super) async fn drain(&mut self, limit: Duration, says: &Says) -> u64 {
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
        let patience = Duration::from_secs(1);
        if limit <= patience {
            return shipper.drain(limit).await;
        }
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

impl Says {
    /// One line.
    pub(super) fn line(&self, text: &str) {
        if !self.quiet {
            eprint_line(&format!("testwire: {text}"));
        }
    }
}

/// A closed standard error is no reason to stop.
pub(super) fn eprint_line(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
