use super::*;
use crate::event::{Event, Fact};

const PACKAGE: &str = "example.com/p";

/// One fact a line, in short.
fn facts(lines: &[String]) -> Vec<String> {
    let mut decoder = GoTest::default();
    let mut facts = Vec::new();
    let mut keep = |event: Event<'_>| facts.push(short(&event));
    lines.iter().for_each(|line| decoder.line(line.as_bytes(), &mut keep));
    decoder.finish(&mut keep);
    facts
}

fn short(event: &Event<'_>) -> String {
    match &event.fact {
        Fact::TestStarted(start) => format!("start {}{}", start.test.id, if start.repeat { " again" } else { "" }),
        Fact::TestFinished(end) => {
            let tags = if end.tags.is_empty() { String::new() } else { format!(" {:?}", end.tags) };
            let details = end.details.replace('\n', "|");
            format!("{} {} <{}> <{details}>{tags}", end.status.as_str(), end.test.id, end.message)
        }
        Fact::TestPaused(test) => format!("pause {}", test.id),
        Fact::TestResumed(test) => format!("resume {}", test.id),
        Fact::Log(line) => {
            let test = line.test.as_ref().map_or("-", |test| &test.id);
            format!("{} {test}: {}", line.source.as_str(), line.text)
        }
        Fact::SuiteStarted(suite) => format!("suite {}", suite.suite),
        Fact::SuiteFinished(suite) => format!("{} {} <{}>", suite.status.as_str(), suite.suite, suite.message),
        Fact::RunStarted(run) => format!("run {}", run.title),
        Fact::RunFinished(_) => "end".to_owned(),
        other => format!("{other:?}"),
    }
}

fn event(action: &str, test: &str, rest: &str) -> String {
    let test = if test.is_empty() { String::new() } else { format!(",\"Test\":\"{test}\"") };
    format!("{{\"Time\":\"2026-11-20T09:40:53.5Z\",\"Action\":\"{action}\",\"Package\":\"{PACKAGE}\"{test}{rest}}}")
}

fn output(test: &str, text: &str) -> String {
    event("output", test, &format!(",\"Output\":{}", serde_json::to_string(text).unwrap()))
}

/// Message and details of a test `T` that printed these lines and ended so.
fn verdict(action: &str, lines: &[&str]) -> String {
    let mut all = vec![event("run", "T", "")];
    all.extend(lines.iter().map(|line| output("T", &format!("{line}\n"))));
    all.push(event(action, "T", ",\"Elapsed\":0.5"));
    let facts = facts(&all);
    facts.last().unwrap().split_once(".T ").unwrap().1.to_owned()
}

#[test]
fn the_message_is_the_line_that_tells_most() {
    assert_eq!(verdict("fail", &["    a_test.go:22: sum = 5, want 4"]), "<a_test.go:22: sum = 5, want 4> <>");
    assert_eq!(
        verdict(
            "fail",
            &["    a_test.go:9: starting", "    a_test.go:22: got 5, want 4", "    a_test.go:30: got 1, want 2"]
        ),
        "<a_test.go:22: got 5, want 4> <    a_test.go:9: starting|    a_test.go:22: got 5, want 4|    a_test.go:30: got 1, want 2>"
    );
    assert_eq!(
        verdict("fail", &["    a_test.go:9: step one", "    a_test.go:22: belt stopped"]),
        "<a_test.go:22: belt stopped> <    a_test.go:9: step one|    a_test.go:22: belt stopped>",
        "t.Fatal comes last"
    );
    assert_eq!(
        verdict(
            "fail",
            &["    a_test.go:8: going to panic", "panic: nil map [recovered]", "", "goroutine 20 [running]:"]
        ),
        "<panic: nil map [recovered]> <    a_test.go:8: going to panic|panic: nil map [recovered]||goroutine 20 [running]:>"
    );
    assert_eq!(verdict("fail", &["got:", "1", "want:", "2"]), "<got:> <1|want:|2>", "an example's output");
    assert_eq!(verdict("fail", &[]), "<> <>");
    assert_eq!(
        verdict("skip", &["log", "    a_test.go:3: no scale"]),
        "<a_test.go:3: no scale> <log|    a_test.go:3: no scale>"
    );
    assert_eq!(verdict("pass", &["    a_test.go:3: error is what I want"]), "<> <>");
}

