//! A Loki of one process with the shipped configuration, which takes entries of any age.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// It ends, and its data goes, when this is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts `$LOKI_BIN`, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let binary = std::env::var("LOKI_BIN").expect("LOKI_BIN names a Loki 3.7, or LOKI_URL one that runs");
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for its data");
        let (http, grpc) = (free_port(), free_port());
        let path = data.path().display();
        let log = std::fs::File::create(data.path().join("loki.log")).expect("a file for its log");
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("loki/loki.yaml");
        let child = Command::new(binary)
            .arg(format!("-config.file={}", config.display()))
            .arg(format!("-common.path-prefix={path}"))
            .arg(format!("-common.storage.filesystem.chunk-directory={path}/chunks"))
            .arg(format!("-common.storage.filesystem.rules-directory={path}/rules"))
            .args(["-server.http-listen-address=127.0.0.1", "-server.grpc-listen-address=127.0.0.1"])
            .arg(format!("-server.http-listen-port={http}"))
            .arg(format!("-server.grpc-listen-port={grpc}"))
            // A history that was written while it happened is not refused; here it is written within minutes.
            .arg("-validation.reject-old-samples=false")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("LOKI_BIN can be run");
        let server = Self { url: format!("http://127.0.0.1:{http}"), child, _data: data };
        let begun = Instant::now();
        while !is_ready(&server.url).await {
            assert!(begun.elapsed() < Duration::from_secs(120), "Loki is not ready in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn is_ready(url: &str) -> bool {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status().is_success())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it has an address").port()
}
