//! What a service manager is told (sd_notify(3)): ready, alive, stopping.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The manager, if there is one.
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Manager {
    /// The one that started this process; `NOTIFY_SOCKET` names its socket.
    pub(super) fn of_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = address.ok().filter(|_| !name.is_empty()).and_then(|to| Some((UnixDatagram::unbound().ok()?, to)));
        Self { socket }
    }

    /// Tells it. A manager that does not listen is no reason to stop.
    pub(super) fn tell(&self, what: &str) {
        if let Some((socket, to)) = &self.socket {
            socket.send_to_addr(what.as_bytes(), to).ok();
        }
    }

    /// How often it wants to hear that the process is alive, twice as often as it must; a day if it does not care.
    pub(super) fn beat() -> Duration {
        let wanted =
            std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|wanted| *wanted > 0);
        wanted.map_or(Duration::from_secs(86_400), |wanted: u64| Duration::from_micros(wanted / 2))
    }
}
