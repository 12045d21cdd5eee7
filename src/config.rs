//! Settings: what was typed, the environment, a file and defaults → one validated [`Settings`].
//!
//! A setting has one name. As a flag it is `--loki-url`, in the environment `TESTWIRE_LOKI_URL`, in `testwire.toml` or
//! `testwire.json` the key `loki-url`. Flag > environment > file > default. An empty variable counts as not set. Paths in
//! a file are relative to it. Secrets come from files or from the environment only (`TESTWIRE_PASSWORD`,
//! `TESTWIRE_BEARER_TOKEN`, `TESTWIRE_HEADER`).
//!
//! [`setting`] is the table of settings, [`place`] what is observed, `resolve` the rest, and pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::Failure;
use crate::loki::push::Secret;
use crate::loki::tls::Tls;

pub mod batch;
pub mod choice;
pub mod ci;
pub mod error;
pub mod file;
pub mod git;
pub mod place;
mod resolve;
pub mod secret;
pub mod setting;
pub mod tail;
mod template;
pub mod testruns;
pub mod value;
pub mod zone;

pub use batch::Batch;
pub use choice::{LogLevel, Output, Progress};
pub use error::{ConfigError, Origin};
pub use file::File;
pub use place::Place;
pub use secret::Auth;
pub use tail::{Begin, Encoding, Multiline, TailSource};
pub use template::template;
pub use testruns::Testruns;
pub use value::{Attribute, BaseUrl, Bytes, Name, Tenant};
pub use zone::Zone;

/// Environment variables by name; what is no UTF-8 is replaced.
pub type Env = BTreeMap<String, String>;

/// Names the file of settings, besides `--config-file`.
pub const CONFIG_FILE_ENV: &str = "TESTWIRE_CONFIG_FILE";
/// Holds the password of `--user`.
pub const PASSWORD_ENV: &str = "TESTWIRE_PASSWORD";
/// Holds the bearer token.
pub const BEARER_TOKEN_ENV: &str = "TESTWIRE_BEARER_TOKEN";

/// Holds the token that clients of `listen` must show.
pub const TOKEN_ENV: &str = "TESTWIRE_TOKEN";
/// Holds the token for Grafana.
pub const GRAFANA_TOKEN_ENV: &str = "TESTWIRE_GRAFANA_TOKEN";

/// Settings as typed: texts by setting, not looked at yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// Values of flags by the setting's name; several only for pairs.
    pub values: BTreeMap<&'static str, Vec<String>>,
    /// `--config-file`.
    pub config_file: Option<PathBuf>,
}

/// All that a command needs to know, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loki.
    pub loki: LokiServer,
    /// The run.
    pub run: RunIdentity,
    /// Where Grafana is.
    pub grafana_url: BaseUrl,
    /// What Grafana wants to see, where it is asked more than whether it is there.
    pub grafana_token: Option<secret::SecretSource>,
    /// Directory of spool, event files and refused entries; it need not exist yet.
    pub state_dir: PathBuf,
    /// Most bytes in the spool.
    pub spool_max: u64,
    /// Whether what was accepted survives a power cut.
    pub fsync: bool,
    /// How long an entry may wait for others; 0 to 1 minute.
    pub linger: Duration,
    /// How long an ending process waits for Loki.
    pub drain_timeout: Duration,
    /// How often the process tells Loki how its delivery goes; 0: never.
    pub health_every: Duration,
    /// The daemon.
    pub listen: Listen,
    /// The logs that are followed.
    pub tails: Vec<TailSource>,
    /// What is told beside earlier runs.
    pub history: History,
    /// Where entries go.
    pub output: Output,
    /// Zone of times that name none.
    pub timezone: Zone,
    /// Least severe own message that is shown.
    pub log_level: LogLevel,
    /// When live progress is shown.
    pub progress: Progress,
    /// Nothing on stderr but errors.
    pub quiet: bool,
    /// Odd things about the settings that a person should know, each a sentence without a full stop.
    pub warnings: Vec<String>,
    /// Every value and its origin, for `testwire check --config`.
    pub shown: Vec<Shown>,
}

