//! What can be wrong with settings.

use std::fmt;
use std::path::PathBuf;

use super::setting::{self, Preset};
use super::value::Expected;
use crate::exit::{Exit, Failure};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Typed.
    Flag,
    /// An environment variable, by name.
    Env(String),
    /// A line, from 1, of a file.
    File(PathBuf, usize),
    /// Found out, as described.
    Derived(&'static str),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Derived(how) => f.write_str(how),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, of settings or with a secret, cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML or JSON.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A file has a key that is no setting.
    #[error("{}:{line}: unknown setting `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As written.
        key: String,
        /// The most similar setting.
        nearest: Option<&'static str>,
    },
    /// A value is not what the setting takes.
    #[error("bad value: {}: {expected}", written(name, value, origin))]
    BadValue {
        /// The setting.
        name: &'static str,
        /// As written.
        value: String,
        /// Where.
        origin: Origin,
        /// What is allowed.
        expected: Expected,
    },
    /// Settings that do not go together.
    #[error("{what}")]
    Conflict {
        /// Which, and why.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A secret is empty or cannot be put into a header.
    #[error("{origin} holds no usable secret: it is empty or has control characters inside")]
    Secret {
        /// Variable or file.
        origin: String,
    },
}

/// The setting as its origin spells it.
fn written(name: &str, value: &str, origin: &Origin) -> String {
    match origin {
        Origin::Flag => format!("--{name} {value:?}"),
        Origin::Env(variable) => format!("{variable}={value:?}"),
        Origin::File(path, line) => format!("{}:{line}: {name} = {value:?}", path.display()),
        Origin::Derived(_) | Origin::Default => format!("{name} {value:?}"),
    }
}

impl ConfigError {
    fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check that the path is right and may be read by you".into(),
            Self::Syntax { .. } => "testwire.toml is TOML, such as `loki-url = \"http://127.0.0.1:3100\"`".into(),
            Self::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { nearest: None, .. } => "`testwire check --config` lists all settings".into(),
            Self::BadValue { name, .. } => explain(name),
            Self::Conflict { hint, .. } => (*hint).into(),
            Self::Secret { .. } => "put the secret on one line".into(),
        }
    }
}

/// What a setting is for.
fn explain(name: &str) -> String {
    let Some(setting) = setting::named(name) else { return format!("see `{name}` in `testwire run --help`") };
    match setting.preset {
        Preset::Value(default) => format!("{name}: {} (default: {default})", setting.help),
        Preset::Derived(_) | Preset::Unset => format!("{name}: {}", setting.help),
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match error {
            ConfigError::BadValue { origin: Origin::Flag, .. } => Exit::Usage,
            _ => Exit::Config,
        };
        Self::new(exit, error.to_string()).cause(&error).hint(error.hint())
    }
}
