//! Runners that `run` makes speak by bundled reporters, or whose lines it reads: exit code, output and results are the runner's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::binary::{Done, Scratch, run, start};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::{Row, now, unique_project, wait_for};
use crate::recorded::Recorded;
use crate::unchanging::err_of_command;

/// `node_modules` with the runners of `tests/projects/js/package.json`: below `$TESTWIRE_TEST_NODE`, else what `tests/run.sh` has
/// made.
fn node_modules() -> PathBuf {
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory").join("js");
    let directory = std::env::var_os("TESTWIRE_TEST_NODE").map_or(made, PathBuf::from).join("node_modules");
    let hint = "bash tests/run.sh installs the runners of tests/projects/js; or name a directory in TESTWIRE_TEST_NODE";
    assert!(directory.join("jest").is_dir(), "{}: {hint}", directory.display());
    directory
}

/// A copy of a sample project, with the runners where Node finds them.
pub(super) fn scratch_of(sample: &str) -> Scratch {
    let scratch = Scratch::with_project(sample);
    if sample.starts_with("js/") {
        std::os::unix::fs::symlink(node_modules(), scratch.work().join("node_modules")).unwrap();
    }
    scratch
}

/// Runs a command with what the sample projects need.
pub(super) fn run_it(command: &mut Command) -> Done {
    let out = if command.get_program() == "script" { "xterm" } else { "dumb" };
    let cargo = std::env::var_os("CARGO_HOME").map(|home| ("CARGO_HOME", home));
    let rustup = std::env::var_os("RUSTUP_HOME").map(|home| ("RUSTUP_HOME", home));
    command.envs(cargo.into_iter().chain(rustup)).env("SHELL", "/bin/sh").env("RUST_BACKTRACE", "0");
    run(command.env("TERM", out), b"")
}

/// Times, process numbers and places differ from run to run; jest guesses from the last one how long this one takes.
fn numberless(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut rest = line.split_once(", estimated").map_or(line, |(before, _)| before);
        let cut = rest.len() < line.len();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, number) = rest.split_at(at);
            out.push_str(before);
            out.push('N');
            rest = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            rest = rest.strip_prefix("ms").or_else(|| rest.strip_prefix('s')).unwrap_or(rest);
        }
        out.push_str(rest);
        out.push_str(if cut { "\n" } else { "" });
    }
    // Where durations are shown by colour or not at all.
    out.replace("\x1b[31m (N)\x1b[0m", "").replace("\x1b[33m (N)\x1b[0m", "").replace(" (N)", "").replace(" (N s)", "")
}

/// The sample's run through testwire is, but for numbers, the run without it; and what is in Loki is the sample's truth, which the
/// runner prints itself.
async fn assert_same_and_true(sample: &str, argv: &[&str]) -> Recorded {
    let (loki, project, scratch) = (Loki::get(), unique_project("runners"), scratch_of(sample));
    let mut bare = scratch.command(argv[0]);
    // The first run fills caches, whose messages the second one would not have.
    run_it(bare.args(&argv[1..]));
    let mut bare = scratch.command(argv[0]);
    let bare = run_it(bare.args(&argv[1..]));
    let typed =
        ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "r", "--drain-timeout", "60s", "--"];
    let wrapped = run_it(&mut scratch.testwire(typed.iter().chain(argv)));
    let truth = Truth::of(sample);
    assert_eq!((wrapped.code, bare.code), (truth.exit_code, truth.exit_code), "{}\n{}", wrapped.out(), wrapped.err());
    // Jest begins with the files that failed last time or took longest, so the order of files is not always the same.
    let printed = |text: &str| {
        let mut lines: Vec<_> = numberless(text).lines().map(str::to_owned).collect();
        if sample == "js/jest" {
            lines.sort_unstable();
        }
        lines
    };
    assert_eq!(printed(&wrapped.out()), printed(&bare.out()));
    assert_eq!(printed(&err_of_command(&wrapped)), printed(&bare.err()));
    let says = |done: &Done| done.out().contains(&truth.says) || done.err().contains(&truth.says);
    assert!(says(&bare), "{} is not in {}\n{}", truth.says, bare.out(), bare.err());

    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    if sample != "cargo" {
        // There, a failed test has two ends: the second one says why.
        recorded.assert_counts_agree();
    }
    let end = recorded.end();
    for (counter, count) in truth.counters() {
        // A test that is left open was planned too, where its runner says what it plans.
        let count = if counter == "planned" { count + truth.unfinished + truth.kept_from_running } else { count };
        assert_eq!(end.number(counter), count, "{counter}");
    }
    assert_eq!(recorded.named(&["failed", "errored"]), truth.failing);
    for (test, status) in recorded.statuses() {
        if status != "unfinished" {
            assert_eq!(status, truth.status(&test), "{test}");
        }
    }
    for test in &truth.flaky_tests {
        assert!(recorded.attempts()[test].last().unwrap().flaky, "{test}");
    }
    recorded
}