#[test]
fn testify_puts_its_error_below_an_empty_line() {
    let lines = [
        "    pay_test.go:12: ",
        "        \tError Trace:\t/src/pay_test.go:12",
        "        \tError:      \tNot equal: ",
        "        \t            \texpected: 200",
        "        \t            \tactual  : 500",
        "        \tTest:       \tTestPay",
    ];
    let found = verdict("fail", &lines);
    assert!(found.starts_with("<pay_test.go:12: Not equal: expected: 200 actual  : 500> <"), "{found}");
}

#[test]
fn a_parent_without_a_word_of_its_own_names_the_part_that_failed() {
    let mut lines = Vec::new();
    for test in ["T", "T/big", "T/big/box", "T/c"] {
        lines.push(event("run", test, ""));
    }
    for test in ["T/big/box", "T/c", "T/big", "T"] {
        lines.push(event("fail", test, ""));
    }
    let facts = facts(&lines);
    assert_eq!(
        facts[facts.len() - 2..],
        [
            "failed example.com/p.T/big <subtest box failed> <>",
            "failed example.com/p.T <subtest c and 1 more failed> <>"
        ]
    );
}

#[test]
fn pieces_of_a_line_are_joined_and_go_s_own_lines_are_left_out() {
    let facts = facts(&[
        event("run", "T", ""),
        output("T", "=== RUN   T\n"),
        output("T", "a"),
        output("T", "b"),
        output("T", "c\n"),
        output("T", "=== CONT  Other\n"),
        output("T", "--- FAIL: Other (0.00s)\n"),
        output("T", "no end"),
        output("T", "--- PASS: T (0.00s)\n"),
        event("pass", "T", ",\"Elapsed\":0"),
        event("run", "U", ""),
        output("U", "cut"),
        event("output", "", ",\"Output\":\"half \""),
    ]);
    assert_eq!(
        facts[2..],
        [
            "start example.com/p.T",
            "stdout example.com/p.T: abc",
            "stdout example.com/p.T: === CONT  Other",
            "stdout example.com/p.T: --- FAIL: Other (0.00s)",
            "stdout example.com/p.T: no end",
            "passed example.com/p.T <> <>",
            "start example.com/p.U",
            "stdout example.com/p.U: cut",
            "stdout -: half ",
        ]
    );
}

#[test]
fn a_line_that_never_ends_is_passed_on_in_parts() {
    let piece = "x".repeat(100_000);
    let mut lines = vec![event("run", "T", "")];
    lines.extend((0..40).map(|_| output("T", &piece)));
    let facts = facts(&lines);
    assert_eq!(facts.iter().filter(|fact| fact.starts_with("stdout")).count(), 4);
    let bytes: usize = facts.iter().filter_map(|fact| Some(fact.split_once(".T: ")?.1.len())).sum();
    assert_eq!(bytes, 4_000_000);
}

#[test]
fn the_end_of_a_package_ends_its_tests_children_first_after_their_output() {
    let facts = facts(&[
        event("start", "", ""),
        event("run", "T", ""),
        event("run", "T/child", ""),
        output("T/child", "panic: test timed out after 1s\n"),
        output("T/child", "goroutine 5"),
        event("output", "", ",\"Output\":\"FAIL\\texample.com/p\\t1.0s\\n\""),
        event("fail", "", ",\"Elapsed\":1.015"),
    ]);
    assert_eq!(
        facts[4..],
        [
            "stdout example.com/p.T/child: panic: test timed out after 1s",
            "runner -: FAIL\texample.com/p\t1.0s",
            "stdout example.com/p.T/child: goroutine 5",
            "unfinished example.com/p.T/child <panic: test timed out after 1s> <goroutine 5>",
            "unfinished example.com/p.T <> <>",
            "failed example.com/p <panic: test timed out after 1s>",
            "end",
        ]
    );
}

#[test]
fn a_second_execution_in_one_session_is_a_repeat_and_one_in_the_next_is_not() {
    let one = [event("run", "T", ""), event("fail", "T", "")];
    let mut lines = vec![event("start", "", "")];
    lines.extend(one.iter().chain(&one).cloned());
    lines.push(event("fail", "", ""));
    lines.extend([event("start", "", ""), event("run", "T", "")]);
    let starts: Vec<_> = facts(&lines).into_iter().filter(|fact| fact.starts_with("start ")).collect();
    assert_eq!(starts, ["start example.com/p.T", "start example.com/p.T again", "start example.com/p.T"]);
}

