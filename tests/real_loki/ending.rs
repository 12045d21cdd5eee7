//! Runs that do not come to their end: the runner is killed or told to stop, or testwire dies.
//!
//! A test is added to each sample project that says in a file that it runs, and then waits, so that there is a half way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::binary::{Done, Scratch, Started, kill, start, text_of, until};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::{now, unique_project, wait_for};
use crate::recorded::Recorded;

/// Longest wait of the test that waits, in seconds: an end that nobody meets must not let the tests hang. A busy machine may take
/// some seconds to bring a signal there.
const PAUSE: &str = "12";

/// Tests of the package that is added.
const GO_PAUSE: &str = "example.test/store/pause.";
/// No test's name begins with it.
const NONE: &str = "\n";

/// A sample project with a test that waits.
struct Paused {
    sample: &'static str,
    argv: &'static [&'static str],
    /// Id of the test that waits.
    waiting: &'static str,
    /// Where that test goes.
    file: &'static str,
    source: &'static str,
}

const ROBOT: Paused = Paused {
    sample: "robot",
    argv: &["robot", "--output", "NONE", "--log", "NONE", "--report", "NONE", "store"],
    waiting: "Store.Pause.Waits",
    // Between the 40 tests of the catalog and the 80 of the orders.
    file: "store/02__pause.robot",
    source: "*** Settings ***\nLibrary    OperatingSystem\n\n*** Test Cases ***\nWaits\n    Create File    %{MARK}    here\\n\n    Sleep    %{PAUSE} s\n",
};

const PYTEST: Paused = Paused {
    sample: "pytest",
    argv: &["pytest", "-n", "2"],
    waiting: "test_m_pause.py::test_waits",
    // In the middle of the alphabet.
    file: "test_m_pause.py",
    source: "import os, pathlib, time\n\ndef test_waits():\n    pathlib.Path(os.environ['MARK']).write_text('here\\n')\n    time.sleep(float(os.environ['PAUSE']))\n",
};

const GO: Paused = Paused {
    sample: "go",
    // One package after the other: broken, cart, pause, and then nothing any more.
    argv: &["go", "test", "-json", "-count=1", "-p=1", "./..."],
    waiting: "example.test/store/pause.TestWaits",
    file: "pause/pause_test.go",
    // It ends when its parent, go, does, so that nothing is left behind.
    source: "package pause\n\nimport (\n\t\"os\"\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestBefore(t *testing.T) {}\n\n\
             func TestWaits(t *testing.T) {\n\tos.WriteFile(os.Getenv(\"MARK\"), []byte(\"here\\n\"), 0o600)\n\
             \tpause, _ := time.ParseDuration(os.Getenv(\"PAUSE\") + \"s\")\n\
             \tfor end, parent := time.Now().Add(pause), os.Getppid(); time.Now().Before(end) && os.Getppid() == parent; {\n\
             \t\ttime.Sleep(20 * time.Millisecond)\n\t}\n}\n\nfunc TestAfter(t *testing.T) {}\n",
};

impl Paused {
    fn scratch(&self) -> Scratch {
        let scratch = Scratch::with_project(self.sample);
        scratch.add(self.file, self.source);
        scratch
    }

    /// Starts it, and returns when the test that waits runs.
    fn start(scratch: &Scratch, command: Command) -> Started {
        let mark = scratch.work().join("mark");
        fs::remove_file(&mark).ok();
        let mut command = Scratch::with_runners(command);
        let started = start(command.env("MARK", &mark).env("PAUSE", PAUSE));
        text_of(&mark);
        started
    }

    fn start_bare(&self, scratch: &Scratch) -> Started {
        let mut command = scratch.command(self.argv[0]);
        command.args(&self.argv[1..]);
        Self::start(scratch, command)
    }

    fn start_wrapped(&self, scratch: &Scratch, project: &str) -> Started {
        let typed = ["run", "--loki-url", Loki::get().url(), "--project", project, "--run-id", self.sample, "--"];
        Self::start(scratch, scratch.testwire(typed.iter().chain(self.argv)))
    }

