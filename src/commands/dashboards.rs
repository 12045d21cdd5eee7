//! `testwire dashboards export`: the dashboards that are part of the binary.

use std::fs;
use std::path::Path;

use crate::exit::{Exit, Failure};

/// File name and text of each.
pub const DASHBOARDS: &[(&str, &str)] = &[
    ("runs.json", include_str!("../../grafana/dashboards/runs.json")),
    ("live.json", include_str!("../../grafana/dashboards/live.json")),
];

/// Writes the dashboards into `directory`, which is made if need be, and says where they are.
///
/// # Errors
/// If the directory or a file cannot be written.
pub fn export(directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, e: &std::io::Error| Failure::new(Exit::Input, format!("cannot write {}", path.display())).cause(e);
    fs::create_dir_all(directory).map_err(|e| failed(directory, &e))?;
    for (name, text) in DASHBOARDS {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|e| failed(&path, &e))?;
        println!("{}", path.display());
    }
    Ok(())
}
