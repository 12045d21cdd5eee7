//! The spool when its files, its disk or its neighbours are not as they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::records::{TINY, adopt, copy, now, number, record, take_all, try_next};
use tempfile::TempDir;
use testwire::spool::{self, DiskQueue, Queue as _, Settings, SpoolError, inspect};

/// Length of a segment's preamble.
const PREAMBLE: usize = 16;

/// A queue that was left with groups of so many records, and the path of its only segment.
fn left_behind(groups: &[u64]) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool/r1.7");
    let queue = DiskQueue::create(&dir, Settings::default()).unwrap();
    let mut next = 0;
    for (group, count) in groups.iter().enumerate() {
        let chunks = (next..next + count).map(|number| record(number, 20)).collect();
        queue.append(chunks, Some(format!("mark {group}").into_bytes())).unwrap();
        next += count;
    }
    drop(queue);
    let segments = segments(&dir);
    assert_eq!(segments.len(), 1);
    (folder, dir, segments[0].clone())
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "segment")).collect();
    segments.sort();
    segments
}

fn kept_aside(folder: &TempDir) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder.path().join("spool/corrupt")) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn numbers(queue: &DiskQueue) -> Vec<u64> {
    take_all(queue).into_iter().map(|(_, number)| number).collect()
}

fn set_len(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_write_that_was_cut_at_any_byte_leaves_what_came_before_and_nothing_of_itself() {
    let (folder, dir, segment) = left_behind(&[2, 3]);
    let (_other, _, first) = left_behind(&[2]);
    let (first, whole) = (fs::metadata(first).unwrap().len(), fs::metadata(&segment).unwrap().len());
    for cut in 0..whole {
        let torn = folder.path().join(format!("spool/cut-{cut}"));
        copy(&dir, &torn);
        set_len(&segments(&torn)[0], cut);
        let seen = inspect(&torn).unwrap().backlog.entries;
        let queue = adopt(&torn, Settings::default());
        let (wanted, mark) = if cut < first { (vec![], None) } else { (vec![0, 1], Some(b"mark 0".to_vec())) };
        assert_eq!(numbers(&queue), wanted, "cut at {cut}");
        assert_eq!(seen, 2 * wanted.len() as u64, "cut at {cut}");
        assert_eq!((queue.last_mark(), queue.corrupt()), (mark, 0), "cut at {cut}");
        // What comes next is not mistaken for the rest of it.
        queue.append(vec![record(9, 5)], None).unwrap();
        drop(queue);
        assert_eq!(numbers(&adopt(&torn, TINY)), [wanted, vec![9]].concat());
    }
    assert!(kept_aside(&folder).is_empty());
}

#[test]
fn a_zero_tail_is_an_unfinished_write() {
    let (folder, dir, segment) = left_behind(&[1, 1]);
    let len = fs::metadata(&segment).unwrap().len();
    for zeros in [1, 47, 48, 5000] {
        set_len(&segment, len + zeros);
        let queue = adopt(&dir, Settings::default());
        assert_eq!((numbers(&queue), queue.corrupt()), (vec![0, 1], 0));
        assert_eq!(fs::metadata(&segment).unwrap().len(), len, "it was cut off");
    }
    set_len(&segment, 0);
    set_len(&segment, 5000);
    let queue = adopt(&dir, Settings::default());
    assert_eq!((numbers(&queue), queue.corrupt(), queue.last_mark()), (vec![], 0, None));
    assert!(!segment.exists());
    assert!(kept_aside(&folder).is_empty());
}

#[test]
fn any_flipped_bit_costs_at_most_its_own_group_and_is_counted_and_kept() {
    let (folder, dir, segment) = left_behind(&[1, 2, 1]);
    let bytes = fs::read(&segment).unwrap();
    let all: Vec<u64> = (0..4).collect();
    let groups = [0..1, 1..3, 3..4];
    // One of each byte, and not always the same one.
    for bit in (0..bytes.len()).map(|byte| byte * 8 + byte % 8) {
        let flipped = folder.path().join(format!("spool/bit-{bit}"));
        copy(&dir, &flipped);
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&segments(&flipped)[0], &bytes).unwrap();
        let before = kept_aside(&folder);
        let queue = adopt(&flipped, Settings::default());
        let got = numbers(&queue);
        let lost: Vec<u64> = all.iter().copied().filter(|number| !got.contains(number)).collect();
        assert!(got.is_sorted());
        assert!(groups.iter().any(|group| lost.iter().all(|lost| group.contains(lost))), "bit {bit}: {lost:?}");
        assert_eq!(lost.is_empty(), bit < PREAMBLE * 8, "bit {bit}");
        // All but the unreadable head of a file takes records with it; each is a piece that is kept.
        let kept = kept_aside(&folder);
        assert_eq!((queue.corrupt(), kept.len() - before.len()), (1, 1), "bit {bit}");
        assert!(kept.iter().any(|piece| bytes.windows(piece.len()).any(|window| window == piece)));
        assert_eq!(inspect(&flipped).unwrap().corrupt, 1);
        let entries = queue.backlog().entries;
        assert_eq!(entries, 2 * got.len() as u64, "what is lost is not waited for (bit {bit})");
        fs::remove_dir_all(&flipped).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_the_entries_costs_one_record() {
    let (folder, dir, segment) = left_behind(&[3]);
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|window| window == b"1 xx").unwrap();
    bytes[at + 3] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let queue = adopt(&dir, Settings::default());
    let got = take_all(&queue);
    assert_eq!(got.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(kept_aside(&folder).len(), 1);
    got.iter().for_each(|(id, _)| queue.commit(*id));
    queue.remove().unwrap();
    assert_eq!(kept_aside(&folder).len(), 1, "it outlives the queue");
}

#[test]
fn a_record_that_is_damaged_after_it_was_handed_out_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool/r1.7");
    let queue = DiskQueue::create(&dir, Settings { tail_bytes: 0, ..Settings::default() }).unwrap();
    queue.append(vec![record(0, 20), record(1, 20)], None).unwrap();
    let got = take_all(&queue);
    let segment = &segments(&dir)[0];
    let mut bytes = fs::read(segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(segment, &bytes).unwrap();
    // Two readers: the one that reads again has not seen the good bytes.
    assert_eq!(number(&now(queue.read(got[0].0)).unwrap().unwrap()), 0);
    let error = now(queue.read(got[1].0)).unwrap().unwrap_err();
    assert!(matches!(error, SpoolError::Corrupt(id) if id == got[1].0), "{error}");
    queue.commit(got[0].0);
    assert_eq!((queue.backlog().entries, kept_aside(&folder).len()), (0, 1));
    queue.remove().unwrap();
}

#[test]
fn a_file_from_the_future_is_refused_in_words_and_left_as_it_is() {
    let (_folder, dir, segment) = left_behind(&[1]);
    for path in [segment, dir.join("cursor")] {
        let good = fs::read(&path).unwrap_or_default();
        let mut bytes = if good.is_empty() { b"TWCURSR\xf7".to_vec() } else { good.clone() };
        bytes.resize(bytes.len().max(16), 0);
        bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
        let check = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        for error in [DiskQueue::adopt(&dir, TINY).unwrap_err(), inspect(&dir).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("format version 7") && text.contains("up to 1"), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        if good.is_empty() { fs::remove_file(&path).unwrap() } else { fs::write(&path, good).unwrap() }
    }
    assert_eq!(numbers(&adopt(&dir, TINY)), [0]);
}

#[test]
fn a_damaged_cursor_means_that_all_is_sent_again() {
    let (_folder, dir, _) = left_behind(&[1, 1]);
    let queue = adopt(&dir, TINY);
    queue.commit(try_next(&queue).unwrap().0);
    drop(queue);
    assert_eq!(numbers(&adopt(&dir, TINY)), [1]);
    let mut bytes = fs::read(dir.join("cursor")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(dir.join("cursor"), &bytes).unwrap();
    assert_eq!(numbers(&adopt(&dir, TINY)), [0, 1]);
}

#[test]
fn a_cursor_that_outlived_its_records_says_nothing_of_those_that_come_after() {
    // A power failure without fsync: the cursor came to the disk, of the segment only a part or nothing did.
    for lost in ["the segment", "its end", "its name"] {
        let (_folder, dir, segment) = left_behind(&[2, 3]);
        let queue = adopt(&dir, TINY);
        take_all(&queue).into_iter().for_each(|(id, _)| queue.commit(id));
        drop(queue);
        match lost {
            "the segment" => set_len(&segment, 0),
            "its end" => set_len(&segment, fs::metadata(&segment).unwrap().len() - 1),
            _ => fs::remove_file(&segment).unwrap(),
        }
        let queue = adopt(&dir, TINY);
        queue.append((10..20).map(|number| record(number, 5)).collect(), None).unwrap();
        drop(queue);
        assert_eq!(numbers(&adopt(&dir, TINY)), (10..20).collect::<Vec<_>>(), "{lost} was lost");
    }
}

#[test]
fn an_empty_directory_is_no_queue_and_a_queue_without_files_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("spool/empty");
    fs::create_dir_all(&empty).unwrap();
    assert!(DiskQueue::adopt(&empty, TINY).unwrap().is_none());
    assert!(DiskQueue::adopt(&folder.path().join("spool/none"), TINY).unwrap().is_none());
    assert!(spool::all(folder.path()).unwrap().is_empty());
    assert!(spool::all(&folder.path().join("no state yet")).unwrap().is_empty());
    let dir = folder.path().join("spool/r1.7");
    drop(DiskQueue::create(&dir, TINY).unwrap());
    let queue = adopt(&dir, TINY);
    assert_eq!((queue.backlog().entries, queue.last_mark()), (0, None));
    queue.remove().unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_queue_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool/r1.7");
    let queue = DiskQueue::create(&dir, TINY).unwrap();
    queue.append(vec![record(0, 0)], None).unwrap();
    assert!(DiskQueue::adopt(&dir, TINY).unwrap().is_none());
    assert!(DiskQueue::create(&dir, TINY).is_err(), "it is there");
    assert_eq!(spool::dead(folder.path()).unwrap().count(), 0);
    let seen = inspect(&dir).unwrap();
    assert!(seen.is_owned && seen.backlog.entries == 2 && seen.backlog.oldest.is_some());
    // Another process, and not only another descriptor of this one.
    let lock = dir.join("lock");
    let flock = |expected: bool| {
        let status = Command::new("flock").args(["--nonblock", lock.to_str().unwrap(), "true"]).status().unwrap();
        assert_eq!(status.success(), expected);
    };
    flock(false);
    drop(queue);
    flock(true);
    assert!(spool::dead(folder.path()).unwrap().eq(std::iter::once(dir.clone())));
    assert_eq!(numbers(&adopt(&dir, TINY)), [0]);
}

#[test]
fn random_bytes_are_never_taken_for_records() {
    let (folder, dir, segment) = left_behind(&[2]);
    let good = fs::read(&segment).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..400 {
        let torn = folder.path().join(format!("spool/random-{round}"));
        copy(&dir, &torn);
        // A segment that lost its beginning has at least a preamble's length of something else there.
        let len = random.usize(if round % 4 == 2 { PREAMBLE } else { 0 }..2000);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        match round % 4 {
            // Behind a good preamble, with good groups before or after, or all random.
            0 => bytes.splice(0..0, good[..PREAMBLE].iter().copied()).for_each(drop),
            1 => bytes.splice(0..0, good.iter().copied()).for_each(drop),
            2 => bytes.extend_from_slice(&good[PREAMBLE..]),
            _ => {}
        }
        fs::write(&segments(&torn)[0], &bytes).unwrap();
        if random.bool() {
            let len = random.usize(..200);
            fs::write(torn.join("cursor"), std::iter::repeat_with(|| random.u8(..)).take(len).collect::<Vec<_>>())
                .unwrap();
        }
        let queue = adopt(&torn, TINY);
        let got = numbers(&queue);
        let whole = matches!(round % 4, 1 | 2);
        assert_eq!(got, if whole { vec![0, 1] } else { vec![] }, "round {round}");
        fs::remove_dir_all(&torn).unwrap();
    }
}

#[test]
fn an_append_at_the_cap_waits_until_there_is_room_or_the_queue_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_bytes: 4000, segment_bytes: 1000, ..TINY };
    let queue = Arc::new(DiskQueue::create(&folder.path().join("spool/r1.7"), settings).unwrap());
    let (told, appended) = std::sync::mpsc::channel();
    let writer = Arc::clone(&queue);
    let thread = std::thread::spawn(move || {
        for number in 0.. {
            if let Err(error) = writer.append(vec![record(number, 100)], None) {
                return (number, error);
            }
            told.send(number).unwrap();
        }
        unreachable!()
    });
    let until_blocked = || std::iter::from_fn(|| appended.recv_timeout(Duration::from_millis(300)).ok()).last();
    let full = until_blocked().unwrap();
    assert!((4..12).contains(&full), "{full} appends");
    let size: u64 = segments(queue.dir()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(size <= 4000, "{size} bytes");
    let got = take_all(&queue);
    got.iter().for_each(|(id, _)| queue.commit(*id));
    let more = until_blocked().unwrap();
    assert!(more > full);
    queue.close();
    let (refused, error) = thread.join().unwrap();
    assert!(matches!(error, SpoolError::Closed), "{error}");
    // What was refused is not in it, and nothing else is missing.
    let rest = take_all(&queue);
    let all: Vec<u64> = got.iter().chain(&rest).map(|(_, number)| *number).collect();
    assert_eq!(all, (0..refused).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_that_was_given_up_refuses_at_once_but_for_the_end_and_takes_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_bytes: 4000, segment_bytes: 1000, ..TINY };
    let queue = Arc::new(DiskQueue::create(&folder.path().join("spool/r1.7"), settings).unwrap());
    let writer = Arc::clone(&queue);
    let blocked = std::thread::spawn(move || {
        (0..).find_map(|number| writer.append(vec![record(number, 100)], None).err().map(|error| (number, error)))
    });
    while queue.blocked_for().is_none() {
        std::thread::yield_now();
    }
    queue.give_up();
    let (refused, error) = blocked.join().unwrap().unwrap();
    assert!(matches!(error, SpoolError::Full), "{error}");
    assert_eq!(queue.blocked_for(), None);
    let again = queue.append(vec![record(refused, 100)], None).unwrap_err();
    assert!(matches!(again, SpoolError::Full), "{again}");
    queue.append_last(vec![record(1000, 100)], None).unwrap();
    let got = take_all(&queue);
    got.iter().for_each(|(id, _)| queue.commit(*id));
    queue.append(vec![record(1001, 100)], None).unwrap();
    let all: Vec<u64> = got.into_iter().chain(take_all(&queue)).map(|(_, number)| number).collect();
    assert_eq!(all, (0..refused).chain([1000, 1001]).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_is_refused_for_hours_does_not_keep_the_segments_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let queue = DiskQueue::create(&folder.path().join("spool/r1.7"), TINY).unwrap();
    for number in 0..200 {
        queue.append(vec![record(number, 200)], None).unwrap();
    }
    let got = take_all(&queue);
    got.iter().filter(|(_, number)| *number != 3).for_each(|(id, _)| queue.commit(*id));
    let begun = Instant::now();
    while segments(queue.dir()).len() > 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", segments(queue.dir()));
        std::thread::sleep(Duration::from_millis(10));
    }
    let dir = queue.dir().to_owned();
    drop(queue);
    let queue = adopt(&dir, TINY);
    assert_eq!(queue.backlog().entries, 2);
    assert_eq!(numbers(&queue), [3]);
}

#[test]
fn waiting_appends_share_a_sync() {
    const THREADS: u64 = 16;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { fsync: true, ..Settings::default() };
    let queue = DiskQueue::create(&folder.path().join("spool/r1.7"), settings).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let queue = &queue;
            scope.spawn(move || (0..20).for_each(|i| queue.append(vec![record(thread * 20 + i, 10)], None).unwrap()));
        }
    });
    let mut got = numbers(&queue);
    got.sort_unstable();
    assert_eq!(got, (0..THREADS * 20).collect::<Vec<_>>());
    let syncs = queue.syncs();
    assert!(syncs.count() > 0 && syncs.count() < THREADS * 20 / 2, "{syncs:?}");
    assert!(syncs.longest() <= syncs.total());
}