/// Lines that are known to come from a test.
fn lines_of<'a>(recorded: &'a Recorded, test: &str) -> Vec<&'a str> {
    recorded.of("log").filter(|row| row.get("test") == test).map(|row| row.line.as_str()).collect()
}

#[tokio::test]
async fn jest_is_itself_with_its_own_reporters_kept() {
    let recorded = assert_same_and_true("js/jest", &["npm", "-s", "test"]).await;
    let broken: Vec<_> = recorded.of("suite").filter(|row| row.line.contains("no-such-module")).collect();
    assert_eq!(broken[0].get("suite"), "__tests__/c_broken.test.js");
}

#[tokio::test]
async fn vitest_is_itself_with_its_own_reporters_kept() {
    let recorded = assert_same_and_true("js/vitest", &["npm", "-s", "test"]).await;
    assert_eq!(lines_of(&recorded, "test/a_till.test.js > opens"), ["drawer opens"]);
    assert!(
        recorded.of("suite").any(|row| row.line.contains("no-such-file")),
        "the file that cannot be loaded has failed"
    );
}

#[tokio::test]
async fn mocha_is_itself_with_the_reporter_of_its_user() {
    assert_same_and_true("js/mocha", &["npm", "-s", "test"]).await;
}

#[tokio::test]
async fn mocha_in_parallel_tells_the_same() {
    let (loki, project, scratch) = (Loki::get(), unique_project("runners"), scratch_of("js/mocha"));
    let typed = ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "r", "--"];
    let command = ["node_modules/.bin/mocha", "--parallel", "test"];
    let wrapped = run_it(&mut scratch.testwire(typed.iter().chain(&command)));
    let truth = Truth::of("js/mocha");
    assert_eq!(wrapped.code, truth.exit_code, "{}", wrapped.out());
    let recorded = Recorded::read(loki, &project, "r").await;
    assert_eq!(recorded.named(&["failed"]), truth.failing);
    assert_eq!((recorded.end().number("done"), recorded.end().number("flaky")), (truth.tests, truth.flaky));
}

#[tokio::test]
async fn playwright_is_itself_with_its_own_reporters_kept() {
    let recorded = assert_same_and_true("js/playwright", &["npm", "-s", "test"]).await;
    assert_eq!(lines_of(&recorded, "south > gate.spec.js > gate 1"), ["at south"]);
    assert!(recorded.of("step").any(|row| row.line.contains("tank")));
    let tagged = recorded.of("test").filter(|row| row.get("tags") == ",fuel,").count();
    assert!(tagged >= 2, "starts and ends have the tag: {tagged}");
}

#[tokio::test]
async fn cucumber_is_itself_with_its_own_formats_kept() {
    let recorded = assert_same_and_true("js/cucumber", &["npm", "-s", "test"]).await;
    assert_eq!(lines_of(&recorded, "features/till.feature:4"), ["a till"]);
    assert!(recorded.of("step").any(|row| row.line.contains("it takes 3")));
}

#[tokio::test]
async fn node_test_is_itself_with_the_default_reporter() {
    let recorded = assert_same_and_true("js/node", &["npm", "-s", "test"]).await;
    assert_eq!(recorded.named(&["unfinished"]).into_iter().collect::<Vec<_>>(), ["kills its process"]);
}

#[tokio::test]
async fn node_test_is_itself_with_a_reporter_that_its_user_names() {
    let scratch = scratch_of("js/node");
    for more in [&["--test-reporter=spec"][..], &["--test-reporter=dot", "--test-reporter-destination=stderr"]] {
        let argv: Vec<_> = ["node", "--test"].iter().chain(more).chain(&["test/"]).copied().collect();
        let bare = run_it(scratch.command(argv[0]).args(&argv[1..]));
        let typed = ["run", "--quiet", "--output", "none", "--"];
        let wrapped = run_it(&mut scratch.testwire(typed.iter().chain(&argv)));
        assert_eq!((wrapped.code, bare.code), (1, 1));
        assert_eq!(numberless(&wrapped.out()), numberless(&bare.out()), "{more:?}");
        assert_eq!(numberless(&wrapped.err()), numberless(&bare.err()), "{more:?}");
    }
}

