//! The listeners that are part of the binary, and the directory that runners find them in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File name and content of each.
const FILES: &[(&str, &[u8])] = &[
    ("TestwireProve.pm", include_bytes!("../../../listeners/TestwireProve.pm")),
    ("testwire-junit.jar", include_bytes!("../../../listeners/testwire-junit.jar")),
    ("testwire_cucumber.cjs", include_bytes!("../../../listeners/testwire_cucumber.cjs")),
    ("testwire_events.cjs", include_bytes!("../../../listeners/testwire_events.cjs")),
    ("testwire_jest.cjs", include_bytes!("../../../listeners/testwire_jest.cjs")),
    ("testwire_mocha.cjs", include_bytes!("../../../listeners/testwire_mocha.cjs")),
    ("testwire_node.cjs", include_bytes!("../../../listeners/testwire_node.cjs")),
    ("testwire_node_test.mjs", include_bytes!("../../../listeners/testwire_node_test.mjs")),
    ("testwire_playwright.cjs", include_bytes!("../../../listeners/testwire_playwright.cjs")),
    ("testwire_vitest.cjs", include_bytes!("../../../listeners/testwire_vitest.cjs")),
    ("testwire_events.py", include_bytes!("../../../listeners/testwire_events.py")),
    ("testwire_pytest.py", include_bytes!("../../../listeners/testwire_pytest.py")),
    ("testwire_robot.py", include_bytes!("../../../listeners/testwire_robot.py")),
    ("testwire_unittest.py", include_bytes!("../../../listeners/testwire_unittest.py")),
];

/// Writes the listeners below `state_dir`, if they are not there, and returns their directory. One directory a version,
/// so that a runner that is still at work keeps the files it began with.
///
/// # Errors
/// If the directory or a file cannot be written.
pub(in crate::commands) fn install(state_dir: &Path) -> io::Result<PathBuf> {
    let directory = state_dir.join("listeners").join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(&directory)?;
    for (name, content) in FILES {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|there| there == *content) {
            continue;
        }
        // Renamed into place: another testwire, or a runner, may be reading it.
        let fresh = directory.join(format!(".{name}.{}", std::process::id()));
        fs::write(&fresh, content)?;
        fs::rename(&fresh, &path)?;
    }
    fs::canonicalize(directory)
}
