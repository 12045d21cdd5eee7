//! Any bytes as the body of every endpoint of `listen`: no panic, answers are of HTTP, and what was taken survives its
//! serialized form. The first byte chooses the endpoint.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::take(bytes));
