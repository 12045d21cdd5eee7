//! A real Loki for the tests: where it comes from, how it is started, and that it ends with this process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take. It takes about 2 s, but machines of CI are slow and run other things too.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A Loki that answers.
pub(crate) struct Loki {
    url: String,
    client: reqwest::Client,
    /// Open as long as this process lives; its end tells the guard to end Loki. `None` if Loki is not ours.
    _guard: Option<ChildStdin>,
}

/// A Loki of one test alone, which may be killed and started again with the same data at the same address.
pub(crate) struct OwnLoki {
    loki: Loki,
    binary: PathBuf,
    place: Place,
}

/// Where a Loki of ours keeps its data and answers.
struct Place {
    directory: PathBuf,
    config: PathBuf,
    /// Further arguments.
    arguments: Vec<String>,
    http: SocketAddr,
    grpc: SocketAddr,
}

/// Which configuration a Loki of ours has.
#[derive(Clone, Copy)]
enum Config {
    /// `loki/loki.yaml`, as it is shipped.
    Shipped,
    /// Loki's defaults.
    Stock,
}

/// Loki with its defaults; only what a single process needs to start at all.
const STOCK: &str = "\
auth_enabled: false
common:
  instance_addr: 127.0.0.1
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
  storage: {filesystem: {}}
schema_config:
  configs:
    - {from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
analytics: {reporting_enabled: false}
";

impl Loki {
    /// The Loki that all tests share: the one at `$LOKI_URL`, else one of ours with the shipped configuration. It may hold
    /// entries of other tests, so each test takes a project name of its own.
    pub(crate) fn get() -> &'static Self {
        static SHARED: OnceLock<Loki> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("LOKI_URL") {
            Ok(url) if !url.is_empty() => Self::new(url.trim_end_matches('/').into(), None),
            _ => Self::start(Config::Shipped),
        })
    }

    /// A Loki of ours without any configuration of ours, shared too.
    pub(crate) fn stock() -> &'static Self {
        static SHARED: OnceLock<Loki> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Config::Stock))
    }

    /// A stock Loki of one test alone, with these arguments besides, and limits of its tenant that `/config` does not
    /// show (the inside of `overrides.fake` of Loki's runtime configuration; may be empty).
    pub(crate) fn own(arguments: &[&str], overrides: &str) -> OwnLoki {
        let binary = binary();
        let mut place = Place::new(Config::Stock);
        place.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        if !overrides.is_empty() {
            let file = place.directory.join("overrides.yaml");
            std::fs::write(&file, format!("overrides: {{fake: {{{overrides}}}}}\n")).unwrap();
            place.arguments.push(format!("-runtime-config.file={}", file.display()));
        }
        let guard = place.launch(&binary).unwrap_or_else(|log| panic!("Loki did not start:\n{log}"));
        OwnLoki { loki: Self::new(format!("http://{}", place.http), Some(guard)), binary, place }
    }

    /// Base URL without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    fn new(url: String, guard: Option<ChildStdin>) -> Self {
        // The second Loki of the process finds it installed.
        rustls::crypto::ring::default_provider().install_default().ok();
        // Connections are not kept: each test has a runtime of its own, and a connection dies with its runtime.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { url, client, _guard: guard }
    }

    /// Starts a Loki and waits until it answers. A free port may be taken by others before Loki binds it, hence more
    /// than one attempt.
    fn start(config: Config) -> Self {
        let binary = binary();
        let mut log = String::new();
        for _ in 0..3 {
            match start_once(&binary, config) {
                Ok((address, guard)) => return Self::new(format!("http://{address}"), Some(guard)),
                Err(text) => log = text,
            }
        }
        panic!("{} did not start; the end of its log:\n{log}", binary.display());
    }
}

impl OwnLoki {
    /// Kills it, as the kernel does when memory is short.
    pub(crate) fn kill(&self) {
        let id = std::fs::read_to_string(self.place.directory.join("pid")).unwrap();
        crate::binary::kill(id.trim().parse().unwrap(), "KILL");
        while TcpStream::connect(self.place.http).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again after [`OwnLoki::kill`], and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let guard = self.place.launch(&self.binary).unwrap_or_else(|log| panic!("Loki did not start again:\n{log}"));
        self.loki._guard = Some(guard);
    }
}

impl std::ops::Deref for OwnLoki {
    type Target = Loki;

    fn deref(&self) -> &Loki {
        &self.loki
    }
}

