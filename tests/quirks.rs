//! What runners write besides what their formats' pages promise: each quirk, and what becomes of it.

use testwire::decode::Format;
use testwire::event::{Event, Fact};

/// A line for each fact.
fn told(format: Format, input: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    let mut emit = |event: Event<'_>| told.push(words(&event.fact));
    let mut decoder = format.decoder();
    if format.is_binary() {
        decoder.line(input, &mut emit);
    } else {
        for line in input.strip_suffix(b"\n").unwrap_or(input).split(|byte| *byte == b'\n') {
            decoder.line(line.strip_suffix(b"\r").unwrap_or(line), &mut emit);
        }
    }
    decoder.finish(&mut emit);
    told
}

fn words(fact: &Fact<'_>) -> String {
    let line = match fact {
        Fact::RunStarted(_) => "run".to_owned(),
        Fact::Planned(plan) => match plan.total {
            Some(total) => format!("plan {total}"),
            None => format!("plan {}", plan.tests.join(",")),
        },
        Fact::RunFinished(end) => format!("run ends {:?} {}", end.status, end.message),
        Fact::SuiteStarted(suite) => format!("suite {}", suite.suite),
        Fact::SuiteFinished(suite) => format!("suite {} {} {}", suite.suite, suite.status.as_str(), suite.message),
        Fact::TestStarted(test) => {
            let attempt = test.attempt.map(|n| format!(" #{n}")).unwrap_or_default();
            format!("start {}{attempt}{}", test.test.id, if test.repeat { " again" } else { "" })
        }
        Fact::TestFinished(test) => format!("{} {} {}", test.status.as_str(), test.test.id, test.message),
        Fact::TestPaused(test) => format!("pause {}", test.id),
        Fact::TestResumed(test) => format!("resume {}", test.id),
        Fact::TestCorrected(test) => format!("corrected {} {}", test.status.as_str(), test.test.id),
        Fact::StepFinished(step) => format!("step {} {}", step.name, step.status.map_or("-", |s| s.as_str())),
        Fact::Log(log) => {
            let test = log.test.as_ref().map(|test| format!(" of {}", test.id)).unwrap_or_default();
            format!("{}{test}: {}", log.source.as_str(), log.text)
        }
        Fact::Note(note) => format!("note {}", note.text),
    };
    line.trim_end().to_owned()
}

fn text(format: Format, input: &str) -> Vec<String> {
    told(format, input.as_bytes())
}

mod libtest {
    use super::*;

    const BEGIN: &str = "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":1}\n";
    const END: &str =
        "{\"type\":\"suite\",\"event\":\"failed\",\"passed\":0,\"failed\":1,\"ignored\":0,\"exec_time\":0.1}\n";

    #[test]
    fn a_line_end_inside_a_string_as_no_capture_writes_it_does_no_harm() {
        let input = format!(
            "{BEGIN}{{\"type\":\"test\",\"event\":\"started\",\"name\":\"c::b$t\"}}\noutput of the test\n\
             {{\"type\":\"test\",\"event\":\"failed\",\"name\":\"c::b$t\",\"exec_time\":0.5,\"stdout\":\"one\n\"}}\n{END}"
        );
        assert_eq!(
            text(Format::Libtest, &input),
            [
                "run",
                "plan 1",
                "start c::b$t",
                "stdout: output of the test",
                "stdout of c::b$t: one",
                "failed c::b$t one",
                "run ends None"
            ]
        );
        // The rest of the string never comes.
        let cut = input.replace("one\n\"}\n", "one\n");
        let told = text(Format::Libtest, &cut);
        assert!(told.contains(&"failed c::b$t one".to_owned()), "{told:?}");
        assert_eq!(told.last().unwrap(), "run ends None");
    }

    #[test]
    fn a_benchmark_ends_the_test_that_was_started_for_it() {
        let input = "{ \"type\": \"suite\", \"event\": \"started\", \"test_count\": 1 }\n\
                     { \"type\": \"test\", \"event\": \"started\", \"name\": \"b\" }\n\
                     { \"type\": \"bench\", \"name\": \"b\", \"median\": 5, \"deviation\": 1 }\n\
                     { \"type\": \"suite\", \"event\": \"ok\", \"passed\": 0, \"failed\": 0, \"ignored\": 0, \"measured\": 1 }\n";
        let told = text(Format::Libtest, input);
        assert_eq!(
            told[1..],
            ["plan 1", "start b", "stdout of b: 5 ns/iter (+/- 1)", "passed b", "run ends None"],
            "{told:?}"
        );
    }

    #[test]
    fn stress_runs_repeat_a_test_and_ignored_ones_are_skipped() {
        let test =
            |event: &str, name: &str| format!("{{\"type\":\"test\",\"event\":\"{event}\",\"name\":\"{name}\"}}\n");
        let end = END.replace("\"ignored\":0", "\"ignored\":1");
        let input = format!(
            "{BEGIN}{}{}{}{end}{BEGIN}{}{}{end}",
            test("started", "c::b@stress-0$x"),
            test("started", "c::b@stress-0$a"),
            test("ok", "c::b@stress-0$a"),
            test("started", "c::b@stress-1$a"),
            test("ok", "c::b@stress-1$a"),
        );
        let told = text(Format::Libtest, &input);
        let tests: Vec<_> = told.iter().filter(|line| line.contains("c::b$")).collect();
        assert_eq!(
            tests,
            [
                "start c::b$x again",
                "start c::b$a again",
                "passed c::b$a",
                "start c::b$a again",
                "passed c::b$a",
                "skipped c::b$x"
            ]
        );
    }

    #[test]
    fn attempts_that_the_stream_leaves_out_are_told() {
        let input = format!(
            "{BEGIN}{{\"type\":\"test\",\"event\":\"started\",\"name\":\"c::b$t\"}}\n\
             {{\"type\":\"test\",\"event\":\"ok\",\"name\":\"c::b$t#3\",\"exec_time\":0.5}}\n"
        );
        let told = text(Format::Libtest, &input);
        assert_eq!(told[2], "start c::b$t");
        assert!(told[3].starts_with("retried c::b$t"), "{told:?}");
        assert_eq!(told[4], "start c::b$t #2");
        assert_eq!((told[6].as_str(), told[7].as_str()), ("start c::b$t #3", "passed c::b$t"));
        assert_eq!(told.len(), 8, "a suite is open, so the run has no end: {told:?}");
    }
}