/// How `testwire listen` listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address; port 0 lets the system choose.
    pub address: std::net::SocketAddr,
    /// What clients must show.
    pub token: Option<secret::SecretSource>,
    /// Whether everybody is let in who reaches the address.
    pub allow_open: bool,
    /// Most bytes of a request's body, unpacked.
    pub max_body: u64,
    /// After how long without news a run counts as aborted.
    pub run_timeout: Duration,
    /// Another path at which pytest-rt and nose2rt are heard.
    pub loader_path: Option<String>,
    /// Most bytes of attachments; the oldest go first.
    pub attachments_max: u64,
    /// How long attachments are kept.
    pub attachments_age: Duration,
    /// Test runs that clients may order.
    pub testruns: Option<Testruns>,
}

/// What is told beside earlier runs.
#[derive(Clone, Debug)]
pub struct History {
    /// Branch whose runs count where the own branch has none in Loki.
    pub baseline_branch: Name,
    /// After how long a running test counts as hung; at least a second.
    pub hung_after: Duration,
    /// File of failures that are known; not read yet.
    pub known_failures: Option<PathBuf>,
}

/// Where Loki is and how to talk to it.
#[derive(Clone, Debug)]
pub struct LokiServer {
    /// Base URL, without `/loki/api/…`.
    pub url: BaseUrl,
    /// Value of `X-Scope-OrgID`.
    pub tenant: Option<Tenant>,
    /// How to prove who asks.
    pub auth: Auth,
    /// Further headers of every request, sorted by name.
    pub headers: Vec<(String, Secret)>,
    /// Files for TLS; none is read yet.
    pub tls: Tls,
}

/// What identifies a run, and what is said about it.
#[derive(Clone, Debug)]
pub struct RunIdentity {
    /// Label `service_name`.
    pub project: Name,
    /// Label `env`.
    pub env: Name,
    /// Id of the run.
    pub run_id: Name,
    /// True if the id came from outside, so that other processes may share it.
    pub run_id_given: bool,
    /// Which process of the run this is; given, or made up where the id came from outside.
    pub shard: Option<Name>,
    /// From `--attr`, sorted by name, at most 32.
    pub attributes: Vec<Attribute>,
    /// Machine.
    pub host: Option<Name>,
    /// Who started the run.
    pub user: Option<Name>,
    /// Commit under test.
    pub commit: Option<Name>,
    /// Branch under test.
    pub branch: Option<Name>,
    /// Page of the CI build; may be longer than a [`Name`].
    pub build_url: Option<String>,
}

/// A value and where it comes from. Secrets are `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The setting, or `password` and `bearer-token` from the environment.
    pub name: &'static str,
    /// Its value; `None` if not set.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Settings {
    /// Finds the file and resolves everything.
    ///
    /// # Errors
    /// The first thing that is wrong with a flag, a variable or the file.
    pub fn load(typed: &Typed, env: &Env, place: &Place) -> Result<Self, Failure> {
        let named = env.get(CONFIG_FILE_ENV).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = typed.config_file.clone().or(named).or_else(|| File::find(place));
        let file = path.map(|path| File::read(&place.cwd.join(path))).transpose()?;
        Ok(Self::resolve(typed, env, file.as_ref(), place)?)
    }

    /// Every value and its origin as text, one setting a line; secrets are `***`.
    pub fn table(&self) -> String {
        let value = |row: &Shown| row.value.clone().unwrap_or_else(|| "(not set)".into());
        let width = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
        let name_width = width(&mut self.shown.iter().map(|row| row.name.len()));
        // One very long value must not push all origins out of sight.
        let value_width = width(&mut self.shown.iter().map(|row| value(row).chars().count())).min(48);
        let mut out = String::new();
        for row in &self.shown {
            let line = format!("{:name_width$}  {:value_width$}  {}", row.name, value(row), row.origin);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests;
