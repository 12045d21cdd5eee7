//! Records, judgements, files.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Historian;
use super::file;
use super::judge::Change;
use super::memory::{Key, Observed, Opening};
use super::past::{KEPT, Past, Record, test_key};
use super::slot::{Outcome, Slot};
use crate::event::Timestamp;

/// A result of run number `run`, a minute after that of the run before.
fn slot(run: u32, outcome: Outcome, millis: u64) -> Slot {
    let time = Timestamp((1_795_200_000 + i64::from(run) * 60) * 1_000_000_000);
    Slot::new(time, Slot::run_tag(&format!("run-{run}")), outcome, Some(Duration::from_millis(millis)))
}

fn past(results: &[Outcome]) -> Past {
    let mut past = Past::new(Vec::new(), true);
    for (run, outcome) in (0..).zip(results) {
        past.insert(test_key("a"), slot(run, *outcome, 100), 7);
    }
    past
}

#[test]
fn what_a_result_means_follows_from_the_last_one_that_passed_or_failed() {
    use Change::{Fixed, NewFailure, StillFailing};
    use Outcome::{Errored, Failed, Flaky, Passed, Skipped, Unfinished, Xfailed};
    for (before, now, change, score) in [
        (&[Passed][..], Passed, None, 0),
        (&[Passed], Failed, Some(NewFailure), 1),
        (&[Passed, Failed], Errored, Some(StillFailing), 1),
        (&[Passed, Failed, Skipped], Failed, Some(StillFailing), 1),
        (&[Failed, Unfinished], Passed, Some(Fixed), 1),
        (&[Failed], Skipped, None, 0),
        (&[Skipped], Failed, Some(NewFailure), 0),
        (&[Skipped], Passed, None, 0),
        (&[Failed, Passed, Failed], Passed, Some(Fixed), 3),
        (&[Xfailed], Flaky, None, 1),
        (&[Flaky], Failed, Some(NewFailure), 2),
    ] {
        let judged = past(before).judge(test_key("a"), slot(50, now, 100));
        assert_eq!((judged.change, judged.flaky_score), (change, score), "{before:?} then {now:?}");
        assert_eq!(judged.previous, before.last().copied());
    }
}

#[test]
fn a_test_is_new_only_where_all_others_are_known() {
    let judge = |past: Past, outcome| past.judge(test_key("b"), slot(9, outcome, 1)).change;
    let known = || past(&[Outcome::Passed]);
    assert_eq!(judge(known(), Outcome::Passed), Some(Change::NewTest));
    assert_eq!(judge(known(), Outcome::Failed), Some(Change::NewFailure));
    assert_eq!(judge(known().in_part(), Outcome::Passed), None);
    assert_eq!(judge(known().in_part(), Outcome::Failed), None);
    assert_eq!(judge(Past::new(Vec::new(), true), Outcome::Failed), None, "of the first run nothing is new");
}

#[test]
fn a_later_result_of_the_same_run_takes_the_place_of_the_earlier_and_an_earlier_one_does_not() {
    let mut record = Record::new(1);
    record.insert(slot(1, Outcome::Passed, 1), 0);
    record.insert(slot(3, Outcome::Failed, 1), 5);
    let again =
        Slot::new(Timestamp(1_795_200_999_000_000_000), slot(3, Outcome::Failed, 1).tag(), Outcome::Flaky, None);
    record.insert(again, 0);
    record.insert(slot(3, Outcome::Failed, 1), 5);
    // What comes late is put where it belongs.
    record.insert(slot(2, Outcome::Skipped, 1), 0);
    let outcomes: Vec<_> = record.slots().iter().map(|slot| slot.outcome()).collect();
    assert_eq!(outcomes, [Outcome::Passed, Outcome::Skipped, Outcome::Flaky]);
    assert_eq!(record.signature, 5);
}

#[test]
fn the_newest_twenty_results_are_kept_whatever_the_order_in_which_they_come() {
    let mut numbers: Vec<u32> = (0..60).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut numbers);
    let mut record = Record::new(1);
    numbers.iter().for_each(|run| record.insert(slot(*run, Outcome::Passed, u64::from(*run) + 1), 0));
    let expected: Vec<Slot> = (40..60).map(|run| slot(run, Outcome::Passed, u64::from(run) + 1)).collect();
    assert_eq!(record.slots(), expected);
    assert_eq!(record.first, slot(0, Outcome::Passed, 1).seconds());
    assert_eq!(record.slots().len(), KEPT);
}