mod tap {
    use super::*;

    #[test]
    fn a_time_is_no_sign_of_vitest_where_subtests_are_announced_as_node_tap_does() {
        let input = "TAP version 13\n# Subtest: test/a.js\n    # Subtest: one\n        ok 1 - eq\n        1..1\n    ok 1 - one # time=2ms\n    \n    \
                     # Subtest: two\n        ok 1 - eq\n        1..1\n    ok 2 - two # time=1ms\n    \n    1..2\n    # time=20ms\n\
                     ok 1 - test/a.js # time=30ms\n\n1..1\n# time=150ms\n";
        let told = text(Format::Tap, input);
        let tests: Vec<_> = told.iter().filter(|line| line.starts_with("passed") || line.starts_with("step")).collect();
        assert_eq!(
            tests,
            [
                "step test/a.js > one > eq passed",
                "step test/a.js > one passed",
                "step test/a.js > two > eq passed",
                "step test/a.js > two passed",
                "passed test/a.js"
            ]
        );
        let mut decoder = Format::Tap.decoder();
        input.lines().for_each(|line| decoder.line(line.as_bytes(), &mut |_| {}));
        assert_eq!(decoder.runner(), "tap");
    }

    #[test]
    fn parts_of_a_test_of_test2_stand_behind_it_in_braces() {
        let input = "not ok 1 - foo {\n    ok 1 - a\n    not ok 2 - in {\n        not ok 1 - x\n        1..1\n    }\n    1..2\n}\n\
                     # Failed test 'foo'\n# at b.t line 4.\nok 2 - one {\n    1..1\n    ok 1 - a\n}\nok 3 - none {\n    1..0 # SKIP why\n}\n\
                     not ok 4 - td { # TODO later\n    # Failed test\n    not ok 1 - z\n    1..1\n}\nok 5 - {\nok 6 - odd {\n1..6\n";
        assert_eq!(
            text(Format::Tap, input),
            [
                "run",
                "step foo > a passed",
                "step foo > in > x failed",
                "step foo > in failed",
                "failed foo Failed test 'foo'",
                "step one > a passed",
                "passed one",
                "passed none",
                "runner: # Failed test",
                "step td > z failed",
                "xfailed td later",
                "passed (no description) {",
                "passed odd {",
                "plan 6",
                "run ends None"
            ]
        );
        // One that breaks off.
        let told = text(Format::Tap, "1..1\nnot ok 1 - foo {\n    ok 1 - a\n");
        assert_eq!(told[2..], ["step foo > a passed", "failed foo", "run ends None"]);
    }

    #[test]
    fn what_prove_says_of_a_file_is_no_point() {
        let file = |name: &str| format!("t/{name}.t ...... \nok 1 - start\nok 2 - end\n1..2\nok\n");
        let told = text(Format::Tap, &(file("a") + &file("b")));
        assert_eq!(told.iter().filter(|line| line.starts_with("passed")).count(), 4);
        assert_eq!(told.iter().filter(|line| *line == "stdout: ok").count(), 2);
        assert_eq!(told.last().unwrap(), "run ends None");
        // Points may have neither number nor name.
        assert_eq!(text(Format::Tap, "1..2\nok\nok\n").last().unwrap(), "run ends None");
    }