    /// The ends of tests that Loki has of the run agree with the truth; nothing is lost, and nothing counted twice.
    /// Tests whose names begin with `except` are not in the truth.
    async fn assert_rest_is_right(&self, project: &str, except: &str) -> Recorded {
        let loki = Loki::get();
        let recorded = Recorded::read(loki, project, self.sample).await;
        recorded.assert_whole(loki).await;
        recorded.assert_counts_agree();
        let truth = Truth::of(self.sample);
        for (test, status) in recorded.statuses() {
            if status != "unfinished" && test != self.waiting && !test.starts_with(except) {
                assert_eq!(status, truth.status(&test), "{test}");
            }
        }
        recorded
    }
}

/// The command that testwire wraps: its only child.
fn child_of(id: u32) -> u32 {
    until("testwire has a child", || {
        // Children are listed with the thread that started them.
        let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
        lists.collect::<String>().split_whitespace().next()?.parse().ok()
    })
}

/// Kills the wrapped runner in the middle of the run.
async fn killed(paused: &Paused) -> Recorded {
    let project = unique_project("killed");
    let scratch = paused.scratch();
    let started = paused.start_wrapped(&scratch, &project);
    // A runner that tells of tests on its standard output may not have passed on yet that this one runs.
    let begun =
        format!("{{service_name=\"{project}\", kind=\"test\", status=\"started\"}} | test=`{}`", paused.waiting);
    wait_for("the start of the test that waits", Duration::from_secs(30), || async {
        let rows = Loki::get().query_range(&begun, now() - 600_000_000_000, now() + 1_000_000_000, 1).await;
        (!rows.is_empty()).then_some(())
    })
    .await;
    kill(child_of(started.id()), "KILL");
    let done = started.wait();
    assert_eq!(done.code, 137, "{}", done.err());
    assert!(done.err().contains("testwire: ABORTED"), "{}", done.err());

    let recorded = paused.assert_rest_is_right(&project, GO_PAUSE).await;
    let end = recorded.end();
    assert_eq!((end.get("status"), end.get("level")), ("aborted", "error"), "{end:?}");
    assert!(end.line.contains("killed by signal 9"), "{}", end.line);
    let statuses = recorded.statuses();
    assert_eq!(statuses[paused.waiting], "unfinished");
    let unfinished = recorded.of("test").find(|row| row.get("status") == "unfinished").unwrap();
    assert_eq!(unfinished.get("message"), "the runner was killed by signal 9");

    let (never_ran, names) = recorded.never_ran();
    assert_eq!(end.number("done") + end.number("unfinished") + never_ran, end.number("planned"));
    let seen: BTreeSet<_> = statuses.into_keys().collect();
    assert!(names.is_disjoint(&seen), "{:?}", names.intersection(&seen));
    assert_eq!(names.len() as u64, never_ran.min(100), "the first hundred are named");
    recorded
}

#[tokio::test]
async fn a_killed_robot_leaves_an_aborted_run_with_the_rest_counted_right() {
    let recorded = killed(&ROBOT).await;
    let end = recorded.end();
    let counts = ["planned", "passed", "failed", "skipped", "unfinished"].map(|counter| end.number(counter));
    assert_eq!(counts, [121, 34, 4, 2, 1], "the catalog, and the test that waits");
    assert_eq!(recorded.never_ran().0, 80, "the orders");
}

#[tokio::test]
async fn a_killed_pytest_leaves_an_aborted_run_with_the_rest_counted_right() {
    let recorded = killed(&PYTEST).await;
    assert_eq!(recorded.end().number("planned"), 121);
    assert!(
        recorded.end().number("done") > 0 && recorded.never_ran().0 > 0,
        "it was half way: {}",
        recorded.end().line
    );
}

#[tokio::test]
async fn a_killed_go_test_leaves_an_aborted_run_with_the_rest_counted_right() {
    let recorded = killed(&GO).await;
    let statuses = recorded.statuses();
    assert!(statuses["example.test/store/cart.TestSum"] == "passed", "cart is over: {statuses:?}");
    assert!(!statuses.contains_key("example.test/store/price.TestSkips"), "price has not begun: {statuses:?}");
    assert_eq!(recorded.end().number("unfinished"), 1);
}

