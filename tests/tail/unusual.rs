//! Lines that are not as lines mostly are.

use std::io::Write as _;

use super::following::Following;
use super::good;

#[test]
fn a_line_of_10_mb_arrives_in_parts_and_its_neighbours_too() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 10);
    following.start();
    following.until(10);
    let long: String = (0..1_000_000).map(|n| format!("word{n:06}")).collect();
    let mut file = following.append("app.log");
    for part in long.as_bytes().chunks(1 << 20) {
        file.write_all(part).unwrap();
    }
    writeln!(file).unwrap();
    following.write("app.log", 10);
    following.until(20);
    following.whole("line of 10 MB");
    let parts: Vec<String> =
        following.stored().into_iter().map(|(_, _, line)| line).filter(|line| !line.contains("seq=")).collect();
    assert!(parts.len() > 40 && parts.iter().all(|part| part.len() <= 200 << 10), "{} parts", parts.len());
    assert_eq!(parts.concat(), long);
}

#[test]
fn bytes_that_are_no_utf_8_and_nul_bytes_take_no_line_with_them() {
    let mut following = Following::new(&[], good);
    following.start();
    for bad in [&b"\x80\xff\xfe bad "[..], b"\0\0nul ", b"\xc3", b"\xed\xa0\x80 half a pair ", b"", b"\r"] {
        let line = following.line();
        let mut file = following.append("app.log");
        file.write_all(bad).unwrap();
        writeln!(file, " {line}").unwrap();
    }
    following.until(6);
    following.whole("invalid UTF-8, NUL");
}

#[test]
fn a_last_line_without_an_end_arrives_when_it_has_waited() {
    let mut following = Following::new(&[], good);
    following.start();
    let line = following.line();
    write!(following.append("app.log"), "{line}").unwrap();
    following.until(1);
    following.whole("last line without its end");
}

#[test]
fn utf_16_is_read_as_such() {
    let mut following = Following::new(&[], good);
    following.start();
    let mut text = "\u{feff}".to_owned();
    for _ in 0..200 {
        text.push_str(&following.line());
        text.push_str(" ☂\r\n");
    }
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for part in bytes.chunks(777) {
        following.append("app.log").write_all(part).unwrap();
    }
    following.until(200);
    following.whole("UTF-16");
    assert!(following.stored().iter().all(|(_, _, line)| line.ends_with('☂')));
}

#[test]
fn two_thousand_equal_lines_are_all_different_entries() {
    let mut following = Following::new(&[], good);
    let text = "tick\n".repeat(2_500);
    following.append("app.log").write_all(text.as_bytes()).unwrap();
    following.write("app.log", 1);
    following.start();
    following.until(1);
    following.whole("equal lines");
    let ticks: std::collections::BTreeSet<i64> =
        following.stored().iter().filter(|(_, _, line)| line == "tick").map(|(time, _, _)| *time).collect();
    assert_eq!(ticks.len(), 2_500);
}