    #[test]
    fn a_name_may_end_as_a_suite_of_vitest_does() {
        let input = "TAP version 13\n1..1\nnot ok 1 - f.js # time=1.00ms {\n    1..2\n    ok 1 - odd { # time=1.00ms\n    \
                     ok 2 - odd {\n    ok 3 - later # TODO\n}\n";
        assert_eq!(
            text(Format::Tap, input),
            [
                "run",
                "plan 1",
                "suite f.js",
                "passed f.js > odd {",
                "passed f.js > odd { (2)",
                "skipped f.js > later",
                "suite f.js failed",
                "run ends None"
            ]
        );
    }

    #[test]
    fn a_todo_of_vitest_never_ran_though_that_shows_later() {
        let input = "TAP version 13\n1..2\nok 1 - f > later # TODO\nok 2 - f > now # time=1.00ms\n";
        let told = text(Format::Tap, input);
        assert_eq!(told[2..5], ["xpassed f > later", "corrected skipped f > later", "passed f > now"]);
    }

    #[test]
    fn bail_out_in_a_subtest_ends_the_run() {
        let input = "1..2\r\nok 1 - a\r\n# Subtest: b\r\n    ok 1 - c\r\n    Bail out! no \"steam\"\r\n";
        assert_eq!(
            text(Format::Tap, input),
            [
                "run",
                "plan 2",
                "passed a",
                "step b > c passed",
                "runner: Bail out! no \"steam\"",
                "run ends Some(Aborted) Bail out! no \"steam\""
            ]
        );
    }

    #[test]
    fn a_plan_that_is_not_met_is_no_success_and_no_failed_test() {
        assert_eq!(
            text(Format::Tap, "1..3\nok 1\n").last().unwrap(),
            "run ends Some(Aborted) 3 tests were planned, 1 ran"
        );
        assert_eq!(
            text(Format::Tap, "ok 1\nok 2\n1..1\n").last().unwrap(),
            "run ends Some(Failed) 1 tests were planned, 2 ran"
        );
        assert_eq!(text(Format::Tap, "1..0 # SKIP no gauge\n"), ["run", "plan 0", "run ends None skipped: no gauge"]);
        // Without a plan nobody knows whether it was all.
        assert_eq!(text(Format::Tap, "ok 1 - a\n"), ["run", "passed a"]);
    }

    #[test]
    fn a_passed_point_is_told_at_once_and_a_failure_with_what_follows_it() {
        let mut decoder = Format::Tap.decoder();
        let mut told = Vec::new();
        decoder.line(b"ok 1 - a", &mut |event| told.push(words(&event.fact)));
        assert_eq!(told, ["run", "passed a"]);
        let input = "not ok 1 - a\n#   Failed test 'a'\n#   at t.pl line 3.\n#          got: '1'\nprinted\n1..1\n";
        assert_eq!(
            text(Format::Tap, input),
            ["run", "failed a got: '1'", "stdout: printed", "plan 1", "run ends None"]
        );
    }
}

mod teamcity {
    use super::*;

    #[test]
    fn messages_stand_anywhere_and_what_is_around_them_is_kept() {
        let input = "a ##teamcity[testStarted name='t'] b ##teamcity[testStdErr name='t' out='x|ny'] c\n\
                     ##teamcity[testFinished name='t' duration='5']\n##teamcity[broken\n";
        assert_eq!(
            text(Format::TeamCity, input),
            [
                "stdout: a",
                "run",
                "start t",
                "stdout:  b",
                "stderr of t: x",
                "stderr of t: y",
                "stdout:  c",
                "passed t",
                "stdout: ##teamcity[broken",
                "run ends None"
            ]
        );
    }

    #[test]
    fn a_failed_hook_after_everything_has_failed() {
        let input = "##teamcity[testSuiteStarted name='s']\n##teamcity[testStarted name='t']\n##teamcity[testFinished name='t']\n\
                     ##teamcity[testSuiteFinished name='s']\n##teamcity[testFailed name='\"after all\" hook' message='no' details='']\n";
        let told = text(Format::TeamCity, input);
        assert_eq!(told[told.len() - 2..], ["failed \"after all\" hook no", "run ends None"], "{told:?}");
    }

    #[test]
    fn a_part_that_passes_does_not_mend_the_one_that_failed() {
        let part = |result: &str| {
            format!(
                "##teamcity[testStarted flowId='t' name='t']\n{result}##teamcity[testFinished flowId='t' name='t']\n"
            )
        };
        let failed = "##teamcity[testFailed flowId='t' name='t' message='no' details='']\n";
        let told = text(Format::TeamCity, &(part(failed) + &part("")));
        assert_eq!(told[1..5], ["start t again", "failed t no", "start t again", "failed t no"]);
    }