#[tokio::test]
async fn cargo_test_is_itself_and_its_lines_are_its_results() {
    // One thread, because the order of lines is else that of the threads.
    let argv = ["cargo", "test", "--offline", "--no-fail-fast", "--", "--test-threads=1"];
    let recorded = assert_same_and_true("cargo", &argv).await;
    let failed: Vec<_> = recorded
        .of("test")
        .filter(|row| row.get("message") == "assertion `left == right` failed: a coin is missing")
        .collect();
    assert_eq!(failed.len(), 1, "why it failed is told once");
    assert!(lines_of(&recorded, "till::tests::gives_change").contains(&"counting"));
}

#[tokio::test]
async fn unittest_is_itself_and_every_outcome_is_told() {
    let recorded = assert_same_and_true("unittest", &["python", "-m", "unittest", "-v"]).await;
    let closes = recorded.of("test").find(|row| row.get("message") == "AssertionError: it stays open (and 1 more)");
    assert!(closes.is_some_and(|row| row.line.contains("OSError: the key does not turn")), "both failures are there");
}

#[tokio::test]
async fn prove_is_itself_and_its_tests_are_told_as_it_reads_them() {
    let recorded = assert_same_and_true("prove", &["prove"]).await;
    assert!(recorded.of("log").any(|row| row.line == "# closed"));
    assert!(recorded.of("suite").any(|row| row.get("suite") == "t/printer.t" && row.line.contains("no printer")));
}

#[tokio::test]
async fn ctest_is_itself_and_its_lines_are_its_results() {
    let recorded = assert_same_and_true("ctest", &["ctest", "-V"]).await;
    assert_eq!(lines_of(&recorded, "opens").last(), Some(&"the drawer opens"));
}

/// A local repository of Maven with all that the sample project needs: `$TESTWIRE_TEST_MAVEN`, else what `tests/run.sh` has made.
fn maven_repository() -> PathBuf {
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("maven").join("repository");
    let directory = std::env::var_os("TESTWIRE_TEST_MAVEN").map_or(made, PathBuf::from);
    let hint = "bash tests/run.sh fetches JUnit; or name a repository in TESTWIRE_TEST_MAVEN";
    assert!(directory.join("org/junit").is_dir(), "{}: {hint}", directory.display());
    directory
}

#[tokio::test]
async fn maven_is_itself_and_each_test_is_told_as_it_ends() {
    let repository = format!("-Dmaven.repo.local={}", maven_repository().display());
    let recorded =
        assert_same_and_true("maven", &["mvn", "-B", "-o", "-Dstyle.color=never", &repository, "test"]).await;
    let sleeps = |status| {
        let row =
            recorded.of("test").find(|row| row.get("test") == "shop.TillTest::opens" && row.get("status") == status);
        row.expect("it begins and passes").time
    };
    let slept = sleeps("passed") - sleeps("started");
    assert!(slept >= 300_000_000, "the start is told when it starts: {slept} ns");
    let trace = |row: &Row| row.line.contains("no \"receipt\"\n\tpaper") && row.line.contains("TillTest.breaks(");
    assert_eq!(recorded.of("test").filter(|row| trace(row)).count(), 2, "of both attempts");
    assert_eq!(lines_of(&recorded, "shop.TillTest::opens"), ["drawer opens"]);
}

#[tokio::test]
async fn reports_of_maven_and_gradle_are_in_loki_while_the_command_runs() {
    let (loki, project, scratch) = (Loki::get(), unique_project("runners"), Scratch::new());
    let report = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/captures/java/surefire4_rerun.SlipTest.xml");
    // What Maven does: a report as a class ends, and more work after that.
    let script = format!(
        "mkdir -p a/target/surefire-reports\ncp {report} a/target/surefire-reports/TEST-SlipTest.xml\necho '[INFO] done'\n\
         until [ -e seen ]; do sleep 0.1; done\nexit 1\n"
    );
    scratch.add("mvnw", &script);
    let typed = ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "r", "--", "sh", "./mvnw", "test"];
    let started = start(&mut scratch.testwire(typed));
    let tests = format!("{{service_name=\"{project}\", kind=\"test\"}}");
    wait_for("a test of the report, while the command still runs", Duration::from_secs(60), || async {
        let rows = loki.query_range(&tests, now() - 3_600_000_000_000, now() + 1_000_000_000, 1).await;
        (!rows.is_empty()).then_some(())
    })
    .await;
    scratch.add("seen", "");
    let done = started.wait();
    assert_eq!((done.code, done.out().as_str()), (1, "[INFO] done\n"), "{}", done.err());
    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    assert!(recorded.of("log").any(|row| row.line == "[INFO] done"));
    assert!(recorded.end().number("done") > 0);
}