#[test]
fn only_what_is_beyond_the_usual_spread_is_slower() {
    let mut past = Past::new(Vec::new(), true);
    for (run, millis) in (0..).zip([1000, 1010, 990, 1020, 980]) {
        past.insert(1, slot(run, Outcome::Passed, millis), 0);
    }
    past.insert(1, slot(6, Outcome::Failed, 60_000), 0);
    let slower = |millis| past.judge(1, slot(9, Outcome::Passed, millis)).slower_by;
    assert_eq!(slower(1400), None);
    let by = slower(3000).unwrap();
    assert!(by.abs_diff(Duration::from_secs(2)) < Duration::from_millis(50), "{by:?}");
    let expected = past.get(1).and_then(Record::expected).unwrap();
    assert!(
        expected.abs_diff(Duration::from_secs(1)) < Duration::from_millis(20),
        "the failure does not count: {expected:?}"
    );
}

#[test]
fn the_short_form_of_a_record_judges_as_the_record_itself_does() {
    use Outcome::{Errored, Failed, Flaky, Passed, Skipped, Unfinished, Xfailed, Xpassed};
    let mut rng = fastrand::Rng::with_seed(11);
    let any = |rng: &mut fastrand::Rng| {
        let few = [Skipped, Passed, Failed];
        let all = [Passed, Flaky, Failed, Errored, Skipped, Xfailed, Xpassed, Unfinished];
        if rng.bool() { few[rng.usize(..3)] } else { all[rng.usize(..8)] }
    };
    for _ in 0..5_000 {
        let mut past = Past::new(Vec::new(), rng.bool());
        past.insert(2, slot(0, Passed, 1), 0);
        let mut known = Vec::new();
        for run in 0..rng.u32(..30) {
            let slot = slot(run, any(&mut rng), 20 + rng.u64(..200));
            past.insert(1, slot, 0);
            known.push(slot);
        }
        let now = slot(rng.u32(..40), any(&mut rng), rng.u64(..2_000));
        let mut settled = past.clone();
        settled.settle();
        let judged = settled.judge(1, now);
        assert_eq!(judged, past.judge(1, now), "{known:?} {now:?}");
        let kept = known.iter().rev().take(KEPT).rev();
        let mut latest: Vec<Outcome> =
            kept.filter(|slot| slot.seconds() < now.seconds()).map(|slot| slot.outcome()).collect();
        assert_eq!(judged.previous, latest.last().copied());
        latest.push(now.outcome());
        let latest: Vec<Outcome> = latest.into_iter().rev().take(KEPT).collect();
        let good: Vec<bool> = latest.iter().filter_map(|outcome| outcome.is_good()).collect();
        let flips = good.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let flaky = latest.iter().filter(|outcome| **outcome == Flaky).count();
        assert_eq!(judged.flaky_score as usize, flips + flaky, "{latest:?}");
    }
}

fn records(tests: std::ops::Range<u64>, runs: std::ops::Range<u32>) -> Vec<Record> {
    let mut records: Vec<Record> = tests
        .map(|test| {
            let mut record = Record::new(test_key(&test.to_string()));
            runs.clone().for_each(|run| record.insert(slot(run, Outcome::Failed, test + 1), test));
            record
        })
        .collect();
    records.sort_unstable_by_key(|record| record.test);
    records
}

#[test]
fn a_file_holds_what_was_merged_into_it_and_50_000_tests_take_under_15_mb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.history");
    file::merge(&path, records(0..50_000, 0..12).into_iter(), false, 200_000).unwrap();
    file::merge(&path, records(10..50_010, 12..20).into_iter(), true, 200_000).unwrap();
    let past = file::read(&path).unwrap().unwrap();
    assert_eq!((past.len(), past.is_whole), (50_010, true));
    let kept = |test: u64| past.get(test_key(&test.to_string())).unwrap();
    assert_eq!((kept(5).slots().len(), kept(500).slots().len(), kept(50_005).slots().len()), (12, 20, 8));
    assert_eq!((kept(500).signature, kept(500).first), (500, slot(0, Outcome::Failed, 1).seconds()));
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 15_000_000 && size / 50_010 < 200, "{size} bytes");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no drafts are left");
}

