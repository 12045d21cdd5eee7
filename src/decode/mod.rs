//! Bytes of a runner → [`Event`]s: one file per format, pure state machines without I/O or clock.

use crate::event::Event;

/// Takes events in the order in which they happened. A plain callback, so that events may borrow from the line.
pub type Emit<'e> = dyn FnMut(Event<'_>) + 'e;

/// A format's state machine over lines.
pub trait Decoder {
    /// Takes the next line, without its end (LF or CRLF), of any length and in any encoding.
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>);

    /// The input ended: says what is still held back. Open tests are normalize's to close.
    fn finish(&mut self, emit: &mut Emit<'_>);
}
