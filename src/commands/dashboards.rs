//! `testwire dashboards export`: the dashboards that are part of the binary.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::exit::{Exit, Failure};

/// File name and text of each.
pub const DASHBOARDS: &[(&str, &str)] = &[
    ("runs.json", include_str!("../../grafana/dashboards/runs.json")),
    ("live.json", include_str!("../../grafana/dashboards/live.json")),
    ("matrix.json", include_str!("../../grafana/dashboards/matrix.json")),
    ("flaky.json", include_str!("../../grafana/dashboards/flaky.json")),
    ("machines.json", include_str!("../../grafana/dashboards/machines.json")),
    ("logs.json", include_str!("../../grafana/dashboards/logs.json")),
    ("forwarder.json", include_str!("../../grafana/dashboards/forwarder.json")),
    ("failures.json", include_str!("../../grafana/dashboards/failures.json")),
    ("test.json", include_str!("../../grafana/dashboards/test.json")),
];

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