/// Sends a signal to the bare command and to testwire, both in the middle of the run: both end alike.
async fn signalled(paused: &Paused, signal: &str, except: &str) -> (Done, Recorded) {
    let project = unique_project("signalled");
    let (ours, theirs) = (paused.scratch(), paused.scratch());
    let stop = |started: Started| {
        started.signal(signal);
        started.wait()
    };
    let (bare, wrapped) = std::thread::scope(|scope| {
        let bare = scope.spawn(|| stop(paused.start_bare(&theirs)));
        let wrapped = scope.spawn(|| stop(paused.start_wrapped(&ours, &project)));
        (bare.join().unwrap(), wrapped.join().unwrap())
    });
    assert_eq!(wrapped.code, bare.code, "after {signal}: {}\nbare: {}", wrapped.err(), bare.err());
    (wrapped, paused.assert_rest_is_right(&project, except).await)
}

#[tokio::test]
async fn ctrl_c_and_termination_reach_robot_which_ends_as_it_does_without_testwire() {
    for signal in ["INT", "TERM"] {
        // Robot fails those that are left.
        let (done, recorded) = signalled(&ROBOT, signal, "Store.Orders.").await;
        let end = recorded.end();
        assert_eq!(end.number("done"), 121, "{}", end.line);
        assert_eq!(done.code.to_string(), end.get("exit_code"));
        assert_ne!(end.get("status"), "passed");
    }
}

#[tokio::test]
async fn ctrl_c_and_termination_reach_pytest_which_ends_as_it_does_without_testwire() {
    let (done, recorded) = signalled(&PYTEST, "INT", NONE).await;
    assert_eq!((done.code, recorded.end().get("status")), (2, "aborted"));
    // xdist lets its workers end their tests, but not for long.
    let waiting = &recorded.statuses()[PYTEST.waiting];
    assert!(["unfinished", "passed"].contains(&waiting.as_str()), "{waiting}");
    let (done, recorded) = signalled(&PYTEST, "TERM", NONE).await;
    assert_eq!((done.code, recorded.end().get("status")), (143, "aborted"));
    assert_eq!(recorded.statuses()[PYTEST.waiting], "unfinished");
}

#[tokio::test]
async fn ctrl_c_and_termination_reach_go_test_which_ends_as_it_does_without_testwire() {
    for signal in ["INT", "TERM"] {
        let (_, recorded) = signalled(&GO, signal, GO_PAUSE).await;
        assert_ne!(recorded.end().get("status"), "passed");
    }
}

#[test]
fn pytest_comes_to_its_own_end_when_testwire_is_killed() {
    let scratch = PYTEST.scratch();
    let script = "pytest -n 2; echo $? > code";
    let project = unique_project("orphan");
    let typed = ["run", "--loki-url", Loki::get().url(), "--project", &project, "--", "sh", "-c", script];
    let mut command = Scratch::with_runners(scratch.testwire(typed));
    let mark = scratch.work().join("mark");
    let started = start(command.env("MARK", &mark).env("PAUSE", "1"));
    text_of(&mark);
    started.signal("KILL");
    let code = text_of(&scratch.work().join("code"));
    let done = started.wait();
    assert_eq!((done.code, code.trim()), (137, Truth::of("pytest").exit_code.to_string().as_str()));
    // 98 passed without the test that waits, and the whole summary is there.
    assert!(done.out().contains("9 failed, 99 passed, 4 skipped, 5 xfailed, 1 xpassed"), "{}", done.out());
    // What happened after testwire's death waits in the event file for the next one.
    let events = event_file(&scratch.state()).expect("there is an event file");
    let events = fs::read_to_string(events).unwrap();
    assert!(events.lines().last().is_some_and(|line| line.contains("SessionFinish")), "{events}");
}

/// The first file with events of pytest's plugin below a directory.
fn event_file(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return event_file(&path);
        }
        fs::read_to_string(&path)
            .is_ok_and(|text| text.contains("\"$report_type\"") && text.starts_with('{'))
            .then_some(path)
    })
}