    #[test]
    fn messages_that_a_test_printed_are_its_output() {
        let input = "##teamcity[testStarted flowId='t' name='t']\n##teamcity[testStdOut flowId='t' name='t' \
                     out='##teamcity|[testFailed name=|'u|'|]|n']\n##teamcity[testFinished flowId='t' name='t']\n";
        let told = text(Format::TeamCity, input);
        assert_eq!(told[2..4], ["stdout of t: ##teamcity[testFailed name='u']", "passed t"]);
    }

    #[test]
    fn a_worker_s_death_leaves_a_test_unfinished_but_not_the_run() {
        let start = |name: &str| format!("##teamcity[testStarted flowId='{name}' name='{name}']\n");
        let end = |name: &str| format!("##teamcity[testFinished flowId='{name}' name='{name}']\n");
        let told = text(Format::TeamCity, &(start("a") + &start("b") + &end("b")));
        assert_eq!(told[4..], ["unfinished a it never ended", "run ends None"]);
        let told = text(Format::TeamCity, &(start("a") + &end("a") + &start("b")));
        assert_eq!(told.last().unwrap(), "start b again");
    }
}

mod subunit {
    use super::*;

    /// A packet with an id and a status.
    fn packet(state: u16, id: &str) -> Vec<u8> {
        let mut packet = vec![0xb3];
        packet.extend_from_slice(&(0x2800 | state).to_be_bytes());
        packet.push((id.len() + 9) as u8);
        packet.push(id.len() as u8);
        packet.extend_from_slice(id.as_bytes());
        packet.extend_from_slice(&crc32fast::hash(&packet).to_be_bytes());
        packet
    }

    #[test]
    fn output_that_looks_like_a_packet_costs_no_test() {
        // A length that covers all that follows, and one that covers more than there is.
        for length in [[0x40, 0x20], [0x7f, 0xff]] {
            let mut input = b"noise \xb3\x29\x01".to_vec();
            input.extend_from_slice(&length);
            input.extend_from_slice(b"x\xb3\r\n");
            for state in [2, 3] {
                input.extend_from_slice(&packet(state, "a.b"));
            }
            let told = told(Format::Subunit, &input);
            assert_eq!(told[1..], ["run", "start a.b", "passed a.b", "run ends None"], "{told:?}");
            assert!(told[0].starts_with("stdout: noise "));
        }
    }

    #[test]
    fn a_cut_packet_and_an_open_test_leave_the_run_without_an_end() {
        let whole = [packet(2, "a"), packet(3, "a")].concat();
        let start = packet(2, "b");
        assert_eq!(told(Format::Subunit, &whole).last().unwrap(), "run ends None");
        let cut = [&whole[..], &start[..6]].concat();
        assert!(!told(Format::Subunit, &cut).iter().any(|line| line.starts_with("run ends")));
        let open = [&whole[..], &start[..]].concat();
        assert_eq!(told(Format::Subunit, &open).last().unwrap(), "start b");
        let text = told(Format::Subunit, b"import error\n");
        assert_eq!(text, ["stdout: import error", "run", "note there is no packet of subunit v2 in the input"]);
    }
}

mod cucumber {
    use super::*;

    #[test]
    fn older_pickles_get_their_line_from_the_feature() {
        let input = r#"{"gherkinDocument":{"feature":{"children":[{"rule":{"children":[{"scenario":{"id":"s","location":{"line":3},"examples":[{"tableBody":[{"id":"r","location":{"line":9}}]}]}}]}}]}}}
{"pickle":{"id":"p","uri":"a.feature","name":"n","astNodeIds":["s","r"],"steps":[{"id":"q","text":"it rains"}],"tags":[{"name":"@wet"}]}}
{"hook":{"id":"h","type":"BEFORE_TEST_CASE","name":"roof"}}
{"testRunStarted":{"timestamp":{"seconds":1,"nanos":0}}}
{"testCase":{"id":"c","pickleId":"p","testSteps":[{"id":"1","hookId":"h"},{"id":"2","pickleStepId":"q"}]}}
{"testCaseStarted":{"id":"x","testCaseId":"c","attempt":0,"timestamp":{"seconds":1,"nanos":0}}}
{"testStepFinished":{"testCaseStartedId":"x","testStepId":"1","testStepResult":{"status":"PASSED","duration":{"seconds":0,"nanos":1}},"timestamp":{"seconds":1,"nanos":0}}}
printed by a step {"not":"an envelope"}
{"testStepFinished":{"testCaseStartedId":"x","testStepId":"2","testStepResult":{"status":"UNDEFINED","duration":{"seconds":0,"nanos":0}},"timestamp":{"seconds":1,"nanos":0}}}
{"testCaseFinished":{"testCaseStartedId":"x","willBeRetried":true,"timestamp":{"seconds":2,"nanos":0}}}
{"testCaseStarted":{"id":"y","testCaseId":"c","attempt":1,"timestamp":{"seconds":2,"nanos":0}}}
{"testCaseFinished":{"testCaseStartedId":"y","willBeRetried":false,"timestamp":{"seconds":3,"nanos":0}}}
{"testRunHookStarted":{"id":"k","hookId":"h","timestamp":{"seconds":3,"nanos":0}}}
{"testRunHookFinished":{"testRunHookStartedId":"k","result":{"status":"FAILED","message":"leak","duration":{"seconds":0,"nanos":0}},"timestamp":{"seconds":3,"nanos":0}}}
{"parseError":{"source":{"uri":"b.feature"},"message":"(1:1): expected"}}
{"testRunFinished":{"success":false,"timestamp":{"seconds":3,"nanos":0}}}
"#;
        assert_eq!(
            text(Format::Cucumber, input),
            [
                "run",
                "plan a.feature:9",
                "start a.feature:9 #1",
                "step Before test case: roof passed",
                "stdout: printed by a step {\"not\":\"an envelope\"}",
                "step it rains failed",
                "retried a.feature:9 undefined step: it rains",
                "start a.feature:9 #2",
                "passed a.feature:9",
                "suite Before test case: roof failed leak",
                "suite b.feature failed (1:1): expected",
                "run ends Some(Failed)"
            ]
        );
    }