#[test]
fn a_benchmark_ends_when_the_next_one_starts_and_with_its_package() {
    let figures = "BenchmarkA-8   \t     200\t        74.92 ns/op\n";
    let facts = facts(&[
        event("run", "BenchmarkA", ""),
        output("BenchmarkA", figures),
        event("run", "BenchmarkB", ""),
        event("run", "BenchmarkB/n=1", ""),
        event("bench", "BenchmarkB/n=1-8", ""),
        event("run", "BenchmarkC", ""),
        event("fail", "BenchmarkC-8", ""),
        event("run", "BenchmarkD", ""),
        event("fail", "", ""),
    ]);
    let ends: Vec<_> = facts.iter().filter(|fact| fact.contains(".Benchmark") && fact.ends_with('>')).collect();
    assert_eq!(
        ends,
        [
            "passed example.com/p.BenchmarkA <> <>",
            "passed example.com/p.BenchmarkB/n=1 <> <>",
            "passed example.com/p.BenchmarkB <> <>",
            "failed example.com/p.BenchmarkC <> <>",
            "unfinished example.com/p.BenchmarkD <> <>",
        ]
    );
}

#[test]
fn a_failed_build_is_told_by_the_package_that_needed_it() {
    let path = "example.com/p [example.com/p.test]";
    let build = |rest: &str| format!("{{\"ImportPath\":\"{path}\",\"Action\":{rest}}}");
    let facts = facts(&[
        build("\"build-output\",\"Output\":\"# example.com/p\\n\""),
        build("\"build-output\",\"Output\":\"p.go:3:28: cannot use x\\n\""),
        build("\"build-fail\""),
        event("start", "", ""),
        event("output", "", ",\"Output\":\"FAIL\\texample.com/p [build failed]\\n\""),
        event("fail", "", &format!(",\"Elapsed\":0,\"FailedBuild\":\"{path}\"")),
    ]);
    assert_eq!(
        facts,
        [
            "run go test",
            "runner -: # example.com/p",
            "runner -: p.go:3:28: cannot use x",
            "suite example.com/p",
            "runner -: FAIL\texample.com/p [build failed]",
            "failed example.com/p <build of example.com/p [example.com/p.test] failed: p.go:3:28: cannot use x>",
            "end",
        ]
    );
}

#[test]
fn a_package_that_failed_without_a_test_says_why() {
    let summary = event("output", "", ",\"Output\":\"FAIL\\texample.com/p\\t0.007s\\n\"");
    let main = event("output", "", ",\"Output\":\"TestMain: no database\\n\"");
    let facts = facts(&[event("start", "", ""), main, summary, event("fail", "", "")]);
    assert_eq!(
        facts[2..],
        [
            "stdout -: TestMain: no database",
            "runner -: FAIL\texample.com/p\t0.007s",
            "failed example.com/p <TestMain: no database>",
            "end",
        ]
    );
    let older = event("output", "", ",\"Output\":\"FAIL\\texample.com/p [build failed]\\n\"");
    let found = super::tests::facts(&[older, event("fail", "", "")]);
    assert_eq!(found[found.len() - 2..], ["failed example.com/p <example.com/p [build failed]>", "end"]);
}

#[test]
fn attributes_become_tags_and_events_inside_a_line_count() {
    let facts = facts(&[
        event("run", "T", ""),
        event("attr", "T", ",\"Key\":\"ticket\",\"Value\":\"DEP-7\""),
        format!("{{x}} noise {}", event("pass", "T", ",\"Elapsed\":0.25")),
    ]);
    assert_eq!(facts[3..], ["stdout -: {x} noise ", "passed example.com/p.T <> <> [\"ticket=DEP-7\"]"]);
}

#[test]
fn test2json_without_a_package_gives_plain_names() {
    let facts = facts(&[
        "{\"Action\":\"run\",\"Test\":\"T\"}".to_owned(),
        "{\"Action\":\"fail\",\"Test\":\"T\"}".to_owned(),
        "{\"Action\":\"fail\",\"Elapsed\":0.1}".to_owned(),
    ]);
    assert_eq!(facts, ["run go test", "start T", "failed T <> <>", "end"]);
}

#[test]
fn durations_are_rounded_to_microseconds() {
    assert_eq!(duration(Some(1.906_000_000_000_000_1)), Some(Duration::from_millis(1_906)));
    for none in [None, Some(-1.0), Some(f64::NAN), Some(1e300)] {
        assert_eq!(duration(none), None);
    }
}
