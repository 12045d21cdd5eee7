//! What `run` makes of runners in unusual situations: no reports, reports written again, tests of one name, harnesses of others.

use serde_json::Value;

use crate::binary::{Done, Scratch};
use crate::runners::{run_it, scratch_of};

/// Entries that a command through testwire gives, without a Loki.
fn entries(scratch: &Scratch, more: &[&str], command: &[&str]) -> (Vec<Value>, Done) {
    let typed = [&["run", "--output=ndjson", "--quiet"], more, &["--"], command].concat();
    let done = run_it(scratch.testwire(typed).env("PERL5LIB", scratch.work().join("lib")));
    let out = done.out();
    let lines = out.lines().filter(|line| line.starts_with("{\"labels\""));
    (lines.map(|line| serde_json::from_str(line).unwrap()).collect(), done)
}

/// The status of the run, and counters of its end.
fn end_of(scratch: &Scratch, more: &[&str], command: &[&str], counters: &[&str]) -> String {
    let (entries, done) = entries(scratch, more, command);
    let end = entries.iter().rfind(|entry| entry["labels"]["kind"] == "run");
    let end = end.unwrap_or_else(|| panic!("{}\n{}", done.out(), done.err()));
    let of = |name: &&str| format!(" {name} {}", end["metadata"][*name].as_str().unwrap_or("0"));
    format!("{}{}", end["labels"]["status"].as_str().unwrap(), counters.iter().map(of).collect::<String>())
}

#[test]
fn a_build_that_writes_no_report_ends_as_its_exit_code_says() {
    let scratch = Scratch::new();
    for (code, status) in [(0, "passed"), (1, "failed")] {
        scratch.add("mvnw", &format!("echo '[INFO] nothing to test'\nexit {code}\n"));
        let end = end_of(&scratch, &[], &["sh", "./mvnw", "package"], &["done"]);
        assert_eq!(end, format!("{status} done 0"));
    }
}

#[test]
fn a_report_that_surefire_writes_again_gives_attempts_and_no_new_tests() {
    let report = |slip: &str| {
        format!(
            "<?xml version=\"1.0\"?>\n<testsuite name=\"p.SlipTest\">\n<testcase name=\"steady\" classname=\"p.SlipTest\"/>\n\
             <testcase name=\"slip\" classname=\"p.SlipTest\">{slip}</testcase>\n</testsuite>\n"
        )
    };
    let scratch = Scratch::new();
    scratch.add("first.xml", &report("<failure message=\"no\"/>"));
    scratch.add("second.xml", &report("<flakyFailure message=\"no\"/>"));
    // It goes on once the first version has been taken, which testwire says nowhere: so it waits for the event file to grow.
    let script = "mkdir -p target/surefire-reports\ncp first.xml target/surefire-reports/TEST-p.SlipTest.xml\n\
                  until grep -rqs 'message=\"no\"' \"$STATE\"/events; do sleep 0.1; done\n\
                  cp second.xml target/surefire-reports/TEST-p.SlipTest.xml\nexit 0\n";
    scratch.add("mvnw", &script.replace("$STATE", scratch.state().to_str().unwrap()));
    let end = end_of(&scratch, &[], &["sh", "./mvnw", "test"], &["done", "passed", "failed", "flaky", "retried"]);
    assert_eq!(end, "passed done 2 passed 2 failed 0 flaky 1 retried 1");
}

#[test]
fn jest_tests_of_one_title_are_several_and_a_retry_of_one_is_none_of_another() {
    let scratch = scratch_of("js/jest");
    let same = "jest.retryTimes(1);\nlet failed = false;\ntest.each([1, 2, 3])('adds', (n) => {\n  \
                if (n === 1 && !failed) {\n    failed = true;\n    throw new Error('once');\n  }\n});\n\
                test.each([1, 2])('later', () => {});\ntest.skip.each([1, 2])('never', () => {});\n";
    scratch.add("__tests__/same.test.js", same);
    let counters = ["done", "passed", "failed", "skipped", "flaky", "retried", "unfinished"];
    let end = end_of(&scratch, &[], &["npx", "jest", "same.test.js"], &counters);
    assert_eq!(end, "passed done 7 passed 5 failed 0 skipped 2 flaky 1 retried 1 unfinished 0");
}

#[test]
fn a_harness_of_prove_may_inherit_what_the_plugin_wraps() {
    let scratch = scratch_of("prove");
    std::fs::create_dir(scratch.work().join("lib")).unwrap();
    scratch.add("lib/Heir.pm", "package Heir;\nuse parent 'TAP::Harness';\n1;\n");
    let counters = ["done", "passed", "failed", "skipped", "xfailed"];
    let end = end_of(&scratch, &[], &["prove", "--harness", "Heir"], &counters);
    assert_eq!(end, "failed done 8 passed 5 failed 1 skipped 1 xfailed 1");
}

#[test]
fn times_without_a_zone_are_read_as_the_setting_says_in_what_a_command_prints() {
    let scratch = Scratch::new();
    // Messages as teamcity-messages writes them.
    let message = |kind: &str| format!("##teamcity[{kind} timestamp='2026-11-20T10:00:00.000' flowId='t' name='t']\n");
    scratch.add("messages", &["testStarted", "testFinished"].map(message).concat());
    let (entries, done) = entries(&scratch, &["--timezone", "+02:00"], &["cat", "messages"]);
    let end = entries.iter().find(|entry| entry["labels"]["kind"] == "test" && entry["labels"]["status"] == "passed");
    let end = end.unwrap_or_else(|| panic!("{}\n{}", done.out(), done.err()));
    // 08:00 in UTC; the last digits are the entry's number.
    assert!(end["timestamp"].as_str().unwrap().starts_with("1795161600000000"), "{end}");
}
