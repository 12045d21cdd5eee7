//! What changed since earlier runs: against a model, with the binary and a history on disk.

#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "common/binary.rs"]
mod binary;
#[cfg(test)]
#[path = "common/twenty_runs.rs"]
mod twenty_runs;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::binary::{Done, Scratch, run};
    use super::twenty_runs::{RUNS, Story, TESTS, check};

    /// An entry as `--output ndjson` prints it: labels and metadata together, and its line.
    fn entries(done: &Done) -> Vec<(BTreeMap<String, String>, String)> {
        let parse = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let pairs = ["labels", "metadata"].into_iter().flat_map(|part| entry[part].as_object().unwrap().clone());
            (
                pairs.map(|(k, v)| (k, v.as_str().unwrap().to_owned())).collect(),
                entry["line"].as_str().unwrap().to_owned(),
            )
        };
        done.out().lines().map(parse).collect()
    }

    fn pipe(scratch: &Scratch, run_id: &str, more: &[&str], input: &str) -> Done {
        let arguments = ["pipe", "--output", "ndjson", "--no-fail", "--project", "shop", "--run-id", run_id];
        run(&mut scratch.testwire(arguments.iter().chain(more)), input.as_bytes())
    }

    #[test]
    fn with_a_history_on_disk_every_change_is_that_of_a_computation_over_all_results() {
        let scratch = Scratch::new();
        let story = Story::new(1_795_100_000, TESTS);
        for number in 0..RUNS {
            // One process at a time: the shard's name alone makes no shard.
            let done = pipe(&scratch, &Story::run_id(number), &[], &story.events(number, |_| true));
            assert_eq!((done.code, done.err().contains("history")), (0, false), "{}", done.err());
            let entries: Vec<_> = entries(&done).into_iter().map(|(pairs, _)| pairs).collect();
            check(&Story::run_id(number), &story.expected(number), &entries);
        }
    }

    const TWO: &str = r#"{"testwire":1,"event":"run_started","runner":"custom","time":1795200000}
{"event":"test_finished","test":"a","status":"passed","duration_ms":5,"time":1795200001}
{"event":"test_finished","test":"b","status":"STATUS","duration_ms":5,"time":1795200002}
{"event":"run_finished","time":1795200003}
"#;

    /// The change of test `b` in a run at this many minutes.
    fn change_of_b(scratch: &Scratch, minute: i64, status: &str) -> (String, Done) {
        let mut input = TWO.replace("STATUS", status);
        for second in 0..4 {
            let time = 1_795_200_000 + second;
            input = input.replace(&time.to_string(), &(time + minute * 60).to_string());
        }
        let done = pipe(scratch, &format!("r{minute}"), &[], &input);
        assert_eq!(done.code, 0, "{}", done.err());
        let all = entries(&done);
        let end = all.iter().find(|(e, _)| e.get("test").is_some_and(|t| t == "b") && e["status"] == status).unwrap();
        (end.0.get("change").cloned().unwrap_or_default(), done)
    }

    #[test]
    fn a_run_goes_on_without_a_damaged_history_says_so_once_and_makes_a_new_one() {
        let scratch = Scratch::new();
        assert_eq!(change_of_b(&scratch, 1, "passed").0, "");
        assert_eq!(change_of_b(&scratch, 2, "failed").0, "new_failure");
        let file = history_file(&scratch);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let (change, done) = change_of_b(&scratch, 3, "failed");
        assert_eq!((change.as_str(), done.err().matches("cannot be read").count()), ("", 1), "{}", done.err());
        let (change, done) = change_of_b(&scratch, 4, "failed");
        assert_eq!((change.as_str(), done.err().matches("cannot be").count()), ("still_failing", 0), "{}", done.err());
    }

    fn history_file(scratch: &Scratch) -> std::path::PathBuf {
        let mut files = std::fs::read_dir(scratch.state().join("history")).unwrap().map(|e| e.unwrap().path());
        files.find(|path| path.extension().is_some_and(|e| e == "history")).unwrap()
    }

    #[test]
    fn a_run_goes_on_where_its_history_cannot_be_written_and_says_so_once() {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.state()).unwrap();
        // A disk without room for it, as far as that can be had without being root: no folder can be made there.
        std::fs::write(scratch.state().join("history"), b"").unwrap();
        let (change, done) = change_of_b(&scratch, 1, "failed");
        assert_eq!(
            (
                change.as_str(),
                done.err().lines().filter(|l| l.contains("earlier runs") || l.contains("later ones")).count()
            ),
            ("", 1),
            "{}",
            done.err()
        );
    }

    #[test]
    fn the_end_of_a_run_says_how_much_changed_and_names_it() {
        let scratch = Scratch::new();
        change_of_b(&scratch, 1, "passed");
        let (_, done) = change_of_b(&scratch, 2, "failed");
        let all = entries(&done);
        let (end, line) = all.last().unwrap();
        assert_eq!((end["new_failures"].as_str(), end["fixed"].as_str(), end["kind"].as_str()), ("1", "0", "run"));
        assert!(line.contains("\nnew failures: 1\n  b"), "{line}");
        assert!(line.contains("1 new failure"), "{line}");
    }

    #[test]
    fn known_failures_are_marked_counted_apart_and_fail_the_run_still() {
        let scratch = Scratch::new();
        let file = scratch.work().join("known.toml");
        std::fs::write(
            &file,
            "[[known]]\npattern = \"b*\"\nreason = \"ticket 1\"\n[[known]]\npattern = \"z\"\nreason = \"gone\"\n\
             [[known]]\npattern = \"a\"\nreason = \"old\"\nuntil = 2020-01-01\n",
        )
        .unwrap();
        let done = pipe(&scratch, "r", &["--known-failures", "known.toml"], &TWO.replace("STATUS", "failed"));
        let all = entries(&done);
        let end = all.iter().find(|(e, _)| e.get("known").is_some_and(|known| known == "true")).unwrap();
        assert_eq!((end.0["test"].as_str(), end.0["status"].as_str()), ("b", "failed"));
        let (run, line) = all.last().unwrap();
        assert_eq!(
            (run["known"].as_str(), run["failed"].as_str(), run["status"].as_str()),
            ("1", "1", "failed"),
            "{line}"
        );
        let notes: Vec<&String> = all.iter().filter(|(e, _)| e["kind"] == "note").map(|(_, line)| line).collect();
        assert!(notes.iter().any(|n| n.contains("\"z\" (gone) matches no test")), "{notes:?}");
        assert!(notes.iter().any(|n| n.contains("\"a\" (old) has expired")), "{notes:?}");
        let wrong = pipe(&scratch, "r", &["--known-failures", "missing.toml"], "");
        assert_eq!(wrong.code, 3, "{}", wrong.err());
    }
}
