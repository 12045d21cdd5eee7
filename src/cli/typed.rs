//! Flags of settings, made from the table of settings.

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::Typed;
use crate::config::setting::{self, Kind, Preset, Setting};

/// Not a setting, because a file cannot name itself.
const CONFIG_FILE: &str = "config-file";

/// [`Typed`] with the flags of `listen` beside the common ones.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenTyped(pub(super) Typed);

impl Args for ListenTyped {
    fn augment_args(command: Command) -> Command {
        Typed::augment_args(command.args(flags().filter(|setting| setting.group == setting::LISTENING).map(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ListenTyped {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Typed::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// [`Typed`] with `--loki-user` for `--user`, which is who asks for the run there.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchTyped(pub(super) Typed);

impl Args for BatchTyped {
    fn augment_args(command: Command) -> Command {
        Typed::augment_args(command)
            .mut_args(|arg| if arg.get_id() == setting::USER.name { arg.long("loki-user") } else { arg })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BatchTyped {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Typed::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        let config_file = Arg::new(CONFIG_FILE)
            .long(CONFIG_FILE)
            .value_name("FILE")
            .value_parser(clap::value_parser!(std::path::PathBuf))
            .overrides_with(CONFIG_FILE)
            .help_heading("Settings")
            .help("File of settings [default: testwire.toml or testwire.json here or above, else in ~/.config/testwire]")
            .long_help(
                "File of settings, also TESTWIRE_CONFIG_FILE. By default the first testwire.toml or testwire.json in the \
                 current directory and those above it, up to the repository's root or your home directory, then in \
                 $XDG_CONFIG_HOME/testwire or ~/.config/testwire.",
            );
        let common = flags().filter(|setting| setting.group != setting::LISTENING);
        command.args(common.map(flag)).arg(config_file)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed = Self::default();
        typed.update_from_arg_matches(matches)?;
        Ok(typed)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in flags() {
            // Not every command has every flag.
            let known = matches.try_contains_id(setting.name).unwrap_or(false);
            if known && matches.value_source(setting.name) == Some(ValueSource::CommandLine) {
                let texts = matches.get_many::<String>(setting.name).into_iter().flatten().cloned().collect();
                self.values.insert(setting.name, texts);
            }
        }
        if let Some(path) = matches.get_one::<std::path::PathBuf>(CONFIG_FILE) {
            self.config_file = Some(path.clone());
        }
        Ok(())
    }
}

/// Settings that have a flag: secrets have none, as others can read command lines.
fn flags() -> impl Iterator<Item = &'static Setting> {
    setting::ALL.iter().copied().filter(|setting| !matches!(setting.kind, Kind::SecretPairs))
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.preset {
        Preset::Value(text) | Preset::Derived(text) => format!(" [default: {text}]"),
        Preset::Unset => String::new(),
    };
    let long = if setting.more.is_empty() { "" } else { ". " };
    // A later flag wins, so that a script can pass on flags of its caller behind its own.
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help_heading(setting.group)
        .help(format!("{}{default}", setting.help))
        .long_help(format!("{}{long}{}{default}", setting.help, setting.more));
    match setting.kind {
        Kind::One => arg.overrides_with(setting.name),
        Kind::Pairs | Kind::SecretPairs => arg.action(ArgAction::Append),
        Kind::Choice(words) => arg.overrides_with(setting.name).value_parser(PossibleValuesParser::new(words())),
        Kind::Switch => arg
            .overrides_with(setting.name)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .hide_possible_values(true),
    }
}
