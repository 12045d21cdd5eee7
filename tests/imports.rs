//! The modules import each other in one direction only, as the crate's documentation says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which modules each may name, itself not counted. `event`, `exit` and `names` are plain data for all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("cli", &["config", "decode", "exit"]),
    (
        "commands",
        &["config", "decode", "event", "exit", "loki", "names", "normalize", "pipeline", "ship", "source", "spool"],
    ),
    // Zones are of times, and credentials are the push client's.
    ("config", &["event", "exit", "loki"]),
    ("decode", &["event"]),
    ("event", &["names"]),
    ("exit", &[]),
    ("loki", &["event"]),
    ("names", &[]),
    // Its entries are Loki's.
    ("normalize", &["event", "loki", "names"]),
    ("pipeline", &["decode", "event", "loki", "normalize", "source", "spool"]),
    ("ship", &["event", "loki", "names", "spool"]),
    ("source", &[]),
    // Its chunks are Loki's entries.
    ("spool", &["event", "loki", "names"]),
];

#[cfg(test)]
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Every `crate::module` of the file, in imports and in code.
#[cfg(test)]
fn named(text: &str) -> BTreeSet<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap())
        .collect()
}

#[test]
fn each_module_names_only_those_that_it_may_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let module =
            inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no rule"));
        for name in named(&text) {
            assert!(
                name == module || may.contains(&name),
                "{} names {name}, which {module} must not know",
                inside.display()
            );
        }
        seen.insert(module);
    }
    assert!(seen.iter().map(String::as_str).eq(allowed.keys().copied()), "rules without a module, or none were found");
}

#[test]
fn decoding_and_normalizing_have_no_clock_and_no_input_or_output() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for module in ["decode", "normalize"] {
        for path in sources(&root.join(module)).into_iter().filter(|path| !path.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for effect in [
                "std::fs",
                "std::net",
                "std::process",
                "std::thread",
                "std::env",
                "Instant::now",
                "SystemTime",
                "Utc::now",
                "Local::now",
                "tokio",
                "println!",
            ] {
                assert!(!code.contains(effect), "{}: {effect}", path.display());
            }
        }
    }
}
