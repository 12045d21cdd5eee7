//! A batch of pytest, Robot Framework and plain files: states, counts and logs in Loki, also when testwire is killed half way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::binary::{Scratch, run, start, text_of};
use crate::loki::Loki;
use crate::query::unique_project;
use crate::recorded::Recorded;

/// Six files of three kinds: three fail, one of them before it has a test, and one crashes.
fn write_files(directory: &Path) -> Vec<String> {
    let write = |name: &str, text: &str, mode: u32| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let good = "def test_one():\n    print('from one')\n\ndef test_two():\n    pass\n";
    write("t/test_good.py", good, 0o644);
    write("t/test_bad.py", "def test_three():\n    assert 1 == 2\n\ndef test_four():\n    pass\n", 0o644);
    write("t/test_broken.py", "import no_such_module\n", 0o644);
    let robot = "*** Test Cases ***\nFirst\n    Log To Console    said by robot\nSecond\n    Fail    no\n";
    write("t/a/shop.robot", robot, 0o644);
    write("t/b/shop.robot", "*** Test Cases ***\nFirst\n    No Operation\n", 0o644);
    write("t/crash", "#!/bin/sh\necho last words\nkill -SEGV $$\n", 0o755);
    ["test_good.py", "test_bad.py", "test_broken.py", "a/shop.robot", "b/shop.robot", "crash"]
        .map(|name| format!("t/{name}"))
        .into()
}

fn batch(scratch: &Scratch, project: &str, arguments: &[&str]) -> Command {
    let mut command =
        scratch.testwire(["batch", "--project", project, "--loki-url", Loki::get().url(), "--run-id", "r"]);
    let runners = std::env::var("TESTWIRE_TEST_PYTHON").unwrap_or_default();
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["--shard", "s"]).args(arguments).env("PATH", format!("{runners}:{path}"));
    command
}

#[tokio::test]
async fn files_and_their_tests_are_one_run_with_one_set_of_counters() {
    let (scratch, project) = (Scratch::new(), unique_project("batch"));
    let files = write_files(&scratch.work());
    let mut arguments = vec!["--workers", "3"];
    arguments.extend(files.iter().map(String::as_str));
    let done = run(&mut batch(&scratch, &project, &arguments), b"");
    assert_eq!(done.code, 1, "{}", done.err());
    let recorded = Recorded::read(Loki::get(), &project, "r").await;
    recorded.assert_whole(Loki::get()).await;

    let mut statuses: Vec<_> = recorded.of("run").map(|row| row.get("status").to_owned()).collect();
    statuses.sort();
    assert_eq!(statuses, ["created", "failed", "started"]);
    // 2 + 2 + 2 + 1 tests of four files; two files that hold none, and have no excuse.
    let end = recorded.end();
    let expected = [("planned", 9), ("done", 9), ("passed", 5), ("failed", 3), ("errored", 1), ("unfinished", 0)];
    for (name, count) in expected {
        assert_eq!(end.number(name), count, "{name}: {}", end.line);
    }
    let results: BTreeMap<String, String> = recorded.statuses().into_iter().collect();
    for (test, status) in [
        ("t/test_good.py", "passed"),
        ("t/test_good.py::test_one", "passed"),
        ("t/test_bad.py", "failed"),
        ("t/test_bad.py::test_three", "failed"),
        ("t/test_broken.py", "failed"),
        ("t/a/shop.robot", "failed"),
        ("t/a/shop.robot:Shop.First", "passed"),
        ("t/a/shop.robot:Shop.Second", "failed"),
        ("t/b/shop.robot:Shop.First", "passed"),
        ("t/crash", "errored"),
    ] {
        assert_eq!(results.get(test).map(String::as_str), Some(status), "{test} of {results:?}");
    }
    assert_eq!(results.len(), 13);
    let line =
        |test: &str, text: &str| recorded.of("log").any(|row| row.get("test") == test && row.line.contains(text));
    assert!(line("t/crash", "last words"));
    assert!(line("t/a/shop.robot", "said by robot"), "what a file prints is the file's");
    assert!(line("t/test_good.py::test_one", "from one"), "what a test prints is the test's");
    assert!(recorded.of("log").all(|row| !row.get("test").is_empty()));
}

#[tokio::test]
async fn a_batch_that_was_killed_goes_on_as_the_same_run() {
    let (scratch, project) = (Scratch::new(), unique_project("resumed"));
    let write = |name: &str, text: &str| fs::write(scratch.work().join(name), text).unwrap();
    write("test_first.py", "def test_one():\n    pass\n");
    write("test_long.py", "import time\n\ndef test_long():\n    open('up', 'w').write('1\\n')\n    time.sleep(600)\n");
    write("test_last.py", "def test_last():\n    pass\n");
    let killed =
        start(&mut batch(&scratch, &project, &["--workers", "1", "test_first.py", "test_long.py", "test_last.py"]));
    text_of(&scratch.work().join("up"));
    killed.signal("KILL");
    killed.wait();
    let done = run(&mut batch(&scratch, &project, &["--resume"]), b"");
    assert_eq!(done.code, 1, "{}", done.err());

    let recorded = Recorded::read_until(Loki::get(), &project, "r", "failed").await;
    recorded.assert_whole(Loki::get()).await;
    let results: BTreeMap<String, String> = recorded.statuses().into_iter().collect();
    for (test, status) in [
        ("test_first.py", "passed"),
        ("test_first.py::test_one", "passed"),
        ("test_long.py", "unfinished"),
        ("test_last.py", "passed"),
        ("test_last.py::test_last", "passed"),
    ] {
        assert_eq!(results.get(test).map(String::as_str), Some(status), "{test} of {results:?}");
    }
    let last = recorded.of("run").max_by_key(|row| row.time).unwrap();
    assert_eq!(last.get("status"), "failed", "{last:?}");
    for (name, count) in [("planned", 3), ("done", 2), ("passed", 2), ("failed", 0), ("unfinished", 1)] {
        assert_eq!(last.number(name), count, "{name}: {}", last.line);
    }
}
