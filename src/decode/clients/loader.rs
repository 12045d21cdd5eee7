//! pytest-rt and nose2rt, clients of Testgr.
//!
//! A job is a run. With a custom id, which xdist needs, each worker announces a job of its own with all tests, and the
//! controller ends one that nobody announced: together they are one run, which is over when as many ended as began.

mod message;
mod runs;

pub use self::message::{Loaded, Screen, parse};
pub use self::runs::Loader;
