//! The spool against a plain list: random appends, reads, commits, restarts and crashes.

use std::path::PathBuf;

use crate::records::{TINY, adopt, copy, now, number, record, try_next};
use proptest::prelude::*;
use testwire::spool::{DiskQueue, Queue as _, RecordId, SpoolError, inspect};

#[derive(Debug, Clone)]
enum Action {
    /// Appends records of these sizes at once, with a mark or without.
    Append(Vec<u16>, bool),
    /// Takes records.
    Next(u8),
    /// Reads one of those that were taken.
    Read(prop::sample::Index),
    /// Commits one of those that were taken.
    Commit(prop::sample::Index),
    /// Commits all that were taken.
    CommitAll,
    /// Ends the process and starts the next.
    Restart,
    /// The process is gone without a word.
    Crash,
    /// The process is gone in the middle of an append; so many of its bytes are there.
    CrashInAppend(Vec<u16>, prop::sample::Index),
    /// Waits until the cursor is written.
    Pause,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let sizes = || prop::collection::vec(0..400_u16, 1..5);
    let action = prop_oneof![
        8 => (prop_oneof![9 => sizes(), 1 => Just(Vec::new())], any::<bool>()).prop_map(|(s, m)| Action::Append(s, m)),
        8 => (1..8_u8).prop_map(Action::Next),
        4 => any::<prop::sample::Index>().prop_map(Action::Read),
        8 => any::<prop::sample::Index>().prop_map(Action::Commit),
        1 => Just(Action::CommitAll),
        2 => Just(Action::Restart),
        1 => Just(Action::Crash),
        1 => (sizes(), any::<prop::sample::Index>()).prop_map(|(s, i)| Action::CrashInAppend(s, i)),
        1 => Just(Action::Pause),
    ];
    prop::collection::vec(action, 1..60)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Must be handed out.
    Waiting,
    /// Was committed just before a crash: may be handed out again.
    Perhaps,
    Out(RecordId),
    Committed,
}

