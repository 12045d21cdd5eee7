//! The README says what is true: every setting, exit code, label, status and command is in it.

use std::collections::BTreeSet;

use testwire::config::setting::{self, Preset};
use testwire::exit::Exit;
use testwire::names::{kind, label, meta, status};

const README: &str = include_str!("../README.md");

/// Rows of the table below a heading, as cells.
#[cfg(test)]
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Words in back-quotes.
#[cfg(test)]
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_setting_is_listed_with_its_default_and_meaning_and_no_other() {
    let default = |preset| match preset {
        Preset::Value(value) => format!("`{value}`"),
        Preset::Derived(how) => how.to_owned(),
        Preset::Unset => String::new(),
    };
    let expected: Vec<String> = setting::ALL
        .iter()
        .map(|setting| format!("`{}` | {} | {}", setting.name, default(setting.preset), setting.help))
        .collect();
    let listed: Vec<String> = table("Settings").iter().map(|row| row.join(" | ")).collect();
    assert_eq!(listed, expected, "rows that belong there:\n| {} |", expected.join(" |\n| ").replace("|  |", "| |"));
}

#[test]
fn every_exit_code_is_listed_and_no_other() {
    let codes = [
        Exit::Ok,
        Exit::RunFailed,
        Exit::Usage,
        Exit::Config,
        Exit::Input,
        Exit::Undelivered,
        Exit::Rejected,
        Exit::Spool,
    ];
    let listed: Vec<&str> = table("Exit codes").iter().map(|row| row[0]).collect();
    assert_eq!(listed, codes.map(|code| code.code().to_string()));
}

#[test]
fn labels_kinds_and_statuses_are_those_of_the_program() {
    let rows = table("Labels");
    let listed: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, label::ALL);
    let values = |name: &str| quoted(rows.iter().find(|row| row[0] == format!("`{name}`")).unwrap()[1]);
    assert_eq!(values(label::KIND), kind::ALL.iter().copied().collect());
    assert_eq!(values(label::STATUS), status::ALL.iter().copied().collect());
    let (_, section) = README.split_once("\n## Metadata\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    for name in quoted(section).into_iter().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        let known = meta::ALL.contains(&name) || name == "flaky";
        assert!(known, "`{name}` is no metadata");
    }
}

#[test]
fn the_commands_are_those_of_the_help_and_every_file_that_is_named_is_there() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_testwire")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands: BTreeSet<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    let rows = table("Commands");
    let listed = rows.iter().flat_map(|row| quoted(row[0])).map(|typed| typed.split(' ').nth(1).unwrap());
    let listed: BTreeSet<&str> = listed.collect();
    assert_eq!(listed, commands.into_iter().filter(|command| *command != "help").collect());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in README.split("](").skip(1).map(|link| link.split(')').next().unwrap()) {
        assert!(target.starts_with("http") || root.join(target).exists(), "{target}");
    }
    for file in ["docker-compose.yml", "tests/run.sh", "loki/loki.yaml", "LICENSE", "CHANGELOG.md"] {
        assert!(root.join(file).exists(), "{file}");
    }
}
