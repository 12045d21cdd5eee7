//! Reports that are one document, whatever their lines are: what their decoders have in common.

use super::output::run_finished;
use super::{Decoder, Emit};
use crate::event::{Event, Fact, Level, Note, RunStatus};

/// Why a document could not be read to its end. What came before is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// Where, from 1.
    pub line: u64,
    /// A fragment in lower case without a full stop.
    pub why: String,
}

/// A state machine over the bytes of a document, which may be cut anywhere.
pub trait Document {
    /// Takes the next bytes.
    fn bytes(&mut self, bytes: &[u8], emit: &mut Emit<'_>);

    /// There are no more: says what is still held back.
    fn finish(&mut self, emit: &mut Emit<'_>);

    /// The first thing that was wrong with it, known for sure after [`Document::finish`].
    fn broken(&self) -> Option<&Broken>;

    /// The value of the label `runner`.
    fn runner(&self) -> &str;
}

/// A document that comes line by line, as through a pipe.
pub(super) struct ByLine<D>(pub(super) D);

impl<D: Document> Decoder for ByLine<D> {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        self.0.bytes(line, emit);
        self.0.bytes(b"\n", emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.0.finish(emit);
        if let Some(broken) = self.0.broken() {
            let text = format!("the report is damaged: {broken}").into();
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Error, text }) });
            // What is missing may have failed.
            run_finished(Some(RunStatus::Aborted), "the report is damaged", None, emit);
        }
    }

    fn runner(&self) -> &str {
        self.0.runner()
    }

    fn broken(&self) -> Option<&Broken> {
        self.0.broken()
    }
}

impl<D: Document + ?Sized> Document for Box<D> {
    fn bytes(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        (**self).bytes(bytes, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        (**self).finish(emit);
    }

    fn broken(&self) -> Option<&Broken> {
        (**self).broken()
    }

    fn runner(&self) -> &str {
        (**self).runner()
    }
}
