//! Clients of other systems against `testwire listen` and the real Loki: as they are on PyPI, and two of our own that keep
//! to the letter of what is known of clients that cannot be installed.

mod harm;
mod loader;
mod own;
mod realtime;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::binary::{Done, Scratch, Started, run, start_as_set, until};
use crate::loki::Loki;
use crate::query::{Row, now, wait_for};
use crate::recorded::Recorded;

/// How long Loki may take to show what it was sent.
const SOON: Duration = Duration::from_secs(30);

/// What `tests/run.sh` has installed from `tests/requirements-clients*.txt`: `$TESTWIRE_TEST_CLIENTS`, else in the target
/// directory.
fn installed() -> PathBuf {
    let made =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory").join("clients");
    let directory = std::env::var_os("TESTWIRE_TEST_CLIENTS").map_or(made, PathBuf::from);
    let hint = "bash tests/run.sh installs the clients of tests/requirements-clients.txt; or name the place in TESTWIRE_TEST_CLIENTS";
    assert!(
        directory.join("venv/bin/nose2").is_file() && directory.join("robot6").is_dir(),
        "{}: {hint}",
        directory.display()
    );
    directory
}

/// A client, or a runner that loads one, as a person starts it.
fn client<A: AsRef<OsStr>>(scratch: &Scratch, program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let programs = installed().join("venv/bin");
    let mut command = scratch.command(programs.join(program));
    let mut path = programs.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.env("PATH", path).args(arguments);
    command
}

/// A daemon that ships to Loki; its state is that of the scratch.
struct Listening<'s> {
    scratch: &'s Scratch,
    started: Started,
    /// `127.0.0.1:41234`
    address: String,
}

impl<'s> Listening<'s> {
    fn start(scratch: &'s Scratch, loki_url: &str, project: &str) -> Self {
        Self::start_at(scratch, loki_url, project, "127.0.0.1:0")
    }

    fn start_at(scratch: &'s Scratch, loki_url: &str, project: &str, address: &str) -> Self {
        // Read until it says where it listens; nobody need read on.
        let said = scratch.state().with_extension("listen");
        let typed = ["listen", "--listen", address, "--loki-url", loki_url, "--project", project, "--timezone", "UTC"];
        let mut command = scratch.testwire(typed);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let started = start_as_set(&mut command);
        let address = until("the daemon listens", || {
            let text = fs::read_to_string(&said).unwrap();
            let (line, _) = text.split_once('\n')?;
            Some(line.strip_prefix("testwire: listening on http://").unwrap_or_else(|| panic!("{text}")).to_owned())
        });
        Self { scratch, started, address }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    /// Stops it as a service manager does. What it said on standard error.
    fn stop(self) -> String {
        self.started.signal("TERM");
        let done = self.started.wait();
        let said = fs::read_to_string(self.scratch.state().with_extension("listen")).unwrap();
        assert_eq!(done.code, 0, "{said}");
        said
    }

    /// SIGKILL.
    fn kill(self) {
        self.started.signal("KILL");
        self.started.wait();
    }
}

/// End entries of a project's runs, when there are `count` of them.
async fn ends(loki: &Loki, project: &str, count: usize) -> Vec<Row> {
    let expr = format!("{{service_name=\"{project}\", kind=\"run\", status!=\"started\"}}");
    wait_for(&format!("{count} ends of runs of {project}"), SOON, || async {
        let rows = loki.query_range(&expr, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
        (rows.len() >= count).then_some(rows)
    })
    .await
}

/// The only run of a project: all of it is in Loki once, and its counters are what its tests add up to.
async fn only_run(scratch: &Scratch, loki: &Loki, project: &str) -> Recorded {
    let ends = ends(loki, project, 1).await;
    assert_eq!(ends.len(), 1, "runs of {project}");
    let run_id = ends[0].get("run_id");
    let recorded = Recorded::read(loki, project, run_id).await;
    recorded.assert_whole(loki).await;
    recorded.assert_counts_agree();
    audit(scratch, loki, project, run_id);
    recorded
}

/// `testwire audit` finds nothing missing and nothing doubled.
fn audit(scratch: &Scratch, loki: &Loki, project: &str, run_id: &str) {
    let audit = run(&mut scratch.testwire(["audit", "--project", project, "--loki-url", loki.url(), run_id]), b"");
    assert!(audit.code == 0 && audit.out().contains(" 0 missing, 0 doubled"), "{}{}", audit.out(), audit.err());
}

/// `passed/failed/errored/skipped/xfailed of planned`.
fn counts(end: &Row) -> String {
    let n = |name| end.number(name);
    let (passed, failed, errored) = (n("passed"), n("failed"), n("errored"));
    format!("{passed}/{failed}/{errored}/{}/{} of {}", n("skipped"), n("xfailed"), n("planned"))
}

/// What a person sees of a run, without how long it took.
fn shown(done: &Done) -> (i32, String, String) {
    let timeless = |text: &str| {
        let is_time = |word: &&str| {
            let number = word.strip_suffix('s').unwrap_or_default();
            number.contains('.') && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        let line = |line: &str| line.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    (done.code, timeless(&done.out()), timeless(&done.err()))
}