#[test]
fn of_too_many_tests_those_not_seen_for_longest_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.history");
    file::merge(&path, records(0..1000, 0..1).into_iter(), true, 1000).unwrap();
    file::merge(&path, records(900..1200, 5..6).into_iter(), true, 1000).unwrap();
    let past = file::read(&path).unwrap().unwrap();
    assert!(past.len() <= 1000 && past.len() > 300, "{}", past.len());
    assert!((900..1200).all(|test| past.get(test_key(&test.to_string())).is_some()), "what was seen last stays");
}

#[test]
fn any_damage_of_a_file_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.history");
    file::merge(&path, records(0..20, 0..3).into_iter(), true, 1000).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        assert!(file::read(&path).is_err(), "byte {at} changed");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(file::read(&path).is_err(), "cut off at {at}");
    }
}

fn opening(run_id: &str) -> Opening {
    let key = Key { project: "shop".into(), env: "ci".into(), runner: "pytest".into(), configuration: String::new() };
    Opening { key, run_id: run_id.into(), ..Opening::default() }
}

fn keep(historian: &Historian, run: u32, outcome: Outcome) -> Option<Arc<Past>> {
    let mut memory = historian.memory();
    let known = memory.open(&opening(&format!("run-{run}")));
    let results = [1, 2].map(|test| Observed { test, slot: slot(run, outcome, 10), signature: 3, has_parts: false });
    memory.keep(&mut results.into_iter(), true);
    historian.finish();
    known
}

fn file_of(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder.join("history")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "history")).unwrap()
}

#[test]
fn runs_that_end_at_the_same_time_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for run in 0..12 {
            // A historian each, as processes have.
            let historian = Historian::new(folder.path(), None, false);
            scope.spawn(move || keep(&historian, run, Outcome::Passed));
        }
    });
    let past = keep(&Historian::new(folder.path(), None, false), 20, Outcome::Passed).unwrap();
    assert_eq!(past.get(1).unwrap().slots().len(), 12);
}

#[test]
fn a_damaged_file_is_done_without_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let historian = Historian::new(folder.path(), None, false);
    assert!(keep(&historian, 0, Outcome::Passed).is_none());
    assert_eq!(keep(&historian, 1, Outcome::Passed).unwrap().get(1).unwrap().slots().len(), 1);
    for damage in [&b"testwire history 2\n\0\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"", b"no history at all"] {
        fs::write(file_of(folder.path()), damage).unwrap();
        assert!(keep(&historian, 2, Outcome::Failed).is_none());
        assert_eq!(keep(&historian, 3, Outcome::Passed).unwrap().get(1).unwrap().slots().len(), 1);
    }
}

#[test]
fn a_draft_of_a_killed_process_and_a_folder_that_cannot_be_written_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let historian = Historian::new(folder.path(), None, false);
    keep(&historian, 0, Outcome::Passed);
    fs::write(file_of(folder.path()).with_extension("new"), b"half a fi").unwrap();
    assert!(keep(&historian, 1, Outcome::Passed).is_some());
    let past = keep(&historian, 2, Outcome::Passed).unwrap();
    assert_eq!(past.get(2).unwrap().slots().len(), 2);
    // A file where the folder should be: nothing can be made there, not even by root.
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, b"").unwrap();
    assert!(keep(&Historian::new(&blocked, None, false), 1, Outcome::Passed).is_none());
}

#[test]
fn runs_of_a_daemon_share_a_history_as_long_as_it_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let historian = Historian::new(folder.path(), None, false);
    keep(&historian, 0, Outcome::Passed);
    let (mut one, mut two) = (historian.memory(), historian.memory());
    let (first, second) = (one.open(&opening("a")).unwrap(), two.open(&opening("b")).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    keep(&historian, 5, Outcome::Failed);
    let third = two.open(&opening("c")).unwrap();
    assert_eq!(third.get(1).unwrap().slots().len(), 2);
}
