//! The testwire command.
fn main() {}