    #[test]
    fn a_report_that_breaks_off_keeps_what_was_whole() {
        let feature =
            r#"{"uri":"a","elements":[{"line":1,"type":"scenario","steps":[{"result":{"status":"passed"}}]}]}"#;
        let input = format!("note\n[\n{feature},\n{{\"uri\":\"b\",\"elem");
        let told = text(Format::CucumberJson, &input);
        assert_eq!(told[..5], ["stdout: note", "run", "start a:1", "step hook passed", "passed a:1"]);
        assert!(told[5].starts_with("note the report ends or breaks off") && told.len() == 6, "{told:?}");
    }
}

mod others {
    use super::*;

    #[test]
    fn iterations_of_googletest_are_no_retries() {
        let round = "event=TestCaseStart&name=S\nevent=TestStart&name=t\nevent=TestPartResult&file=f&line=3&message=Failed%0Aa%26b\n\
                     event=TestEnd&passed=0&elapsed_time=5ms\nevent=TestCaseEnd&passed=0&elapsed_time=5ms\n";
        let input = format!(
            "event=TestProgramStart\nevent=TestIterationStart&iteration=0\n{round}event=TestIterationStart&iteration=1\n{round}\
             event=TestProgramEnd&passed=0\n"
        );
        let told = text(Format::GtestStream, &input);
        let tests: Vec<_> = told.iter().filter(|line| line.contains("S.t")).collect();
        assert_eq!(tests, ["start S.t", "failed S.t a&b", "start S.t again", "failed S.t a&b"]);
        assert_eq!(told.last().unwrap(), "run ends Some(Failed)");
    }

    #[test]
    fn mocha_says_how_many_tests_never_ran() {
        let input = "[\"start\",{\"total\":4}]\nout[\"fail\",{\"title\":\"\\\"before all\\\" hook\",\"fullTitle\":\"a \\\"before all\\\" hook\",\
                     \"err\":\"no\"}]\n[\"end\",{\"tests\":1,\"pending\":1,\"failures\":1}]\n";
        let told = text(Format::Mocha, input);
        assert_eq!(told[1..4], ["plan 4", "stdout: out", "failed a \"before all\" hook no"]);
        assert_eq!(
            told.last().unwrap(),
            "run ends Some(Failed) 3 tests never ran: a hook failed, or the run was stopped"
        );
    }

    #[test]
    fn runs_that_ctest_repeats_are_attempts_or_repeats_and_one_without_tests_ends() {
        let input = "Test project /b\n    Start 1: slip\n1/1 Test #1: slip ....***Failed    0.02 sec\n    Start 1: slip\n    \
                     Test #1: slip ....   Passed    0.02 sec\n    Start 1: slip\n    Test #1: slip ....***Timeout   1.00 sec\n    \
                     Test #9: never started ....   Passed    0.02 sec\n\n0% tests passed, 1 tests failed out of 1\n";
        assert_eq!(
            text(Format::Ctest, input),
            [
                "run",
                "start slip",
                "plan 1",
                "failed slip Failed",
                "start slip",
                "passed slip",
                "start slip again",
                "failed slip Timeout",
                "stdout:     Test #9: never started ....   Passed    0.02 sec",
                "stdout:",
                "stdout: 0% tests passed, 1 tests failed out of 1",
                "run ends None"
            ]
        );
        let none = ["run", "stdout: No tests were found!!!", "run ends None"];
        assert_eq!(text(Format::Ctest, "Test project /b\nNo tests were found!!!\n"), none);
        assert_eq!(text(Format::Ctest, "Test project /b\n"), ["run", "run ends None no test was started"]);
        let told = text(Format::Ctest, "Test project /b\n    Start 1: slip\n");
        assert!(told[2].starts_with("run ends Some(Aborted)"), "{told:?}");
    }

