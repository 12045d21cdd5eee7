//! `testwire listen --health`: asks a daemon, for health checks of images that have no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::Settings;
use crate::exit::{Exit, Failure};

/// Longer than a daemon under load needs for this answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends well if the daemon at the configured address takes events.
///
/// # Errors
/// If it does not, or nobody answers.
pub async fn health(settings: &Settings) -> Result<Exit, Failure> {
    let address = reachable(settings.listen.address);
    let failed = |what: &str| Failure::new(Exit::Input, format!("the daemon at {address} {what}"));
    let answer = tokio::time::timeout(PATIENCE, ask(address)).await;
    let answer = answer.map_err(|_| failed("does not answer"))?.map_err(|e| failed("cannot be asked").cause(&e))?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(Exit::Ok),
        Some("503") => Err(failed("takes no events: the spool is full")),
        _ => Err(failed("is none of testwire")),
    }
}

/// An address to listen on may mean all; to ask, it is this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: testwire\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
