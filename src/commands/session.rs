//! What `run`, `pipe` and `demo` have in common: an intake, the shipping side, and what is said about them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::events_file::{self, EventFile};
use super::history::Earlier;
use super::outcome::Outcome;
use super::shipping::{Says, SharedQueue, Shipping, eprint_line, limits};
use super::status_line::{progress_text, seconds};
use super::tails::Tails;
use crate::config::{Output as Destination, Settings};
use crate::decode::Format;
use crate::exit::{Exit, Failure};
use crate::loki::limits::Limits;
use crate::names::meta;
use crate::normalize::{Normalizer, RunEnd, RunInfo};
use crate::pipeline::feed::Feed;
use crate::pipeline::intake::{Handle, Intake, Live, Report};
use crate::pipeline::output::{Output, ToNdjson, ToNothing, ToQueue};
use crate::pipeline::parts::{PartOver, PartStart};
use crate::pipeline::tail::TailReport;
use crate::ship::DeliveryState;

/// How often a full spool is looked at.
const FULL_CHECK: Duration = Duration::from_millis(200);

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
    earlier: Earlier,
    shipping: Option<Shipping>,
}

/// A run on its way.
pub(super) struct Session {
    handle: Handle,
    report: oneshot::Receiver<Report>,
    shipping: Option<Shipping>,
    /// Until the end, as it waits for what is kept of the run: that goes on beside the shipping of the last entries.
    earlier: Earlier,
    drain_timeout: Duration,
    says: Says,
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

/// Where entries go.
pub(super) fn output(settings: &Settings, shipping: Option<&Shipping>) -> Box<dyn Output> {
    output_to(settings, shipping.map(Shipping::shared).as_ref())
}

/// The same for a queue that is not shipped yet.
pub(super) fn output_to(settings: &Settings, queue: Option<&SharedQueue>) -> Box<dyn Output> {
    match (queue, settings.output) {
        (Some(shared), _) => Box::new(ToQueue::new(Arc::clone(&shared.queue)).sharing(&shared.latest)),
        (None, Destination::Ndjson) => Box::new(ToNdjson::new(io::stdout())),
        (None, _) => Box::new(ToNothing),
    }
}

/// Where entries go that are none of a run's own: marks of the spool are the run's.
pub(super) fn side_output(settings: &Settings, shipping: Option<&Shipping>) -> Box<dyn Output> {
    match shipping {
        Some(shipping) => Box::new(ToQueue::without_marks(Arc::clone(&shipping.queue))),
        None => output(settings, None),
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
        let earlier = Earlier::new(settings)?;
        let shipping = to_loki.then(|| Shipping::start(settings, &name, limits)).transpose()?;
        Ok(Self { name, earlier, shipping })
    }

    /// Makes the run's event file.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub(super) fn event_file(&self, settings: &Settings, run: &RunInfo, format: Format) -> Result<EventFile, Failure> {
        let run = self.shipping.as_ref().map(|_| run);
        events_file::create(&settings.state_dir, &self.name, run, format).map_err(|e| {
            let what = format!("cannot write to {}", settings.state_dir.display());
            Failure::new(Exit::Spool, what).cause(&e).hint("choose another directory with --state-dir")
        })
    }

    /// Removes the event file: every entry of it is in the spool, or nobody shall have it.
    pub(super) fn remove_event_file(name: &str, settings: &Settings) {
        events_file::remove(&settings.state_dir, name);
    }

    /// Where entries go that are none of the run's own.
    pub(super) fn side_output(&self, settings: &Settings) -> Box<dyn Output> {
        side_output(settings, self.shipping.as_ref())
    }

    /// Name of the run's directories.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives a run what is known of earlier ones.
    pub(super) fn prepare(&self, normalizer: &mut Normalizer) {
        self.earlier.prepare(normalizer);
    }

    /// Starts the intake, on a thread of its own.
    ///
    /// # Errors
    /// If the system has no threads or descriptors left.
    pub(super) fn begin(
        self,
        settings: &Settings,
        feeds: Vec<Feed>,
        mut normalizer: Normalizer,
        ends: Ends,
    ) -> Result<Session, Failure> {
        self.prepare(&mut normalizer);
        self.begin_prepared(settings, feeds, normalizer, ends)
    }

