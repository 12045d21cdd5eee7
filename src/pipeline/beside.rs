//! The runs that are on, for those who read logs beside them: which run and which test a line belongs to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::intake::now;
use crate::event::Timestamp;
use crate::names::meta;
use crate::normalize::{Found, Hints, SharedRunning, Window};

/// How often a reader looks whether there is news of the tests: as often as events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs by their ids. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Beside(Arc<Mutex<Vec<Run>>>);

#[derive(Clone, Debug)]
struct Run {
    id: Arc<str>,
    running: SharedRunning,
}

/// What is known of a line, as metadata; empty where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongs {
    /// The run, if only one was on.
    pub run_id: String,
    /// The test that wrote it.
    pub test: String,
    /// How many tests could have written it, from 2 on.
    pub tests_running: String,
}

impl Belongs {
    /// The metadata, without what is empty.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            (meta::RUN_ID, self.run_id.as_str()),
            (meta::TEST, self.test.as_str()),
            (meta::TESTS_RUNNING, self.tests_running.as_str()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty())
    }
}

impl Beside {
    /// One run, that of a process which wraps its command.
    pub fn one(id: &str, running: SharedRunning) -> Self {
        let beside = Self::default();
        beside.join(id, running);
        beside
    }

    /// True if no run is on.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// A run begins.
    pub fn join(&self, id: &str, running: SharedRunning) {
        self.lock().push(Run { id: id.into(), running });
    }

    /// A run has ended, and the lines that were written in it were read.
    pub fn leave(&self, id: &str) {
        self.lock().retain(|run| &*run.id != id);
    }

    /// Waits until no start of a test that lies before `read_at` can be unknown: some 20 ms after it, 2 s at most. To be
    /// called once for all lines that were read together.
    pub fn settle(&self, read_at: Timestamp) {
        while self.lock().iter().any(|run| !run.running.lock().is_settled(read_at, now())) {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Finds the run and the test of a line, of which `hints` is what it names itself. With several runs on, it belongs to
    /// the one whose test is found, and to none if that is not clear.
    pub fn find(&self, window: Window, hints: Hints<'_>) -> Belongs {
        let runs = self.lock();
        let mut belongs = Belongs::default();
        let mut tests = 0;
        let mut only: Option<(&Arc<str>, Arc<str>)> = None;
        for run in runs.iter() {
            match run.running.lock().find(window, hints) {
                Found::None => {}
                Found::Test(test) => {
                    tests += 1;
                    only = Some((&run.id, test));
                }
                Found::Several(count) => tests += count,
            }
        }
        if let [run] = runs.as_slice() {
            run.id.as_ref().clone_into(&mut belongs.run_id);
        }
        match only {
            Some((run, test)) if tests == 1 => {
                run.as_ref().clone_into(&mut belongs.run_id);
                test.as_ref().clone_into(&mut belongs.test);
            }
            _ if tests > 0 => belongs.tests_running = tests.to_string(),
            _ => {}
        }
        belongs
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        // What a panicking thread leaves is whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Window {
        Window::new(Some(Timestamp(seconds * SECOND)), 0, Timestamp(i64::MAX))
    }

    fn pairs(belongs: &Belongs) -> String {
        belongs.pairs().map(|(name, value)| format!("{name}={value} ")).collect()
    }

    #[test]
    fn a_line_is_of_the_only_run_even_where_no_test_runs() {
        let running = SharedRunning::default();
        let beside = Beside::one("r1", running.clone());
        running.lock().start("a", "", Timestamp(10 * SECOND));
        assert_eq!(pairs(&beside.find(at(5), Hints::default())), "run_id=r1 ");
        assert_eq!(pairs(&beside.find(at(15), Hints::default())), "run_id=r1 test=a ");
        running.lock().start("b", "", Timestamp(20 * SECOND));
        assert_eq!(pairs(&beside.find(at(25), Hints::default())), "run_id=r1 tests_running=2 ");
        beside.leave("r1");
        assert_eq!(pairs(&beside.find(at(25), Hints::default())), "");
    }

    #[test]
    fn with_several_runs_the_test_tells_which_one() {
        let (one, two) = (SharedRunning::default(), SharedRunning::default());
        let beside = Beside::one("r1", one.clone());
        beside.join("r2", two.clone());
        one.lock().start("a", "", Timestamp(10 * SECOND));
        assert_eq!(pairs(&beside.find(at(5), Hints::default())), "");
        assert_eq!(pairs(&beside.find(at(15), Hints::default())), "run_id=r1 test=a ");
        two.lock().start("b", "", Timestamp(20 * SECOND));
        assert_eq!(pairs(&beside.find(at(25), Hints::default())), "tests_running=2 ");
    }

    #[test]
    fn a_reader_waits_for_news_of_the_tests() {
        let running = SharedRunning::default();
        let beside = Beside::one("r1", running.clone());
        let read_at = now();
        running.lock().heard(Timestamp(read_at.0 + SECOND));
        beside.settle(read_at);
        Beside::default().settle(read_at);
    }
}
