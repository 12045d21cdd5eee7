//! The rules of layout: which module may use which, what is pure, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines without its tests.
const MAX_LINES: usize = 450;

/// What a module may use of the crate, by prefix; itself is always allowed. Data flows down this table: `main → commands →
/// pipeline → stages`. A stage uses events and names, and of its neighbour plain types only.
const ALLOWED: &[(&str, &[&str])] = &[
    // Vocabulary: plain data that all may use.
    ("names", &[]),
    ("event", &["names"]),
    ("exit", &[]),
    // Stages.
    // The HTTP server hands requests to the clients' parsers, so that a bad one is answered before it is queued.
    // Orders of test runs go to their queue.
    ("source", &["event", "decode::clients", "testruns"]),
    ("decode", &["event", "names"]),
    // Normalize makes entries that fit; `Stream`, `Entry` and `Limits` are plain.
    // Of the history it knows what is pure.
    (
        "normalize",
        &[
            "event",
            "names",
            "loki::entry",
            "loki::limits",
            "history::digest",
            "history::judge",
            "history::memory",
            "history::past",
            "history::slot",
        ],
    ),
    ("history", &["event::Status", "event::Timestamp", "event::wholes", "names", "loki::push", "loki::query"]),
    ("loki", &["event", "names"]),
    // The spool holds encoded entries, and reads nothing of them but their time.
    ("spool", &["event::Timestamp", "names", "loki::entry", "loki::encode"]),
    ("ship", &["event::Timestamp", "names", "spool", "loki"]),
    // Beside the data path: what clients order is run by a testwire of its own.
    ("testruns", &["names"]),
    // The data path.
    (
        "pipeline",
        &[
            "event",
            "names",
            "source",
            "decode",
            "normalize",
            "spool",
            "loki::entry",
            "loki::encode",
            "loki::limits",
            "ship",
            "history",
        ],
    ),
    // What was typed. Secrets and ways to log in are the client's plain types, formats the decoders'.
    ("config", &["event::Timestamp", "exit", "names", "loki::push", "loki::tls"]),
    ("cli", &["config", "decode::Format", "exit"]),
    // The rim: it puts everything together.
    (
        "commands",
        &[
            "config",
            "event",
            "exit",
            "names",
            "source",
            "decode",
            "normalize",
            "spool",
            "ship",
            "loki",
            "pipeline",
            "history",
            "testruns",
        ],
    ),
    ("main", &["cli", "commands", "config", "exit"]),
];

/// Modules that must not touch the world, and how they could.
const PURE: &[&str] = &["names", "event", "decode", "normalize"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "tokio",
    "reqwest",
    "rustix",
    "fastrand",
    "println!",
];

/// A file without its tests and comments.
struct Source {
    path: PathBuf,
    /// First part of its path in the crate.
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let sources = files.into_iter().filter_map(|path| {
        let inside = path.strip_prefix(&root).expect("it was found there");
        // Files that hold tests only.
        if path.ends_with("tests.rs") && is_test_module(&path) {
            return None;
        }
        let first = inside.components().next()?.as_os_str().to_str()?;
        let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
        let text = fs::read_to_string(&path).expect("sources are readable");
        Some(Source { module, code: code_of(&text), path: Path::new("src").join(inside) })
    });
    sources.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// True for a module that its parent declares behind `#[cfg(test)]`.
fn is_test_module(path: &Path) -> bool {
    let folder = path.parent().expect("a file lies in a folder");
    let name = path.file_stem().and_then(|name| name.to_str()).expect("modules have names in UTF-8");
    let parents = [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")];
    let texts = parents.iter().filter_map(|parent| fs::read_to_string(parent).ok());
    texts.into_iter().any(|text| text.contains(&format!("#[cfg(test)]\nmod {name};")))
}

/// The text up to the module with its tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// Lines up to the tests, without comments.
fn code_of(text: &str) -> String {
    let lines = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Every path into the crate: `crate::a::b`, with the braces of `use` opened, so that `use crate::{a, b::{c, d}}` is `a`,
/// `b::c` and `b::d`. In `main.rs` the crate is `testwire`.
fn used(source: &Source) -> BTreeSet<String> {
    let own = if source.module == "main" { "testwire::" } else { "crate::" };
    let mut found = BTreeSet::new();
    let mut rest = source.code.as_str();
    while let Some((before, after)) = rest.split_once(own) {
        rest = after;
        // Not the end of a longer name.
        if !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            open("", after, &mut found);
        }
    }
    found
}

/// Reads one tree of `use` from the beginning of `text`, and returns what comes behind it.
fn open<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = open(prefix, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(more) => return closed(more.trim_start()),
                None => return closed(rest),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(more) => open(&path, more, found),
        None => {
            found.insert(path);
            // `as _` and the like.
            let end = rest.find([',', '}', ';', '\n']).unwrap_or(rest.len());
            rest.split_at(end).1
        }
    }
}

/// What comes behind the brace.
fn closed(text: &str) -> &str {
    text.strip_prefix('}').unwrap_or(text)
}

fn may(module: &str, path: &str) -> bool {
    let allowed = ALLOWED.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, allowed)| allowed);
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    below(module) || path == "self" || allowed.iter().any(|prefix| below(prefix.trim_end_matches("::self")))
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn modules_use_only_what_the_layout_allows() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.module == "lib" {
            continue;
        }
        let paths = used(&source);
        let paths = paths.iter().filter(|path| !may(&source.module, path.trim_end_matches("::self")));
        wrong.extend(paths.map(|path| format!("{}: {path}", source.path.display())));
    }
    assert_none("not allowed by the table in this file", &wrong);
}

#[test]
fn every_module_is_in_the_table() {
    let modules: BTreeSet<String> = sources().into_iter().map(|source| source.module).filter(|m| m != "lib").collect();
    let known: BTreeSet<String> = ALLOWED.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(modules, known);
}

#[test]
fn what_is_pure_touches_neither_files_nor_clocks() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module.as_str())) {
        let used = IMPURE.iter().filter(|way| source.code.contains(**way));
        wrong.extend(used.map(|way| format!("{}: {way}", source.path.display())));
    }
    assert_none("pure modules get time and input as arguments", &wrong);
}

#[test]
fn the_spool_knows_no_events_and_shipping_no_sources() {
    for (module, unknown) in [
        ("spool", &["event::Event", "event::Fact", "decode", "normalize", "source"][..]),
        ("ship", &["source", "decode", "normalize", "pipeline"]),
    ] {
        assert!(sources().iter().any(|source| source.module == module));
        for path in unknown {
            assert!(!may(module, path), "{module} may use {path}");
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for source in sources() {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&source.path)).expect("it was read before");
        let lines = without_tests(&text).lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    assert_none("files to split", &wrong);
}

#[test]
fn paths_are_found_however_they_are_written() {
    let code =
        "use crate::{a, b::{c, d as _, e::{self, F}}, g};\nfn f(x: crate::h::I) { crate::j!() }\nuse my_crate::no;";
    let source = Source { path: PathBuf::new(), module: "x".into(), code: code.into() };
    let found: Vec<_> = used(&source).into_iter().collect();
    assert_eq!(found, ["a", "b::c", "b::d", "b::e::F", "b::e::self", "g", "h::I", "j"]);
    assert!(may("decode", "event::Event") && may("decode", "decode::Format") && !may("decode", "events"));
    assert!(may("spool", "event::Timestamp") && !may("spool", "event::Event"));
    assert_eq!(code_of("a\n  // crate::b\nc\n#[cfg(test)]\nmod tests {}\n"), "a\nc\n");
}