    /// The same for a run that knows of the earlier ones.
    ///
    /// # Errors
    /// As [`Opened::begin`].
    pub(super) fn begin_prepared(
        self,
        settings: &Settings,
        feeds: Vec<Feed>,
        normalizer: Normalizer,
        ends: Ends,
    ) -> Result<Session, Failure> {
        let Self { earlier, shipping, .. } = self;
        let link = shipping.as_ref().map(|_| link(settings, normalizer.info()));
        let says = Says { quiet: settings.quiet, loki: settings.loki.url.to_string(), link };
        let output = output(settings, shipping.as_ref());
        let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot start the intake").cause(&e);
        let (intake, handle) = Intake::new(feeds, normalizer, output, ends == Ends::WithInput).map_err(failed)?;
        let (sender, report) = oneshot::channel();
        // A thread, no task: it blocks in poll(2), and at the spool's cap.
        std::thread::Builder::new()
            .name("intake".into())
            .spawn(move || drop(sender.send(intake.run(ends == Ends::WhenTold))))
            .map_err(failed)?;
        Ok(Session { handle, report, shipping, earlier, drain_timeout: settings.drain_timeout, says })
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

    /// A file of a batch begins.
    pub(super) fn begin_part(&mut self, start: PartStart) {
        self.handle.begin_part(start);
    }

    /// The process of a file of a batch is gone.
    pub(super) fn end_part(&mut self, over: PartOver) {
        self.handle.end_part(over);
    }

    /// The run is over, as `end` says.
    pub(super) fn end(&mut self, end: RunEnd) {
        self.handle.end(end);
    }

    /// Waits until nothing more is read from logs beside the run. As [`Session::finish`], it gives up a full spool.
    pub(super) async fn finish_tails(&self, tails: &mut Tails) -> TailReport {
        tails.stop();
        tokio::select! {
            report = tails.ended() => return report,
            () = tokio::time::sleep(self.drain_timeout) => {}
        }
        self.give_up();
        tails.ended().await
    }

    /// A full spool is given up: nobody shall wait for ever.
    fn give_up(&self) {
        if let Some(shipping) = &self.shipping {
            shipping.queue.give_up();
        }
    }

    /// From now on a spool that has been full for the drain timeout is given up, as somebody waits for this process: a
    /// command that writes to its pipes, or a person who wants it to end.
    pub(super) fn hold_nobody_up(&self) {
        let Some(shipping) = &self.shipping else { return };
        let (queue, limit) = (Arc::downgrade(&shipping.queue), self.drain_timeout.max(FULL_CHECK));
        tokio::spawn(async move {
            while let Some(queue) = queue.upgrade() {
                if queue.blocked_for().is_some_and(|blocked| blocked >= limit) {
                    queue.give_up();
                    return eprint_line(&format!(
                        "warning: the spool had no room for {} (--spool-max); the run goes on, and what finds no room is not kept",
                        seconds(limit)
                    ));
                }
                drop(queue);
                tokio::time::sleep(FULL_CHECK).await;
            }
        });
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
                self.give_up();
                self.intake_ended().await
            }
        };
        self.deliver(report).await
    }

    /// The second half of [`Session::finish`], for a command that has waited for the intake itself.
    pub(super) async fn deliver(self, report: Report) -> Outcome {
        let Self { shipping, drain_timeout, says, earlier: _earlier, .. } = self;
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

/// The run on the `live` dashboard.
fn link(settings: &Settings, info: &RunInfo) -> String {
    let variables = [("var-project", &info.project), ("var-env", &info.env), ("var-run_id", &info.run_id)];
    let variables = variables.map(|(name, value)| (name, value.as_str()));
    dashboard_link(settings, "testwire-live", &variables, crate::pipeline::intake::now().0 / 1_000_000)
}

/// A dashboard with these variables, from a minute before `began`, in milliseconds since the epoch, until now.
pub(super) fn dashboard_link(settings: &Settings, uid: &str, variables: &[(&str, &str)], began: i64) -> String {
    let base = settings.grafana_url.join(&format!("/d/{uid}"));
    let from = (began - 60_000).to_string();
    let query = variables.iter().copied().chain([("from", from.as_str()), ("to", "now")]);
    reqwest::Url::parse_with_params(&base, query).map_or(base, String::from)
}
