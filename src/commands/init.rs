//! `testwire init`: a file of settings to begin with.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::print;
use crate::config::template;
use crate::exit::{Exit, Failure};

/// Writes the file, which is not there yet.
///
/// # Errors
/// If it is, or cannot be written.
pub fn init(path: &Path) -> Result<ExitCode, Failure> {
    let mut file = File::create_new(path).map_err(|error| {
        let failure = Failure::new(Exit::Usage, format!("cannot write {}", path.display())).cause(&error);
        match error.kind() {
            ErrorKind::AlreadyExists => failure.hint("it stays as it is; name another file: testwire init other.toml"),
            _ => failure,
        }
    })?;
    file.write_all(template().as_bytes())
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot write {}", path.display())).cause(&error))?;
    print(&format!("{} is written; after you have changed it, try: testwire check\n", path.display()));
    Ok(Exit::Ok.into())
}
