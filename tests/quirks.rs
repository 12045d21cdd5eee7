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
}
