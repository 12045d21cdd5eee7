//! The queue with a small program in the place of `testwire batch`, which keeps to the same contract: journal, output, exit
//! code, SIGTERM.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Files, Launch, Order, Queue, Record, Refused, Rules, State};

/// Runs as `sh batch …` in the directory of tests. Waits while `hold` is there; a file that holds `fail` fails.
const BATCH: &str = r#"
state= id=
while [ "$1" != -- ]; do
    case $1 in
        --state-dir) state=$2 ;;
        --run-id) id=$2 ;;
    esac
    shift
done
shift
dir=$state/batch/$id
mkdir -p "$dir/output"
say() { echo "{$1}" >>"$dir/journal.ndjson"; }
say '"state":"started"'
echo "$id" >>"$state/began"
trap 'say "\"state\":\"aborted\""; exit 1' TERM
while [ -e "$state/hold" ]; do sleep 0.02; done
if [ -e "$state/break" ]; then echo 'out of paper' >&2; exit 9; fi
code=0 number=0 result=passed
for file; do
    cat "$file" >"$dir/output/$number.log"
    number=$((number + 1))
    if grep -q fail "$file"; then
        result=failed code=1
        say "\"state\":\"failed\",\"code\":3,\"file\":\"$file\""
    else
        say "\"state\":\"passed\",\"code\":0,\"file\":\"$file\""
    fi
done
say "\"state\":\"$result\""
exit $code
"#;

/// A place with tests, and the limits of its queue.
struct Place {
    directory: tempfile::TempDir,
    rules: Rules,
}

/// A daemon's part: a queue that works until it is dropped.
struct Working {
    queue: Arc<Queue>,
    runtime: Option<Runtime>,
    _stop: watch::Sender<bool>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("tests");
        std::fs::create_dir(&root).unwrap();
        for (name, text) in [("batch", BATCH), ("good", "all is well"), ("bad", "will fail")] {
            std::fs::write(root.join(name), text).unwrap();
        }
        let rules = Rules {
            root,
            commands: BTreeMap::from([("a".into(), "run {}".into()), ("b".into(), "run -b {}".into())]),
            command: Some("a".into()),
            uploads: false,
            max_files: 3,
            max_upload: 1000,
            max_time: Duration::from_secs(600),
            max_running: 1,
            max_queued: 4,
            max_kept: 100,
        };
        Self { directory, rules }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn hold(&self) {
        std::fs::write(self.path("hold"), "").unwrap();
    }

    fn release(&self) {
        std::fs::remove_file(self.path("hold")).unwrap();
    }

    /// Run ids of all batches that began, in order.
    fn began(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("began")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn open(&self) -> Queue {
        let launch = Launch {
            program: "/bin/sh".into(),
            environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            arguments: Vec::new(),
            state_dir: self.directory.path().canonicalize().unwrap(),
            account: None,
            workers: None,
            max_memory: None,
        };
        // A queue that was just dropped on another thread may be there still.
        until("the queue is free", || {
            Queue::open(self.directory.path(), false, self.rules.clone(), launch.clone()).ok()
        })
    }

    fn work(&self) -> Working {
        let queue = Arc::new(self.open());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(Arc::clone(&queue).work(stopped));
        Working { queue, runtime: Some(runtime), _stop: stop }
    }
}

impl Working {
    /// Waits until a run is in this state.
    fn is(&self, id: u64, state: State) -> Record {
        until(&format!("run {id} is {state:?}"), || self.queue.get(id).filter(|record| record.state == state))
    }
}

impl Drop for Working {
    /// As if the process had ended: nobody watches any more.
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(60));
    }
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn order(files: &[&str]) -> Order {
    let files = Files::Named(files.iter().map(|file| (*file).to_owned()).collect());
    Order { username: "Kim".into(), command: None, files }
}

#[test]
fn a_run_is_created_started_and_ends_as_its_files_do() {
    let place = Place::new();
    let working = place.work();
    let good = working.queue.submit(order(&["good"])).unwrap();
    let both = working.queue.submit(order(&["good", "bad"])).unwrap();
    assert_eq!((good.id, both.id, good.state), (1, 2, State::Created));
    let (good, both) = (working.is(1, State::Passed), working.is(2, State::Failed));
    assert!(good.ended >= good.started && good.started.unwrap() >= good.created, "{good:?}");
    let text = working.queue.results(&both, 1000);
    assert!(text.contains("Tested: good\nResult: SUCCESS\nStdout: all is well\n"), "{text}");
    assert!(text.contains("Tested: bad\nResult: FAIL (exit code 3)\nStdout: will fail\n"), "{text}");
    let short = working.queue.results(&both, 8);
    assert!(short.contains("…well\n") && short.contains(&both.run_id), "{short}");
    let listed = working.queue.list(1, 1);
    assert_eq!((listed.total, listed.pages, listed.records), (2, 2, vec![both]), "the newest first");
    assert_eq!(working.queue.list(9, 1).records, []);
}

