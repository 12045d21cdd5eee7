//! Puts every file of `grafana/dashboards` into the binary, so that none can be forgotten.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("grafana/dashboards");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for file in fs::read_dir(&folder)? {
        names.push(file?.file_name().into_string().map_err(|name| io::Error::other(format!("{name:?} is no text")))?);
    }
    names.sort();
    let rows: String = names
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| format!("    ({name:?}, include_str!({:?})),\n", folder.join(name)))
        .collect();
    fs::write(Path::new(&variable("OUT_DIR")?).join("dashboards.rs"), format!("&[\n{rows}]\n"))
}