    #[test]
    fn an_end_of_test2json_without_a_name_ends_its_package_and_elsewhere_is_output() {
        let run = "{\"Action\":\"run\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\",\"Test\":\"TestA\"}\n";
        assert_eq!(
            text(Format::GoTest, &format!("{run}{{\"Action\":\"pass\"}}\n")),
            ["run", "start TestA", "passed TestA", "run ends None"]
        );
        let died = "{\"Action\":\"output\",\"Output\":\"setup broke\\n\"}\n{\"Action\":\"fail\"}\n";
        assert_eq!(text(Format::GoTest, died), ["run", "stdout: setup broke", "run ends Some(Failed) setup broke"]);
        let named = "{\"Action\":\"start\",\"Package\":\"p\"}\n{\"Action\":\"pass\"}\n";
        assert_eq!(text(Format::GoTest, named)[2], "stdout: {\"Action\":\"pass\"}");
    }

    #[test]
    fn results_of_behave_have_a_place_tags_and_messages_of_their_own() {
        let step = |place: u8, result: &str| {
            format!("{{\"keyword\":\"When\",\"name\":\"ok\",\"location\":\"f.feature:{place}\"{result}}}")
        };
        let passed = ",\"result\":{\"status\":\"passed\",\"duration\":0.5}";
        let failed = ",\"result\":{\"status\":\"failed\",\"duration\":0.1,\"error_message\":[\"one\",\"two\"]}";
        let unknown = ",\"result\":{\"status\":\"undefined\",\"duration\":0}";
        let scenario = |place: u8, status: &str, steps: &str| {
            format!(
                "{{\"type\":\"scenario\",\"name\":\"n\",\"tags\":[\"slow\"],\"location\":\"f.feature:{place}\",\"steps\":[{steps}],\
                 \"status\":\"{status}\"}}"
            )
        };
        let elements = [
            format!("{{\"type\":\"background\",\"location\":\"f.feature:3\",\"steps\":[{}]}}", step(4, "")),
            scenario(7, "passed", &step(4, passed)),
            scenario(10, "failed", &[step(4, failed), step(5, "")].join(",")),
            scenario(14, "error", &step(15, unknown)),
            scenario(18, "skipped", &step(19, "")),
            scenario(21, "hook_error", &step(22, passed)),
        ];
        let input = format!(
            "[\n{{\"keyword\":\"Feature\",\"name\":\"f\",\"tags\":[\"wet\"],\"location\":\"f.feature:2\",\"elements\":[{}]}}\n]\n",
            elements.join(",")
        );
        // It says first which runner it uses.
        let input = format!("USING RUNNER: behave.runner:Runner\n[INFO] x\n{input}");
        let found = testwire::decode::detect(input.as_bytes(), true);
        assert!(matches!(found, testwire::decode::Detection::Found { format: Format::CucumberJson, .. }), "{found:?}");
        let told = text(Format::CucumberJson, &input);
        let ends: Vec<_> = told.iter().filter(|line| line.contains(" f.feature:")).collect();
        assert_eq!(
            ends,
            [
                "start f.feature:7",
                "passed f.feature:7",
                "start f.feature:10",
                "failed f.feature:10 one\ntwo",
                "start f.feature:14",
                "failed f.feature:14 undefined step: When ok",
                "start f.feature:18",
                "skipped f.feature:18 skipped",
                "start f.feature:21",
                "failed f.feature:21 a hook failed"
            ]
        );
        assert_eq!(told.last().unwrap(), "run ends None");
    }

    #[test]
    fn jest_tests_of_one_name_are_told_apart_by_their_invocations() {
        let case = |event: &str, more: &str| {
            format!(
                "{{\"event\":\"{event}\",\"path\":\"/p/a.test.js\",\"ancestorTitles\":[\"s\"],\"title\":\"t\",\"fullName\":\"s t\"{more}}}\n"
            )
        };
        let start = || case("onTestCaseStart", "");
        let end = |status: &str, invocations: u8| {
            case("onTestCaseResult", &format!(",\"status\":\"{status}\",\"invocations\":{invocations}"))
        };
        let list = ["passed", "passed", "failed", "pending"].map(|status| {
            format!("{{\"ancestorTitles\":[\"s\"],\"title\":\"t\",\"fullName\":\"s t\",\"status\":\"{status}\"}}")
        });
        let file = format!(
            "{{\"event\":\"onTestFileResult\",\"path\":\"/p/a.test.js\",\"testResults\":[{}]}}\n",
            list.join(",")
        );
        // One fails, another passes, the first is retried and passes, and one more fails.
        let rounds = [("failed", 1), ("passed", 1), ("passed", 2), ("failed", 1)];
        let input: String = rounds.map(|(status, invocations)| start() + &end(status, invocations)).concat();
        let told = text(Format::JestReporter, &(input.clone() + &file));
        assert_eq!(
            told,
            [
                "start a.test.js > s > t",
                "failed a.test.js > s > t",
                "start a.test.js > s > t (2)",
                "passed a.test.js > s > t (2)",
                "start a.test.js > s > t",
                "passed a.test.js > s > t",
                "start a.test.js > s > t (3)",
                "failed a.test.js > s > t (3)",
                "skipped a.test.js > s > t (4)",
                "suite a.test.js passed"
            ]
        );
        // What was on when the stream ended is not lost.
        assert_eq!(text(Format::JestReporter, &(input + &start())).last().unwrap(), "start a.test.js > s > t (3)");
    }
}

