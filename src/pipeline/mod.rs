//! The data path: sources → decoders → normalize → an output, on one thread.
//!
//! ```text
//!  Source ─ LineReader ─ Decoder ─ Normalizer ─ Output ─ spool ─ ship ─ Loki
//!     └ Tee (the person who ran the command sees every byte)
//! ```
//!
//! [`intake`] is the loop, [`feed`] one input of it, [`output`] its end. The shipping side ([`crate::ship`]) runs on the
//! runtime and knows nothing of sources. A run ends in this order: the inputs are read to their end; decoders and
//! normalize say what they hold back; the last entries are in the spool; the spool is closed; ship drains it, as long as
//! the drain timeout allows.

mod ambient;
pub mod beside;
pub mod feed;
pub mod hub;
pub mod intake;
pub mod journal;
pub mod output;
pub mod parts;
pub mod tail;
