use clap::CommandFactory as _;

use super::*;
use crate::config::{Auth, Output};
use crate::exit::Exit;

fn parse(args: &[&str]) -> Result<Invocation, Refusal> {
    parse_with(args, &[])
}

fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Invocation, Refusal> {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    parse_from([&["testwire"], args].concat(), &env, &Place::for_tests())
}

fn usage_error(args: &[&str]) -> String {
    match parse(args) {
        Err(Refusal::CommandLine(error)) => {
            assert_eq!(error.exit_code(), 2, "{args:?}");
            error.to_string()
        }
        other => panic!("{args:?}: {other:?}"),
    }
}

/// Each command with its whole name, subcommands too.
fn commands() -> Vec<(String, clap::Command)> {
    fn walk(name: String, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands() {
            walk(format!("{name} {}", sub.get_name()), sub, found);
        }
        found.push((name, command.clone()));
    }
    let mut cli = Cli::command();
    cli.build();
    let mut found = Vec::new();
    walk("testwire".into(), &cli, &mut found);
    found
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_every_command_shows_examples_that_can_be_typed() {
    for (name, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples:\n{help}"));
        let lines: Vec<&str> = examples.lines().take_while(|line| line.starts_with("  ")).collect();
        assert!((2..=5).contains(&lines.len()), "{name}: {lines:?}");
        for line in lines {
            let (_, command) = line.split_once("testwire ").unwrap_or_else(|| panic!("{name}: {line}"));
            let words = command.split("  ").next().unwrap().split_whitespace();
            let words: Vec<&str> = words.take_while(|word| !matches!(*word, "|" | ">" | "<")).collect();
            if let Err(Refusal::CommandLine(error)) = parse(&words) {
                panic!("{name}: the example `{line}` cannot be typed: {error}");
            }
        }
    }
}

#[test]
fn every_help_is_at_most_100_columns_wide_and_every_option_has_a_text() {
    for (name, mut command) in commands() {
        for help in [command.render_help(), command.render_long_help()] {
            let text = help.to_string();
            let wide = text.lines().find(|line| line.chars().count() > 100);
            assert_eq!(wide, None, "{name}");
        }
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name} --{} has no help", arg.get_id());
        }
    }
}

#[test]
fn run_takes_everything_behind_two_dashes_as_the_command() {
    let Ok(Invocation::Run { settings, command, .. }) =
        parse(&["run", "--env", "ci", "--attr", "a=1", "--attr", "b=2", "--", "pytest", "--env", "x", "--", "-h"])
    else {
        panic!("not a run")
    };
    assert_eq!(command, ["pytest", "--env", "x", "--", "-h"]);
    assert_eq!(settings.run.env.as_str(), "ci");
    assert_eq!(settings.run.attributes.len(), 2);
}

#[test]
fn a_missing_command_and_other_slips_are_usage_errors_that_say_what_to_do() {
    assert!(usage_error(&["run"]).contains("<CMD>"));
    assert!(usage_error(&["run", "--"]).contains("<CMD>"));
    assert!(usage_error(&["run", "pytest"]).contains("tip: put `--` before the test command: testwire run -- pytest"));
    assert!(!usage_error(&["pipe", "pytest"]).contains("tip"));
    assert!(usage_error(&["run", "--lokiurl", "http://x", "--", "x"]).contains("--loki-url"));
    assert!(usage_error(&["rum"]).contains("run"));
    assert!(usage_error(&["pipe", "--format", "xml"]).contains("gotest"));
    assert!(usage_error(&["pipe", "--output", "lokki"]).contains("ndjson"));
    assert!(usage_error(&["completions", "tcsh"]).contains("bash"));
    assert!(usage_error(&[]).contains("Usage"));
}

#[test]
fn a_secret_cannot_be_typed() {
    for flag in ["--password", "--bearer-token"] {
        usage_error(&["pipe", flag, "s3cret"]);
    }
}

#[test]
fn a_bad_value_is_a_usage_error_as_a_flag_and_a_configuration_error_elsewhere() {
    let exit = |result| match result {
        Err(Refusal::Settings(failure)) => failure.exit(),
        other => panic!("{other:?}"),
    };
    assert_eq!(exit(parse(&["pipe", "--linger", "fast"])), Exit::Usage);
    assert_eq!(exit(parse_with(&["pipe"], &[("TESTWIRE_LINGER", "fast")])), Exit::Config);
}

#[test]
fn help_and_exports_work_whatever_the_settings_are() {
    let broken = [("TESTWIRE_LINGER", "fast")];
    for args in [&["dashboards", "export", "x"][..], &["completions", "bash"]] {
        assert!(parse_with(args, &broken).is_ok(), "{args:?}");
    }
    let Err(Refusal::CommandLine(help)) = parse_with(&["run", "--help"], &broken) else { panic!("no help") };
    assert_eq!(help.exit_code(), 0);
}

#[test]
fn a_later_flag_wins_and_switches_can_be_turned_off_again() {
    let Ok(Invocation::Pipe { settings, tee, no_fail, format, explain: false }) =
        parse(&["pipe", "--output", "none", "--fsync", "--output=ndjson", "--fsync=false", "--quiet", "--tee"])
    else {
        panic!("not a pipe")
    };
    assert_eq!((settings.output, settings.fsync, settings.quiet), (Output::Ndjson, false, true));
    assert_eq!((tee, no_fail, format), (true, false, None));
    assert_eq!(settings.loki.auth, Auth::None);
}

#[test]
fn completion_scripts_know_commands_options_and_words() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(completions(shell)).unwrap();
        for word in ["dashboards", "loki-url", "drain-timeout", "ndjson", "gotest"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