#[test]
fn what_another_command_prints_is_known_by_its_first_event() {
    let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/captures/");
    let scratch = Scratch::new();
    for (capture, counts) in [("gtest/killed.txt", ["2", "2", "2"]), ("node/basic.tap", ["13", "12", "3"])] {
        let typed = |more: &[&str]| {
            let file = format!("{captures}{capture}");
            let command = ["--", "cat", &file];
            run(&mut scratch.testwire([&["run", "--output=ndjson", "--quiet"], more, &command].concat()), b"")
        };
        let end = |done: &Done| -> serde_json::Value {
            let entries = done.out();
            let run_end = entries.lines().rfind(|line| line.contains("\"kind\":\"run\"")).unwrap().to_owned();
            serde_json::from_str(&run_end).unwrap()
        };
        let found = end(&typed(&[]));
        let of = |name: &str| found["metadata"][name].as_str().unwrap_or("0").to_owned();
        assert_eq!([of("passed"), of("failed"), of("skipped")], counts, "{capture}");
        assert_eq!(end(&typed(&["--no-inject"]))["metadata"]["done"], "0", "{capture}");
    }
}

/// The command's bytes on a terminal of `script` (util-linux), without and with testwire.
fn on_a_terminal(scratch: &Scratch, command: &str) -> (Done, Done) {
    let under_script = |line: &str| {
        let line = format!("stty rows 20 cols 60; {line}");
        run_it(scratch.command("script").args(["-qec", &line, "/dev/null"]))
    };
    let testwire = env!("CARGO_BIN_EXE_testwire");
    (under_script(command), under_script(&format!("{testwire} run --quiet --output none -- {command}")))
}

#[test]
fn on_a_terminal_runners_print_what_they_print_there_without_testwire() {
    for (sample, command) in [
        ("js/mocha", "npm -s test"),
        ("js/node", "npm -s test"),
        ("js/cucumber", "npm -s test"),
        ("cargo", "cargo test --offline --no-fail-fast -- --test-threads=1"),
    ] {
        let scratch = scratch_of(sample);
        on_a_terminal(&scratch, command);
        let (bare, wrapped) = on_a_terminal(&scratch, command);
        assert_eq!((wrapped.code, bare.code), (Truth::of(sample).exit_code, Truth::of(sample).exit_code), "{sample}");
        assert!(bare.out().contains("\x1b["), "{sample} has colours on a terminal");
        assert_eq!(numberless(&wrapped.out()), numberless(&bare.out()), "{sample}");
    }
}

#[test]
fn a_program_that_redraws_its_terminal_writes_the_same_bytes_and_sees_the_same_terminal() {
    let scratch = Scratch::new();
    // Size and kind of its streams, a progress line, colours, a screen of its own, both streams in turn.
    scratch.add(
        "draw.sh",
        "stty size <&1; stty size <&2; for n in 0 1 2; do test -t $n && echo $n; done\n\
         printf '10 %%\\r20 %%\\033[K\\r'; printf '\\033[1;32mgreen\\033[0m\\r\\n'\n\
         printf '\\033[?1049h\\033[H\\033[2Jfull\\033[5;5Hscreen\\033[?1049l'\n\
         for n in 1 2 3 4 5 6 7 8; do echo out $n; echo err $n >&2; done; printf 'no end'; exit 3\n",
    );
    let (bare, wrapped) = on_a_terminal(&scratch, "sh draw.sh");
    assert!(bare.out().starts_with("20 60\r\n20 60\r\n0\r\n1\r\n2\r\n"), "{:?}", bare.out());
    assert_eq!((wrapped.code, wrapped.out()), (3, bare.out()));
}

#[test]
fn a_terminal_s_new_size_reaches_the_command() {
    let scratch = Scratch::new();
    scratch.add(
        "wait.sh",
        // The signal comes twice where it came before the size; a shell may run a trap again within itself.
        "exec 3>&1; trap 'size=$(stty size <&3)' WINCH\nstty rows 30 cols 70 </dev/tty\n\
         until [ \"$size\" = '30 70' ]; do sleep 0.05; done; trap '' WINCH; echo $size\n",
    );
    let (bare, wrapped) = on_a_terminal(&scratch, "sh wait.sh");
    assert_eq!((bare.out().as_str(), bare.code), ("30 70\r\n", 0));
    assert_eq!((wrapped.out().as_str(), wrapped.code), ("30 70\r\n", 0));
}