/// A file system of 1 MiB, which goes away with it.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        assert!(mounted, "this test fills a file system and needs the right to mount a tmpfs: run it as root");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_full_disk_blocks_and_loses_nothing() {
    let disk = SmallDisk::mount();
    let dir = disk.0.path().join("spool/r1.7");
    let settings = Settings { segment_bytes: 100_000, ..TINY };
    let queue = Arc::new(DiskQueue::create(&dir, settings).unwrap());
    let (told, appended) = std::sync::mpsc::channel();
    let writer = Arc::clone(&queue);
    let thread = std::thread::spawn(move || {
        for number in 0.. {
            if let Err(error) = writer.append(vec![record(number, 10_000)], Some(number.to_string().into_bytes())) {
                return error;
            }
            told.send(number).unwrap();
        }
        unreachable!()
    });
    let until_blocked = || std::iter::from_fn(|| appended.recv_timeout(Duration::from_millis(2500)).ok()).last();
    let full = until_blocked().unwrap();
    assert!((30..55).contains(&full), "{full} appends of 20 kB went into 1 MiB");
    // Delivery goes on and makes room, and the append that waits gets through by itself.
    let got: Vec<_> = std::iter::from_fn(|| try_next(&queue)).take(20).map(|(id, c)| (id, number(&c))).collect();
    got.iter().for_each(|(id, _)| queue.commit(*id));
    let last = until_blocked().unwrap();
    assert!(last > full);
    queue.close();
    let error = thread.join().unwrap();
    assert!(
        matches!(&error, SpoolError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    drop(Arc::into_inner(queue).unwrap());
    // The write that failed was taken back: there is nothing to cut off.
    let lens = || segments(&dir).iter().map(|path| fs::metadata(path).unwrap().len()).collect::<Vec<_>>();
    let before = lens();
    let queue = adopt(&dir, settings);
    assert_eq!(lens(), before);
    assert_eq!(numbers(&queue), (20..=last).collect::<Vec<_>>());
    assert_eq!((queue.last_mark(), queue.corrupt()), (Some(last.to_string().into_bytes()), 0));
}
