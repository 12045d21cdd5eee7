//! A file of settings to begin with: every setting with its help, its value and what holds without it.

use std::fmt::Write as _;

use super::setting::{self, Kind, Preset, Setting};

const HEAD: &str = "\
# Settings of testwire. It uses the first testwire.toml in the working directory and those above it, up to the repository's root.
# Flags (--loki-url) and the environment (TESTWIRE_LOKI_URL) win over it. `testwire check --config` says what holds, and why.
#
# Take the # away before what you want to set.
";

/// Tables that are no settings of the table of settings.
const TABLES: &str = "

# --- Application logs that `testwire listen` and `testwire tail` follow; repeatable ---

#[[tail]]
#path = \"logs/*.log\"
#name = \"shop\"
";

/// False for what is another for each run or process, and so belongs into no file.
fn is_lasting(setting: &Setting) -> bool {
    ![setting::RUN_ID.name, setting::SHARD.name].contains(&setting.name)
}

/// What the file would say of a setting.
fn value(setting: &Setting) -> String {
    match (setting.kind, setting.preset) {
        (Kind::Pairs | Kind::SecretPairs, _) => "{ name = \"value\" }".to_owned(),
        (Kind::Switch, _) => "true".to_owned(),
        (_, Preset::Value(preset)) => format!("\"{preset}\""),
        _ => format!("\"{}\"", setting.value),
    }
}

/// The text of the file. As it is, it sets nothing.
pub fn template() -> String {
    let mut text = HEAD.to_owned();
    let mut group = "";
    for setting in setting::ALL.iter().filter(|setting| is_lasting(setting)) {
        if setting.group != group {
            group = setting.group;
            write!(text, "\n# --- {group} ---\n").expect("a String takes all");
        }
        let default = match setting.preset {
            Preset::Value(_) if matches!(setting.kind, Kind::Switch) => " [default: false]".to_owned(),
            Preset::Value(_) => String::new(),
            Preset::Derived(how) => format!(" [default: {how}]"),
            Preset::Unset => " [default: none]".to_owned(),
        };
        let (help, name, value) = (setting.help, setting.name, value(setting));
        write!(text, "\n# {help}{default}\n#{name} = {value}\n").expect("a String takes all");
    }
    text.push_str(TABLES);
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::File;

    #[test]
    fn as_it_is_it_sets_nothing_and_every_line_can_be_uncommented() {
        let text = template();
        let path = Path::new("testwire.toml");
        let file = File::parse(path, &text).unwrap();
        assert!(setting::ALL.iter().all(|setting| file.get(setting).is_none()));
        let is_value =
            |line: &str| line.strip_prefix('#').is_some_and(|rest| !rest.starts_with(' ') && !rest.is_empty());
        let set: String = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|_| is_value(line)).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let file = File::parse(path, &set).unwrap();
        for setting in setting::ALL {
            assert_eq!(file.get(setting).is_some(), is_lasting(setting), "{}", setting.name);
        }
        assert_eq!(file.tails().unwrap().len(), 1);
    }
}
