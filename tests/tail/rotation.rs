//! Files that are renamed, cut, copied, deleted and replaced.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::following::Following;
use super::good;

#[test]
fn a_log_that_is_renamed_and_made_anew_under_load_loses_no_line() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 10);
    following.start();
    following.until(10);
    for generation in 0..6 {
        for _ in 0..20 {
            following.write("app.log", 500);
            std::thread::sleep(Duration::from_millis(5));
        }
        if generation == 2 {
            // As a writer that has not reopened its log yet.
            let mut old = following.append("app.log");
            following.rename("app.log", "app.log.9");
            let line = following.line();
            writeln!(old, "{line}").unwrap();
        } else {
            // All are kept: a slow machine may not have seen the oldest yet.
            for n in (1..6).rev().filter(|n| following.path(&format!("app.log.{n}")).exists()) {
                following.rename(&format!("app.log.{n}"), &format!("app.log.{}", n + 1));
            }
            following.rename("app.log", "app.log.1");
        }
    }
    following.write("app.log", 10);
    following.until(following.written());
    following.whole("renamed under load, 6 times");
}

#[test]
fn a_log_that_was_rotated_twice_while_nobody_looked_loses_no_line() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 100);
    following.start();
    following.until(100);
    following.pause();
    for _ in 0..2 {
        following.write("app.log", 1000);
        if following.path("app.log.1").exists() {
            following.rename("app.log.1", "app.log.2");
        }
        following.rename("app.log", "app.log.1");
    }
    following.write("app.log", 1000);
    following.go_on();
    following.until(following.written());
    following.whole("renamed twice while behind");
}

#[test]
fn a_log_that_was_rotated_twice_while_testwire_was_dead_loses_no_line() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 100);
    following.start();
    following.until(100);
    following.write("app.log", 5000);
    following.kill();
    for _ in 0..2 {
        following.write("app.log", 1000);
        if following.path("app.log.1").exists() {
            following.rename("app.log.1", "app.log.2");
        }
        following.rename("app.log", "app.log.1");
    }
    following.write("app.log", 1000);
    following.start();
    following.until(following.written());
    following.whole("renamed twice while testwire was dead");
}

#[test]
fn a_log_that_is_copied_and_cut_when_it_was_read_loses_no_line() {
    let mut following = Following::new(&[], good);
    following.start();
    for generation in 1..5 {
        following.write("app.log", 1000);
        following.until(following.written());
        fs::copy(following.path("app.log"), following.path(&format!("app.log.{generation}"))).unwrap();
        fs::File::options().write(true).open(following.path("app.log")).unwrap().set_len(0).unwrap();
    }
    following.write("app.log", 10);
    following.until(following.written());
    following.whole("copied and cut (copytruncate)");
}

#[test]
fn a_log_that_is_cut_before_it_was_read_is_read_from_the_copy() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.pause();
    following.write("app.log", 1000);
    fs::copy(following.path("app.log"), following.path("app.log.1")).unwrap();
    fs::File::options().write(true).open(following.path("app.log")).unwrap().set_len(0).unwrap();
    following.write("app.log", 100);
    following.go_on();
    following.until(following.written());
    following.whole("copied and cut before it was read");
}

#[test]
fn what_is_cut_before_it_was_read_and_copied_nowhere_is_the_one_loss() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.pause();
    following.write("app.log", 300);
    fs::File::options().write(true).open(following.path("app.log")).unwrap().set_len(0).unwrap();
    following.write("app.log", 100);
    following.go_on();
    following.until(1100);
    let row = following.row("cut before it was read, no copy (unavoidable)");
    assert_eq!((row.lost, row.doubled), (300, 0), "{row:?}");
}

#[test]
fn a_log_that_is_cut_and_grows_beyond_the_old_end_is_read_from_its_beginning() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.pause();
    fs::File::options().write(true).open(following.path("app.log")).unwrap().set_len(0).unwrap();
    following.write("app.log", 3000);
    following.go_on();
    following.until(following.written());
    following.whole("cut, and grown beyond the old end");
}

