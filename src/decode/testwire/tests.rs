use super::*;

/// Every fact of some lines, in `Debug` form.
fn facts(input: &str) -> Vec<String> {
    let mut decoder = Testwire::default();
    let mut facts = Vec::new();
    for line in input.split('\n') {
        decoder.line(line.as_bytes(), &mut |event| facts.push(format!("{:?}", event.fact)));
    }
    decoder.finish(&mut |event| facts.push(format!("{:?}", event.fact)));
    facts
}

fn notes(input: &str) -> Vec<String> {
    let mut decoder = Testwire::default();
    let mut notes = Vec::new();
    let mut keep = |event: Event<'_>| {
        if let Fact::Note(note) = event.fact {
            notes.push(note.text.into_owned());
        }
    };
    input.split('\n').for_each(|line| decoder.line(line.as_bytes(), &mut keep));
    decoder.finish(&mut keep);
    notes
}

#[test]
fn every_example_of_the_documentation_is_an_event_and_every_kind_has_one() {
    let page = include_str!("../../../docs/events.md");
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert_eq!(notes(&examples.join("\n")), ["3 screenshots could not be taken"]);
    let found = facts(&examples.join("\n"));
    let kinds = [
        "RunStarted(",
        "Planned(",
        "RunFinished(",
        "SuiteStarted(",
        "SuiteFinished(",
        "TestStarted(",
        "TestFinished(",
        "TestCorrected(",
        "StepFinished(",
        "Log(",
        "Note(",
    ];
    for kind in kinds {
        assert!(found.iter().any(|fact| fact.starts_with(kind)), "no example of {kind}");
    }
}

#[test]
fn every_field_of_the_documentation_is_read_and_every_field_read_is_documented() {
    let page = include_str!("../../../docs/events.md");
    let source = include_str!("line.rs");
    let (_, fields) = source.split_once("struct Line<").unwrap();
    let fields = fields.lines().take_while(|line| *line != "}").filter_map(|line| {
        let field = line.trim().strip_prefix("pub(super) ")?.split_once(':')?.0;
        Some(field)
    });
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented: std::collections::BTreeSet<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| line::parse(&format!("{{\"event\":\"log\",\"source\":\"{name}\"}}")).is_ok())
        .collect();
    for field in fields {
        assert!(documented.contains(field), "{field} is not documented");
    }
}

#[test]
fn all_that_a_fact_can_say_can_be_written() {
    let line = r#"{"event":"test_finished","time":1795167653544,"test":"t","suite":"s","worker":"w","attempt":2,
        "status":"xpassed","duration_ms":1.5,"message":"m","details":"d","tags":["a","b"]}"#
        .replace('\n', "");
    let mut decoder = Testwire::default();
    let mut seen = 0;
    decoder.line(line.as_bytes(), &mut |event| {
        seen += 1;
        assert_eq!(event.time, Some(crate::event::Timestamp(1_795_167_653_544_000_000)));
        let Fact::TestFinished(end) = event.fact else { panic!("{event:?}") };
        assert_eq!((&*end.test.id, &*end.test.suite, &*end.test.worker), ("t", "s", "w"));
        assert_eq!((end.attempt, end.status), (Some(2), Status::Xpassed));
        assert_eq!(end.duration, Some(std::time::Duration::from_micros(1_500)));
        assert_eq!((&*end.message, &*end.details), ("m", "d"));
        assert_eq!(end.tags, ["a", "b"]);
    });
    assert_eq!(seen, 1);
}