/// What should be in the queue: a state for each record, whose number is its place.
struct Model {
    records: Vec<State>,
    marks: u64,
    mark: Option<Vec<u8>>,
    folder: tempfile::TempDir,
    crashes: u32,
    queue: Option<DiskQueue>,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = Some(DiskQueue::create(&folder.path().join("spool/0"), TINY).unwrap());
        Self { records: Vec::new(), marks: 0, mark: None, folder, crashes: 0, queue }
    }

    fn queue(&self) -> &DiskQueue {
        self.queue.as_ref().unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(format!("spool/{}", self.crashes))
    }

    fn out(&self) -> Vec<(usize, RecordId)> {
        let out = self.records.iter().enumerate();
        out.filter_map(|(place, state)| if let State::Out(id) = state { Some((place, *id)) } else { None }).collect()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(sizes, marked) => self.append(&sizes, marked),
            Action::Next(count) => (0..count).for_each(|_| self.next()),
            Action::Read(index) => self.read(index),
            Action::Commit(index) => {
                let out = self.out();
                if !out.is_empty() {
                    let (place, id) = *index.get(&out);
                    self.commit(place, id);
                }
            }
            Action::CommitAll => self.out().into_iter().for_each(|(place, id)| self.commit(place, id)),
            Action::Restart => {
                self.queue = None;
                self.open(false);
            }
            Action::Crash => {
                let old = self.dir();
                self.crashes += 1;
                copy(&old, &self.dir());
                self.queue = None;
                self.open(true);
            }
            Action::CrashInAppend(sizes, index) => self.crash_in_append(&sizes, index),
            Action::Pause => std::thread::sleep(std::time::Duration::from_millis(210)),
        }
        self.check_backlog();
    }

    fn append(&mut self, sizes: &[u16], marked: bool) {
        let chunks = sizes.iter().zip(self.records.len() as u64..).map(|(size, number)| record(number, (*size).into()));
        let mark = marked.then(|| {
            self.marks += 1;
            self.marks.to_string().into_bytes()
        });
        self.queue().append(chunks.collect(), mark.clone()).unwrap();
        self.records.extend(sizes.iter().map(|_| State::Waiting));
        self.mark = mark.or(self.mark.take());
        assert_eq!(self.queue().last_mark(), self.mark);
    }

    fn next(&mut self) {
        let next = try_next(self.queue()).map(|(id, chunk)| (id, number(&chunk) as usize));
        let end = next.map_or(self.records.len(), |(_, number)| number);
        // All before it were handed out earlier, or need not be.
        let behind = self.records.iter().rposition(|state| matches!(state, State::Out(_)));
        assert!(next.is_none() || behind.is_none_or(|behind| behind < end), "{end} after {behind:?}");
        for (place, state) in self.records.iter_mut().enumerate().take(end) {
            assert_ne!(*state, State::Waiting, "record {place} was left out before {end}");
            if *state == State::Perhaps {
                *state = State::Committed;
            }
        }
        if let Some((id, number)) = next {
            assert!(matches!(self.records[number], State::Waiting | State::Perhaps), "record {number} again");
            self.records[number] = State::Out(id);
        }
    }

    fn read(&mut self, index: prop::sample::Index) {
        let out = self.out();
        if !out.is_empty() {
            let (place, id) = *index.get(&out);
            let chunk = now(self.queue().read(id)).unwrap().unwrap();
            assert_eq!(number(&chunk), place as u64);
        }
    }

    fn commit(&mut self, place: usize, id: RecordId) {
        self.queue().commit(id);
        self.records[place] = State::Committed;
        assert!(matches!(now(self.queue().read(id)).unwrap(), Err(SpoolError::NoRecord(_))));
    }

    /// Opens what the process before left, which crashed or not.
    fn open(&mut self, crashed: bool) {
        for state in &mut self.records {
            *state = match *state {
                State::Out(_) => State::Waiting,
                State::Committed if crashed => State::Perhaps,
                other => other,
            };
        }
        let seen = inspect(&self.dir()).unwrap();
        assert!(!seen.is_owned);
        self.queue = Some(adopt(&self.dir(), TINY));
        assert_eq!(self.queue().last_mark(), self.mark);
        assert_eq!(self.queue().corrupt(), 0);
        let backlog = self.queue().backlog();
        assert_eq!((backlog.entries, backlog.bytes), (seen.backlog.entries, seen.backlog.bytes));
    }

    fn crash_in_append(&mut self, sizes: &[u16], index: prop::sample::Index) {
        let before = self.files();
        let (count, mark) = (self.records.len(), self.mark.clone());
        let old = self.dir();
        self.crashes += 1;
        let new = self.dir();
        self.crashes -= 1;
        // Before the append: what it replaces may be deleted as soon as it is whole, and never sooner.
        copy(&old, &new);
        self.append(sizes, true);
        let after = self.files();
        self.crashes += 1;
        // The write came so far, in a segment that was there or a new one.
        let grown = after.iter().find(|(name, len)| before.iter().all(|file| file != &(name.clone(), *len)));
        let (name, len) = grown.unwrap();
        let had = before.iter().find(|(other, _)| other == name).map_or(0, |(_, len)| *len);
        let cut = had + index.index((len - had) as usize) as u64;
        std::fs::copy(old.join(name), new.join(name)).unwrap();
        std::fs::File::options().write(true).open(self.dir().join(name)).unwrap().set_len(cut).unwrap();
        self.records.truncate(count);
        self.mark = mark;
        self.queue = None;
        self.open(true);
    }

    /// Names and lengths of the segments.
    fn files(&self) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter_map(|e| Some((e.file_name().into_string().ok()?, e.metadata().ok()?.len())));
        files.filter(|(name, _)| name.ends_with(".segment")).collect()
    }

    fn check_backlog(&self) {
        let count = |wanted: fn(&State) -> bool| self.records.iter().filter(|state| wanted(state)).count() as u64;
        let sure = count(|state| matches!(state, State::Waiting | State::Out(_)));
        let perhaps = count(|state| *state == State::Perhaps);
        let backlog = self.queue().backlog();
        assert!((sure * 2..=(sure + perhaps) * 2).contains(&backlog.entries), "{backlog:?} for {sure} and {perhaps}");
        assert_eq!(backlog.oldest.is_some(), backlog.entries > 0);
    }

    fn finish(mut self) {
        while self.records.iter().any(|state| matches!(state, State::Waiting | State::Perhaps)) {
            self.next();
        }
        self.act(Action::CommitAll);
        assert_eq!(self.queue().backlog().entries, 0);
        let dir = self.dir();
        self.queue().remove().unwrap();
        assert!(!dir.exists());
        assert!(!self.folder.path().join("spool/corrupt").exists());
    }
}

fn cases() -> ProptestConfig {
    let long = std::env::var("TESTWIRE_LONG").is_ok_and(|value| value == "1");
    ProptestConfig { cases: if long { 2000 } else { 100 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_spool_does_what_a_list_would(actions in actions()) {
        let mut model = Model::new();
        for action in actions {
            model.act(action);
        }
        model.finish();
    }
}