#[test]
fn a_log_that_got_the_inode_of_a_deleted_one_is_read_from_its_beginning() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.kill();
    let inode = fs::metadata(following.path("app.log")).unwrap().ino();
    // The system gives the inode away again soon; where it does not, a hard link and a cut do the same.
    let mut name = "app.log".to_owned();
    fs::remove_file(following.path("app.log")).unwrap();
    for attempt in 0..50 {
        fs::File::create(following.path(&format!("try{attempt}"))).unwrap();
        if fs::metadata(following.path(&format!("try{attempt}"))).unwrap().ino() == inode {
            name = format!("try{attempt}");
            break;
        }
    }
    if name != "app.log" {
        following.rename(&name, "app.log");
    }
    following.write("app.log", 2000);
    following.start();
    following.until(following.written());
    following.whole(if name == "app.log" { "deleted and made anew while dead" } else { "inode used again while dead" });
}

#[test]
fn a_log_that_is_deleted_while_behind_is_read_to_its_end() {
    let mut following = Following::new(&[], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.pause();
    following.write("app.log", 2000);
    fs::remove_file(following.path("app.log")).unwrap();
    following.write("app.log", 500);
    following.go_on();
    following.until(following.written());
    following.whole("deleted while behind, and made anew");
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_and_the_old_file_read_to_its_end() {
    let mut following = Following::new(&[], good);
    fs::create_dir(following.path("logs")).unwrap();
    following.write("logs/one", 1000);
    symlink("logs/one", following.path("app.log")).unwrap();
    following.start();
    following.until(1000);
    following.pause();
    following.write("logs/one", 1000);
    following.write("logs/two", 1000);
    fs::remove_file(following.path("app.log")).unwrap();
    symlink("logs/two", following.path("app.log")).unwrap();
    following.go_on();
    following.until(3000);
    // And back.
    fs::remove_file(following.path("app.log")).unwrap();
    symlink("logs/one", following.path("app.log")).unwrap();
    following.write("logs/one", 1000);
    following.until(following.written());
    following.whole("link led elsewhere, and back");
}

#[test]
fn files_that_appear_later_are_followed_and_rotated_names_are_not_read_again() {
    let mut following = Following::new(&["--source", "app", "*.log*"], good);
    following.write("a.log", 500);
    following.start();
    following.until(500);
    following.write("b.log", 500);
    following.until(1000);
    following.rename("a.log", "a.log.1");
    following.write("a.log", 500);
    following.until(1500);
    fs::copy(following.path("b.log"), following.path("b.log.1")).unwrap();
    fs::File::options().write(true).open(following.path("b.log")).unwrap().set_len(0).unwrap();
    following.write("b.log", 200);
    following.until(following.written());
    following.whole("pattern with rotated names");
}

/// What logrotate does with `compress`: the generation is renamed, then packed, and keeps its time.
fn pack(following: &Following, name: &str) {
    let path = following.path(name);
    let target = fs::File::create(following.path(&format!("{name}.gz"))).unwrap();
    let mut packed = GzEncoder::new(target, Compression::fast());
    std::io::copy(&mut fs::File::open(&path).unwrap(), &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    packed.set_modified(fs::metadata(&path).unwrap().modified().unwrap()).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn generations_that_were_packed_while_testwire_was_dead_are_read_once_if_asked() {
    let mut following = Following::new(&["--compressed", "app.log"], good);
    following.write("app.log", 1000);
    following.start();
    following.until(1000);
    following.kill();
    following.write("app.log", 2000);
    following.rename("app.log", "app.log.1");
    following.write("app.log", 3000);
    pack(&following, "app.log.1");
    following.rename("app.log.1.gz", "app.log.2.gz");
    following.rename("app.log", "app.log.1");
    pack(&following, "app.log.1");
    following.write("app.log", 500);
    // One of another log.
    following.append("other.log.1").write_all(b"seq=1 of another log\n").unwrap();
    pack(&following, "other.log.1");
    following.start();
    following.until(6500);
    following.kill();
    // They are packed still, and were read.
    following.write("app.log", 500);
    following.start();
    following.until(7000);
    // A generation that was read, and is packed then, is not read again.
    following.rename("app.log", "app.log.3");
    pack(&following, "app.log.3");
    following.write("app.log", 500);
    following.until(7500);
    following.whole("rotated twice and gzipped while testwire was dead (--compressed)");
}
