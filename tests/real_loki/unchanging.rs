//! The output of a runner less what differs from run to run.

use std::collections::BTreeMap;

use crate::binary::Done;

/// Numbers with a fraction (they are times), addresses, numbers of goroutines, and the width of rulers.
pub(crate) fn unchanging(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    // pytest fills lines up with `=`, as many as the time in it leaves.
    let ruled = line.strip_suffix("=\n").map(|line| line.trim_matches('='));
    let mut out = String::new();
    let mut rest = ruled.unwrap_or(line);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        out.push_str(before);
        if let Some(hex) = number.strip_prefix("0x") {
            out.push_str("ADDRESS");
            rest = hex.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            continue;
        }
        let after = number.trim_start_matches(|c: char| c.is_ascii_digit());
        let fraction = after.strip_prefix('.').filter(|after| after.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(fraction) = fraction {
            out.push_str("TIME");
            rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if before.ends_with("goroutine ") {
            out.push_str("NUMBER");
            rest = after;
        } else {
            out.push_str(number.strip_suffix(after).unwrap());
            rest = after;
        }
    }
    out.push_str(rest);
    out.push_str(if ruled.is_some() { "\n" } else { "" });
    out
}

/// Standard error without what testwire says itself.
pub(crate) fn err_of_command(done: &Done) -> String {
    // It warns where a loaded machine keeps it from the history for too long.
    let own = |text: &str| text.starts_with("testwire: ") || text.starts_with(" WARN ");
    let err = done.err();
    // Maven's last word is to reset colours, without the end of a line.
    let reset = |line: &str| line.len() - line.trim_start_matches("\u{1b}[0m").len();
    let of_command = |line: &'_ str| -> String {
        let (before, text) = line.split_at(reset(line));
        (if own(text) { before } else { line }).to_owned()
    };
    err.split_inclusive('\n').map(of_command).collect()
}

/// Each line and how often it is there, where the order depends on which worker was faster. Workers have no numbers, and
/// pytest's letters of results are counted one by one.
pub(crate) fn lines_in_any_order(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in unchanging(text).lines() {
        let letters = line.split(" [").next().unwrap_or_default().trim_end();
        if !letters.is_empty() && letters.chars().all(|c| ".FEsxXR".contains(c)) {
            letters.chars().for_each(|c| *counts.entry(c.to_string()).or_default() += 1);
        } else {
            *counts.entry(line.replace("[gw1]", "[gw0]")).or_default() += 1;
        }
    }
    counts
}

#[test]
fn only_times_addresses_and_goroutines_are_taken_out() {
    assert_eq!(unchanging("FAIL\tp\t0.72s\n3 of 14 in 12.51s\n"), "FAIL\tp\tTIMEs\n3 of 14 in TIMEs\n");
    assert_eq!(unchanging("goroutine 19 [running]: f(0x2f82?)"), "goroutine NUMBER [running]: f(ADDRESS?)");
    assert_eq!(unchanging("==== 2 failed in 1.2s ====\n"), unchanging("=== 2 failed in 11.25s ====\n"));
}
