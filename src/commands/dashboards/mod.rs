//! `testwire dashboards`: the dashboards and alert rules that are part of the binary.

mod diff;
pub mod grafana;
pub mod install;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// File name and text of each.
pub const DASHBOARDS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/dashboards.rs"));
/// Alert rules as Grafana reads them from its provisioning folder, switched off.
pub const ALERTS: &str = include_str!("../../../grafana/provisioning/alerting/testwire.yaml");
/// The data source that the alert rules name.
const ALERTS_SOURCE: &str = "datasourceUid: testwire-loki\n";
/// What keeps a rule off; the comment at the file's head has it within quotes.
const PAUSED: &str = " isPaused: true\n";

/// Name and content of each; that they are JSON is tested.
pub fn all() -> impl Iterator<Item = (&'static str, Value)> {
    DASHBOARDS.iter().filter_map(|(file, text)| Some((file.strip_suffix(".json")?, serde_json::from_str(text).ok()?)))
}

/// The alert rules for this data source, switched on if wished.
pub fn alerts(datasource: Option<&str>, on: bool) -> String {
    let text = match datasource {
        // Quoted as JSON, which is YAML too.
        Some(uid) => ALERTS.replace(ALERTS_SOURCE, &format!("datasourceUid: {}\n", json!(uid))),
        None => ALERTS.to_owned(),
    };
    if on { text.replace(PAUSED, " isPaused: false\n") } else { text }
}

/// Writes the dashboards into `directory`, which is made if need be, and prints where they are.
///
/// # Errors
/// If the directory or a file cannot be written.
pub fn export(directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, e: &io::Error| {
        let failure = Failure::new(Exit::Usage, format!("cannot write {}", path.display())).cause(e);
        failure.hint("name a directory that you may write to")
    };
    fs::create_dir_all(directory).map_err(|e| failed(directory, &e))?;
    for (name, text) in DASHBOARDS {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|e| failed(&path, &e))?;
        // A reader that has gone does not keep the files from being written.
        writeln!(io::stdout(), "{}", path.display()).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dashboard_of_the_repository_is_in_the_binary_and_is_exported_unchanged() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
        let target = tempfile::tempdir().unwrap();
        let target = target.path().join("new/folder");
        export(&target).unwrap();
        let names = |directory: &Path| {
            let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&target), names(&source));
        assert_eq!(all().count(), DASHBOARDS.len(), "each is JSON");
        for name in names(&source) {
            assert!(fs::read(target.join(&name)).unwrap() == fs::read(source.join(&name)).unwrap(), "{name:?}");
        }
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_said_with_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let failure = export(file.path()).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.render(false).contains(&file.path().display().to_string()));
    }
}