mod reports {
    use super::*;

    /// Results alone.
    fn results(format: Format, input: &str) -> Vec<String> {
        let is_result = |line: &String| !line.starts_with("step ") && !line.starts_with("suite ") && line != "run";
        text(format, input).into_iter().filter(is_result).collect()
    }

    #[test]
    fn a_name_that_comes_again_in_junit_is_a_retry_only_after_a_failure_and_never_in_a_file_of_javascript() {
        let suite = |class: &str, cases: &[bool]| {
            let case = |passed: &bool| {
                let inside = if *passed { "" } else { "<failure message=\"no\"/>" };
                format!("<testcase name=\"[1] 0\" classname=\"{class}\">{inside}</testcase>\n")
            };
            let cases: String = cases.iter().map(case).collect();
            format!("<testsuites><testsuite name=\"{class}\">\n{cases}</testsuite></testsuites>\n")
        };
        for (class, cases, expected) in [
            (
                "p.Q",
                &[true, true, true][..],
                &["passed p.Q::[1] 0", "passed p.Q::[1] 0 (2)", "passed p.Q::[1] 0 (3)"][..],
            ),
            ("p.Q", &[false, true], &["failed p.Q::[1] 0 no", "passed p.Q::[1] 0"]),
            ("a.test.ts", &[false, true], &["failed a.test.ts::[1] 0 no", "passed a.test.ts::[1] 0 (2)"]),
        ] {
            let told = results(Format::Junit, &suite(class, cases));
            assert_eq!(told[..cases.len()], *expected);
        }
    }

    /// What the reports say that Surefire writes while it runs.
    fn of_many(input: &str) -> Vec<String> {
        let mut told = Vec::new();
        let mut decoder = Format::Junit.event_file_decoder(&testwire::decode::utc());
        let mut emit = |event: Event<'_>| told.push(words(&event.fact));
        input.lines().for_each(|line| decoder.line(line.as_bytes(), &mut emit));
        decoder.finish(&mut emit);
        assert!(decoder.broken().is_none(), "{:?}", decoder.broken());
        told
    }

    #[test]
    fn a_report_that_is_written_again_tells_what_is_new_and_none_is_no_damage() {
        let report = |slip: &str, never: &str| {
            let case = |name: &str, inside: &str| {
                let output = "<system-out>hi\n</system-out>";
                format!("<testcase name=\"{name}\" classname=\"p.T\">{inside}{output}</testcase>\n")
            };
            let (steady, slip, never) = (case("steady", ""), case("slip", slip), case("never", never));
            format!("<?xml version=\"1.0\"?>\n<testsuite name=\"p.T\">\n{steady}{slip}{never}</testsuite>\n\n")
        };
        let (failure, again) = ("<failure message=\"no\"/>", "<rerunFailure message=\"no\"/>");
        let first = report(failure, failure);
        let second = report("<flakyFailure message=\"no\"/>", &format!("{failure}{again}"));
        let third = report("<flakyFailure message=\"no\"/>", &format!("{failure}{again}{again}"));
        let mark = testwire::decode::REPORT_AGAIN;
        let told = of_many(&format!("{first}{mark}\n{second}{mark}\n{third}"));
        let (begin, end) = (["run", "suite p.T"], ["suite p.T passed", "run ends None"]);
        let expected = [
            &begin[..],
            &["stdout of p.T::steady: hi", "passed p.T::steady", "stdout of p.T::slip: hi", "failed p.T::slip no"],
            &["stdout of p.T::never: hi", "failed p.T::never no"],
            &end,
            &begin,
            &["stdout of p.T::slip: hi", "passed p.T::slip", "stdout of p.T::never: hi", "failed p.T::never no"],
            &end,
            &begin,
            &["stdout of p.T::never: hi", "failed p.T::never no"],
            &end,
        ];
        assert_eq!(told, expected.concat());
        // Without the mark it is the report of another module.
        let told = of_many(&format!("{first}{first}"));
        assert!(told.contains(&"passed p.T::steady (2)".to_owned()), "{told:?}");
        assert_eq!(of_many(""), [""; 0]);
    }