#[test]
fn a_bad_line_is_kept_and_reported_with_its_number_and_what_is_wrong() {
    let cases = [
        ("hello", "is not an event: expected value"),
        (r#"{"event":"test_finished""#, "EOF while parsing"),
        (r#"{"event":"test_ended","test":"t"}"#, "unknown variant `test_ended`"),
        (r#"{"event":"test_finished","test":"t"}"#, "`status` is missing or empty"),
        (r#"{"event":"test_finished","test":"t","status":"ok"}"#, "unknown variant `ok`, expected one of `passed`"),
        (r#"{"event":"test_finished","test":"t","status":"aborted"}"#, "`status` cannot be `aborted` here"),
        (r#"{"event":"run_finished","status":"skipped"}"#, "`status` cannot be `skipped` here"),
        (r#"{"event":"test_started","test":""}"#, "`test` is missing or empty"),
        (r#"{"event":"test_started","test":7}"#, "invalid type: integer `7`, expected a string"),
        (r#"{"event":"test_started","test":"t","attempt":0}"#, "`attempt` counts from 1"),
        (r#"{"event":"test_started","test":"t","time":"yesterday"}"#, "`time` is neither"),
        (r#"{"event":"test_started","test":"t","time":true}"#, "expected a time"),
        (r#"{"event":"step_finished","name":"n","duration_ms":-1}"#, "`duration_ms` is below 0"),
        (r#"{"event":"log","source":"My Log"}"#, "`source` is not"),
        (r#"{"event":"planned"}"#, "`total` or `tests` is missing"),
        (r#"{"testwire":0,"event":"log"}"#, "`testwire` is the version"),
        (r#"[{"event":"log"}]"#, "is not an event"),
    ];
    for (line, why) in cases {
        let found = notes(&format!("{{\"event\":\"log\"}}\n\n{line}"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].starts_with("line 3 is not an event") && found[0].contains(why), "{line}: {found:?}");
        let kept = facts(line);
        assert!(kept.last().unwrap().contains(&format!("{:?}", Cow::Borrowed(line))), "{kept:?}");
    }
}

#[test]
fn noise_does_not_double_the_stream() {
    let noise = "noise\n".repeat(10_000);
    let found = notes(noise.trim_end());
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], "9900 more lines are not events");
    assert_eq!(facts(noise.trim_end()).iter().filter(|fact| fact.starts_with("Log")).count(), 10_000);
}

#[test]
fn a_newer_version_is_refused_once_and_its_lines_are_kept() {
    let lines = "{\"testwire\":2,\"event\":\"born\"}\n{\"event\":\"log\",\"text\":\"x\"}\nnoise";
    let found = notes(lines);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("line 1: the events are of format version 2, this testwire reads up to 1"),
        "{found:?}"
    );
    assert_eq!(facts(lines).iter().filter(|fact| fact.starts_with("Log")).count(), 3);
    let again = format!("{lines}\n{{\"testwire\":1,\"event\":\"suite_started\",\"suite\":\"s\"}}");
    assert!(facts(&again).last().unwrap().starts_with("SuiteStarted"), "a later line of version 1 counts");
}

#[test]
fn the_runner_is_that_of_the_first_event() {
    let runner = |lines: &str| {
        let mut decoder = Testwire::default();
        lines.split('\n').for_each(|line| decoder.line(line.as_bytes(), &mut |_| {}));
        decoder.runner().to_owned()
    };
    assert_eq!(runner("noise\n{\"event\":\"run_started\",\"runner\":\"mine-2\"}"), "mine-2");
    assert_eq!(runner("{\"event\":\"log\"}\n{\"event\":\"run_started\",\"runner\":\"late\"}"), "custom");
    assert_eq!(runner("{\"event\":\"run_started\",\"runner\":\"Not A Label\"}"), "custom");
    assert_eq!(notes("{\"event\":\"run_started\",\"runner\":\"Not A Label\"}").len(), 1);
}

#[test]
fn an_event_with_wrong_utf8_counts() {
    let mut decoder = Testwire::default();
    let mut facts = Vec::new();
    decoder.line(b"{\"event\":\"log\",\"text\":\"a\xffb\"}", &mut |event| facts.push(format!("{:?}", event.fact)));
    assert_eq!(facts.len(), 1);
    assert!(facts[0].contains("a\u{fffd}b"), "{facts:?}");
}