#[test]
fn what_is_not_allowed_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let queue = place.open();
    let refused = |order: Order| queue.submit(order).unwrap_err();
    let with = |username: &str, command: Option<&str>| Order {
        username: username.into(),
        command: command.map(str::to_owned),
        ..order(&["good"])
    };
    assert!(matches!(refused(with("", None)), Refused::Username));
    assert!(matches!(refused(with("a\nb", None)), Refused::Username));
    assert!(matches!(refused(with("Kim", Some("sh -c id"))), Refused::Command(..)));
    assert!(matches!(refused(order(&[])), Refused::NoFiles));
    assert!(matches!(refused(order(&["good", "bad", "batch", "good"])), Refused::TooManyFiles(4, 3)));
    assert!(matches!(refused(order(&["good", "./good"])), Refused::Twice(_)));
    assert!(matches!(refused(order(&["../hold"])), Refused::Outside(_)));
    let sent = Order { files: Files::Sent(vec![("a".into(), b"x".to_vec())]), ..order(&[]) };
    assert!(matches!(refused(sent), Refused::Uploads));
    for _ in 0..4 {
        queue.submit(with("Kim", Some("b"))).unwrap();
    }
    assert!(matches!(refused(order(&["good"])), Refused::Full(4)));
    assert_eq!(queue.list(1, 10).total, 4);
    assert_eq!(std::fs::read_dir(place.path("testruns/files")).unwrap().count(), 0);
}

#[test]
fn what_waits_outlives_the_process_and_runs_once() {
    let place = Place::new();
    let ids: Vec<String> = {
        let queue = place.open();
        (0..3).map(|_| queue.submit(order(&["good"])).unwrap().run_id).collect()
    };
    {
        let working = place.work();
        (1..=3).for_each(|id| drop(working.is(id, State::Passed)));
        assert_eq!(place.began(), ids, "in order");
    }
    let working = place.work();
    assert_eq!(working.queue.submit(order(&["good"])).unwrap().id, 4);
    working.is(4, State::Passed);
    assert_eq!(place.began().len(), 4);
}

#[test]
fn a_batch_that_lives_is_found_again() {
    let place = Place::new();
    place.hold();
    {
        let working = place.work();
        working.queue.submit(order(&["bad"])).unwrap();
        working.queue.submit(order(&["good"])).unwrap();
        until("the batch has begun", || (place.began().len() == 1).then_some(()));
    }
    let working = place.work();
    let record = working.is(1, State::Started);
    assert_eq!(working.queue.get(2).unwrap().state, State::Created, "one at a time");
    place.release();
    let ended = working.is(1, State::Failed);
    assert_eq!((ended.started, ended.reason.as_str()), (record.started, ""));
    working.is(2, State::Passed);
    assert_eq!(place.began(), [record.run_id, working.queue.get(2).unwrap().run_id]);
}

