//! What became of each test before: the last 20 results and durations of every test of a project, environment and runner.
//!
//! LogQL cannot compare sets of tests at a price that a live page can pay, so testwire says what a result means at the moment
//! at which a test ends. [`past`] holds the results, [`judge`] says what another one means beside them, and [`memory`] is how a
//! run asks for them; all are pure. [`disk`] keeps them in the state directory, shared by all processes of a machine, and
//! [`rebuild`] gets them from Loki where there are none, as in a container that lives for one run; [`digest`] is what makes
//! that quick.
//!
//! # Why one file that is replaced, and no database
//!
//! Measured with 50,000 tests of 181 bytes each, read at a run's start and all changed at its end (release build, one of two
//! slow cores, the third such run; peak memory with that of the process itself):
//!
//! | store | read | read and write | on disk | peak memory | two processes at a time |
//! | --- | --- | --- | --- | --- | --- |
//! | one file, replaced | 7 ms | 24 ms | 8.8 MB | 28 MB | yes |
//! | redb 4.4 | 26 ms | 88 ms | 28 MB | 31 MB | no |
//! | fjall 2 | 270 ms | 437 ms | 15 to 34 MB | 46 MB | no |
//! | SQLite, WAL | 14 ms | 426 ms | 10.8 MB | 7 MB | yes, with a C library of 1.5 MB |
//!
//! A run reads the whole history once and changes most of it once, which is what a file is best at and a tree worst. The file
//! here is read and merged as a stream, so that it costs less memory than the one that was measured. It is replaced by renaming,
//! so a killed process leaves the old one; a check sum finds what a power cut left. What is lost with it is in Loki.

mod brief;
pub mod digest;
pub mod disk;
mod earlier;
mod file;
mod index;
pub mod judge;
mod later;
pub mod memory;
pub mod past;
pub mod rebuild;
pub mod slot;

#[cfg(test)]
mod tests;
