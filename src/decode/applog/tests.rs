use chrono::{DateTime, SecondsFormat};
use regex::bytes::Regex;

use super::*;

/// When the lines of these tests are read.
const READ: &str = "2026-11-20T10:05:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap())
}

fn show(time: Timestamp) -> String {
    DateTime::from_timestamp_nanos(time.0).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

type Shown = (String, Option<String>, Option<Level>);

/// Text, time and level of each record, after a check that the records cover all bytes.
fn records_of(rules: &Rules, text: &str) -> Vec<Shown> {
    let mut assembler = Assembler::new(rules);
    let mut shown = Vec::new();
    let mut covered = 0;
    let mut out = |record: Record<'_>| {
        assert_eq!(record.range.start, covered, "a gap before {}", record.text);
        covered = record.range.end;
        shown.push((record.text.into_owned(), record.time.map(show), record.level));
    };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len() as u64;
        assembler.line(line.trim_end_matches('\n').as_bytes(), start..end, at(READ), &mut out);
        start = end;
    }
    assembler.flush(&mut out);
    assert!(!assembler.is_holding());
    assert_eq!(covered, text.len() as u64);
    shown
}

fn records(text: &str) -> Vec<Shown> {
    records_of(&Rules::default(), text)
}

fn only(rules: &Rules, line: &str) -> Shown {
    let mut records = records_of(rules, line);
    assert_eq!(records.len(), 1, "{line}");
    let record = records.remove(0);
    assert_eq!(record.0, line);
    record
}

fn time_of(line: &str) -> Option<String> {
    only(&Rules::default(), line).1
}

fn berlin() -> Rules {
    Rules {
        zone: Zone::new(|wall| {
            wall.and_local_timezone(chrono_tz::Europe::Berlin).earliest()?.timestamp_nanos_opt().map(Timestamp)
        }),
        ..Rules::default()
    }
}