#[test]
fn a_batch_that_died_meanwhile_is_aborted_and_one_that_never_began_begins() {
    let place = Place::new();
    place.hold();
    let pid = {
        let working = place.work();
        working.queue.submit(order(&["good"])).unwrap();
        until("the batch has begun", || (place.began().len() == 1).then_some(()));
        std::fs::read_to_string(place.path("testruns/runs/1.lock")).unwrap().trim().to_owned()
    };
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    place.release();
    // As a process leaves it that dies between the mark and the start.
    let mut record: Record =
        serde_json::from_slice(&std::fs::read(place.path("testruns/runs/1.json")).unwrap()).unwrap();
    (record.id, record.run_id) = (2, "never-began".into());
    std::fs::write(place.path("testruns/runs/2.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    until("its lock is free", || super::store::locked(&place.path("testruns/runs/1.lock")).unwrap());
    let working = place.work();
    let lost = working.is(1, State::Aborted);
    assert!(lost.reason.contains("ended without a result"), "{lost:?}");
    working.is(2, State::Passed);
    assert_eq!(place.began(), [lost.run_id, "never-began".to_owned()], "nothing ran twice");
}

#[test]
fn a_run_is_cancelled_while_it_waits_and_while_it_runs_and_afterwards() {
    let place = Place::new();
    place.hold();
    let working = place.work();
    let ids: Vec<u64> = (0..3).map(|_| working.queue.submit(order(&["good"])).unwrap().id).collect();
    let run = working.is(1, State::Started).run_id;
    until("the batch has begun", || (place.began().len() == 1).then_some(()));
    assert!(working.queue.cancel(2).unwrap());
    assert!(working.queue.cancel(1).unwrap());
    assert!(working.queue.get(1).is_none() && working.queue.get(2).is_none(), "gone for clients at once");
    assert!(!working.queue.cancel(1).unwrap(), "and only once");
    working.is(3, State::Started);
    for left in [place.path("batch").join(&run), place.path("testruns/runs/1.json")] {
        until("nothing is left of it", || (!left.exists()).then_some(()));
    }
    place.release();
    working.is(3, State::Passed);
    assert_eq!(place.began().len(), 2, "{ids:?}");
    assert!(working.queue.cancel(3).unwrap());
    assert_eq!(working.queue.list(1, 10).total, 0);
    assert_eq!(working.queue.submit(order(&["good"])).unwrap().id, 4, "an id is given once");
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let mut place = Place::new();
    place.rules.max_time = Duration::from_secs(1);
    place.hold();
    let working = place.work();
    working.queue.submit(order(&["good"])).unwrap();
    let ended = working.is(1, State::Aborted);
    assert!(ended.reason.contains("max-time"), "{ended:?}");
}

#[test]
fn a_batch_that_breaks_says_why_and_a_file_that_is_gone_too() {
    let place = Place::new();
    std::fs::write(place.path("break"), "").unwrap();
    let working = place.work();
    working.queue.submit(order(&["good"])).unwrap();
    let broken = working.is(1, State::Aborted);
    assert!(broken.reason.contains("exit status: 9") && broken.reason.ends_with("out of paper"), "{broken:?}");
    place.hold();
    std::fs::remove_file(place.path("break")).unwrap();
    working.queue.submit(order(&["good"])).unwrap();
    working.queue.submit(order(&["bad"])).unwrap();
    working.is(2, State::Started);
    let outside = place.path("elsewhere");
    std::fs::write(&outside, "x").unwrap();
    std::fs::remove_file(place.path("tests/bad")).unwrap();
    std::os::unix::fs::symlink(&outside, place.path("tests/bad")).unwrap();
    place.release();
    let gone = working.is(3, State::Aborted);
    assert!(gone.reason.contains("lies outside"), "{gone:?}");
    assert_eq!(place.began().len(), 2);
}

#[test]
fn files_that_are_sent_lie_in_a_directory_of_their_own_and_old_runs_are_forgotten() {
    let mut place = Place::new();
    place.rules.uploads = true;
    place.rules.max_kept = 1;
    let sent = |name: &str| Order { files: Files::Sent(vec![(name.into(), b"content".to_vec())]), ..order(&[]) };
    let queue = place.open();
    let record = queue.submit(sent("../../x/test a.py")).unwrap();
    assert_eq!((record.files.as_slice(), record.sent), (&["test_a.py".to_owned()][..], true));
    assert_eq!(std::fs::read(place.path("testruns/files/1/test_a.py")).unwrap(), b"content");
    let twice = vec![("a/x.py".into(), vec![]), ("b/x.py".into(), vec![])];
    assert!(matches!(queue.submit(Order { files: Files::Sent(twice), ..order(&[]) }), Err(Refused::Twice(_))));
    drop(queue);
    // A process that died before the order was whole.
    std::fs::create_dir(place.path("testruns/files/7")).unwrap();
    let queue = place.open();
    assert!(!place.path("testruns/files/7").exists());
    assert!(queue.cancel(1).unwrap());
    assert!(!place.path("testruns/files/1").exists());
    drop(queue);
    let working = place.work();
    for id in 2..=4 {
        assert_eq!(working.queue.submit(order(&["good"])).unwrap().id, id);
        working.is(id, State::Passed);
    }
    until("one is remembered", || (working.queue.list(1, 10).total == 1).then_some(()));
    let left = |folder: &str| std::fs::read_dir(place.path(folder)).unwrap().count();
    until("the others' files are gone", || (left("batch") == 1).then_some(()));
}

#[test]
fn a_state_directory_has_one_queue() {
    let place = Place::new();
    let first = place.open();
    let launch = first.launch.clone();
    let second = Queue::open(Path::new(place.directory.path()), false, place.rules.clone(), launch);
    assert!(second.unwrap_err().to_string().contains("another testwire"));
}