/// A child that ends Loki when our end of its stdin closes, which the kernel does however this process ends. It also ends
/// when Loki does. Arguments: directory of the data, then Loki and its arguments.
const GUARD: &str = r#"
directory=$1; shift
exec 3<&0
"$@" >"$directory/loki.log" 2>&1 3<&- &
loki=$!
echo $loki >"$directory/pid"
( cat <&3; trap '' TERM; kill -9 $loki; sleep 0.2; rm -rf "$directory" ) >/dev/null 2>&1 &
cleaner=$!
wait $loki
# It ended by itself: its number may soon be another process's.
kill $cleaner
"#;

/// The address of the HTTP server and the guard's stdin, or the end of Loki's log.
fn start_once(binary: &Path, config: Config) -> Result<(SocketAddr, ChildStdin), String> {
    let place = Place::new(config);
    match place.launch(binary) {
        Ok(stdin) => Ok((place.http, stdin)),
        Err(log) => {
            std::fs::remove_dir_all(&place.directory).ok();
            Err(log)
        }
    }
}

impl Place {
    fn new(config: Config) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("loki-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = match config {
            Config::Shipped => Path::new(env!("CARGO_MANIFEST_DIR")).join("loki/loki.yaml"),
            Config::Stock => {
                let file = directory.join("stock.yaml");
                std::fs::write(&file, STOCK).unwrap();
                file
            }
        };
        Self { directory, config, arguments: Vec::new(), http: free_port(), grpc: free_port() }
    }

    /// Starts a Loki here and waits until it answers: the guard's stdin, or the end of Loki's log.
    fn launch(&self, binary: &Path) -> Result<ChildStdin, String> {
        let data = self.directory.display();
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&self.directory)
            .arg(binary)
            .arg(format!("-config.file={}", self.config.display()))
            .arg(format!("-common.path-prefix={data}"))
            .arg(format!("-common.storage.filesystem.chunk-directory={data}/chunks"))
            .arg(format!("-common.storage.filesystem.rules-directory={data}/rules"))
            .arg("-server.http-listen-address=127.0.0.1")
            .arg(format!("-server.http-listen-port={}", self.http.port()))
            .arg("-server.grpc-listen-address=127.0.0.1")
            .arg(format!("-server.grpc-listen-port={}", self.grpc.port()))
            // Tests need not wait for other ingesters, nor 10 s for the second look at the scheduler.
            .arg("-ingester.min-ready-duration=0s")
            .arg("-frontend.scheduler-dns-lookup-period=1s")
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is at hand");
        let stdin = guard.stdin.take().expect("stdin is piped");
        wait_until_ready(self.http, &mut guard).map(|()| stdin).map_err(|why| {
            let log = std::fs::read_to_string(self.directory.join("loki.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("{}\n({why})", lines[lines.len().saturating_sub(30)..].join("\n"))
        })
    }
}

fn wait_until_ready(address: SocketAddr, guard: &mut Child) -> Result<(), &'static str> {
    let start = Instant::now();
    while start.elapsed() < START_TIMEOUT {
        if guard.try_wait().is_ok_and(|status| status.is_some()) {
            return Err("it ended");
        }
        if is_ready(address).unwrap_or(false) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("it was not ready in time")
}

/// `GET /ready` by hand, because starting is not async.
fn is_ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback has a free port")
}

/// `$LOKI_BIN`, else `loki` on the path, else the pinned one, built where the target directory is.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LOKI_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "LOKI_BIN is {}, which is no file", path.display());
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("loki")).find(|file| file.is_file());
    on_path.unwrap_or_else(built)
}

/// The pinned Loki; `tests/run.sh` has built it before the tests. The name carries the pin, so that a new one is built.
fn built() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let file = target.join("loki").join(format!("loki-{}", pinned_version(include_str!("../loki/go.mod"))));
    if !file.is_file() {
        std::fs::create_dir_all(target.join("loki")).unwrap();
        let lock = File::create(target.join("loki/lock")).unwrap();
        lock.lock().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loki/build.sh");
        let status = Command::new("bash").arg(script).arg(&file).status().expect("bash is at hand");
        assert!(
            status.success(),
            "the tests need a Loki: set LOKI_URL or LOKI_BIN, put loki on the PATH, or install Go so that \
             tests/loki/build.sh can build one"
        );
    }
    file
}

/// `3.7.8` of `github.com/grafana/loki/v3 v3.7.8`.
pub(crate) fn pinned_version(go_mod: &str) -> &str {
    let mut words = go_mod.split_whitespace().skip_while(|word| *word != "github.com/grafana/loki/v3");
    words.nth(1).and_then(|version| version.strip_prefix('v')).expect("go.mod requires Loki")
}
