//! Secrets: where they come from, and that nothing prints them.

use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use crate::loki::push::{Auth as Credentials, Secret};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Given in this environment variable.
    Env(&'static str, Secret),
    /// In this file. It is read each time, because tokens are rotated while a process runs.
    File(PathBuf),
}

impl SecretSource {
    /// The secret, without the line end after it.
    ///
    /// # Errors
    /// The file cannot be read, or the secret is empty or has control characters, which no header may carry.
    pub fn read(&self) -> Result<Secret, ConfigError> {
        let text = match self {
            Self::Env(_, secret) => secret.0.clone(),
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?,
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.contains(char::is_control) {
            return Err(ConfigError::Secret { origin: self.to_string() });
        }
        Ok(Secret(text.into()))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name, _) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How testwire shows Loki who it is, before secrets are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    None,
    /// Basic authentication.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: SecretSource,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// Token.
        token: SecretSource,
    },
}

impl Auth {
    /// Reads the secrets.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub fn credentials(&self) -> Result<Credentials, ConfigError> {
        Ok(match self {
            Self::None => Credentials::None,
            Self::Basic { user, password } => Credentials::Basic { user: user.clone(), password: password.read()? },
            Self::Bearer { token } => Credentials::Bearer(token.read()?),
        })
    }
}