    #[test]
    fn playwright_s_outcome_counts_before_what_the_last_attempt_did() {
        let test = |status: &str, results: &[&str]| {
            let result = |status: &&str| format!("{{\"status\":\"{status}\",\"duration\":5}}");
            let results = results.iter().map(result).collect::<Vec<_>>().join(",");
            format!(
                "{{\"config\":{{}},\"suites\":[{{\"title\":\"f\",\"file\":\"f\",\"specs\":[{{\"title\":\"t\",\"tests\":[{{\
                 \"expectedStatus\":\"passed\",\"status\":\"{status}\",\"results\":[{results}]}}]}}]}}],\"errors\":[]}}\n"
            )
        };
        for (status, attempts, expected) in [
            ("unexpected", &["failed", "skipped"][..], "failed f > t skipped"),
            ("skipped", &["interrupted"], "unfinished f > t"),
            ("skipped", &["skipped"], "skipped f > t"),
            ("flaky", &["failed", "passed"], "passed f > t"),
            ("unexpected", &["timedOut"], "failed f > t timedOut"),
            ("unexpected", &["failed", "interrupted"], "failed f > t interrupted"),
        ] {
            let told = results(Format::Playwright, &test(status, attempts));
            assert_eq!(told[told.len() - 2], expected, "{status} {attempts:?}");
        }
    }

    #[test]
    fn playwright_s_buffers_are_output_even_where_they_cut_a_letter() {
        let input = "{\"config\":{},\"suites\":[{\"file\":\"f\",\"specs\":[{\"title\":\"t\",\"tests\":[{\"status\":\"expected\",\
                     \"results\":[{\"status\":\"passed\",\"stdout\":[{\"text\":\"a \"},{\"buffer\":\"ww==\"},{\"buffer\":\"qSE=\"}],\
                     \"stderr\":[{\"buffer\":\"/w==\"}]}]}]}]}]}\n";
        let told = results(Format::Playwright, input);
        assert_eq!(told[..2], ["stdout of f > t: a é!", "stderr of f > t: \u{fffd}"], "{told:?}");
    }

    #[test]
    fn a_suite_teardown_of_robot_that_skips_turns_all_tests_and_one_that_fails_those_that_passed() {
        for (turned, expected) in [
            ("SKIP", ["corrected skipped S.a", "corrected skipped S.b"]),
            ("FAIL", ["corrected failed S.a", "suite S"]),
        ] {
            let xml = format!(
                "<robot generator=\"Robot 7\"><suite name=\"S\"><test name=\"a\"><status status=\"PASS\"/></test><test name=\"b\">\
                 <status status=\"FAIL\">no</status></test><test name=\"c\"><status status=\"SKIP\"/></test><kw name=\"k\" type=\"TEARDOWN\">\
                 <status status=\"{turned}\">why</status></kw><status status=\"FAIL\"/></suite></robot>\n"
            );
            let test =
                |name: &str, status: &str| format!("{{\"name\":\"{name}\",\"status\":\"{status}\",\"body\":[]}}");
            let json = format!(
                "{{\"generator\":\"Robot 7\",\"suite\":{{\"name\":\"S\",\"tests\":[{},{},{}],\
                 \"teardown\":{{\"name\":\"k\",\"status\":\"{turned}\",\"message\":\"why\"}},\"status\":\"FAIL\"}}}}\n",
                test("a", "PASS"),
                test("b", "FAIL"),
                test("c", "SKIP")
            );
            for (format, input) in [(Format::RobotXml, xml), (Format::RobotJson, json)] {
                let told = text(format, &input);
                let at = told.iter().position(|line| line.starts_with("corrected")).unwrap();
                assert!(
                    told[at].starts_with(expected[0]) && told[at + 1].starts_with(expected[1]),
                    "{format} {told:?}"
                );
                assert!(!told.iter().any(|line| line.starts_with("corrected") && line.ends_with("S.c")), "{told:?}");
            }
        }
    }

    #[test]
    fn a_merged_result_of_robot_that_was_skipped_is_no_failed_attempt() {
        let old = |status: &str| {
            format!(
                "&lt;span class=\"old-status\"&gt;Old status:&lt;/span&gt; &lt;span class=\"x\"&gt;{status}&lt;/span&gt;&lt;br&gt;\
                 &lt;span class=\"old-message\"&gt;Old message:&lt;/span&gt; was"
            )
        };
        for (status, expected) in [("SKIP", "skipped S.a was"), ("FAIL", "retried S.a was"), ("PASS", "passed S.a was")]
        {
            let input = format!(
                "<robot generator=\"Rebot 7\"><suite name=\"S\"><test name=\"a\"><status status=\"PASS\">*HTML* \
                 &lt;span class=\"new-message\"&gt;New message:&lt;/span&gt; is&lt;hr&gt;{}</status></test><status status=\"PASS\"/></suite></robot>\n",
                old(status)
            );
            assert_eq!(results(Format::RobotXml, &input)[..2], [expected, "passed S.a is"]);
        }
    }
}