#[test]
fn times_of_every_shape_are_read_to_their_last_digit() {
    for (line, expected) in [
        // ISO, with and without T, zones, fractions of every length, by point and comma.
        ("2025-07-17 21:26:03 x", "2025-07-17T21:26:03Z"),
        ("2025-07-17T21:26:03Z x", "2025-07-17T21:26:03Z"),
        ("2025-07-17T13:45:03.567Z x", "2025-07-17T13:45:03.567Z"),
        ("2025-07-17T21:26:03.123+02:00 ERROR x", "2025-07-17T19:26:03.123Z"),
        ("2025-07-17T21:26:03+0200 x", "2025-07-17T19:26:03Z"),
        ("2025-07-17T21:26:03-05 x", "2025-07-18T02:26:03Z"),
        ("2025-07-17 21:26:03.5 +0530 x", "2025-07-17T15:56:03.500Z"),
        ("2025-07-17 21:26:03,123 ERROR x", "2025-07-17T21:26:03.123Z"),
        ("[2025-07-17 21:26:03,123] ERROR x", "2025-07-17T21:26:03.123Z"),
        ("2025-07-17 21:26:03.123456789 x", "2025-07-17T21:26:03.123456789Z"),
        ("2025-07-17 21:26:03.1234567891 x", "2025-07-17T21:26:03.123456789Z"),
        ("2025-07-17 21:26:03.123 UTC [12] LOG:  x", "2025-07-17T21:26:03.123Z"),
        ("2025-07-17_21:26:03.12345 x", "2025-07-17T21:26:03.123450Z"),
        ("2025-07-17 21:26:03:123 log4net", "2025-07-17T21:26:03.123Z"),
        ("2024-02-29 00:00:00 leap", "2024-02-29T00:00:00Z"),
        ("2025-07-17 21:26:60 leap second", "2025-07-17T21:26:59Z"),
        // Go's log, nginx' error log, Robot Framework, basic ISO.
        ("2025/07/17 21:26:03 x", "2025-07-17T21:26:03Z"),
        ("2025/07/17 21:26:03.000123 main.go:7: x", "2025-07-17T21:26:03.000123Z"),
        ("2025/07/17 21:26:03 [error] 7#7: *1 open() failed", "2025-07-17T21:26:03Z"),
        ("20250717 21:26:03.123 - INFO - x", "2025-07-17T21:26:03.123Z"),
        ("20250717T212603Z x", "2025-07-17T21:26:03Z"),
        // Days first, month names, American order.
        ("[02/Jul/2025:17:14:47.605 +0200] x", "2025-07-02T15:14:47.605Z"),
        ("[02/Jul/2025:17:14:47] x", "2025-07-02T17:14:47Z"),
        ("02-Jul-2025 17:14:47.605 INFO [main] x", "2025-07-02T17:14:47.605Z"),
        ("02 Jul 2025 17:14:47,605 x", "2025-07-02T17:14:47.605Z"),
        ("17-07-2025 21:26:03 x", "2025-07-17T21:26:03Z"),
        ("02-07-2025 21:26:03 x", "2025-07-02T21:26:03Z"),
        ("02.07.2025 21:26:03 x", "2025-07-02T21:26:03Z"),
        ("17/07/2025 21:26:03 x", "2025-07-17T21:26:03Z"),
        ("07/17/2025 21:26:03 x", "2025-07-17T21:26:03Z"),
        ("7/2/2025 9:26:03 PM x", "2025-07-02T21:26:03Z"),
        ("07/02/2025 12:26:03 AM x", "2025-07-02T00:26:03Z"),
        ("7/2/2025, 9:26:03 PM x", "2025-07-02T21:26:03Z"),
        // Web servers.
        (r#"127.0.0.1 - - [20/Nov/2026:10:04:43 +0100] "GET / HTTP/1.1" 200 5"#, "2026-11-20T09:04:43Z"),
        (r#"::1 - bob [20/Nov/2026:10:04:43 +0000] "GET / HTTP/1.1" 200 5"#, "2026-11-20T10:04:43Z"),
        ("[Fri Nov 20 10:04:43.123456 2026] [core:notice] [pid 1] x", "2026-11-20T10:04:43.123456Z"),
        ("Fri Nov 20 10:04:43 2026 x", "2026-11-20T10:04:43Z"),
        ("Fri, 20 Nov 2026 10:04:43 GMT x", "2026-11-20T10:04:43Z"),
        // Syslog: the year is the latest that lies not ahead.
        ("Nov 20 10:04:43 host app[1]: x", "2026-11-20T10:04:43Z"),
        ("Jul  2 13:45:06 host x", "2026-07-02T13:45:06Z"),
        ("Dec 31 23:59:59 host x", "2025-12-31T23:59:59Z"),
        ("Feb 29 12:00:00 host x", "2024-02-29T12:00:00Z"),
        ("<34>Oct 11 22:14:15 mymachine su: x", "2026-10-11T22:14:15Z"),
        ("<165>1 2026-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - x", "2026-08-24T12:14:15.000003Z"),
        // glog and klog.
        ("I1120 10:04:43.123456       1 main.go:12] x", "2026-11-20T10:04:43.123456Z"),
        ("E20261120 10:04:43.123456 1 main.cc:12] x", "2026-11-20T10:04:43.123456Z"),
        // A time alone: the latest day on which it lies not ahead.
        ("10:04:43.123 [main] INFO x", "2026-11-20T10:04:43.123Z"),
        ("23:04:43,123 x", "2026-11-19T23:04:43.123Z"),
        ("[10:04:43] x", "2026-11-20T10:04:43Z"),
        // Numbers since 1970.
        ("1795167341 x", "2026-11-20T09:35:41Z"),
        ("1795167341.904935 x", "2026-11-20T09:35:41.904935Z"),
        ("1795167341904 x", "2026-11-20T09:35:41.904Z"),
        ("1795167341904935 x", "2026-11-20T09:35:41.904935Z"),
        ("[1795167341904935123] x", "2026-11-20T09:35:41.904935123Z"),
        // Behind a word, or in colours.
        ("INFO 2026-11-20 10:04:43,123 x", "2026-11-20T10:04:43.123Z"),
        ("INFO  [2026-11-20 10:04:43,123] org.app.Main: x", "2026-11-20T10:04:43.123Z"),
        ("I, [2026-11-20T10:04:43.123456 #12]  INFO -- : ruby", "2026-11-20T10:04:43.123456Z"),
        ("1234:M 20 Nov 2026 10:04:43.123 * Ready", "2026-11-20T10:04:43.123Z"),
        ("web-1  | 2026-11-20 10:04:43 x", "2026-11-20T10:04:43Z"),
        ("\x1b[2m2026-11-20T10:04:43.123456Z\x1b[0m \x1b[32m INFO\x1b[0m app: x", "2026-11-20T10:04:43.123456Z"),
        // Fields.
        (r#"time="2026-11-20T10:04:43Z" level=info msg=x"#, "2026-11-20T10:04:43Z"),
        (r#"level=info ts=2026-11-20T10:04:43.5Z caller=a.go:1 msg="a b""#, "2026-11-20T10:04:43.500Z"),
        (r#"{"level":"info","ts":1795167341.904935,"msg":"zap"}"#, "2026-11-20T09:35:41.904935Z"),
        (r#"{"level":30,"time":1795167341904,"msg":"pino"}"#, "2026-11-20T09:35:41.904Z"),
        (
            r#"{"@timestamp":"2026-11-20T10:04:43.123Z","a":{"time":"x"},"log.level":"WARN"}"#,
            "2026-11-20T10:04:43.123Z",
        ),
        (r#"{"msg":"a \"time\": b","n":[1,{"time":"no"}],"time":"2026-11-20T10:04:43Z"}"#, "2026-11-20T10:04:43Z"),
        (r#"{ "asctime" : "2026-11-20 10:04:43,123" }"#, "2026-11-20T10:04:43.123Z"),
    ] {
        assert_eq!(time_of(line).as_deref(), Some(expected), "{line}");
    }
}

#[test]
fn what_is_no_time_is_none() {
    for line in [
        " ",
        "x",
        "12345 items",
        "200 OK",
        "1555 2026",
        "123456789 x",
        "9999999999 is no second of the past",
        "17951673419 x",
        "99:99:99.123 x",
        "00:12:43 elapsed",
        "10:04 x",
        "[31/Feb/2025:10:00:00 +0000] bad date",
        "2023-02-29 00:00:00 no leap year",
        "2025-13-01 00:00:00 x",
        "2025-07-17 24:00:00 x",
        "2025-07-17 21:60:03 x",
        "2025-07-17",
        "2025-07-17 21:26",
        "2025-07-17T21:26:03x",
        "2025-07-17 21:26:03rd",
        "1025-07-17 21:26:03 x",
        "13/13/2025 10:00:00 x",
        "7/2/2025 13:26:03 PM x",
        "Nov 31 10:00:00 x",
        "Nov 2026 report",
        "March of the 10:00:00",
        "Monday is no time",
        "I1320 10:04:43.123456 1 main.go:12] x",
        "<999>Oct 11 22:14:15 x",
        "192.168.0.1 connected",
        "1.2.3.4:8080 up",
        "the certificate is valid until 2027-01-01 00:00:00",
        "backup of 2025-01-01 00:00:00 restored",
        "took 00:00:01.234",
        "٢٠٢٥-٠٧-١٧ ٢١:٢٦:٠٣ x",
        r#"{"time":"yesterday"}"#,
        r#"{"user":{"time":"2026-11-20T10:04:43Z"}}"#,
        r#"{"time":"#,
        "{",
        "timeout=2026-11-20T10:04:43Z level=x",
    ] {
        assert_eq!(time_of(line), None, "{line}");
    }
}

#[test]
fn times_that_name_no_zone_are_in_the_configured_one_whatever_the_season() {
    let time = |line: &str| only(&berlin(), line).1.unwrap();
    assert_eq!(time("2026-11-20 10:04:43 x"), "2026-11-20T09:04:43Z");
    assert_eq!(time("2026-07-20 10:04:43 x"), "2026-07-20T08:04:43Z");
    assert_eq!(time("2026-07-20 10:04:43Z x"), "2026-07-20T10:04:43Z");
    assert_eq!(time("Jul 20 10:04:43 host x"), "2026-07-20T08:04:43Z");
    assert_eq!(time("11:04:43.500 x"), "2026-11-20T10:04:43.500Z");
    // Clocks go forward at 2, and back at 3; the quarter before has another distance than the quarter behind.
    let text = "2026-03-29 01:59:59 a\n2026-03-29 03:00:00 b\n2026-10-25 01:59:59 c\n2026-10-25 03:00:00 d\n";
    let times: Vec<_> = records_of(&berlin(), text).into_iter().map(|record| record.1.unwrap()).collect();
    assert_eq!(times, ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-24T23:59:59Z", "2026-10-25T02:00:00Z"]);
}

#[test]
fn what_is_left_out_of_a_time_is_completed_by_when_it_was_read() {
    let read = |line: &str, read_at: &str| {
        let mut time = None;
        let mut assembler = Assembler::new(&Rules { multiline: Multiline::Off, ..Rules::default() });
        assembler.line(line.as_bytes(), 0..1, at(read_at), &mut |record: Record<'_>| time = record.time);
        show(time.unwrap())
    };
    assert_eq!(read("Dec 31 23:59:59 x", "2027-01-01T00:00:01Z"), "2026-12-31T23:59:59Z");
    assert_eq!(read("Jan  1 00:00:01 x", "2026-12-31T23:59:59Z"), "2027-01-01T00:00:01Z");
    assert_eq!(read("Jan  2 00:00:01 x", "2026-12-31T23:59:59Z"), "2026-01-02T00:00:01Z");
    assert_eq!(read("23:59:59.5 x", "2027-01-01T00:00:01Z"), "2026-12-31T23:59:59.500Z");
    assert_eq!(read("00:00:00.5 x", "2026-12-31T23:59:59Z"), "2027-01-01T00:00:00.500Z");
}

#[test]
fn levels_are_words_and_fields_and_no_parts_of_either() {
    for (line, expected) in [
        ("2026-11-20 10:04:43 ERROR x", Some(Level::Error)),
        ("2026-11-20 10:04:43,123 - app - WARNING - x", Some(Level::Warn)),
        ("2026-11-20 10:04:43.123  INFO 1 --- [main] o.a.Main : an ERROR word", Some(Level::Info)),
        ("10:04:43.123 [main] DEBUG com.app.Main - x", Some(Level::Debug)),
        ("2026/11/20 10:04:43 [error] 7#7: x", Some(Level::Error)),
        ("[Fri Nov 20 10:04:43 2026] [core:notice] [pid 1] x", Some(Level::Info)),
        ("2026-11-20 10:04:43 info: ready", Some(Level::Info)),
        ("WARNING:root:x", Some(Level::Warn)),
        ("error: no such file", Some(Level::Error)),
        ("2026-11-20T10:04:43Z FINE x", Some(Level::Debug)),
        ("2026-11-20T10:04:43Z SEVERE: x", Some(Level::Error)),
        ("2026-11-20 10:04:43.123 | CRITICAL | x", Some(Level::Fatal)),
        ("\x1b[2m2026-11-20T10:04:43Z\x1b[0m \x1b[33m WARN\x1b[0m app: x", Some(Level::Warn)),
        ("W1120 10:04:43.123456 1 main.go:12] an ERROR", Some(Level::Warn)),
        ("<11>Nov 20 10:04:43 host app: x", Some(Level::Error)),
        ("2026-11-20 10:04:43 level=warn msg=x", Some(Level::Warn)),
        (r#"time=2026-11-20T10:04:43Z level=debug msg="an ERROR""#, Some(Level::Debug)),
        (r#"{"time":"2026-11-20T10:04:43Z","level":"error","msg":"x"}"#, Some(Level::Error)),
        (r#"{"severity":"CRITICAL","message":"x"}"#, Some(Level::Fatal)),
        (r#"{"level":40,"time":1795167341904}"#, Some(Level::Warn)),
        (r#"{"time":"2026-11-20T10:04:43Z","msg":"an ERROR"}"#, None),
        ("2025-07-17 21:30:00 connecting for information desk", None),
        ("2026-11-20 10:04:43 GET /error HTTP/1.1", None),
        ("2026-11-20 10:04:43 status=error code=1", None),
        ("2026-11-20 10:04:43 wrote error.log", None),
        ("2026-11-20 10:04:43 ERROR_CODE 7", None),
        ("2026-11-20 10:04:43 INFOS x", None),
        ("2026-11-20 10:04:43 the info we had", None),
        ("2026-11-20 10:04:43 fine, thanks", None),
        ("2026-11-20 10:04:43 x", None),
    ] {
        assert_eq!(only(&Rules::default(), line).2, expected, "{line}");
    }
}

/// Joins the first lines of traces to one record and finds the line behind them to be another.
fn assert_one_record(trace: &str, level: Option<Level>) {
    let text = format!("2026-11-20 10:04:42 INFO before\n{trace}\n2026-11-20 10:04:44 INFO behind\n");
    let records = records(&text);
    let texts: Vec<_> = records.iter().map(|record| record.0.as_str()).collect();
    assert_eq!(texts, ["2026-11-20 10:04:42 INFO before", trace, "2026-11-20 10:04:44 INFO behind"]);
    assert_eq!(records[1].2, level, "{trace}");
}

const PYTHON: &str = "Traceback (most recent call last):
  File \"a.py\", line 1, in <module>
    raise ValueError(\"lost\")
ValueError: lost

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"a.py\", line 3, in <module>
    pay()
shop.errors.OutOfCredit";

const JAVA: &str = "java.lang.IllegalStateException: cannot pay
\tat com.shop.Pay.pay(Pay.java:12)
\tat com.shop.Main.main(Main.java:3)
\tSuppressed: java.io.IOException: close
\t\tat com.shop.Pay.close(Pay.java:40)
Caused by: java.net.ConnectException: refused
\tat java.base/sun.nio.ch.Net.connect0(Native Method)
\t... 12 more";

const GO: &str = "panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45]

goroutine 1 [running]:
main.(*Server).serve(0xc000010000, {0x1, 0x2})
\t/src/main.go:12 +0x1d
main.main()
\t/src/main.go:7 +0x2a
exit status 2";

const RUST: &str = "thread 'main' panicked at src/main.rs:2:5:
called `Option::unwrap()` on a `None` value
stack backtrace:
   0: std::panicking::begin_panic
             at /rustc/library/std/src/panicking.rs:1:1
note: Some details are omitted, run with `RUST_BACKTRACE=full`";

const NODE: &str = "TypeError: x is not a function
    at Object.<anonymous> (/app/a.js:3:1)
    at Module._compile (node:internal/modules/cjs/loader:1469:14) {
  code: 'E_X'
}";

#[test]
fn traces_are_one_record_with_the_line_that_announces_them() {
    for trace in [PYTHON, JAVA, GO, RUST, NODE] {
        assert_one_record(&format!("2026-11-20 10:04:43,123 ERROR boom\n{trace}"), Some(Level::Error));
        assert_one_record(&format!("2026-11-20 10:04:43 a line without a level\n{trace}"), Some(Level::Error));
    }
    let json =
        "{\"time\":\"2026-11-20T10:04:43Z\",\"level\":\"error\"}\nTraceback (most recent call last):\n  File\nE: x";
    assert_one_record(json, Some(Level::Error));
}

#[test]
fn a_trace_behind_a_line_that_says_all_is_well_is_a_record_of_its_own() {
    for trace in [PYTHON, JAVA, RUST, NODE] {
        assert_one_record(trace, Some(Level::Error));
    }
    assert_one_record(GO, Some(Level::Fatal));
}

#[test]
fn two_traces_of_lines_with_times_stay_two() {
    let text = format!("2026-11-20 10:04:43 ERROR a\n{PYTHON}\n2026-11-20 10:04:44 ERROR b\n{JAVA}\n");
    assert_eq!(records(&text).len(), 2);
}

#[test]
fn lines_that_belong_to_nothing_are_records_with_the_time_before_them() {
    let records = records("start\n2026-11-20 10:04:43 INFO x\nplain\n  indented\n\nend\n");
    let expected = [
        ("start", None),
        ("2026-11-20 10:04:43 INFO x", Some("2026-11-20T10:04:43Z")),
        ("plain\n  indented\n", Some("2026-11-20T10:04:43Z")),
        ("end", Some("2026-11-20T10:04:43Z")),
    ];
    let shown: Vec<_> = records.iter().map(|record| (record.0.as_str(), record.1.as_deref())).collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_source_that_is_taken_up_behind_a_record_gives_the_same_records() {
    let text = format!("a\n2026-11-20 10:04:43 ERROR x\n{PYTHON}\nplain\n{GO}\nb\n2026-11-20 10:04:44 y\n  more\n");
    let all = records(&text);
    let mut behind = 0;
    let mut last = None;
    for (done, record) in all.iter().enumerate() {
        let mut assembler = Assembler::new(&Rules::default());
        assembler.resume(last);
        let mut again = Vec::new();
        let mut out = |record: Record<'_>| again.push((record.text.into_owned(), record.time.map(show), record.level));
        let mut start = 0;
        for line in text.as_bytes()[behind..].split_inclusive(|b| *b == b'\n') {
            let end = start + line.len() as u64;
            assembler.line(&line[..line.len() - 1], start..end, at(READ), &mut out);
            start = end;
        }
        assembler.flush(&mut out);
        assert_eq!(again, all[done..]);
        behind += record.0.len() + 1;
        last = record.1.as_deref().map(at);
    }
}

#[test]
fn own_rules_say_where_a_record_begins_and_where_time_and_level_are() {
    let rules = Rules {
        multiline: Multiline::Start(Regex::new("^#").unwrap()),
        time: Some(TimePattern {
            find: Regex::new(r"at=(?P<time>\S+)").unwrap(),
            format: Some("%d.%m.%y-%H:%M:%S%.f".into()),
        }),
        level: Some(Regex::new(r"<(\w+)>").unwrap()),
        ..berlin()
    };
    let records = records_of(&rules, "#1 <warn> at=20.11.26-10:04:43.25\n2026-11-20 10:04:43 ERROR\n#2 INFO\n");
    let expected = [
        (
            "#1 <warn> at=20.11.26-10:04:43.25\n2026-11-20 10:04:43 ERROR".to_owned(),
            Some("2026-11-20T09:04:43.250Z".to_owned()),
            Some(Level::Warn),
        ),
        ("#2 INFO".to_owned(), Some("2026-11-20T09:04:43.250Z".to_owned()), None),
    ];
    assert_eq!(records, expected);
    let off = Rules { multiline: Multiline::Off, ..Rules::default() };
    assert_eq!(records_of(&off, &format!("{JAVA}\n")).len(), JAVA.lines().count());
    let named = Rules { time: Some(TimePattern { find: Regex::new(r"until (.*)$").unwrap(), format: None }), ..off };
    assert_eq!(only(&named, "valid until 2026-11-19 00:00:00").1.as_deref(), Some("2026-11-19T00:00:00Z"));
}

#[test]
fn container_lines_are_unwrapped_joined_and_have_the_runtimes_time() {
    let text = concat!(
        r#"{"log":"2026-11-20 10:04:43,123 ERROR \u00fcber\n","stream":"stdout","time":"2026-11-20T10:04:43.2Z"}"#,
        "\n",
        r#"{"log":"Traceback (most recent call last):\n","stream":"stdout","time":"2026-11-20T10:04:43.3Z"}"#,
        "\n",
        r#"{"log":"  File\n","stream":"stdout","time":"2026-11-20T10:04:43.3Z"}"#,
        "\n",
        r#"{"log":"no time, ","stream":"stderr","time":"2026-11-20T10:04:44.4Z"}"#,
        "\n",
        r#"{"log":"in parts\r\n","stream":"stderr","time":"2026-11-20T10:04:44.5Z"}"#,
        "\n",
        "2026-11-20T10:04:45.123456789Z stdout P first, \n",
        "2026-11-20T10:04:45.2Z stdout P second, \n",
        "2026-11-20T10:04:45.3Z stdout F third\n",
        "2026-11-20T11:04:46.5+01:00 stderr F WARN own level\n",
        r#"{"log":"an object of the application"}"#,
        "\n",
        "2026-11-20T10:04:47Z stdoutx F is none\n",
    );
    let expected = [
        (
            "2026-11-20 10:04:43,123 ERROR über\nTraceback (most recent call last):\n  File",
            "10:04:43.123Z",
            Some(Level::Error),
        ),
        ("no time, in parts", "10:04:44.400Z", None),
        ("first, second, third", "10:04:45.123456789Z", None),
        ("WARN own level", "10:04:46.500Z", Some(Level::Warn)),
        (r#"{"log":"an object of the application"}"#, "10:04:46.500Z", None),
        ("2026-11-20T10:04:47Z stdoutx F is none", "10:04:47Z", None),
    ];
    let records = records(text);
    let shown: Vec<_> = records
        .iter()
        .map(|(text, time, level)| (text.as_str(), time.as_deref().unwrap().split_once('T').unwrap().1, *level))
        .collect();
    assert_eq!(shown, expected);
    let none = Rules { container: Container::None, multiline: Multiline::Off, ..Rules::default() };
    assert_eq!(records_of(&none, text).len(), text.lines().count());
}

#[test]
fn what_names_a_test_a_worker_or_a_trace_becomes_metadata() {
    let rules = Rules {
        worker: Some(Regex::new(r"\[(gw\d+)\]").unwrap()),
        trace: Some(Regex::new(r"trace_id=(?P<trace>\w+)").unwrap()),
        test: Some(Regex::new(r"test=(\S+)").unwrap()),
        ..Rules::default()
    };
    let fields = |line: &str| {
        let mut assembler = Assembler::new(&rules);
        let mut fields = Vec::new();
        let mut out = |record: Record<'_>| {
            fields = record.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        };
        assembler.line(line.as_bytes(), 0..1, at(READ), &mut out);
        assembler.flush(&mut out);
        fields
    };
    assert_eq!(fields("[gw1] test=a::b trace_id=7f x"), ["test=a::b", "worker=gw1", "trace_id=7f"]);
    assert_eq!(fields("2026-11-20T10:04:45Z stderr F [gw0] x"), ["worker=gw0", "stream=stderr"]);
    assert!(fields("x").is_empty());
}

#[test]
fn keys_stay_in_one_record_and_secrets_are_counted() {
    let key = "2026-11-20 10:04:43 INFO key\n-----BEGIN PRIVATE KEY-----\nMIIE\nabcd\n-----END PRIVATE KEY-----\n";
    let redact = Redaction { builtin: true, patterns: Vec::new() };
    let rules = Rules { redact, ..Rules::default() };
    let mut assembler = Assembler::new(&rules);
    let mut texts = Vec::new();
    let mut out = |record: Record<'_>| texts.push(record.text.into_owned());
    for (number, line) in key.lines().chain(["password=x", "end"]).enumerate() {
        let start = number as u64;
        assembler.line(line.as_bytes(), start..start + 1, at(READ), &mut out);
    }
    assembler.flush(&mut out);
    let key = "-----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY-----";
    assert_eq!(texts, ["2026-11-20 10:04:43 INFO key", key, "password=[redacted]", "end"]);
    assert_eq!(assembler.redacted(), 2);
    assert_eq!(records("password=x\n")[0].0, "password=x");
}

#[test]
fn groups_have_an_end_and_bytes_that_are_no_text_are_kept_apart() {
    let rules = Rules { max_group: 100, ..Rules::default() };
    let text = format!("2026-11-20 10:04:43 ERROR x\n{}", "  at somewhere\n".repeat(50));
    let records = records_of(&rules, &text);
    assert!(records.len() > 5 && records.iter().all(|record| record.0.len() <= 100), "{records:?}");
    assert!(records.iter().all(|record| record.1.as_deref() == Some("2026-11-20T10:04:43Z")));
    let long = format!("2026-11-20 10:04:43 {}", "x".repeat(1 << 20));
    assert_eq!(only(&rules, &long).1.as_deref(), Some("2026-11-20T10:04:43Z"));

    let mut assembler = Assembler::new(&Rules::default());
    let mut texts = Vec::new();
    let mut out = |record: Record<'_>| texts.push(record.text.into_owned());
    for line in [&b"2026-11-20 10:04:43 \xff\xfe\0"[..], b"\xff", b"\0\0", b"  \xc3"] {
        assembler.line(line, 0..1, at(READ), &mut out);
    }
    assembler.flush(&mut out);
    assert_eq!(texts, ["2026-11-20 10:04:43 \u{fffd}\u{fffd}\0", "\u{fffd}", "\0\0\n  \u{fffd}"]);
}

#[test]
fn damaged_lines_neither_panic_nor_lose_bytes() {
    let seeds = [PYTHON, GO, RUST, r#"{"log":"a\n","stream":"stdout","time":"2026-11-20T10:04:43Z"}"#, READ];
    let seeds = seeds.iter().flat_map(|seed| seed.lines()).chain([
        "I1120 10:04:43.123456 x",
        "[Fri Nov 20 10:04:43.123456 2026] [error] x",
        "7/2/2025, 9:26:03 PM x",
        "<165>1 2026-08-24T05:14:15.000003-07:00 x",
        "1795167341.904935 x",
        "level=info ts=2026-11-20T10:04:43.5Z msg=\"a\\\"b\"",
        "2026-11-20T10:04:45.123456789Z stdout P x",
    ]);
    for seed in seeds {
        for cut in 0..=seed.len() {
            let (Some(head), Some(tail)) = (seed.get(..cut), seed.get(cut..)) else { continue };
            for line in [head.to_owned(), tail.to_owned(), format!("{head}\u{1b}[{tail}"), format!("{head}9{tail}")] {
                records(&line);
            }
        }
    }
}
