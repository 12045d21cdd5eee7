//! The three sample projects, each run once through testwire into the real Loki and once without it. All tests share them.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::{Done, Scratch, run};
use crate::loki::Loki;
use crate::projects::{Reported, Truth, go_report, junit_report, robot_report};
use crate::query::unique_project;

/// A project, run twice.
pub(crate) struct SampleRun {
    /// Also the run's id.
    pub(crate) runner: &'static str,
    pub(crate) truth: Truth,
    /// Through testwire.
    pub(crate) wrapped: Done,
    /// How long that took, testwire's own start and end included.
    pub(crate) took: Duration,
    /// The same command without testwire.
    pub(crate) bare: Done,
    /// The runner's own report of the run through testwire.
    pub(crate) report: Reported,
    pub(crate) bare_report: Reported,
}

/// The three of them, in one project of Loki's.
pub(crate) struct SampleRuns {
    pub(crate) project: String,
    pub(crate) robot: SampleRun,
    pub(crate) pytest: SampleRun,
    pub(crate) go: SampleRun,
}

/// Runs them, the first time.
pub(crate) fn sample_runs() -> &'static SampleRuns {
    static RUNS: OnceLock<SampleRuns> = OnceLock::new();
    RUNS.get_or_init(|| {
        let project = unique_project("samples");
        thread::scope(|scope| {
            let robot = scope.spawn(|| robot(&project));
            let pytest = scope.spawn(|| pytest(&project));
            let go = scope.spawn(|| go(&project));
            let (robot, pytest, go) = (robot.join().unwrap(), pytest.join().unwrap(), go.join().unwrap());
            SampleRuns { robot, pytest, go, project: project.clone() }
        })
    })
}

/// Runs `argv` through testwire and without it, both in a copy of the project; `report` reads what the runner reported.
fn twice(
    project: &str,
    runner: &'static str,
    sample: &str,
    argv: &[&str],
    report: impl Fn(&Scratch, &Done) -> Reported,
) -> SampleRun {
    let scratch = Scratch::with_project(sample);
    let typed = ["run", "--loki-url", Loki::get().url(), "--project", project, "--run-id", runner];
    let typed = typed.iter().chain(&["--attr", "team=till", "--drain-timeout", "60s", "--"]).chain(argv);
    scratch.add(".git/HEAD", "ref: refs/heads/trunk\n");
    let begun = Instant::now();
    let wrapped = run(&mut Scratch::with_runners(scratch.testwire(typed)), b"");
    let took = begun.elapsed();
    let truth = Truth::of(sample);
    assert_eq!(wrapped.code, truth.exit_code, "{}\n{}", wrapped.out(), wrapped.err());
    let own = report(&scratch, &wrapped);
    let mut bare = scratch.command(argv[0]);
    bare.args(&argv[1..]);
    let bare = run(&mut Scratch::with_runners(bare), b"");
    let bare_report = report(&scratch, &bare);
    SampleRun { runner, truth, wrapped, took, bare, report: own, bare_report }
}

fn robot(project: &str) -> SampleRun {
    let report = |scratch: &Scratch, _: &Done| robot_report(&scratch.work().join("out/output.xml"));
    twice(project, "robot", "robot", &["robot", "--outputdir", "out", "store"], report)
}

fn pytest(project: &str) -> SampleRun {
    let report = |scratch: &Scratch, _: &Done| junit_report(&scratch.work().join("junit.xml"));
    twice(project, "pytest", "pytest", &["pytest", "-n", "2", "--junitxml", "junit.xml"], report)
}

fn go(project: &str) -> SampleRun {
    let report = |_: &Scratch, done: &Done| go_report(&done.stdout);
    twice(project, "gotest", "go", &["go", "test", "-json", "-count=1", "./..."], report)
}
