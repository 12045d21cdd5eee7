//! Scans at chosen moments: between two steps of a rotation, where no test that only writes files would get reliably.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::*;

/// A follower of `*.log*` in a directory, and all that it has read.
struct Test {
    directory: tempfile::TempDir,
    follower: Follower,
    now: Instant,
    read: Vec<u8>,
}

impl Test {
    fn new() -> Self {
        Self::with_descriptors(16)
    }

    fn with_descriptors(descriptors: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spec =
            Spec { paths: vec![directory.path().join("*.log*")], begin: Begin::Start, unpack: None, descriptors };
        let follower = Follower::new(spec, &BTreeMap::new(), SystemTime::UNIX_EPOCH);
        Self { directory, follower, now: Instant::now(), read: Vec::new() }
    }

    /// Looks at every path, and reads what there is.
    fn scan(&mut self) {
        self.now += Duration::from_secs(10);
        self.follower.notice(self.now);
        self.take();
    }

    fn take(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        while let Some((_, news)) = self.follower.next(&mut buffer, self.now) {
            if let News::Bytes(bytes) = news {
                self.read.extend_from_slice(bytes);
            }
        }
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Does what is done when the system has told of a file, long before it is time to look at every path.
    fn told(&mut self) {
        let (stop, _open) = std::io::pipe().unwrap();
        self.follower.wait(std::os::fd::AsFd::as_fd(&stop), Instant::now() + Duration::from_secs(30));
        self.now += Duration::from_millis(500);
        self.follower.notice(self.now);
        self.take();
    }
}

fn cut(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
}

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|number| format!("line {number} of the log\n")).collect()
}

#[test]
fn a_copy_that_is_seen_while_it_is_made_is_not_read_as_a_log() {
    for step in [0, 100, 500, 2000] {
        let mut test = Test::new();
        let text = lines(0, 200);
        test.append("app.log", &text);
        test.scan();
        // The copy is made in two steps, and seen between them.
        let (begin, rest) = text.split_at(step);
        test.append("app.log.1", begin);
        test.scan();
        test.append("app.log.1", rest);
        test.scan();
        cut(&test.path("app.log"));
        test.append("app.log", &lines(200, 210));
        test.scan();
        test.scan();
        assert_eq!(String::from_utf8_lossy(&test.read), lines(0, 210), "seen with {step} bytes");
    }
}

#[test]
fn a_copy_that_was_begun_is_read_to_its_end_if_the_log_was_cut_while_we_were_behind() {
    let mut test = Test::new();
    test.append("app.log", &lines(0, 100));
    test.scan();
    File::create(test.path("app.log.1")).unwrap();
    test.scan();
    test.append("app.log", &lines(100, 200));
    fs::copy(test.path("app.log"), test.path("app.log.1")).unwrap();
    cut(&test.path("app.log"));
    test.append("app.log", &lines(200, 210));
    test.scan();
    test.scan();
    assert_eq!(String::from_utf8_lossy(&test.read), lines(0, 210));
}

#[test]
fn a_log_of_its_own_with_a_rotated_name_is_read_as_soon_as_it_shows_that() {
    let mut test = Test::new();
    test.append("app.log", &lines(0, 100));
    test.scan();
    File::create(test.path("app.1.log")).unwrap();
    test.scan();
    test.read.clear();
    test.append("app.1.log", "another log\n");
    test.told();
    assert_eq!(String::from_utf8_lossy(&test.read), "another log\n");
}

#[test]
fn few_descriptors_are_enough_for_many_files_and_a_closed_one_is_found_under_its_new_name() {
    let mut test = Test::with_descriptors(4);
    let open = |test: &Test| test.follower.files.values().filter(|tracked| tracked.file.is_some()).count();
    for number in 0..50 {
        test.append(&format!("{number}.log"), &format!("first line of log {number}\n"));
    }
    test.scan();
    assert!(open(&test) <= 4, "{} are open", open(&test));
    for number in 0..50 {
        test.append(&format!("{number}.log"), &format!("second line of log {number}\n"));
    }
    fs::rename(test.path("7.log"), test.path("7.log.1")).unwrap();
    test.append("7.log", "another log 7\n");
    test.scan();
    test.scan();
    // The renamed one may still be written to by who has it open.
    assert!(open(&test) <= 5, "{} are open", open(&test));
    let text = String::from_utf8(test.read).unwrap();
    let mut read: Vec<&str> = text.lines().collect();
    read.sort_unstable();
    let ordinals = ["first", "second"].iter();
    let expected = ordinals.flat_map(|which| (0..50).map(move |number| format!("{which} line of log {number}")));
    let mut expected: Vec<String> = expected.chain(["another log 7".to_owned()]).collect();
    expected.sort_unstable();
    assert_eq!(read, expected);
}
