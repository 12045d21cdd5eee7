//! The HTTP server of `listen`: connections, and what they may cost.
//!
//! Most clients open a connection for each event and many are careless, so a connection costs nothing before its first
//! byte, every wait has an end, and the bytes of all bodies in memory are bounded together.

mod archive;
pub mod attachments;
pub mod auth;
mod body;
pub mod door;
mod form;
pub mod metrics;
mod results;
mod routes;
mod testruns;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub use self::attachments::Attachments;
pub use self::auth::Token;
pub use self::door::{Door, Job, Shut};
pub use self::metrics::Counts;

use crate::testruns::Queue;

/// How long a connection may say nothing, or take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head, all headers together.
const HEAD_BYTES: usize = 32 * 1024;
/// How long to wait when the system has no descriptors left.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);
/// How long open requests are waited for at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// Bytes of all bodies in memory.
const BODIES: usize = 192 << 20;

/// What requests must keep to; it may change.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What clients must show.
    pub token: Option<Token>,
    /// Most bytes of a body, unpacked.
    pub max_body: usize,
    /// Another path of `/loader`, without slashes around it.
    pub loader_path: Option<String>,
}

/// What requests need.
pub struct App {
    door: Door,
    rules: RwLock<Arc<Rules>>,
    attachments: Attachments,
    counts: Arc<Counts>,
    /// Adds the metrics of the shipping side.
    more_metrics: Box<dyn Fn(&mut String) + Send + Sync>,
    /// One permit a KiB of body in memory.
    room: Arc<Semaphore>,
    /// Where orders of test runs go, if clients may give some.
    testruns: Option<Arc<Queue>>,
    bodies: std::sync::atomic::AtomicU64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    /// An app that hands messages in at `door`.
    pub fn new(
        door: Door,
        rules: Rules,
        attachments: Attachments,
        more_metrics: impl Fn(&mut String) + Send + Sync + 'static,
    ) -> Self {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            door,
            attachments,
            counts: Arc::new(Counts::default()),
            more_metrics: Box::new(more_metrics),
            room: Arc::new(Semaphore::new(room_for(&rules) / body::UNIT)),
            testruns: None,
            rules: RwLock::new(Arc::new(rules)),
            // Runs of bodies without a name survive the process, so numbers must not come again after a restart.
            bodies: std::sync::atomic::AtomicU64::new(u64::try_from(started.as_micros()).unwrap_or(0)),
        }
    }

    /// Clients may order test runs.
    #[must_use]
    pub fn with_testruns(mut self, queue: Option<Arc<Queue>>) -> Self {
        // A form of the largest size must find room for it.
        let most = queue.as_ref().and_then(|queue| queue.max_upload()).unwrap_or(0);
        let most = 2 * usize::try_from(most).unwrap_or(usize::MAX / 2);
        self.room.add_permits(most.saturating_sub(BODIES) / body::UNIT);
        self.testruns = queue;
        self
    }

    /// The rules as they are now.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().expect("no holder of the lock panics"))
    }

    /// Requests that come from now on must keep to these.
    pub fn set_rules(&self, rules: Rules) {
        let mut old = self.rules.write().expect("no holder of the lock panics");
        self.room.add_permits(room_for(&rules).saturating_sub(room_for(&old)) / body::UNIT);
        *old = Arc::new(rules);
    }
}

/// Bytes of all bodies in memory: one of the largest must not wait for itself.
fn room_for(rules: &Rules) -> usize {
    BODIES.max(2 * rules.max_body)
}

/// Serves until `stop` says so; then takes no more connections and waits for open requests, at most 5 s. At most
/// `connections` are open at a time.
///
/// # Errors
/// If the address is lost.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    connections: usize,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(connections));
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // The client has gone already, or descriptors are short until others go.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        // Above the limit a connection is closed at once: idle ones end by themselves within seconds.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            app.counts.count_shed();
            continue;
        };
        let (app, stop) = (Arc::clone(&app), stop.clone());
        tokio::spawn(async move {
            connection(stream, app, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    // Every slot is free when every connection has ended.
    drop(tokio::time::timeout(LAST_REQUESTS, slots.acquire_many(all)).await);
    Ok(())
}

async fn connection(stream: TcpStream, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let Ok(peer) = stream.peer_addr() else { return };
    // Small answers must not wait for an acknowledgement of the last one.
    stream.set_nodelay(true).ok();
    let mut first = [0; 1];
    // An idle connection has no buffer: one is made when there is something to read.
    tokio::select! {
        // `readable` may say yes too early.
        ready = tokio::time::timeout(HEAD_TIMEOUT, stream.peek(&mut first)) => if !matches!(ready, Ok(Ok(1))) { return },
        () = told(&mut stop) => return,
    }
    exchange(stream, peer, app, stop).await;
}

/// Requests and answers, in a box, so that a connection is small until there is one.
fn exchange(
    stream: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let service = service_fn(|request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(routes::answer(&app, peer.ip(), request).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = told(&mut stop) => {
                serving.as_mut().graceful_shutdown();
                // A stream of events may go on for ever; what came of it has been taken.
                let Ok(ended) = tokio::time::timeout(LAST_REQUESTS, serving).await else { return };
                ended
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    })
}

/// Waits until it is time to stop, or nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.map(drop).ok();
}
