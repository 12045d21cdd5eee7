//! A file of a batch: what its events are called within the run.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Status, TestRef};

/// A file of a batch, as far as its events need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its id as a test.
    pub file: Arc<str>,
    /// Who runs it.
    pub worker: Arc<str>,
    /// Stands before the ids of its tests, where those of another file may be the same; mostly empty.
    pub prefix: Arc<str>,
}

/// How an attempt of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEnd {
    /// Its status.
    pub status: Status,
    /// The exit code, if it ended by itself.
    pub exit_code: Option<i32>,
    /// Why it failed; empty if it did not.
    pub message: String,
    /// How long it took.
    pub duration: Duration,
}

impl Part {
    pub(super) fn test(&self) -> TestRef<'_> {
        TestRef { id: (&*self.file).into(), suite: "".into(), worker: (&*self.worker).into() }
    }

    /// The id of one of its tests within the batch.
    pub(super) fn id<'a>(&self, id: &'a str) -> Cow<'a, str> {
        if self.prefix.is_empty() || id.starts_with(&*self.file) {
            Cow::Borrowed(id)
        } else {
            Cow::Owned(format!("{}{id}", self.prefix))
        }
    }

    pub(super) fn worker<'a>(&'a self, own: &str) -> Cow<'a, str> {
        if own.is_empty() { Cow::Borrowed(&*self.worker) } else { Cow::Owned(format!("{}/{own}", self.worker)) }
    }

    pub(super) fn inner<'a>(&'a self, test: &'a TestRef<'_>) -> TestRef<'a> {
        TestRef { id: self.id(&test.id), suite: Cow::Borrowed(test.suite.as_ref()), worker: self.worker(&test.worker) }
    }

    /// A log line without a test of its own is the file's.
    pub(super) fn of_line<'a>(&'a self, test: Option<&'a TestRef<'_>>) -> Option<TestRef<'a>> {
        Some(test.map_or_else(|| self.test(), |test| self.inner(test)))
    }
}
